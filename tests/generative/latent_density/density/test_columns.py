"""The blocks against plain convolutions over a padded sequence, and the cache against both."""

import pytest
import torch
from torch.nn import functional as F

from rlgen.generative.latent_density.density import LDE
from rlgen.generative.latent_density.density.columns import ColumnCache


def lively(dim: int, **options) -> LDE:
    """An estimator with weights and statistics that let every coordinate be heard."""
    torch.manual_seed(dim)
    density = LDE(**{"dim": dim, "components": 3, "max_width": 32, **options})
    for block in density.blocks:
        block.conv.reset_parameters()
        block.conv.weight.data *= 2
        block.norm.weight.data.uniform_(0.5, 1.5)
        block.norm.bias.data.normal_()
        block.norm.running_mean.normal_()
        block.norm.running_var.uniform_(0.5, 2)
    for weight in (density.head.weight, density.head_offsets):
        if weight is not None:
            torch.nn.init.normal_(weight, std=0.3 / density.head.in_channels**0.5)
    density.shift.normal_()
    density.scale.uniform_(0.5, 2)
    return density.double().eval()


def as_the_paper_does(density: LDE, u: torch.Tensor) -> torch.Tensor:
    """Padding and mask channel, Conv1d, BatchNorm1d, LeakyReLU: (B, 3K, D) of (B, D)."""
    zeros = u.new_zeros(len(u), density.padding)
    values = torch.cat([zeros, u], dim=1)
    mask = torch.cat([zeros, torch.ones_like(u)], dim=1)
    x = torch.stack([values, mask], dim=1)[:, :, :-1]
    for block in density.blocks:
        x = F.leaky_relu(block.norm(block.conv(x)), 0.2)
    if density.head_offsets is None:
        return density.head(x)
    columns = []
    for i, offset in enumerate(density.head_offsets):
        weight = density.head.weight + offset.t()[:, :, None]
        columns.append(F.conv1d(x[:, :, i : i + 1], weight, density.head.bias))
    return torch.cat(columns, dim=2)


def outputs(density: LDE, u: torch.Tensor) -> torch.Tensor:
    logits, means, log_scales = density._conditionals(u)
    return torch.cat([means, log_scales, logits], dim=-1)


@pytest.mark.parametrize("dim", [1, 2, 3, 8, 15, 16, 17])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("own_heads", [False, True])
def test_the_same_as_convolutions_over_a_padded_sequence(dim, training, own_heads):
    density = lively(dim, min_log_scale=-80.0, own_heads=own_heads)
    plain = lively(dim, own_heads=own_heads)
    density.train(training)
    plain.train(training)
    u = torch.randn(6, dim, dtype=torch.float64)
    expected = as_the_paper_does(plain, u)
    torch.testing.assert_close(outputs(density, u), expected.transpose(1, 2))
    for ours, theirs in zip(density.blocks, plain.blocks, strict=True):
        torch.testing.assert_close(ours.norm.running_mean, theirs.norm.running_mean)
        torch.testing.assert_close(ours.norm.running_var, theirs.norm.running_var)


@pytest.mark.parametrize("own_heads", [False, True])
def test_gradients_are_those_of_the_convolutions(own_heads):
    density = lively(9, min_log_scale=-80.0, own_heads=own_heads).train()
    plain = lively(9, own_heads=own_heads).train()
    u = torch.randn(5, 9, dtype=torch.float64)
    weights = torch.randn(5, 9, 9, dtype=torch.float64)
    (outputs(density, u) * weights).sum().backward()
    (as_the_paper_does(plain, u).transpose(1, 2) * weights).sum().backward()
    for ours, theirs in zip(density.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize("dim", [1, 2, 3, 8, 13, 33])
@pytest.mark.parametrize("own_heads", [False, True])
def test_cache_gives_the_same_columns(dim, own_heads):
    density = lively(dim, own_heads=own_heads)
    u = torch.randn(4, dim, dtype=torch.float64)
    cache = ColumnCache(density.blocks, density.head, density.head_offsets)
    column = u.new_zeros(4, 2)
    with torch.no_grad():
        expected = as_the_paper_does(density, u)
        for i in range(dim):
            torch.testing.assert_close(cache.step(column), expected[:, :, i])
            column = F.pad(u[:, i : i + 1], (0, 1), value=1.0)


def test_cache_keeps_no_more_than_the_dilation():
    density = lively(16)
    cache = ColumnCache(density.blocks, density.head, density.head_offsets)
    for _ in range(16):
        cache.step(torch.zeros(2, 2, dtype=torch.float64))
    assert [len(layer[4]) for layer in cache._layers] == [1, 2, 4, 8]
