"""The autoencoder: sizes of the paper's code, opened coordinates, prefixes."""

import math

import pytest
import torch

from rlgen.core.errors import UserError
from rlgen.generative.latent_density.autoencoder import (
    LatentAutoencoder,
    halvings,
    keep_prefix,
    open_coordinates,
)


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("size", "channels", "dim", "encoder", "decoder"),
    [
        (28, 1, 8, 182_728, 182_593),
        (28, 1, 32, 333_280, 333_121),
        (48, 1, 15, 795_855, 795_457),
        (32, 3, 256, 1_708_480, 1_707_843),
        (64, 3, 100, 3_577_636, 3_576_643),
        (128, 3, 200, 14_427_016, 14_424_899),
    ],
)
def test_parameters_are_as_many_as_in_the_spec(size, channels, dim, encoder, decoder):
    with torch.device("meta"):
        model = LatentAutoencoder(size=size, channels=channels, dim=dim)
    assert (count(model.encoder), count(model.decoder)) == (encoder, decoder)


@pytest.mark.parametrize("size", [8, 16, 28, 32, 48])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_comes_back_in_its_shape_and_range(size, channels):
    low = 0.0 if channels == 1 else -1.0
    model = LatentAutoencoder(
        size=size, channels=channels, dim=5, width=4, output_range=(low, 1.0), norm_scale=1.0
    ).eval()
    assert model.encode(torch.rand(2, channels, size, size)).shape == (2, 5)
    x = model.decode(100 * torch.randn(2, 5))
    assert x.shape == (2, channels, size, size)
    assert low <= x.min()
    assert x.max() <= 1
    assert (x.min() < -0.1) == (low == -1)


def test_the_initialisation_is_the_releases():
    torch.manual_seed(0)
    model = LatentAutoencoder(size=32, dim=8, width=16)
    flat = model.encoder[0].weight.detach().flatten(1)
    assert torch.allclose(flat @ flat.T, torch.eye(16), atol=1e-5)  # 16 rows of 16: orthogonal
    assert all(not layer.bias.any() for layer in model.decoder if hasattr(layer, "stride"))
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    scales = torch.cat([norm.weight.detach() for norm in norms])
    assert abs(float(scales.std()) - 0.02) < 0.004
    assert abs(float(scales.mean())) < 0.004
    other = LatentAutoencoder(size=32, dim=8, width=16, norm_scale=1.0)
    assert abs(float(other.encoder[3].weight.detach().mean()) - 1) < 0.02


@pytest.mark.parametrize(("dim", "warmup"), [(8, 96.0), (100, 100.0), (200, 7.5), (5, 40.0)])
def test_coordinates_open_by_the_schedule(dim, warmup):
    """Invariant 7."""
    steps = 50  # of an epoch
    ks = [open_coordinates(step / steps, dim, warmup) for step in range(int(warmup * steps) + 1)]
    assert ks[0] == 1
    assert ks == sorted(ks)
    assert ks[-1] == dim
    assert ks[int((warmup - warmup / dim) * steps) - 1] < dim
    per_epoch = [b - a for a, b in zip(ks, ks[steps:], strict=False)]
    assert max(per_epoch) <= math.ceil(dim / warmup) + 1


def test_coordinates_by_hand():
    assert [open_coordinates(t, 8, 4.0) for t in (0, 0.49, 0.5, 1, 3.5, 9)] == [1, 1, 2, 3, 8, 8]


@pytest.mark.parametrize("warmup", [0.0, 1.0])
def test_without_warmup_nothing_is_masked(warmup):
    assert open_coordinates(0.0, 64, warmup) == 64


def test_a_prefix_is_what_its_coordinates_tell():
    z = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert keep_prefix(z, 1).tolist() == [[1, 0, 0], [4, 0, 0]]
    assert keep_prefix(z, 0).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert keep_prefix(z, 3) is z
    model = LatentAutoencoder(size=8, dim=3, width=4).eval()
    changed = torch.tensor([[1.0, 2.0, -9.0], [4.0, 5.0, 9.0]])
    assert torch.equal(model.decode_prefix(z, 2), model.decode_prefix(changed, 2))
    assert not torch.equal(model.decode_prefix(z, 3), model.decode_prefix(changed, 3))


def test_coordinates_that_are_not_open_stay_as_they_were():
    """Invariant 8."""
    torch.manual_seed(0)
    model, k = LatentAutoencoder(size=8, dim=6, width=4, norm_scale=1.0), 4
    rows = [model.encoder[-1].weight, model.encoder[-1].bias, model.decoder[0].weight]
    before = [row.detach().clone() for row in rows]
    optimizer = torch.optim.Adam(model.parameters(), 1e-2, (0.5, 0.999), fused=True)
    for step in range(5):
        x = torch.rand(8, 1, 8, 8)
        loss = (model(x, min(1 + step, k)) - x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for row, start in zip(rows, before, strict=True):
        assert torch.equal(row[k:], start[k:])
        assert not torch.equal(row[:k], start[:k])


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"size": 30}, "size=30 cannot be halved 2 times; allowed: 28, 32"),
        ({"size": 4}, "size=4 is too small"),
        ({"dim": 0}, "dim=0 is too small"),
        ({"output_range": (0, 2)}, "allowed: [0, 1] and [-1, 1]"),
    ],
)
def test_wrong_options_are_told_in_one_line(options, part):
    with pytest.raises(UserError) as error:
        LatentAutoencoder(**options)
    assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_halvings_are_the_papers():
    assert [halvings(size) for size in (8, 16, 28, 32, 48, 64, 128)] == [1, 2, 2, 3, 3, 4, 5]


def test_saved_and_loaded_it_is_the_same(tmp_path):
    model = LatentAutoencoder(size=8, dim=3, width=4).eval()
    model.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "config.json",
        "diffusion_pytorch_model.safetensors",
    }
    again = LatentAutoencoder.from_pretrained(tmp_path)
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(again.eval()(x), model(x))
