"""The packed NatureCNN computes what SB3's module computes, from the same parameters."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import FlattenExtractor, NatureCNN
from torch.nn import functional as F

from rlgen.nets import PackedNatureCNN

# (channels, height, width); the first convolution gives width / 4 - 1 columns, even or odd.
SIZES = [(4, 84, 84), (1, 84, 84), (3, 64, 64), (3, 68, 60), (2, 66, 52), (4, 36, 36)]


def images(shape: tuple[int, ...], batch: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (batch, *shape), dtype=np.uint8)


def build(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> PackedNatureCNN:
    torch.manual_seed(0)
    extractor = NatureCNN(spaces.Box(0, 255, shape, np.uint8))
    for bias in (p for name, p in extractor.named_parameters() if name.endswith("bias")):
        torch.nn.init.normal_(bias, std=0.1)  # zero biases would hide a wrong one
    return PackedNatureCNN(extractor, 1 / 255, dtype)


def pack(net: PackedNatureCNN, batch: np.ndarray | torch.Tensor) -> torch.Tensor:
    out = torch.empty(len(batch), *net.packed_shape, dtype=torch.uint8)
    net.pack(batch, out)
    return out


def gradients(net: PackedNatureCNN, features: torch.Tensor) -> dict[str, torch.Tensor]:
    weights = torch.linspace(-1, 1, features.numel()).view_as(features)
    net.extractor.zero_grad()
    (features * weights).sum().backward()
    return {name: p.grad.clone() for name, p in net.extractor.named_parameters()}


@pytest.mark.parametrize("shape", SIZES)
def test_packing_moves_each_block_into_the_channels(shape: tuple[int, ...]) -> None:
    batch, net = images(shape), build(shape)
    packed = pack(net, batch)
    rows, columns = shape[1] // 4, shape[2] // 4
    assert packed.shape == (5, rows, columns, shape[0] * 16)
    generator = np.random.default_rng(1)
    for _ in range(50):
        n, c, i, j = (int(generator.integers(k)) for k in (5, shape[0], rows * 4, columns * 4))
        # Channels are ordered by image channel, row in the block, column in the block.
        channel = c * 16 + (i % 4) * 4 + j % 4
        assert packed[n, i // 4, j // 4, channel] == batch[n, c, i, j]


@pytest.mark.parametrize("shape", SIZES)
def test_forward_is_natures(shape: tuple[int, ...]) -> None:
    batch, net = images(shape), build(shape)
    with torch.no_grad():
        expected = net.extractor(torch.from_numpy(batch).float() / 255)
        actual = net.forward(pack(net, batch))
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", SIZES)
def test_gradients_are_natures(shape: tuple[int, ...]) -> None:
    batch, net = images(shape), build(shape)
    expected = gradients(net, net.extractor(torch.from_numpy(batch).float() / 255))
    actual = gradients(net, net.forward(pack(net, batch)))
    for name, grad in expected.items():
        error = (actual[name] - grad).norm() / grad.norm()
        assert error < 1e-5, name


@pytest.mark.parametrize("shape", [(4, 84, 84), (3, 64, 64)])
def test_bf16_is_near(shape: tuple[int, ...]) -> None:
    """Eight bits of mantissa: features within 1 % of their norm, gradients point the same way."""
    batch, net = images(shape, batch=16), build(shape, torch.bfloat16)
    exact = net.extractor(torch.from_numpy(batch).float() / 255)
    expected = gradients(net, exact)
    rounded = net.forward(pack(net, batch))
    assert rounded.dtype is torch.float32
    assert (rounded - exact).norm() / exact.norm() < 0.01
    actual = gradients(net, rounded)
    whole = [torch.cat([g.flatten() for g in grads.values()]) for grads in (actual, expected)]
    assert F.cosine_similarity(*whole, dim=0) > 0.99


def test_bf16_log_probabilities_are_near() -> None:
    batch, net = images((4, 84, 84), batch=32), build((4, 84, 84), torch.bfloat16)
    head = torch.nn.Linear(512, 6)
    with torch.no_grad():
        exact = head(net.extractor(torch.from_numpy(batch).float() / 255)).log_softmax(1)
        rounded = head(net.forward(pack(net, batch))).log_softmax(1)
    assert (exact - rounded).abs().max() < 0.02


def test_scale_of_pixels() -> None:
    batch, net = images((4, 36, 36)), build((4, 36, 36))
    net.scale = 1.0
    with torch.no_grad():
        expected = net.extractor(torch.from_numpy(batch).float())
        torch.testing.assert_close(net.forward(pack(net, batch)), expected, rtol=1e-4, atol=1e-4)


def test_acts_with_the_snapshot() -> None:
    net = build((4, 36, 36))
    packed = pack(net, images((4, 36, 36)))
    with torch.no_grad():
        before = net.forward(packed)
        torch.testing.assert_close(net.act(packed), before)
        net.extractor.cnn[0].weight.mul_(2)
        torch.testing.assert_close(net.act(packed), before)
        net.take_snapshot()
        torch.testing.assert_close(net.act(packed), net.forward(packed))
    assert not torch.allclose(net.act(packed), before)


def test_packs_views_of_other_memory() -> None:
    """Channels-last images, as a transposing wrapper hands them on."""
    batch, net = images((4, 36, 36)), build((4, 36, 36))
    view = torch.from_numpy(np.ascontiguousarray(np.moveaxis(batch, 1, -1))).movedim(-1, 1)
    assert not view.is_contiguous()
    assert torch.equal(pack(net, view), pack(net, batch))


class OwnNature(NatureCNN):
    """A user's subclass may compute anything."""


def test_fits() -> None:
    def box(*shape: int) -> spaces.Box:
        return spaces.Box(0, 255, shape, np.uint8)

    assert PackedNatureCNN.fits(NatureCNN(box(4, 84, 84)))
    assert PackedNatureCNN.fits(NatureCNN(box(3, 66, 64)))
    assert not PackedNatureCNN.fits(NatureCNN(box(4, 84, 86))), "width not in whole blocks"
    floats = spaces.Box(0, 1, (4, 84, 84), np.float32)
    assert not PackedNatureCNN.fits(NatureCNN(floats, normalized_image=True)), "no bytes"
    assert not PackedNatureCNN.fits(OwnNature(box(4, 84, 84)))
    assert not PackedNatureCNN.fits(FlattenExtractor(box(4, 84, 84)))
