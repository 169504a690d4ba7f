"""PSNR and SSIM as super-resolution is measured: on luma, without a border.

Spec lsfd, section d (seen in FAKD's code): the Y of BT.601 with 65.738, 129.057 and 25.064 over
256, and as many pixels left out at each side as the scale. SSIM has the original's window, Gaussian
of 11x11 with sigma 1.5. The figures themselves are torchmetrics'.
"""

from typing import NamedTuple

import torch

from rlgen.core.errors import UserError

_Y = (65.738 / 256, 129.057 / 256, 25.064 / 256)  # of R, G, B
_WINDOW = 11


class Quality(NamedTuple):
    """How near a picture is to another.

    Attributes:
        psnr: In dB; infinite for equal pictures.
        ssim: -1 to 1.
    """

    psnr: float
    ssim: float


def luma(images: torch.Tensor) -> torch.Tensor:
    """Returns BT.601's Y, less its constant of 16, which cancels out of differences.

    Args:
        images: (B, 3, H, W) in [0, 255], or (B, 1, H, W), which is taken for Y.

    Returns:
        (B, 1, H, W).
    """
    if images.shape[1] == 1:
        return images
    weights = images.new_tensor(_Y).view(1, 3, 1, 1)
    return (images * weights).sum(dim=1, keepdim=True)


def to_bytes(images: torch.Tensor) -> torch.Tensor:
    """Returns pictures of [0, 1] as whole numbers 0 to 255, of the same type."""
    return (images * 255).round().clamp(0, 255)


def require_comparable(size: tuple[int, int], border: int) -> None:
    """Checks that pictures of a size (H, W) can be compared without a border.

    Raises:
        UserError: If too little is left for SSIM's window.
    """
    if min(size) - 2 * border < _WINDOW:
        raise UserError(
            f"a picture of {size[1]}x{size[0]} is too small to be compared; without a border of "
            f"{border} there must be {_WINDOW}x{_WINDOW} pixels"
        )


def quality_on_y(result: torch.Tensor, target: torch.Tensor, border: int) -> Quality:
    """Compares one picture with the true one.

    Args:
        result: (1, C, H, W) in [0, 1]; is rounded to 8 bits.
        target: Of the same shape.
        border: Pixels left out at each side, 0 or more; the scale.

    Raises:
        UserError: If too little is left for SSIM's window.
    """
    # Here, because torchmetrics brings all its metrics along, which takes two seconds.
    from torchmetrics.functional.image import (
        peak_signal_noise_ratio,
        structural_similarity_index_measure,
    )

    height, width = target.shape[-2:]
    require_comparable((height, width), border)
    inside = slice(border, height - border), slice(border, width - border)
    one, two = (luma(to_bytes(x.double()))[..., inside[0], inside[1]] for x in (result, target))
    psnr = peak_signal_noise_ratio(one, two, data_range=255.0)
    ssim = structural_similarity_index_measure(one, two, data_range=255.0)
    assert isinstance(ssim, torch.Tensor)
    return Quality(float(psnr), float(ssim))
