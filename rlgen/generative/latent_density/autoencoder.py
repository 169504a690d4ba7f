"""The deterministic autoencoder of the paper, and which latent coordinates training has opened.

Paper: Yoo, Lee, Kwak, "Density Estimation and Incremental Learning of Latent Vector for Generative
Autoencoders", arXiv 1902.04294 (2019). Layers, initialisation and the schedule of opened
coordinates are those of the authors' released code (spec sections b and c, seen); its tables of
results were not readable. Ours: sides other than 28, 32, 48, 64 and 128 where they can be halved
as often, and ``norm_scale``.
"""

import math
from collections.abc import Sequence

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

from rlgen.core.errors import UserError

SLOPE = 0.2  # of LeakyReLU
RANGES = ((0.0, 1.0), (-1.0, 1.0))  # of pixels, by the decoder's last activation
NORM_SCALE_STD = 0.02
SMALLEST = 8  # pixels a side


def open_coordinates(epoch: float, dim: int, warmup: float) -> int:
    """Returns k(t) = floor(D t / W + 1), at most D: the first k coordinates reach the decoder.

    Args:
        epoch: t, in fractions of an epoch, from 0.
        dim: D.
        warmup: W, in epochs; 1 or less: all coordinates from the start.
    """
    if warmup <= 1:
        return dim
    return min(math.floor(dim * epoch / warmup + 1), dim)


def halvings(size: int) -> int:
    """Returns how many convolutions halve an image: floor(log2 n) - 2.

    Raises:
        UserError: If the side cannot be halved as often.
    """
    if size < SMALLEST:
        raise UserError(f"size={size} is too small; allowed: 28, 32, 48, 64, 128")
    count = size.bit_length() - 3
    if size % 2**count:
        raise UserError(f"size={size} cannot be halved {count} times; allowed: 28, 32, 48, 64, 128")
    return count


class LatentAutoencoder(ModelMixin, ConfigMixin):
    """Images to latent vectors and back; the latent has no prior, activation or normalisation.

    Encoder: convolutions 4x4 of stride 2, of 64, 128, ... channels, each with LeakyReLU and all but
    the first with BatchNorm before it, then one over all that is left, to D channels. The decoder
    mirrors it; its first layer has neither BatchNorm nor activation.

    Args:
        size: Side n of the images, in pixels.
        channels: 1 or 3.
        dim: D, length of the latent vector.
        width: Channels of the first convolution; each further one has twice as many.
        output_range: Of pixels: (0, 1), by a sigmoid, or (-1, 1), by a tanh.
        norm_scale: Mean of BatchNorm's initial scale, whose deviation is 0.02. The released code
            has 0 (spec section g: likely an oversight).

    Raises:
        UserError: If an argument is out of range.
    """

    @register_to_config
    def __init__(
        self,
        size: int = 28,
        channels: int = 1,
        dim: int = 32,
        width: int = 64,
        output_range: Sequence[float] = RANGES[0],
        norm_scale: float = 0.0,
    ) -> None:
        super().__init__()
        if tuple(output_range) not in RANGES:
            raise UserError(f"output_range={list(output_range)}; allowed: [0, 1] and [-1, 1]")
        for name, value in (("channels", channels), ("dim", dim), ("width", width)):
            if value < 1:
                raise UserError(f"{name}={value} is too small; type {name}=1 or more")
        count = halvings(size)
        widths = [width * 2**k for k in range(count)]
        rest = size // 2**count  # side of the features that the last convolution spans
        sizes: dict[str, int] = {"kernel_size": 4, "stride": 2, "padding": 1}

        layers: list[nn.Module] = []
        for k, (before, after) in enumerate(zip([channels, *widths], widths, strict=False)):
            layers += [nn.Conv2d(before, after, **sizes)]  # type: ignore[arg-type]
            layers += ([nn.BatchNorm2d(after)] if k else []) + [nn.LeakyReLU(SLOPE)]
        self.encoder = nn.Sequential(*layers, nn.Conv2d(widths[-1], dim, rest))

        layers = [nn.ConvTranspose2d(dim, widths[-1], rest)]
        for before, after in zip(widths[:0:-1], widths[-2::-1], strict=True):
            layers += [nn.ConvTranspose2d(before, after, **sizes)]  # type: ignore[arg-type]
            layers += [nn.BatchNorm2d(after), nn.LeakyReLU(SLOPE)]
        last = nn.ConvTranspose2d(width, channels, **sizes)  # type: ignore[arg-type]
        self.decoder = nn.Sequential(
            *layers, last, nn.Sigmoid() if output_range[0] == 0 else nn.Tanh()
        )
        self._initialize(norm_scale)

    def _initialize(self, norm_scale: float) -> None:
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
                nn.init.orthogonal_(layer.weight)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)
            elif isinstance(layer, nn.BatchNorm2d):
                nn.init.normal_(layer.weight, norm_scale, NORM_SCALE_STD)

    @property
    def dim(self) -> int:
        """D, length of the latent vector."""
        return int(self.config.dim)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Returns latent vectors E(x), (B, D).

        Args:
            x: Images (B, channels, n, n) in the output range.
        """
        z: torch.Tensor = self.encoder(x)
        return z.flatten(1)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Returns images Dec(z), (B, channels, n, n) in the output range.

        Args:
            z: (B, D).
        """
        x: torch.Tensor = self.decoder(z[:, :, None, None])
        return x

    def decode_prefix(self, z: torch.Tensor, k: int) -> torch.Tensor:
        """Returns Dec(z * m_k): the image that the first k coordinates tell, all others 0.

        Args:
            z: (B, D).
            k: 0 to D.
        """
        return self.decode(keep_prefix(z, k))

    def forward(self, x: torch.Tensor, k: int | None = None) -> torch.Tensor:
        """Returns Dec(E(x) * m_k), (B, channels, n, n).

        Args:
            x: Images (B, channels, n, n) in the output range.
            k: Coordinates that reach the decoder; None: all.
        """
        return self.decode_prefix(self.encode(x), self.dim if k is None else k)


def keep_prefix(z: torch.Tensor, k: int) -> torch.Tensor:
    """Returns z * m_k, (B, D): entries beyond the first k are 0."""
    if k >= z.shape[1]:
        return z
    return z * (torch.arange(z.shape[1], device=z.device) < k)
