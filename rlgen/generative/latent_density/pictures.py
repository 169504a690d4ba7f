"""Sheets of a pipeline: samples, reconstructions by prefix, interpolations."""

from collections.abc import Sequence

import torch
from PIL import Image

from rlgen.generative.latent_density.measures import prefixes
from rlgen.generative.latent_density.pipeline import LatentDensityPipeline, convert
from rlgen.generative.sheets import paste_sheet

CELL = 64  # pixels a side that small pictures are enlarged to
Row = tuple[list[Image.Image], list[str]]


def enlarged(image: Image.Image, cell: int = CELL) -> Image.Image:
    """Returns a small picture enlarged by a whole number, for the eye; in RGB."""
    factor = max(cell // image.width, 1)
    sides = (image.width * factor, image.height * factor)
    return image.convert("RGB").resize(sides, Image.Resampling.NEAREST)


def table(rows: Sequence[Row], cell: int = CELL) -> Image.Image:
    """Puts rows of pictures with titles into one sheet.

    Args:
        rows: Pictures of one size, and a title for each or an empty list.
        cell: Side that small pictures are enlarged to, in pixels.
    """
    pictures = [[enlarged(image, cell) for image in images] for images, _ in rows]
    titles = [line or [""] * len(images) for images, line in rows]
    return paste_sheet(pictures, titles)


def sample_rows(images: Sequence[Image.Image], columns: int = 8) -> list[Row]:
    """Returns pictures without titles, so many to a row."""
    return [(list(images[k : k + columns]), []) for k in range(0, len(images), columns)]


def reconstruction_rows(pipeline: LatentDensityPipeline, images: torch.Tensor) -> list[Row]:
    """Returns a row for each image: itself, then what 1, 2, 4, ... D coordinates tell of it.

    Args:
        pipeline: The model.
        images: (B, channels, n, n), -1 to 1.
    """
    lengths = prefixes(pipeline.codec.dim)
    columns = [convert(images)] + [pipeline.reconstruct(images, keep=k) for k in lengths]
    titles = ["image", *(f"first {k}" for k in lengths[:-1]), f"all {lengths[-1]}"]
    rows = [[column[k] for column in columns] for k in range(len(images))]
    return [(row, [] if k else titles) for k, row in enumerate(rows)]


def interpolation_row(pipeline: LatentDensityPipeline, a: object, b: object, steps: int) -> Row:
    """Returns the pictures between two images, each under its log p in nats."""
    line = pipeline.interpolate(a, b, steps)
    scored = bool(line.log_prob.isfinite().all())
    return list(line.images), [f"{value:.1f}" for value in line.log_prob] if scored else []
