"""The reconstruction loss, by hand."""

import torch

from rlgen.generative.latent_density.loss import ReconstructionLoss, perceptual_error, to_rgb
from rlgen.nets.perceptual import DEPTHS, WIDTHS, VGG16Features


def features() -> VGG16Features:
    """Returns a network of random weights; that it is not ImageNet's does not matter here."""
    generator, weights, channels = torch.Generator().manual_seed(0), {}, 3
    for block, (width, depth) in enumerate(zip(WIDTHS, DEPTHS, strict=True), start=1):
        for layer in range(1, depth + 1):
            shape = (width, channels, 3, 3)
            scale = (2 / (9 * channels)) ** 0.5
            weights[f"conv{block}_{layer}.weight"] = scale * torch.randn(shape, generator=generator)
            weights[f"conv{block}_{layer}.bias"] = torch.zeros(width)
            channels = width
    return VGG16Features(weights)


def test_the_squared_error_is_a_mean_over_all_entries():
    x = torch.zeros(2, 1, 2, 2)
    y = x.clone()
    y[0, 0, 0, 0] = 2.0
    assert ReconstructionLoss()(y, x)["mse"].item() == 4 / 8
    assert list(ReconstructionLoss()(y, x)) == ["mse"]


def test_grey_becomes_rgb_in_minus_one_to_one():
    x = torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 1, 3)
    assert to_rgb(x, 0.0, 1.0)[0, :, 0].tolist() == [[-1, 0, 1]] * 3
    assert to_rgb(x.expand(1, 3, 1, 3), -1.0, 1.0)[0, 0, 0].tolist() == [0, 0.5, 1]


def test_the_perceptual_error_is_half_the_sum_over_layers():
    network = features()
    x, y = torch.rand(2, 1, 3, 16, 16).mul(2).sub(1)
    seen, wanted = network(y), network(x)
    parts = [(seen[n] - wanted[n]).square().mean() for n in ("relu1_2", "relu2_2", "relu3_3")]
    expected = 0.5 * sum(part.item() for part in parts)
    assert expected > 0
    assert abs(perceptual_error(network, y, x).item() - expected) < 1e-5 * expected
    loss = ReconstructionLoss(network, 0.1, (-1.0, 1.0))
    terms = loss(y.requires_grad_(), x)
    assert abs(terms["perceptual"].item() - 0.1 * expected) < 1e-5 * expected
    terms["perceptual"].backward()
    assert y.grad is not None
    assert y.grad.abs().sum() > 0
    assert loss(x, x)["perceptual"].item() == 0
