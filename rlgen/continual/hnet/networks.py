"""Networks of the H-net, as spec hc_net gives them in section c (reconstructed there).

DCGAN for pictures of 32 x 32 x 3: z 100, generator 4x4x256 -> 128 -> 64 -> 3 by transposed
convolutions 4x4 of stride 2 with batch norm, ReLU and a last tanh; the discriminator mirrors it
with LeakyReLU 0.2. Binary classifier: convolutions 3x3 of stride 2, widths 32, 64, 128, batch norm,
ReLU, average of the map, one output. Ours: other sides 4 * 2^k, other widths, a soft limit of the
log-odds, and the classifier's coarse and noisy view (see :class:`BinaryClassifier`).
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from rlgen.core.errors import UserError

SLOPE = 0.2  # of LeakyReLU
LIMIT = 30.0  # of the log-odds: below it a sigmoid of doubles is neither 0 nor 1
_HALF: dict[str, int] = {"kernel_size": 4, "stride": 2, "padding": 1}


def doublings(size: int) -> int:
    """Returns k of a side of 4 * 2^k pixels.

    Raises:
        UserError: If the side is no such number, or below 8.
    """
    count = (size // 4).bit_length() - 1
    if size < 8 or size != 4 * 2**count:
        raise UserError(f"size={size}; the index takes a side of 8, 16, 32, 64 or 128 pixels")
    return count


def generator(z: int, width: int, size: int) -> nn.Sequential:
    """Returns G: noise (B, z, 1, 1) to pictures (B, 3, size, size) in -1 to 1.

    Args:
        z: Length of the noise.
        width: Channels before the last layer; each layer before has twice as many.
        size: Side in pixels.
    """
    count = doublings(size)
    widths = [width * 2**k for k in reversed(range(count))]
    layers: list[nn.Module] = [nn.ConvTranspose2d(z, widths[0], 4, bias=False)]
    for before, after in pairwise(widths):
        layers += [nn.BatchNorm2d(before), nn.ReLU()]
        layers += [nn.ConvTranspose2d(before, after, bias=False, **_HALF)]  # type: ignore[arg-type]
    layers += [nn.BatchNorm2d(width), nn.ReLU()]
    layers += [nn.ConvTranspose2d(width, 3, **_HALF), nn.Tanh()]  # type: ignore[arg-type]
    return started(nn.Sequential(*layers))


def discriminator(width: int, size: int, outputs: int = 1) -> nn.Sequential:
    """Returns D: pictures (B, 3, size, size) in -1 to 1 to log-odds (B, 1, 1, 1) of being real.

    Args:
        width: Channels of the first layer; each further one has twice as many.
        size: Side in pixels.
        outputs: More than one makes it an encoder, to (B, outputs, 1, 1).
    """
    widths = [width * 2**k for k in range(doublings(size))]
    layers: list[nn.Module] = [nn.Conv2d(3, width, **_HALF), nn.LeakyReLU(SLOPE)]  # type: ignore[arg-type]
    for before, after in pairwise(widths):
        layers += [nn.Conv2d(before, after, bias=False, **_HALF)]  # type: ignore[arg-type]
        layers += [nn.BatchNorm2d(after), nn.LeakyReLU(SLOPE)]
    return started(nn.Sequential(*layers, nn.Conv2d(widths[-1], outputs, 4)))


def started(network: nn.Sequential) -> nn.Sequential:
    """Draws first weights as DCGAN does: N(0, 0.02), scales of batch norm N(1, 0.02)."""
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(layer.weight, 0.0, 0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)
    return network


class BinaryClassifier(nn.Module):
    """B_i: whether a picture is of task i.

    It learns from generated pictures and judges real ones, and what tells the two kinds apart is
    mostly in the finest detail. So it may be shown means over squares of pixels, and noise in
    training.

    Args:
        width: Channels of the first convolution.
        pool: Side of the squares; 1: all pixels.
        noise: Deviation of the noise added in training, where pixels are in -1 to 1.
    """

    def __init__(self, width: int = 32, pool: int = 1, noise: float = 0.0) -> None:
        super().__init__()
        self.pool, self.noise = pool, noise
        widths = [3, width, 2 * width, 4 * width]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(after), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1], 1)

    def forward(self, images: Tensor) -> Tensor:
        """Returns the log-odds (B,), between -30 and 30, of pictures (B, 3, n, n) in -1 to 1."""
        seen = nn.functional.avg_pool2d(images, self.pool) if self.pool > 1 else images
        if self.training and self.noise:
            seen = seen + self.noise * torch.randn_like(seen)
        odds: Tensor = self.head(self.features(seen).mean((2, 3)))[:, 0]
        return LIMIT * torch.tanh(odds / LIMIT)
