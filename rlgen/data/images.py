"""Images of a folder or a plain tar archive, and batches that depend on (seed, step, rank) alone.

Files are decoded with Pillow, common raster formats only, and become 8-bit RGB. Of an animation
the first frame is taken; colour profiles are ignored. Archives are read in place, never extracted.
"""

import contextlib
import io
import os
import posixpath
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps, TiffImagePlugin, WebPImagePlugin  # noqa: F401  (these register)

from rlgen.core.errors import UserError, closest

Pixels = npt.NDArray[np.uint8]
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")
PIXEL_LIMIT = 400_000_000  # 1.6 GB while decoding; a few kB of file may claim any size


def read_image(source: Path | BinaryIO | bytes) -> Image.Image:
    """Reads one image as 8-bit RGB, upright as its EXIF orientation says (if that is readable).

    Transparent parts are put on white; 16-bit grey is scaled to 8 bit. What is missing, damaged,
    not of ``FORMATS`` or above ``PIXEL_LIMIT`` pixels is a UserError.
    """
    if isinstance(source, bytes):
        return _decode(source, "the given bytes")
    if not isinstance(source, str | Path):
        return _decode(source.read(), str(getattr(source, "name", "the given stream")))
    try:
        return _decode(Path(source).read_bytes(), str(source))
    except OSError as error:
        raise UserError(f"cannot read '{source}': {error.strerror}") from None


def _decode(data: bytes, name: str) -> Image.Image:
    try:
        image = _open(data)
        if image.width * image.height > PIXEL_LIMIT:
            raise ValueError(f"{image.width}x{image.height} exceeds {PIXEL_LIMIT} pixels")
        image.load()
        return _to_rgb(image)
    except Exception as error:  # on damaged data Pillow's decoders raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"cannot read '{name}': {reason}") from error


def _open(data: bytes) -> Image.Image:
    """Does what ``Image.open`` does, less its pixel limit: a warning, and global to the process."""
    Image.preinit()
    for name in FORMATS:
        factory, accepts = Image.OPEN[name]
        if accepts is not None and accepts(data[:16].ljust(16)) is True:
            return factory(io.BytesIO(data), "")
    raise ValueError(f"not an image of a known format; allowed: {', '.join(FORMATS)}")


def _to_rgb(image: Image.Image) -> Image.Image:
    with contextlib.suppress(Exception):  # a damaged EXIF block leaves the image whole
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode[0] in "IF":  # 16 bits of grey, which Pillow at times holds in 32, or floats
        grey = np.asarray(image).astype(np.int64)
        if image.mode == "F" or grey.min() < 0 or grey.max() > 65535:
            raise ValueError("its 32-bit values have no known range; save it with 8 or 16 bits")
        return Image.fromarray(((grey * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


class _Files(NamedTuple):
    root: Path  # what the names are relative to; inside an archive no real path
    spans: dict[str, tuple[int, int] | None]  # by name: offset and size in the archive, if in one
    archive: Path | None = None


def _is_image(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not any(part[0] == "." for part in path.parts)


def _find(path: Path) -> _Files:
    if path.is_dir():
        return _find_in_folder(path)
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        return _Files(path.parent, {path.name: None})
    for file in (path, *path.parents):
        if file.is_file() and file.suffix.lower() == ".tar":
            return _find_in_tar(file, path.relative_to(file).as_posix())
        if file.is_file():
            raise UserError(f"'{file}' is no folder, plain .tar or image ({', '.join(SUFFIXES)})")
    parent = next(folder for folder in path.parents if folder.is_dir())
    name = path.relative_to(parent).parts[0]
    siblings = [sibling for sibling in os.listdir(parent) if not sibling.startswith(".")]
    hint = closest(name, siblings) if siblings else "that folder is empty"
    raise UserError(f"no images at '{path}': '{parent}' has no '{name}'; {hint}")


def _find_in_folder(folder: Path) -> _Files:
    def refuse(error: OSError) -> None:  # by default os.walk passes over unreadable folders
        raise error

    walk = os.walk(folder, onerror=refuse)
    paths = (Path(place, file).relative_to(folder) for place, _, files in walk for file in files)
    return _Files(folder, dict.fromkeys(filter(_is_image, map(Path.as_posix, paths))))


def _find_in_tar(archive: Path, inner: str) -> _Files:
    spans: dict[str, tuple[int, int] | None] = {}
    try:
        with open(archive, "rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                name = posixpath.normpath(member.name).lstrip("/")  # some begin with "./"
                if member.isreg() and not member.issparse() and _is_image(name):  # in one piece
                    spans[name] = (member.offset_data, member.size)
            file.seek(tar.offset)  # at a broken header the loop ends as if there were no more
            if file.read(tarfile.BLOCKSIZE).strip(b"\0"):
                raise tarfile.ReadError("broken header")
    except tarfile.TarError as error:
        raise UserError(f"'{archive}' is damaged, or compressed: {error}") from None
    if inner == "." or not spans:
        return _Files(archive, spans, archive)
    if inner in spans:
        return _Files((archive / inner).parent, {posixpath.basename(inner): spans[inner]}, archive)
    picked = {n.removeprefix(f"{inner}/"): spans[n] for n in spans if n.startswith(f"{inner}/")}
    if not picked:
        folders = {str(parent) for name in spans for parent in PurePosixPath(name).parents} - {"."}
        allowed = spans.keys() if PurePosixPath(inner).suffix else folders
        hint = closest(inner, allowed) if allowed else f"type '{archive}'"
        raise UserError(f"'{archive}' has no images in '{inner}'; {hint}")
    return _Files(archive / inner, picked, archive)


class ImageSet:
    """The images of a folder or of a plain tar archive, in the order of their names.

    Folders are searched recursively for ``SUFFIXES`` in any case; hidden files and links to
    folders are passed over. Indexing gives uint8 (height, width, 3), read-only since it may be
    kept. No file is held open: the set may be forked, and pickled, which leaves the cache behind.

    Args:
        source: A folder, a ``.tar`` archive, a folder in one (``paintings.tar/vangogh``), an image.
        short_side: Images are enlarged or reduced (bicubic) to this shorter side; None: as is.
        cache_bytes: Decoded images are kept while they take no more than this together.
    """

    def __init__(
        self, source: str | Path, short_side: int | None = None, cache_bytes: int = 1 << 30
    ) -> None:
        if short_side is not None and short_side < 1:
            raise UserError(f"short_side={short_side} is too small; allowed: 1 or more")
        if not str(source).strip():
            raise UserError("no images named; type a folder, a .tar archive or an image")
        try:
            self._files = _find(Path(source).expanduser())
        except OSError as error:
            raise UserError(f"cannot read '{error.filename}': {error.strerror}") from None
        self.names = sorted(self._files.spans)  # relative to the source
        if not self.names:
            raise UserError(f"'{source}' has no images; searched for: {', '.join(SUFFIXES)}")
        self.short_side = short_side
        self.cache_bytes, self.cached_bytes = cache_bytes, 0
        self._cache: dict[int, Pixels] = {}

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Pixels:
        index = range(len(self))[index]  # counts back from the end, or IndexError
        if index in self._cache:
            return self._cache[index]
        pixels: Pixels = np.array(self._read(self.names[index]))
        pixels.setflags(write=False)
        if self.cached_bytes + pixels.nbytes <= self.cache_bytes:
            self._cache[index] = pixels
            self.cached_bytes += pixels.nbytes
        return pixels

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_cache": {}, "cached_bytes": 0}

    def _read(self, name: str) -> Image.Image:
        path = self._files.root / name
        offset, size = self._files.spans[name] or (0, -1)  # -1: to its end
        try:
            with open(self._files.archive or path, "rb") as file:
                file.seek(offset)
                image = _decode(file.read(size), str(path))
        except OSError as error:
            raise UserError(f"cannot read '{path}': {error.strerror}") from None
        if self.short_side is None or min(image.size) == self.short_side:
            return image
        scale = self.short_side / min(image.size)
        width, height = (max(1, round(side * scale)) for side in image.size)
        if width * height > PIXEL_LIMIT:  # a line of pixels, enlarged
            raise UserError(f"'{path}' would become {width}x{height}; type a smaller short_side")
        return image.resize((width, height), Image.Resampling.BICUBIC)


def crop(image: Pixels, size: int, generator: np.random.Generator, flip: bool = True) -> Pixels:
    """Copies a random square out of (height, width, 3); ``flip`` mirrors half of them sideways.

    The generator advances alike with and without ``flip``. Too small an image is a UserError.
    """
    height, width = image.shape[:2]
    if min(height, width) < size:
        raise UserError(f"{width}x{height} pixels are too few for a crop of {size}x{size}")
    top = int(generator.integers(height - size + 1))
    left = int(generator.integers(width - size + 1))
    patch = image[top : top + size, left : left + size]
    return (patch[:, ::-1] if generator.random() < 0.5 and flip else patch).copy()


def to_tensor(images: Sequence[Pixels]) -> torch.Tensor:
    """Turns images (height, width, 3) of one size into (batch, 3, height, width) in [-1, 1]."""
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    return pixels.float().div_(127.5).sub_(1)


def to_uint8(tensor: torch.Tensor) -> Pixels:
    """Undoes :func:`to_tensor` exactly: (batch, height, width, 3), rounded and clamped."""
    pixels = tensor.detach().float().add(1).mul_(127.5).round_().clamp_(0, 255)
    return pixels.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()


class Images(Protocol):
    """What batches are drawn from."""

    names: list[str]
    short_side: int | None

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Pixels: ...


class Batches:
    """Random crops in an endless sequence of batches, a pure function of (seed, step, rank).

    Resuming needs no saved state: ask for the step to go on with. Each epoch visits every image
    once, in its own order; batches run on across epochs, so a set may be smaller than a batch. The
    ranks share out one sequence, whose order does not depend on ``world``; the crops do.

    Args:
        images: Where the images come from.
        batch_size: Images per batch and rank.
        crop_size: Side of the square crops.
        seed: The same seed gives the same batches.
        stream: Tells apart several sequences of one seed, such as style and content.
        flip: Whether to mirror half of the crops.
        rank: Which of the ``world`` processes this is.
        world: How many processes train together.
    """

    def __init__(
        self,
        images: Images,
        batch_size: int,
        crop_size: int,
        seed: int,
        stream: int = 0,
        flip: bool = True,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        counts = {"batch_size": batch_size, "crop_size": crop_size, "world": world}
        for name, value in {**counts, "seed": seed, "stream": stream}.items():
            least = 1 if name in counts else 0
            if value < least:
                raise UserError(f"{name}={value} is too small; allowed: {least} or more")
        if not 0 <= rank < world:
            raise UserError(f"rank={rank} is out of range; allowed: 0 to {world - 1}")
        if images.short_side is not None and images.short_side < crop_size:
            raise UserError(f"crop_size={crop_size} is above short_side={images.short_side}")
        self.images = images
        self.batch_size, self.crop_size, self.flip = batch_size, crop_size, flip
        self.seed, self.stream, self.rank, self.world = seed, stream, rank, world
        self._orders: dict[int, npt.NDArray[np.int64]] = {}  # of the last batch's epochs

    def indices(self, step: int) -> list[int]:
        """Returns which images the batch of a step is made of."""
        start = (step * self.world + self.rank) * self.batch_size
        places = [divmod(start + k, len(self.images)) for k in range(self.batch_size)]
        for epoch in {epoch for epoch, _ in places} - self._orders.keys():
            generator = np.random.default_rng([self.seed, self.stream, epoch])
            self._orders[epoch] = generator.permutation(len(self.images))
        self._orders = {epoch: self._orders[epoch] for epoch, _ in places}
        return [int(self._orders[epoch][position]) for epoch, position in places]

    def at(self, step: int) -> torch.Tensor:
        """Returns the batch of a step: (batch, 3, crop, crop), float32 in [-1, 1]."""
        # numpy pads seeds with zeros: for rank 0 this one also ordered epoch `step`, harmlessly.
        generator = np.random.default_rng([self.seed, self.stream, step, self.rank])
        patches = []
        for index in self.indices(step):
            image = self.images[index]
            try:
                patches.append(crop(image, self.crop_size, generator, self.flip))
            except UserError as error:
                raise UserError(f"image '{self.images.names[index]}': {error}") from None
        return to_tensor(patches)
