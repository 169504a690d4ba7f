"""Encoder trunks and decoders of the action-conditional VAE, for vectors and for images.

Paper: Yang, Lee, Chang, Kwak, "Towards Governing Agent's Efficacy: Action-Conditional beta-VAE for
Deep Transparent Reinforcement Learning", ACML 2019 (arXiv 1811.04350). Seen in it: convolutions
for Atari, fully connected layers for dSprites and MuJoCo. It gives no layer sizes; all here are
reconstructed:

* ``mlp``: the trunk of PPO for MuJoCo, and its mirror image.
* ``nature``: the convolutions of the DQN paper for 84x84 frames, and transposed ones back.
* ``conv``: 4x4 convolutions of stride 2, as many as the image's size allows, and back.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import NatureCNN, create_mlp
from torch import nn

from rlgen.core.errors import UserError, closest

Shape = tuple[int, ...]

ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU}
NETWORKS = ("mlp", "nature", "conv")
_DEFAULT_HIDDEN = {"mlp": (64, 64), "nature": (512,), "conv": (256,)}
_NATURE_CONVOLUTIONS = ((32, 8, 4), (64, 4, 2), (64, 3, 1))  # channels, kernel, stride
_NATURE_SMALLEST = 36  # pixels; a side below this leaves nothing after the third convolution
_CONV_SMALLEST = 4  # pixels
_CONV_CHANNELS, _CONV_STAGES = 32, 4


def choose_network(network: str, shape: Shape) -> str:
    """Returns which network to build.

    Args:
        network: ``auto``, or one of :data:`NETWORKS`.
        shape: Of one observation.

    Returns:
        For ``auto``: ``nature`` for images of 84x84, ``conv`` for other images of 4 pixels or
        more each way, ``mlp`` for all else.

    Raises:
        UserError: If the name is unknown, or the network cannot take the shape.
    """
    smallest = min(shape[1:]) if len(shape) == 3 else 0
    if network == "auto":
        if smallest < _CONV_SMALLEST:
            return "mlp"
        return "nature" if shape[1:] == (84, 84) else "conv"
    if network not in NETWORKS:
        raise UserError(f"network={network!r} is unknown; {closest(network, ('auto', *NETWORKS))}")
    needed = {"mlp": 0, "nature": _NATURE_SMALLEST, "conv": _CONV_SMALLEST}[network]
    if smallest < needed:
        raise UserError(
            f"network={network!r} takes images (channels, height, width) of {needed} pixels or "
            f"more each way, not observations of shape {shape}; type network='auto'"
        )
    return network


def default_hidden(network: str) -> Shape:
    """Returns the widths of a network's fully connected layers where none are asked for."""
    return _DEFAULT_HIDDEN[network]


def default_channels(shape: Shape) -> Shape:
    """Returns the channels of a ``conv`` network: a stage for each halving down to 4 pixels."""
    stages = int(math.log2(min(shape[1:]) / 4)) if min(shape[1:]) >= 8 else 1
    return (_CONV_CHANNELS,) * min(stages, _CONV_STAGES)


def build_trunk(
    network: str, shape: Shape, hidden: Shape, channels: Shape, activation: type[nn.Module]
) -> tuple[nn.Module, int]:
    """Builds what lies between an observation and the encoder's head.

    Args:
        network: One of :data:`NETWORKS`.
        shape: Of one observation; channel-first for images.
        hidden: Widths of the fully connected layers, the first is the input's next neighbour.
        channels: Of the ``conv`` network's stages; others ignore it.
        activation: Of the ``mlp`` network; the others have ReLU.

    Returns:
        The trunk and the width of its output. It maps (batch, *shape) to (batch, width), but the
        ``mlp`` takes flat observations: it has nothing but linear layers and activations.
    """
    if network == "mlp":
        size = math.prod(shape)
        layers = create_mlp(size, -1, list(hidden), activation)
        return nn.Sequential(*layers), (hidden[-1] if hidden else size)
    if network == "nature":
        # SB3's own class, so that what knows how to compute it faster finds it here as well.
        trunk = NatureCNN(spaces.Box(0, 255, shape, np.uint8), features_dim=hidden[0])
        more = create_mlp(hidden[0], -1, list(hidden[1:]), nn.ReLU)
        return (nn.Sequential(trunk, *more) if more else trunk), hidden[-1]
    convolutions: list[nn.Module] = []
    for before, after in zip((shape[0], *channels), channels, strict=False):
        convolutions += [nn.Conv2d(before, after, 4, stride=2, padding=1), nn.ReLU()]
    rows, columns = _halved(shape[1:], len(channels))[-1]
    flat = channels[-1] * rows * columns
    dense = create_mlp(flat, -1, list(hidden), nn.ReLU)
    return nn.Sequential(*convolutions, nn.Flatten(), *dense), (hidden[-1] if hidden else flat)


def build_decoder(
    network: str,
    latent_dim: int,
    shape: Shape,
    hidden: Shape,
    channels: Shape,
    activation: type[nn.Module],
) -> nn.Sequential:
    """Builds the mirror image of a trunk, from the latent to a prediction.

    Args:
        network: One of :data:`NETWORKS`.
        latent_dim: Size n of the latent.
        shape: Of one target; channel-first for images.
        hidden: Widths of the trunk's fully connected layers; the decoder has them backwards.
        channels: Of the ``conv`` trunk's stages; others ignore it.
        activation: Of the ``mlp`` network; the others have ReLU.

    Returns:
        A network from (batch, n) to (batch, *shape), without a last non-linearity.
    """
    backwards = list(reversed(hidden))
    if network == "mlp":
        layers = create_mlp(latent_dim, math.prod(shape), backwards, activation)
        return nn.Sequential(*layers, nn.Unflatten(1, shape))
    if network == "nature":
        stages = [(kernel, stride, 0) for _, kernel, stride in _NATURE_CONVOLUTIONS]
        widths = [shape[0], *(count for count, _, _ in _NATURE_CONVOLUTIONS)]
        sizes = _nature_sizes(shape[1:])
    else:
        stages = [(4, 2, 1)] * len(channels)
        widths, sizes = [shape[0], *channels], _halved(shape[1:], len(channels))
    smallest = (widths[-1], *sizes[-1])
    dense = create_mlp(latent_dim, -1, [*backwards, math.prod(smallest)], nn.ReLU)
    upward: list[nn.Module] = []
    for k in reversed(range(len(stages))):
        kernel, stride, padding = stages[k]
        lost = [
            (size + 2 * padding - kernel) % stride  # pixels that the convolution did not reach
            for size in sizes[k]
        ]
        upward += [
            nn.ConvTranspose2d(
                widths[k + 1], widths[k], kernel, stride, padding, (lost[0], lost[1])
            ),
            nn.ReLU(),
        ]
    return nn.Sequential(*dense, nn.Unflatten(1, smallest), *upward[:-1])


def _halved(size: Sequence[int], times: int) -> list[Shape]:
    """Returns the size of an image before and after each of some 4x4 convolutions of stride 2."""
    sizes = [tuple(size)]
    for _ in range(times):
        sizes.append(tuple(side // 2 for side in sizes[-1]))
    if min(sizes[-1]) < 1:
        raise UserError(
            f"channels has {times} stages, too many for images of {size[0]}x{size[1]}; each halves "
            f"the image, so type {int(math.log2(min(size)))} or fewer"
        )
    return sizes


def _nature_sizes(size: Sequence[int]) -> list[Shape]:
    sizes = [tuple(size)]
    for _, kernel, stride in _NATURE_CONVOLUTIONS:
        sizes.append(tuple((side - kernel) // stride + 1 for side in sizes[-1]))
    return sizes


def flat_for(network: str, observations: torch.Tensor) -> torch.Tensor:
    """Returns observations as a trunk takes them: flat for the ``mlp``, as they are for others."""
    return observations.flatten(1) if network == "mlp" else observations
