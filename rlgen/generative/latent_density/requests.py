"""What ``python -m rlgen.generate`` does with a latent-density model: images, sheets, scores."""

import csv
import io
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image

from rlgen.core.cli import tell
from rlgen.core.errors import UserError
from rlgen.core.loop import make_accelerator
from rlgen.core.ranges import check_range
from rlgen.core.run import write_text
from rlgen.data import ImageSet, read_image
from rlgen.generative.latent_density.pictures import (
    Row,
    interpolation_row,
    sample_rows,
    table,
)
from rlgen.generative.latent_density.pipeline import (
    LatentDensityPipeline,
    convert,
    load_latent_pipeline,
)
from rlgen.generative.sheets import save_png

CHUNK = 64  # images at a time
SHEET_SCORES = 64
TASKS = ("image", "interpolate", "complete", "score")
_RANGES: dict[str, tuple[float, float]] = {
    "count": (1, 1_000_000),
    "seed": (0, 2**62),
    "steps": (2, 1000),
    "cell": (16, 1024),
    "temperature": (1e-3, 1e3),
}


@dataclass
class LatentOptions:
    """Options of the command for such a model; see its ``HELP``."""

    model: str = ""
    count: int = 1
    grid: bool = False
    image: str | None = None
    interpolate: Any = None
    complete: str | None = None
    score: str | None = None
    csv: str = "scores.csv"
    keep: int | None = None
    steps: int = 8
    temperature: float = 1.0
    seed: int = 0
    out: str | None = None
    cell: int = 64
    device: str = "auto"


class _Scored(NamedTuple):
    name: str
    log_prob: float
    rank: float | None
    error: float
    image: Image.Image


def run_request(options: LatentOptions) -> int:
    """Does what is asked for and tells what was written.

    Raises:
        UserError: If an option, a file or the model is wrong.
    """
    _check(options)
    pipeline = load_latent_pipeline(options.model)
    pipeline.to(make_accelerator(options.device, "fp32").device)
    start = time.perf_counter()
    if options.score is not None:
        written = _score(pipeline, options)
    elif options.interpolate is not None:
        written = _interpolate(pipeline, options)
    elif options.complete is not None:
        written = _complete(pipeline, options)
    elif options.image is not None:
        written = _reconstruct(pipeline, options)
    else:
        written = _sample(pipeline, options)
    tell(f"wrote {written} in {time.perf_counter() - start:.1f} s")
    return 0


def _check(options: LatentOptions) -> None:
    for name, (smallest, largest) in _RANGES.items():
        check_range(name, getattr(options, name), smallest, largest)
    asked = [name for name in TASKS if getattr(options, name) is not None]
    if len(asked) > 1:
        raise UserError(f"{'= and '.join(asked)}= are two results; type one of them")
    pair = options.interpolate
    if pair is not None and not (isinstance(pair, list) and len(pair) == 2):
        raise UserError(f"interpolate={pair}: two images are needed, interpolate=a.png,b.png")
    if options.complete is not None and options.keep is None:
        raise UserError("complete= keeps the first coordinates; type how many, such as keep=4")


def _generators(options: LatentOptions, first: int, count: int) -> list[torch.Generator]:
    """Returns a generator for each image: number k is the image of seed + k, whatever the count."""
    seeds = range(options.seed + first, options.seed + first + count)
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def _sample(pipeline: LatentDensityPipeline, options: LatentOptions) -> str:
    images: list[Image.Image] = []
    folder = Path(options.out or "out")
    alone = options.count == 1
    for first in range(0, options.count, CHUNK):
        generators = _generators(options, first, min(CHUNK, options.count - first))
        drawn = pipeline.sample(len(generators), options.temperature, generators)
        if options.grid or alone:
            images += drawn
            continue
        for number, image in enumerate(drawn, start=first):
            seed = options.seed + number
            _save(image, folder / f"{seed:06d}.png", options, {"seed": str(seed)})
    if alone and not options.grid:
        return _save(images[0], _target(options), options, {"seed": str(options.seed)})
    if options.grid:
        columns = max(round(options.count**0.5), 1)
        return _sheet(sample_rows(images, columns), options, {"seed": str(options.seed)})
    return f"{options.count} images to {folder}"


def _interpolate(pipeline: LatentDensityPipeline, options: LatentOptions) -> str:
    a, b = (_named(pipeline, str(path)) for path in options.interpolate)
    return _sheet([interpolation_row(pipeline, a, b, options.steps)], options, {})


def _complete(pipeline: LatentDensityPipeline, options: LatentOptions) -> str:
    x = _named(pipeline, str(options.complete))
    generators = _generators(options, 0, options.count)
    drawn: list[Image.Image] = []
    for first in range(0, options.count, CHUNK):
        part = generators[first : first + CHUNK]
        batch = x.expand(len(part), -1, -1, -1)
        drawn += pipeline.complete(batch, int(options.keep or 0), options.temperature, part)
    known = pipeline.reconstruct(x, options.keep)
    rows: list[Row] = [([*pipeline.reconstruct(x), *known], ["all", f"first {options.keep}"])]
    return _sheet([*rows, *sample_rows(drawn)], options, {"keep": str(options.keep)})


def _reconstruct(pipeline: LatentDensityPipeline, options: LatentOptions) -> str:
    x = _named(pipeline, str(options.image))
    return _save(pipeline.reconstruct(x, options.keep)[0], _target(options), options, {})


def _score(pipeline: LatentDensityPipeline, options: LatentOptions) -> str:
    images = ImageSet(str(options.score), cache_bytes=0)
    if not pipeline.density.has_log_prob:
        raise UserError(
            f"{options.model} has a density without scores ({type(pipeline.density).__name__}); "
            "train with model.density=lde"
        )
    rows: list[_Scored] = []
    for first in range(0, len(images), CHUNK):
        rows += _scored(pipeline, images, range(first, min(first + CHUNK, len(images))))
    if not rows:
        raise UserError(f"none of the images in score={options.score} can be used")
    rows.sort(key=lambda row: row.log_prob)
    _write_scores(rows, Path(options.csv))
    shown = rows[:SHEET_SCORES]
    lines = [
        ([row.image for row in part], [f"{row.log_prob:.1f}" for row in part])
        for part in (shown[k : k + 8] for k in range(0, len(shown), 8))
    ]
    return f"{options.csv} and {_sheet(lines, options, {'score': str(options.score)})}"


def _scored(
    pipeline: LatentDensityPipeline, images: ImageSet, numbers: Sequence[int]
) -> list[_Scored]:
    """Scores some of a set's images; those that cannot be used are told and skipped."""
    names, inputs = [], []
    for number in numbers:
        try:
            inputs.append(pipeline.to_input(images[number]))
            names.append(images.names[number])
        except UserError as error:
            tell(f"skipped {images.names[number]}: {error}")
    if not inputs:
        return []
    x = torch.cat(inputs)
    scores = pipeline.log_prob(x).cpu()
    ranks = None if pipeline.config.reference is None else pipeline.rank(scores)
    decoded = pipeline.reconstruct(x, output_type="pt")
    errors = (decoded - (x + 1) / 2).square().flatten(1).mean(1)
    pictures = convert(x)
    return [
        _Scored(
            names[k],
            float(scores[k]),
            None if ranks is None else float(ranks[k]),
            float(errors[k]),
            pictures[k],
        )
        for k in range(len(names))
    ]


def _write_scores(rows: Sequence[_Scored], path: Path) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "log_prob", "share_of_held_out_below", "squared_error"])
    for row in rows:
        rank = "" if row.rank is None else f"{row.rank:.4f}"
        name = row.name.encode("utf-8", "backslashreplace").decode()  # names need not be text
        writer.writerow([name, f"{row.log_prob:.4f}", rank, f"{row.error:.6f}"])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text.getvalue())
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None


def _named(pipeline: LatentDensityPipeline, path: str) -> torch.Tensor:
    """Returns an image file as an input, or tells which file is wrong."""
    image = read_image(Path(path))
    try:
        return pipeline.to_input(image)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _target(options: LatentOptions) -> Path:
    path = Path(options.out or "out.png")
    if path.suffix.lower() != ".png":
        raise UserError(f"out={path} is no PNG; type out=out.png")
    return path


def _sheet(rows: Sequence[Row], options: LatentOptions, text: dict[str, str]) -> str:
    return _save(table(rows, options.cell), _target(options), options, text)


def _save(image: Image.Image, path: Path, options: LatentOptions, text: dict[str, str]) -> str:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        more = {"model": options.model, "temperature": str(options.temperature)}
        save_png(image, path, {"Software": "rlgen", **more, **text})
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None
    return str(path)
