"""SRResNet: EDSR's forerunner, with batch norm and PReLU.

Paper: C. Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a Generative
Adversarial Network", CVPR 2017 (arXiv 1609.04802), by recollection. ``srresnet`` has 16 blocks of
64 features, ``srresnet_small`` 8 of 32 (ours); with ``_nobn`` behind the name there is no batch
norm. The shift by the mean picture is EDSR's, and the factor 3 too.
"""

from functools import partial

from torch import Tensor, nn

from rlgen.nets.super_resolution.staged import SUPER_RESOLVERS, SuperResolver, conv, shuffles


class SRResNetBlock(nn.Module):
    """Convolution, norm, PReLU, convolution, norm, added to the input.

    Args:
        width: Channels.
        batch_norm: Whether there are norms.
    """

    def __init__(self, width: int, batch_norm: bool = True) -> None:
        super().__init__()
        self.conv1 = conv(width, width)
        self.bn1 = nn.BatchNorm2d(width) if batch_norm else nn.Identity()
        self.prelu = nn.PReLU()
        self.conv2 = conv(width, width)
        self.bn2 = nn.BatchNorm2d(width) if batch_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, width, h, w) to the same shape."""
        residual: Tensor = self.bn2(self.conv2(self.prelu(self.bn1(self.conv1(x)))))
        return x + residual


class SRResNet(SuperResolver):
    """An SRResNet.

    Args:
        blocks: Residual blocks, 3 or more.
        width: Features of each layer.
        scale: 2, 3 or 4.
        channels: Of the pictures.
        batch_norm: Whether the body has batch norms.
    """

    def __init__(
        self, blocks: int, width: int, scale: int = 2, channels: int = 3, batch_norm: bool = True
    ) -> None:
        norm = [nn.BatchNorm2d(width)] if batch_norm else []
        super().__init__(
            head=nn.Sequential(conv(channels, width, 9), nn.PReLU()),
            blocks=[SRResNetBlock(width, batch_norm) for _ in range(blocks)],
            fuse=nn.Sequential(conv(width, width), *norm),
            upsampler=shuffles(width, scale, nn.PReLU),
            tail=conv(width, channels, 9),
            scale=scale,
            channels=channels,
        )


for _name, _blocks, _width in (("srresnet", 16, 64), ("srresnet_small", 8, 32)):
    SUPER_RESOLVERS.register(_name)(partial(SRResNet, _blocks, _width))
    SUPER_RESOLVERS.register(f"{_name}_nobn")(partial(SRResNet, _blocks, _width, batch_norm=False))
