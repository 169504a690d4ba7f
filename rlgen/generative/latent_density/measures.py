"""What is measured of an autoencoder: latents of a set, errors by prefix, usual log-densities."""

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from rlgen.data.pixels import PixelSet
from rlgen.generative.latent_density.codec import LatentCodec

CHUNK = 256  # images at a time
QUANTILES = 101


def to_signed(pixels: torch.Tensor) -> torch.Tensor:
    """Returns images in -1 to 1 from bytes, of the same shape."""
    return pixels.float().div_(127.5).sub_(1)


def encode_all(codec: LatentCodec, images: PixelSet, device: torch.device) -> torch.Tensor:
    """Returns the latents of a whole set, (N, D), on the device."""
    parts = [codec.encode(to_signed(part.to(device))) for part in images.pixels.split(CHUNK)]
    return torch.cat(parts)


def prefixes(dim: int) -> list[int]:
    """Returns prefix lengths to look at: 1, 2, 4, ... and D."""
    return [2**k for k in range((dim - 1).bit_length())] + [dim]


@torch.no_grad()
def prefix_errors(
    codec: LatentCodec, images: PixelSet, lengths: Sequence[int], device: torch.device
) -> list[float]:
    """Returns mean squared errors of Dec(z * m_k), for pixels from 0 to 1.

    Args:
        codec: The autoencoder.
        images: What is encoded.
        lengths: The k.
        device: Where it is computed.
    """
    sums = torch.zeros(len(lengths), dtype=torch.float64)
    for part in images.pixels.split(CHUNK):
        x = to_signed(part.to(device))
        z = codec.encode(x)
        for number, k in enumerate(lengths):
            kept = z * (torch.arange(z.shape[1], device=z.device) < k)
            error = (
                F.mse_loss(codec.decode(kept), x, reduction="sum") / 4
            )  # -1 to 1 is twice 0 to 1
            sums[number] += error.cpu().double()
    return [float(total) / images.pixels.numel() for total in sums]


def quantiles(values: torch.Tensor) -> list[float]:
    """Returns the 0 %, 1 %, ... 100 % quantiles of some numbers, (N,)."""
    shares = torch.linspace(0, 1, QUANTILES, dtype=torch.float64)
    return [float(value) for value in torch.quantile(values.detach().cpu().double(), shares)]
