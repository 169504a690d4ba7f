"""Several pictures on one: contact sheets, strips of a construction, GIF and PNG files."""

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from rlgen.core.errors import UserError
from rlgen.envs.design.files import write_bytes
from rlgen.envs.design.picture.raster import Colour, Image

PAPER: Colour = (255, 255, 255)
INK: Colour = (70, 70, 72)


def text_size(height: int) -> int:
    """Points of a label that suits a picture of this height in pixels."""
    return max(9, round(0.05 * height))


def write_text(image: Image, text: str, at: tuple[float, float], anchor: str, points: int) -> Image:
    """Returns the image with one line of text.

    Args:
        image: uint8 (H, W, 3).
        text: What to write.
        at: Column and row of the anchor in pixels.
        anchor: Pillow's two letters, such as ``"mm"`` for the middle.
        points: Size of the letters.
    """
    canvas = Pillow.fromarray(image)
    ImageDraw.Draw(canvas).text(
        at, text, fill=INK, anchor=anchor, font=ImageFont.load_default(points)
    )
    return np.array(canvas)


def contact_sheet(
    images: Sequence[ArrayLike],
    labels: Sequence[str] | None = None,
    columns: int | None = None,
    gap: int = 6,
) -> Image:
    """Puts pictures of equal size side by side, row by row.

    Args:
        images: uint8 (H, W, 3) each.
        labels: A line below each picture.
        columns: Pictures per row; None for a sheet that is about 4:3.
        gap: Pixels between pictures and around them.

    Returns:
        uint8 (rows * (H + label + gap) + gap, columns * (W + gap) + gap, 3) on white.

    Raises:
        UserError: If there is no picture, or sizes or the number of labels differ.
    """
    tiles = _tiles(images)
    if labels is not None and len(labels) != len(tiles):
        raise UserError(f"{len(labels)} labels for {len(tiles)} pictures; give one for each")
    height, width = tiles[0].shape[:2]
    per_row = columns or min(len(tiles), math.ceil(math.sqrt(len(tiles) * 4.0 / 3.0)))
    if per_row < 1:
        raise UserError(f"columns={columns} is not possible; type 1 or more")
    points = text_size(height)
    step = height + gap + (0 if labels is None else round(1.5 * points))
    rows = math.ceil(len(tiles) / per_row)
    sheet = np.empty((rows * step + gap, per_row * (width + gap) + gap, 3), np.uint8)
    sheet[:] = PAPER
    for k, tile in enumerate(tiles):
        top, left = gap + k // per_row * step, gap + k % per_row * (width + gap)
        sheet[top : top + height, left : left + width] = tile
        if labels is not None:
            below = (left + 0.5 * width, top + height + 0.75 * points)
            sheet = write_text(sheet, _fit(labels[k], points, width), below, "mm", points)
    return sheet


def construction_strip(frames: Sequence[ArrayLike], labels: Sequence[str] | None = None) -> Image:
    """Puts the pictures of a construction in one row, first step on the left.

    Args:
        frames: uint8 (H, W, 3) each.
        labels: A line below each; None for the numbers 1, 2, 3 ...

    Returns:
        uint8 (H', W', 3).

    Raises:
        UserError: As :func:`contact_sheet`.
    """
    numbers = [str(k + 1) for k in range(len(frames))]
    return contact_sheet(frames, numbers if labels is None else labels, max(1, len(frames)))


def png_bytes(image: ArrayLike) -> bytes:
    """Returns an uint8 (H, W, 3) picture as a PNG file."""
    buffer = io.BytesIO()
    Pillow.fromarray(_tiles([image])[0]).save(buffer, format="PNG")
    return buffer.getvalue()


def write_png(image: ArrayLike, path: str | Path) -> Path:
    """Writes a PNG file, complete or not at all."""
    return write_bytes(path, png_bytes(image))


def gif_bytes(frames: Sequence[ArrayLike], milliseconds: int = 700, hold: int = 2000) -> bytes:
    """Returns pictures as an endless GIF.

    All frames share the palette of all of them together, so that still parts do not flicker.

    Args:
        frames: uint8 (H, W, 3) each, of one size.
        milliseconds: How long a frame stays.
        hold: How long the last one stays.

    Raises:
        UserError: If there is no picture or sizes differ.
    """
    tiles = _tiles(frames)
    together = Pillow.fromarray(np.concatenate(tiles))
    palette = together.quantize(256, method=Pillow.Quantize.MEDIANCUT, dither=Pillow.Dither.NONE)
    flat = [
        Pillow.fromarray(tile).quantize(palette=palette, dither=Pillow.Dither.NONE)
        for tile in tiles
    ]
    buffer = io.BytesIO()
    durations = [milliseconds] * (len(flat) - 1) + [hold]
    flat[0].save(
        buffer,
        format="GIF",
        save_all=True,
        append_images=flat[1:],
        duration=durations,
        loop=0,
        optimize=False,
        disposal=1,
    )
    return buffer.getvalue()


def write_gif(
    frames: Sequence[ArrayLike], path: str | Path, milliseconds: int = 700, hold: int = 2000
) -> Path:
    """Writes :func:`gif_bytes` to a file, complete or not at all."""
    return write_bytes(path, gif_bytes(frames, milliseconds, hold))


def _tiles(images: Sequence[ArrayLike]) -> list[Image]:
    tiles = [np.ascontiguousarray(image) for image in images]
    if not tiles:
        raise UserError("there is no picture to show; give at least one")
    shapes = [tile.shape for tile in tiles]
    for tile in tiles:
        if tile.dtype != np.uint8 or tile.ndim != 3 or tile.shape[2] != 3:
            raise UserError(f"a picture is uint8 (H, W, 3), not {tile.dtype} {tile.shape}")
    if any(shape != shapes[0] for shape in shapes):
        raise UserError(f"pictures of one sheet have one size, not {sorted(set(shapes))}")
    return tiles


def _fit(text: str, points: int, width: int) -> str:
    """Shortens a label to the width of its picture."""
    font = ImageFont.load_default(points)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
