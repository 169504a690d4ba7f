"""Quantisation: the trained network is fine-tuned with weights rounded to 8, 4 or 2 bits.

Spec kd_orthogonality, recipe 3: fake quantisation of weights, started from the weights in full
precision ("Apprentice", arXiv 1711.05852, as the spec's notes have it), first and last layer at 8
bits. Reconstructed: symmetric, one scale per output channel, the largest magnitude of the channel
at the end of the range; straight-through gradients. Activations, biases and batch norms stay in
full precision. torch rounds by ``fake_quantize_per_channel_affine``, which is not among what
torch.ao.quantization deprecates; it hangs on the weight as a parametrisation. ``detach`` leaves the
rounded values, at most 2^b - 1 of them in each channel.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from rlgen.distill.study.techniques.base import TECHNIQUES, Technique, weighted_layers

EDGE_BITS = 8  # of the first and the last layer


class Quantization(Technique):
    """Weights on a grid of ``bits`` bits."""

    bits: ClassVar[int]

    def attach(self, network: nn.Module) -> None:
        """Rounds the weights from here on, whenever they are read."""
        layers = weighted_layers(network)
        for layer in layers:
            edge = layer is layers[0] or layer is layers[-1]
            rounding = FakeQuantize(EDGE_BITS if edge else self.bits)
            parametrize.register_parametrization(layer, "weight", rounding)

    def detach(self, network: nn.Module) -> None:
        """Puts the rounded weights in the place of the originals."""
        for layer in weighted_layers(network):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


class FakeQuantize(nn.Module):
    """Rounds weights w of channel c to scale_c * {-n, ..., n}, n = 2^(bits - 1) - 1.

    scale_c = max |w_c| / n, of the weights as they are; the gradient passes straight through.

    Args:
        bits: 2 to 8.
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.largest = 2 ** (bits - 1) - 1

    def forward(self, weight: Tensor) -> Tensor:
        """Returns the rounded weights, (C_out, ...) as they came."""
        scale = weight.detach().flatten(1).abs().amax(dim=1) / self.largest
        scale = scale.clamp(min=torch.finfo(torch.float32).eps)  # of a channel of zeros
        zero = torch.zeros_like(scale, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(
            weight, scale, zero, 0, -self.largest, self.largest
        )


@TECHNIQUES.register("int8")
class Int8(Quantization):
    """8 bits."""

    name = "int8"
    bits = 8


@TECHNIQUES.register("int4")
class Int4(Quantization):
    """4 bits."""

    name = "int4"
    bits = 4


@TECHNIQUES.register("int2")
class Int2(Quantization):
    """2 bits: -1, 0, 1 times the scale."""

    name = "int2"
    bits = 2
