"""SB3's NatureCNN computed on a space-to-depth view of the image: same parameters, less time.

The first convolution (8x8, stride 4) over an 84x84 image of 4 channels is, exactly, a convolution
2x2 with stride 1 over the 21x21 grid of 4x4 blocks, each block's 4*4*4 pixels taken as channels.
With 64 input channels instead of 4 the CPU's and GPU's convolution kernels are used fully. The
scaling of pixels by 1/255 is moved into that layer's weights, so that pixels stay uint8 until then.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import NatureCNN
from torch.nn import functional as F

BLOCK = 4  # stride of the first convolution


class PackedNatureCNN:
    """A second way to compute a :class:`NatureCNN`; it owns no parameters.

    Args:
        extractor: The module whose parameters are used, read anew at each call.
        scale: Factor on the pixels, 1/255 where SB3 normalises images.
        dtype: Precision of the convolutions and of the hidden layer.

    Attributes:
        packed_shape: Shape of one packed image, (rows, columns, channels).
    """

    def __init__(self, extractor: NatureCNN, scale: float, dtype: torch.dtype) -> None:
        self.extractor = extractor
        self.scale = scale
        self.dtype = dtype
        channels, height, width = extractor._observation_space.shape  # type: ignore[misc]
        self.rows, self.columns = height // BLOCK, width // BLOCK
        self.channels = channels
        self.packed_shape = (self.rows, self.columns, channels * BLOCK * BLOCK)
        # The first convolution gives columns - 1 columns; pairs need an even number of them.
        self.pairs = (self.columns - 1) % 2 == 0
        self._snapshot: list[torch.Tensor] | None = None

    @staticmethod
    def fits(extractor: object) -> bool:
        """Tells whether a features extractor is one that this class can compute."""
        if type(extractor) is not NatureCNN:
            return False
        space = extractor._observation_space
        # Width in whole words of 4 pixels, so that packing can move words instead of bytes.
        # A NatureCNN may be told that its images are normalised already: those are no bytes.
        return (
            isinstance(space, spaces.Box)
            and space.dtype == np.uint8
            and space.shape[2] % BLOCK == 0
        )

    def pack(self, images: npt.NDArray[np.uint8] | torch.Tensor, out: torch.Tensor) -> None:
        """Writes images (batch, channels, height, width), uint8, into packed form.

        Args:
            images: Pixels; a contiguous array or tensor.
            out: Destination (batch, rows, columns, channels * 16), uint8, contiguous.
        """
        source = torch.as_tensor(images)
        if not source.is_contiguous():
            source = source.contiguous()
        batch = source.shape[0]
        # One int32 holds the 4 neighbouring pixels of a block's row.
        words = source.view(torch.int32)[:, :, : self.rows * BLOCK, : self.columns]
        blocks = words.unflatten(2, (self.rows, BLOCK)).permute(0, 2, 4, 1, 3)
        target = out.view(torch.int32).view(batch, self.rows, self.columns, self.channels, BLOCK)
        target.copy_(blocks)

    def weights(self) -> list[torch.Tensor]:
        """Returns weights and biases in the order of use, differentiable, in ``dtype``."""
        cnn: Any = self.extractor.cnn
        linear: Any = self.extractor.linear[0]
        first: torch.Tensor = cnn[0].weight  # (out, channels, 8, 8)
        out, channels = first.shape[:2]
        blocks = first.view(out, channels, 2, BLOCK, 2, BLOCK).permute(0, 1, 3, 5, 2, 4)
        first = blocks.reshape(out, channels * BLOCK * BLOCK, 2, 2) * self.scale
        # Stride 2 along the columns: a pair of columns is one column of twice the channels.
        second: torch.Tensor = cnn[2].weight
        out, channels, height, _ = second.shape
        pairs = second.view(out, channels, height, 2, 2).permute(0, 4, 1, 2, 3)
        second = pairs.reshape(out, 2 * channels, height, 2) if self.pairs else second
        kernels = [first, second, cnn[4].weight]
        parameters: list[torch.Tensor] = []
        for kernel, layer in zip(kernels, (cnn[0], cnn[2], cnn[4]), strict=True):
            parameters += [
                kernel.to(self.dtype, memory_format=torch.channels_last),
                layer.bias.to(self.dtype),
            ]
        return [*parameters, linear.weight.to(self.dtype), linear.bias.to(self.dtype)]

    def take_snapshot(self) -> None:
        """Converts the weights once for many calls of :meth:`act`."""
        with torch.no_grad():
            self._snapshot = self.weights()

    def forward(self, packed: torch.Tensor) -> torch.Tensor:
        """Maps packed images to features (batch, 512), float32, differentiable."""
        return self._compute(packed, self.weights())

    def act(self, packed: torch.Tensor) -> torch.Tensor:
        """As :meth:`forward`, with the weights of the last :meth:`take_snapshot`."""
        if self._snapshot is None:
            self.take_snapshot()
        assert self._snapshot is not None
        return self._compute(packed, self._snapshot)

    def _compute(self, packed: torch.Tensor, weights: list[torch.Tensor]) -> torch.Tensor:
        w1, b1, w2, b2, w3, b3, w4, b4 = weights
        # A permuted view of contiguous (batch, rows, columns, channels) is channels-last memory.
        x = packed.to(self.dtype).permute(0, 3, 1, 2)  # (batch, 64, 21, 21)
        x = F.relu_(F.conv2d(x, w1, b1))  # (batch, 32, 20, 20)
        if self.pairs:  # the same memory, read as (batch, 64, 20, 10)
            x = x.permute(0, 2, 3, 1).unflatten(2, (-1, 2)).flatten(3).permute(0, 3, 1, 2)
        x = F.relu_(F.conv2d(x, w2, b2, stride=(2, 1) if self.pairs else 2))  # (batch, 64, 9, 9)
        x = F.relu_(F.conv2d(x, w3, b3))  # (batch, 64, 7, 7)
        return F.relu_(F.linear(x.flatten(1), w4, b4)).float()
