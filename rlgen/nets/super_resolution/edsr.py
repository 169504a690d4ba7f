"""EDSR: residual blocks without batch norm.

Paper: B. Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPR
Workshops 2017 (arXiv 1707.02921), by recollection; sizes and residual scale of the two large ones
are in spec lsfd, section c: ``edsr`` 32 blocks of 256 features with residuals times 0.1,
``edsr_baseline`` 16 of 64. ``edsr_small`` (8 of 32) and ``edsr_tiny`` (4 of 16) are ours. Weights
start as torch's convolutions do.
"""

from functools import partial

from torch import Tensor, nn

from rlgen.nets.super_resolution.staged import SUPER_RESOLVERS, SuperResolver, conv, shuffles


class EDSRBlock(nn.Module):
    """Two 3x3 convolutions with a ReLU between them, scaled and added to the input.

    Args:
        width: Channels.
        res_scale: Factor on what is added.
    """

    def __init__(self, width: int, res_scale: float = 1.0) -> None:
        super().__init__()
        self.conv1 = conv(width, width)
        self.relu = nn.ReLU()
        self.conv2 = conv(width, width)
        self.res_scale = res_scale

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, width, h, w) to the same shape."""
        residual: Tensor = self.conv2(self.relu(self.conv1(x)))
        return x + self.res_scale * residual


class EDSR(SuperResolver):
    """An EDSR.

    Args:
        blocks: Residual blocks, 3 or more.
        width: Features of each layer.
        scale: 2, 3 or 4.
        channels: Of the pictures.
        res_scale: Factor on each block's residual.
    """

    def __init__(
        self, blocks: int, width: int, scale: int = 2, channels: int = 3, res_scale: float = 1.0
    ) -> None:
        super().__init__(
            head=conv(channels, width),
            blocks=[EDSRBlock(width, res_scale) for _ in range(blocks)],
            fuse=conv(width, width),
            upsampler=shuffles(width, scale, None),
            tail=conv(width, channels),
            scale=scale,
            channels=channels,
        )


SUPER_RESOLVERS.register("edsr")(partial(EDSR, 32, 256, res_scale=0.1))
SUPER_RESOLVERS.register("edsr_baseline")(partial(EDSR, 16, 64))
SUPER_RESOLVERS.register("edsr_small")(partial(EDSR, 8, 32))
SUPER_RESOLVERS.register("edsr_tiny")(partial(EDSR, 4, 16))
