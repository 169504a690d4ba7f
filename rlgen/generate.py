"""``python -m rlgen.generate``: images from a trained model, of mixed domains or entirely new."""

import hashlib
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlgen.core.cli import run_command, tell
from rlgen.core.errors import MissingExtraError, UserError

HELP = """usage: python -m rlgen.generate image=PHOTO mix="{{DOMAIN: WEIGHT, ...}}" [key=value ...]

  image=PATH              a photo, or a folder of photos
  mix="{{vangogh: 0.5, photo: 0.5}}"
                          weights by domain, or per cent (vangogh: 30); a list of mixes is allowed
  out=out.png             the result; for a folder of photos a folder, for several mixes a stem
  model=FOLDER            a run of python -m rlgen.train model=sgn, or a saved pipeline; without
                          it the model that comes with rlgen ({shipped})
  extrapolate=true        take weights as they are: negative ones, and sums other than 1
  grid=simplex|edges      a contact sheet instead: corners, edges and centre; or along every edge
  video=slide.mp4         a video instead, sliding through the mixes, or through all domains
  tile=1024               larger photos are computed in tiles of this many pixels
  cell=256  frames=120    longest side of a picture in a sheet; frames of the video
  device=auto  precision=auto|fp32|bf16
                          auto: bf16 on a GPU, and for photos in tiles where the CPU is good at it

A PNG carries its mix and the hash of its model as text. A mix that does not sum to one is divided
by its sum, with a note.

new images, with model= a run of python -m rlgen.train model=latent_density:
  count=64 grid=true      samples, as one sheet or as files; seed=0, temperature=1
  interpolate=a.png,b.png between two images; steps=8
  complete=a.png keep=4   the first coordinates of an image's latent, the others drawn; count=1
  score=FOLDER            how usual its images are, most unusual first; csv=scores.csv and a sheet
  image=a.png             its reconstruction; keep=4 by its first coordinates alone
  cell=64                 longest side of an image in a sheet; always computed in fp32

examples:
  python -m rlgen.generate image=photo.jpg mix="{{vangogh: 30, monet: 20, photo: 50}}" out=out.png
  python -m rlgen.generate image=photo.jpg grid=simplex out=sheet.png
  python -m rlgen.generate model=RUN count=64 grid=true out=samples.png"""

SHIPPED = Path(__file__).parent / "generative" / "sgn" / "pretrained"
GRIDS = ("simplex", "edges")
LATENT_ONLY = (
    *("count", "interpolate", "complete", "score", "csv"),
    *("keep", "steps", "temperature", "seed"),
)
PRECISIONS = ("auto", "fp32", "bf16")
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass
class GenerateOptions:
    """Options of the command; see ``HELP``."""

    image: str | None = None
    mix: Any = None
    out: str | None = None
    model: str | None = None
    extrapolate: bool = False
    grid: str | None = None
    video: str | None = None
    tile: int = 1024
    cell: int = 256
    frames: int = 120
    device: str = "auto"
    precision: str = "auto"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    return run_command(_work, _help, argv)


def _help() -> str:
    import json

    path = SHIPPED / "generator" / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    return HELP.format(shipped=", ".join(config["domains"]))


def _work(arguments: list[str]) -> int:
    from rlgen.core.compose import check_options

    loose = [a for a in arguments if "=" not in a]
    if loose:
        raise UserError(f"cannot read {loose[0]!r}; type key=value, such as image={loose[0]}")
    typed = dict(argument.split("=", 1) for argument in arguments)
    if _is_latent(typed):
        return _work_on_latent(arguments)
    options = check_options(GenerateOptions, arguments)
    _check(options)

    from rlgen.core.loop import make_accelerator
    from rlgen.generative.sgn.pipeline import load_pipeline

    pipeline = load_pipeline(options.model or SHIPPED)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.to(make_accelerator(options.device, "fp32").device)
    start = time.perf_counter()
    if options.video is not None:
        written = [_make_video(pipeline, options)]
    elif options.grid is not None:
        written = list(_make_grids(pipeline, options))
    else:
        written = list(_make_images(pipeline, options))
    if not written:
        raise UserError(f"none of the photos in image={options.image} can be used")
    shown = written[0] if len(written) == 1 else f"{len(written)} images, the last {written[-1]},"
    tell(f"wrote {shown} in {time.perf_counter() - start:.1f} s")
    return 0


def _is_latent(typed: dict[str, str]) -> bool:
    """Tells whether the model is one of latent densities, and not an SGN.

    Raises:
        UserError: If there is no such model, or an option is for one of the other kind.
    """
    latent = False
    if typed.get("model"):
        from rlgen.generative.loading import read_index

        index = read_index(typed["model"], "model=sgn or model=latent_density")
        latent = index["_class_name"] == "LatentDensityPipeline"
    ours, others = ("mix", "extrapolate", "video", "tile", "frames", "precision"), LATENT_ONLY
    for name in typed:
        if latent and name in ours:
            raise UserError(f"{name}= is for a run of model=sgn; {typed['model']} is another kind")
        if not latent and name in others:
            raise UserError(f"{name}= needs model=RUN, a run of model=latent_density")
    return latent


def _work_on_latent(arguments: list[str]) -> int:
    from rlgen.core.compose import check_options
    from rlgen.generative.latent_density.requests import LatentOptions, run_request

    # Two names with a comma between them would be a sweep.
    opened = [
        f"interpolate=[{argument.split('=', 1)[1]}]"
        if argument.startswith("interpolate=") and "[" not in argument
        else argument
        for argument in arguments
    ]
    return run_request(check_options(LatentOptions, opened))


def _check(options: GenerateOptions) -> None:
    if options.image is None:
        raise UserError("no image is named; type image=PHOTO")
    if options.grid is not None and options.grid not in GRIDS:
        raise UserError(f"grid={options.grid!r} is unknown; allowed: {', '.join(GRIDS)}")
    if options.grid is not None and options.video is not None:
        raise UserError("grid= and video= are two results; type one of them")
    if options.mix is None and options.grid is None and options.video is None:
        raise UserError('no mix is given; type mix="{vangogh: 0.5, photo: 0.5}", or grid=simplex')
    if options.video is not None and Path(options.video).suffix.lower() != ".mp4":
        raise UserError(f"video={options.video} is unknown; type a name that ends in .mp4")
    if options.grid is not None and options.mix is not None:
        raise UserError("grid= shows mixes of its own; leave out mix=")
    if options.video is not None and options.out is not None:
        raise UserError("video= names the result; leave out out=")
    if options.precision not in PRECISIONS:
        raise UserError(
            f"precision={options.precision!r} is unknown; allowed: {', '.join(PRECISIONS)}"
        )
    for name, least in (("tile", 64), ("cell", 16), ("frames", 2)):
        if getattr(options, name) < least:
            raise UserError(f"{name}={getattr(options, name)} is too small; {least} or more")


def _mixes(pipeline: Any, options: GenerateOptions) -> list[Any]:
    """Returns the sym-parameters asked for; what was changed about them is told."""
    from rlgen.generative.sgn.mix import resolve_mix

    several = isinstance(options.mix, list) and bool(options.mix)
    nested = several and not all(isinstance(m, (int, float)) for m in options.mix)
    syms = []
    for mix in options.mix if nested else [options.mix]:
        sym, note = resolve_mix(mix, pipeline.domains, extrapolate=options.extrapolate)
        if note:
            tell(f"note: {note}")
        syms.append(sym)
    return syms


def _photos(options: GenerateOptions) -> Any:
    from rlgen.data import ImageSet

    assert options.image is not None
    return ImageSet(options.image, cache_bytes=0)


def _outputs(options: GenerateOptions, names: Sequence[str]) -> list[Path]:
    """Returns where the results for the photos go."""
    assert options.image is not None
    if len(names) == 1 and not Path(options.image).is_dir():
        path = Path(options.out or "out.png")
        if path.suffix.lower() not in _SUFFIXES:
            raise UserError(f"out={path} is no image; allowed: {', '.join(_SUFFIXES)}")
        return [path]
    folder = Path(options.out or "out")
    if folder.suffix.lower() in _SUFFIXES:
        raise UserError(f"image={options.image} holds {len(names)} photos; name a folder: out=out")
    if folder.resolve() == Path(options.image).resolve():
        raise UserError(f"out={folder} holds the photos; name another folder: out=out")
    stems = [str(Path(name).with_suffix("")) for name in names]
    # Photos that differ in their suffix alone keep it in the result's name.
    return [
        folder / f"{stem if stems.count(stem) == 1 else name}.png"
        for stem, name in zip(stems, names, strict=True)
    ]


def _translate(pipeline: Any, photo: Any, syms: Any, options: GenerateOptions) -> list[Any]:
    """Returns one photo in each mix, as PIL images."""
    import numpy as np
    import torch

    from rlgen.core.device import resolve_precision

    device, precision = pipeline.device, options.precision
    in_tiles = max(np.shape(photo)[:2]) > options.tile
    if precision == "auto" and device.type == "cpu" and not in_tiles:
        precision = "fp32"  # so small a photo is done before the CPU has shown what it can
    dtype = resolve_precision(precision, device)
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        images: list[Any] = pipeline(photo, syms, tile=options.tile).images
    return images


def _make_images(pipeline: Any, options: GenerateOptions) -> Iterator[Path]:
    import torch

    from rlgen.generative.sgn.mix import describe_sym

    syms, photos = _mixes(pipeline, options), _photos(options)
    for number, path in enumerate(_outputs(options, photos.names)):
        try:
            images = _translate(pipeline, photos[number], torch.stack(syms), options)
        except UserError as error:
            if len(photos) == 1:
                raise
            tell(f"skipped: {error}")
            continue
        for k, (sym, image) in enumerate(zip(syms, images, strict=True)):
            target = path if len(syms) == 1 else path.with_stem(f"{path.stem}-{k + 1}")
            _save(image, target, pipeline, options, describe_sym(sym, pipeline.domains))
            yield target


def _make_grids(pipeline: Any, options: GenerateOptions) -> Iterator[Path]:
    import torch
    from PIL import Image

    from rlgen.generative.sgn.generator import SMALLEST
    from rlgen.generative.sgn.mix import describe_sym, edge_points, simplex_points
    from rlgen.generative.sheets import paste_sheet

    d, photos = len(pipeline.domains), _photos(options)
    if d == 1 and options.grid == "edges":
        raise UserError(
            f"the model knows {pipeline.domains[0]} alone; grid=edges needs two domains"
        )
    lines = edge_points(d) if options.grid == "edges" else [simplex_points(d)]
    for number, path in enumerate(_outputs(options, photos.names)):
        photo = Image.fromarray(photos[number])
        scale = min(options.cell / max(photo.size), 1.0)
        width, height = (max(round(side * scale), SMALLEST) for side in photo.size)
        photo = photo.resize((width, height), Image.Resampling.BICUBIC)
        rows, titles = [], []
        for points in lines:
            images = _translate(pipeline, photo, torch.tensor(points), options)
            names = [describe_sym(torch.tensor(point), pipeline.domains) for point in points]
            rows.append([photo, *images] if options.grid == "simplex" else images)
            titles.append(["input", *names] if options.grid == "simplex" else names)
        _save(paste_sheet(rows, titles), path, pipeline, options, options.grid or "")
        yield path


def _make_video(pipeline: Any, options: GenerateOptions) -> Path:
    import numpy as np
    import torch

    try:
        import imageio.v2 as imageio
    except ImportError:
        raise MissingExtraError(f"video={options.video}", "video") from None
    photos = _photos(options)
    if len(photos) != 1:
        raise UserError(f"image={options.image} holds {len(photos)} photos; a video shows one")
    if options.mix is not None:
        stations = _mixes(pipeline, options)
        if len(stations) < 2:
            raise UserError('video= slides between mixes; type several: mix="[{..}, {..}]"')
    elif len(pipeline.domains) == 1:
        raise UserError(f"the model knows {pipeline.domains[0]} alone; video= needs two domains")
    else:
        corners = torch.eye(len(pipeline.domains))
        stations = [*corners, corners[0]]
    path = Path(str(options.video))
    photo = photos[0][: photos[0].shape[0] // 2 * 2, : photos[0].shape[1] // 2 * 2]
    temporary = path.with_name(f".{path.stem}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writer: Any
        with imageio.get_writer(temporary, format="FFMPEG", fps=25, macro_block_size=2) as writer:
            for place in np.linspace(0, len(stations) - 1, options.frames):
                k = min(int(place), len(stations) - 2)
                sym = torch.lerp(stations[k], stations[k + 1], float(place - k))
                frame = _translate(pipeline, photo, sym, options)[0]
                writer.append_data(np.asarray(frame))
        temporary.replace(path)
    except (OSError, ValueError) as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"cannot write video={path}: {str(error).splitlines()[0]}") from None
    return path


def _save(image: Any, path: Path, pipeline: Any, options: GenerateOptions, mix: str) -> None:
    from rlgen.generative.sheets import save_png

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() == ".png":
            model = options.model or "shipped with rlgen"
            text = {"mix": mix, "model": model, "model_sha256": _fingerprint(pipeline)}
            save_png(image, path, {"Software": "rlgen", **text})
        else:
            image.save(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None


def _fingerprint(pipeline: Any) -> str:
    """Returns a hash of the network's weights, the same however they are stored."""
    digest = hashlib.sha256()
    for name, tensor in sorted(pipeline.generator.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
