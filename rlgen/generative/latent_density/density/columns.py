"""Dilated causal convolutions over the coordinates of a vector, whole or a column at a time.

A block of the paper's estimator is Conv1d (kernel 2, no padding of its own), BatchNorm1d, LeakyReLU
0.2; the input has P zeros in front, in both channels. All outputs that see nothing but those zeros
are one and the same vector, so the blocks here carry that vector once instead of P times, and the
kernel's two taps are two matrix products. The numbers are those of the convolutions, batch
statistics included, in about 0.6 of their time at D from 32 to 100.
"""

from collections import deque
from collections.abc import Iterable

import torch
from torch import nn
from torch.nn import functional as F

SLOPE = 0.2


class CausalBlock(nn.Module):
    """Convolution of kernel 2, batch normalisation, LeakyReLU.

    Args:
        channels: In.
        width: Channels out.
        dilation: Distance of the two taps.
    """

    def __init__(self, channels: int, width: int, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.conv = nn.Conv1d(channels, width, 2, dilation=dilation)
        self.norm = nn.BatchNorm1d(width)

    def forward(
        self, columns: torch.Tensor, pad: torch.Tensor, batch: int, copies: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Applies the block to a batch of sequences.

        Args:
            columns: (T * batch, channels), the columns after the padding, time first.
            pad: (1, channels), what every column before them holds.
            batch: Sequences.
            copies: How often the padding's own output stands in the output of the convolution;
                it has that weight in the statistics of batch normalisation.

        Returns:
            (T * batch, width) and (1, width), the same of the output.
        """
        past, present = self.conv.weight[:, :, 0], self.conv.weight[:, :, 1]
        n = len(columns)
        early = min(self.dilation * batch, n)  # rows whose past tap still meets padding
        from_pad = F.linear(pad, past)
        out = F.linear(columns, present, self.conv.bias)
        rows = [
            out[:early] + from_pad,
            out[early:] + F.linear(columns[: n - early], past),
            F.linear(pad, present, self.conv.bias) + from_pad,
        ]
        if self.training:
            rows[2] = rows[2].expand(copies * batch, -1)
        out = F.leaky_relu(self.norm(torch.cat(rows)), SLOPE)
        return out[:n], out[n : n + 1]


class ColumnCache:
    """The same blocks in eval mode, one column per call: each keeps the past of its input.

    A call costs one product per tap whatever the position, so D coordinates cost O(D) columns
    where running all again for each costs O(D^2). The blocks' weights are read once, at the start.

    Args:
        blocks: In order.
        head: Convolution of kernel 1 after them.
        offsets: (D, channels, outputs), what the weights of each column's head add to it, for at
            most D columns; None where all have the same head.
    """

    def __init__(
        self,
        blocks: Iterable[CausalBlock],
        head: nn.Conv1d,
        offsets: torch.Tensor | None = None,
    ) -> None:
        self._layers = []
        pad: torch.Tensor | None = None
        for block in blocks:
            past, present, bias = _folded(block)
            if pad is None:
                pad = past.new_zeros(len(past))
            padded_bias = bias + pad @ past
            pad = F.leaky_relu(padded_bias + pad @ present, SLOPE)
            queue: deque[torch.Tensor] = deque()
            self._layers.append((past, present, bias, padded_bias, queue, block.dilation))
        self._head = head.weight.detach()[:, :, 0].t().contiguous()
        self._head_bias = head.bias.detach() if head.bias is not None else self._head.new_zeros(1)
        self._offsets = None if offsets is None else iter(offsets.detach())

    def step(self, column: torch.Tensor) -> torch.Tensor:
        """Takes the next column (B, channels) and returns the head's output for it."""
        for past, present, bias, padded_bias, queue, dilation in self._layers:
            queue.append(column)
            if len(queue) > dilation:
                out = torch.addmm(bias, queue.popleft(), past).addmm_(column, present)
            else:
                out = torch.addmm(padded_bias, column, present)
            column = F.leaky_relu_(out, SLOPE)
        head = self._head if self._offsets is None else self._head + next(self._offsets)
        return torch.addmm(self._head_bias, column, head)


def _folded(block: CausalBlock) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns the taps (channels, width) and bias with batch normalisation worked in."""
    norm, weight, bias = block.norm, block.conv.weight.detach(), block.conv.bias
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    assert bias is not None
    gain = norm.weight.detach() * torch.rsqrt(variance + norm.eps)
    taps = (weight * gain[:, None, None]).permute(2, 1, 0).contiguous()
    return taps[0], taps[1], (bias.detach() - mean) * gain + norm.bias.detach()
