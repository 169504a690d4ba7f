"""The decoder of Atari frames on packed images: the same parameters, less time.

As in :mod:`rlgen.nets.nature`, 4x4 pixels of a frame are channels of one place. The decoder's last
layer, a transposed 8x8 convolution of stride 4, is then exactly a 2x2 convolution of stride 1, and
its result is compared with packed targets as they are: sums over pixels do not depend on order.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from rlgen.nets.nature import BLOCK


class PackedDecoder:
    """A second way to compute a decoder of ``nature`` frames; it owns no parameters.

    Args:
        decoder: Its modules; see :func:`rlgen.agents.disentangled.layers.build_decoder`.
    """

    def __init__(self, decoder: nn.Sequential) -> None:
        modules: list[Any] = list(decoder)
        first = next(k for k, m in enumerate(modules) if isinstance(m, nn.ConvTranspose2d))
        self.dense, self.middle, self.last = decoder[:first], decoder[first:-1], modules[-1]

    @staticmethod
    def fits(decoder: nn.Module) -> bool:
        """Tells whether a decoder ends in the layer that can be packed."""
        last = decoder[-1] if isinstance(decoder, nn.Sequential) else None
        return (
            isinstance(last, nn.ConvTranspose2d)
            and last.kernel_size == (2 * BLOCK, 2 * BLOCK)
            and last.stride == (BLOCK, BLOCK)
            and last.padding == last.output_padding == (0, 0)
        )

    def __call__(self, z: torch.Tensor) -> torch.Tensor:
        """Maps z plus the mapped action, (batch, n), to packed logits, differentiable.

        Returns:
            (batch, frames * 16, rows, columns), channels in the order of packed images.
        """
        x = self.dense(z).contiguous(memory_format=torch.channels_last)
        x = self.middle(x)
        weight: torch.Tensor = self.last.weight  # (channels, frames, 8, 8)
        channels, frames = weight.shape[:2]
        # A place gets the kernel's second half from the place before it, its first from itself.
        halves = weight.view(channels, frames, 2, BLOCK, 2, BLOCK).permute(1, 3, 5, 0, 2, 4)
        kernel = halves.reshape(frames * BLOCK**2, channels, 2, 2).flip(2, 3)
        kernel = kernel.contiguous(memory_format=torch.channels_last)
        return F.conv2d(x, kernel, self.last.bias.repeat_interleave(BLOCK**2), padding=1)


def unpack_frames(packed: torch.Tensor, frames: int) -> torch.Tensor:
    """Returns packed frames, (batch, rows, columns, frames * 16), as (batch, frames, H, W)."""
    batch, rows, columns, _ = packed.shape
    blocks = packed.view(batch, rows, columns, frames, BLOCK, BLOCK)
    return blocks.permute(0, 3, 1, 4, 2, 5).reshape(batch, frames, rows * BLOCK, columns * BLOCK)
