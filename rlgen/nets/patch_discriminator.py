"""The 70x70 PatchGAN of pix2pix and CycleGAN."""

import torch
from torch import nn
from torch.nn import functional as F

SMALLEST = 24  # pixels each way; below it nothing is left to normalise


class PatchDiscriminator(nn.Module):
    """Judges overlapping patches of 70x70 pixels; no sigmoid, for the least-squares loss.

    Args:
        width: Channels of the first layer; 64 in the papers, 2,764,737 parameters.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        channels = [3, width, 2 * width, 4 * width, 8 * width, 1]
        strides = [2, 2, 2, 1, 1]
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, 4, stride=stride, padding=1)
            for a, b, stride in zip(channels[:-1], channels[1:], strides, strict=True)
        )
        for layer in self.layers:
            nn.init.normal_(layer.weight, 0.0, 0.02)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Maps (batch, 3, H, W), 24 pixels or more, to scores (batch, 1, h, w); 256 give 30."""
        x = F.leaky_relu(self.layers[0](images), 0.2)
        for layer in self.layers[1:-1]:
            x = F.leaky_relu(F.instance_norm(layer(x)), 0.2)
        return self.layers[-1](x).float()
