"""Crops of test pictures side by side: what was given, what networks made of it, what is true."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from rlgen.core.figures import save_figure
from rlgen.data.bicubic import enlarge
from rlgen.data.images import Pixels
from rlgen.data.picture_quality import quality_on_y
from rlgen.data.super_resolution import LargePictures, pixels_to_unit

SIDE, ROWS = 96, 4  # pixels of a crop; pictures


def draw_crops(
    path: Path, pictures: LargePictures, networks: Mapping[str, Callable[[Pixels], Pixels]]
) -> None:
    """Draws the crop of each picture where bicubic enlargement errs most.

    Columns are the small picture, bicubic, each network and the true picture; titles give the
    PSNR on Y of the whole picture.

    Args:
        path: The PNG file; it is complete or not there.
        pictures: Of which the first four are shown.
        networks: What enlarges a picture uint8 (h, w, 3), by the title of its column.
    """
    from matplotlib.figure import Figure  # no pyplot: no global state, no display

    methods = {"bicubic": lambda low: enlarge(low, pictures.scale), **networks}
    rows = min(len(pictures), ROWS)
    columns = len(methods) + 2
    figure = Figure(figsize=(1.6 * columns, 1.8 * rows), layout="constrained")
    for row, (name, low, high) in zip(range(rows), pictures.pairs(), strict=False):
        made = {title: method(low) for title, method in methods.items()}
        place = worst_place(made["bicubic"], high, pictures.scale)
        shown = [(f"{name[:18]}, small", _cut(low, place, pictures.scale))]
        for title, result in made.items():
            psnr = quality_on_y(_unit(result), _unit(high), pictures.scale).psnr
            shown.append((f"{title} {psnr:.2f} dB", _cut(result, place, 1)))
        shown.append(("true", _cut(high, place, 1)))
        for column, (title, crop) in enumerate(shown):
            axes = figure.add_subplot(rows, columns, row * columns + column + 1)
            axes.imshow(crop, interpolation="nearest")
            axes.set_title(title, fontsize=7)
            axes.set_axis_off()
    save_figure(figure, path)


def worst_place(
    result: Pixels, target: Pixels, scale: int, side: int = SIDE
) -> tuple[int, int, int, int]:
    """Returns where two pictures differ most: top, left, height, width, multiples of the scale.

    Places are looked at on a grid of half a crop.

    Args:
        result: uint8 (H, W, 3).
        target: Of the same shape.
        scale: Of which the place is a multiple.
        side: Of the crop; smaller pictures are shown whole.
    """
    height, width = (min(side - side % scale, length) for length in target.shape[:2])
    apart = np.abs(result.astype(np.int16) - target).sum(axis=2)
    tops = range(0, target.shape[0] - height + 1, max(height // (2 * scale), 1) * scale)
    lefts = range(0, target.shape[1] - width + 1, max(width // (2 * scale), 1) * scale)
    _, top, left = max(
        (int(apart[y : y + height, x : x + width].sum()), y, x) for y in tops for x in lefts
    )
    return top, left, height, width


def _cut(image: Pixels, place: tuple[int, int, int, int], scale: int) -> Pixels:
    top, left, height, width = (number // scale for number in place)
    return image[top : top + height, left : left + width]


def _unit(pixels: Pixels):  # type: ignore[no-untyped-def]
    return pixels_to_unit(pixels[None])
