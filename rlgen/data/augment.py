"""Pad-and-crop and flips of a batch of small pictures, by one gather of their pixels.

Spec kd_baselines: a crop out of a border of 4 pixels (zeros; reflection in AT's recipe) and a flip
with probability 0.5. No padded copy is made: each sample reads its pixels at shifted positions.
"""

import numpy as np
import numpy.typing as npt
import torch

from rlgen.core.errors import UserError

Index = npt.NDArray[np.int64]
BORDERS = ("zero", "reflect")


def augment(
    images: torch.Tensor,
    generator: np.random.Generator,
    padding: int = 4,
    border: str = "zero",
    flip: bool = True,
) -> torch.Tensor:
    """Returns a random crop of each picture in a border, mirrored sideways in half of the cases.

    The generator advances alike with and without ``flip``.

    Args:
        images: (B, C, H, W), of any type.
        generator: Where shifts and flips are drawn from.
        padding: Width of the border in pixels, 0 or more; 0 for no crop.
        border: ``"zero"``, or ``"reflect"`` without the edge twice.
        flip: Whether to mirror.

    Returns:
        A tensor of the same shape and type, channels last in memory.

    Raises:
        UserError: If the border is unknown, or a reflection is wider than the picture.
    """
    batch, _, height, width = images.shape
    check_border(border, padding, (height, width))
    down = generator.integers(-padding, padding + 1, batch)
    right = generator.integers(-padding, padding + 1, batch)
    mirrored = (generator.random(batch) < 0.5) & flip
    columns = np.arange(width)
    columns = np.where(mirrored[:, None], columns[::-1], columns) + right[:, None]
    return _gather(images, np.arange(height) + down[:, None], columns, border)


def check_border(border: str, padding: int, size: tuple[int, int]) -> None:
    """Checks the options of :func:`augment` for pictures of a size (H, W).

    Raises:
        UserError: As there.
    """
    if border not in BORDERS:
        raise UserError(f"border={border!r} is unknown; allowed: {', '.join(BORDERS)}")
    if padding < 0:
        raise UserError(f"padding={padding} is too small; type 0 or more")
    if border == "reflect" and padding >= min(size):
        raise UserError(
            f"padding={padding} is too wide to reflect pictures of {size[1]}x{size[0]}; type "
            f"padding={min(size) - 1} or less"
        )


def _gather(images: torch.Tensor, rows: Index, columns: Index, border: str) -> torch.Tensor:
    """Reads rows (B, H) and columns (B, W), which may lie outside, of each picture."""
    height, width = images.shape[2:]
    batch = torch.arange(len(images), device=images.device)[:, None, None]
    shown = _inside(rows, height, border), _inside(columns, width, border)
    y, x = (torch.from_numpy(index).to(images.device) for index in shown)
    picked = images[batch, :, y[:, :, None], x[:, None, :]].permute(0, 3, 1, 2)
    if border == "zero":
        seen = _is_inside(rows, height)[:, :, None] & _is_inside(columns, width)[:, None, :]
        picked = picked * torch.from_numpy(seen).to(images.device)[:, None]
    return picked


def _inside(index: Index, size: int, border: str) -> Index:
    """Maps positions of the border to those of the picture that they show."""
    if border == "reflect":
        return size - 1 - np.abs(size - 1 - np.abs(index))
    return index.clip(0, size - 1)


def _is_inside(index: Index, size: int) -> npt.NDArray[np.bool_]:
    return (index >= 0) & (index < size)
