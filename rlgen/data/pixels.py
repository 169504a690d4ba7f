"""Images of one size held in memory as bytes, with some held out, and batches drawn from them.

For models of small images (28 to 128 pixels), where decoding each image again at every epoch would
take longer than the training step.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from rlgen.core.errors import UserError
from rlgen.data.classification import FOLDERS, HUB, NAMED, open_classification
from rlgen.data.images import Batches, Images, Pixels
from rlgen.data.sources import open_images
from rlgen.data.synthetic import PREFIX

SHAPES = f"{PREFIX}shapes"
HELD_OUT = 20  # of a folder, every so many images
_LUMA = (0.299, 0.587, 0.114)  # as Pillow makes grey of colours
_PATTERNS = ("*.bin", "*-ubyte", "*-ubyte.gz", "*.parquet", "*/*.parquet")


class PixelSet:
    """Images of one size.

    Args:
        pixels: uint8 (N, channels, H, W).
        names: Of each image; None: their numbers.
    """

    short_side: int | None = None

    def __init__(self, pixels: torch.Tensor, names: Sequence[str] | None = None) -> None:
        self.pixels = pixels
        self.names = [str(k) for k in range(len(pixels))] if names is None else list(names)

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Pixels:
        image: Pixels = self.pixels[index].permute(1, 2, 0).cpu().numpy()
        return image


class PixelSets(NamedTuple):
    """A set to train on and one that is held out.

    Attributes:
        source: What was read, for the run's card.
        train: Images.
        test: Others, of the same size.
    """

    source: str
    train: PixelSet
    test: PixelSet

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of an image, (channels, H, W)."""
        channels, height, width = self.train.pixels.shape[1:]
        return channels, height, width


def open_pixels(source: str, size: int | None = None, channels: int | None = None) -> PixelSets:
    """Opens a set of images for training and brings all to one square size.

    Args:
        source: A name (``fashion_mnist``, ``mnist``, ``cifar10`` ..., or any tar archive or folder
            in a folder of ``RLGEN_DATA``), a path of labelled pictures (``.npz``, CIFAR, IDX,
            parquet), ``hub:NAME``, ``synthetic:shapes``, or what
            :func:`rlgen.data.open_images` takes: a folder, a tar archive, a folder in one. Folders
            named train and val, test or validation are what they say; else every 20th image is
            held out.
        size: Side in pixels; the shorter side is resized to it and the middle cut out. None: as
            the images are, which must be square then.
        channels: 1 for grey, 3 for RGB; None: as in a labelled set, RGB of a folder.

    Raises:
        UserError: If there are none, or they cannot be brought to one size.
    """
    path = Path(source).expanduser()
    labelled = path.suffix == ".npz" or (
        path.is_dir() and any(next(path.glob(pattern), None) for pattern in _PATTERNS)
    )
    if labelled or source in NAMED or source.startswith(HUB) or source == SHAPES:
        sets = open_classification(source, size if source == SHAPES else None)
        parts = [
            _resized(torch.from_numpy(np.ascontiguousarray(part.pixels)).permute(0, 3, 1, 2), size)
            for part in (sets.train, sets.test)
        ]
        train, test = (PixelSet(_recoloured(part, channels)) for part in parts)
        return PixelSets(sets.source, train, test)
    images = open_images(source if path.exists() else _named(source), size)
    everything = _read_all(images, size, channels)
    train, test = _split(everything)
    return PixelSets(source, train, test)


def _named(source: str) -> str:
    """Returns the archive or folder of this name in ``RLGEN_DATA``, or the source as it is."""
    first, _, inside = source.partition("/")
    for folder in filter(None, os.environ.get(FOLDERS, "").split(os.pathsep)):
        for place in (Path(folder, f"{first}.tar"), Path(folder, first)):
            if first and place.exists():
                return str(place / inside)
    return source


def _read_all(images: Images, size: int | None, channels: int | None) -> PixelSet:
    first = images[0]
    side = size or first.shape[0]
    if size is None and first.shape[0] != first.shape[1]:
        raise UserError(
            f"image '{images.names[0]}' has {first.shape[1]}x{first.shape[0]} pixels, which is no "
            "square; type size=64"
        )
    count = 3 if channels is None else channels
    pixels = torch.empty(len(images), count, side, side, dtype=torch.uint8)
    for number in range(len(images)):
        image = images[number]
        if size is None and image.shape != first.shape:
            raise UserError(
                f"image '{images.names[number]}' has another size than '{images.names[0]}'; "
                "type size=64"
            )
        pixels[number] = to_pixels(image, side, count)
    return PixelSet(pixels, images.names)


def to_pixels(image: Pixels | Image.Image, size: int, channels: int) -> torch.Tensor:
    """Returns one image as uint8 (channels, size, size): its shorter side resized, its middle.

    Args:
        image: (H, W, 3) uint8, or a PIL image.
        size: Side in pixels.
        channels: 1 or 3.
    """
    picture = image if isinstance(image, Image.Image) else Image.fromarray(np.asarray(image))
    picture = picture.convert("L" if channels == 1 else "RGB")
    if min(picture.size) != size:
        scale = size / min(picture.size)
        sides = [max(round(side * scale), size) for side in picture.size]
        picture = picture.resize((sides[0], sides[1]), Image.Resampling.BICUBIC)
    left, top = ((side - size) // 2 for side in picture.size)
    square = picture.crop((left, top, left + size, top + size))
    return torch.from_numpy(np.array(square).reshape(size, size, channels)).permute(2, 0, 1)


def _split(images: PixelSet) -> tuple[PixelSet, PixelSet]:
    """Holds out images: those in folders that say so, or every 20th, or else the last one."""
    parts = [Path(name).parts for name in images.names]
    held = [any(p in ("val", "test", "validation", "valid") for p in part) for part in parts]
    if not any("train" in part for part in parts) or not any(held):
        held = [k % HELD_OUT == HELD_OUT - 1 for k in range(len(images))]
    if len(images) == 1:
        return images, images
    if not any(held):
        held[-1] = True
    mask = torch.tensor(held)
    return tuple(  # type: ignore[return-value]
        PixelSet(images.pixels[m], [n for n, take in zip(images.names, m, strict=True) if take])
        for m in (~mask, mask)
    )


def _resized(pixels: torch.Tensor, size: int | None) -> torch.Tensor:
    height, width = pixels.shape[2:]
    if height != width:
        raise UserError(f"pictures of {width}x{height} pixels are no squares; name a folder")
    if size is None or size == height:
        return pixels.contiguous()
    parts = [
        F.interpolate(part.float(), (size, size), mode="bicubic", antialias=True)
        for part in pixels.split(1024)
    ]
    return torch.cat([part.round_().clamp_(0, 255).to(torch.uint8) for part in parts])


def _recoloured(pixels: torch.Tensor, channels: int | None) -> torch.Tensor:
    if channels in (None, pixels.shape[1]):
        return pixels
    if channels == 3:
        return pixels.expand(-1, 3, -1, -1).contiguous()
    luma = torch.tensor(_LUMA).view(1, 3, 1, 1)
    grey = [(part.float() * luma).sum(1, keepdim=True) for part in pixels.split(1024)]
    return torch.cat([part.round_().to(torch.uint8) for part in grey])


def fit_pixels(
    pixels: torch.Tensor, size: int | None = None, channels: int | None = None
) -> torch.Tensor:
    """Brings pictures in memory to one size and number of channels.

    Args:
        pixels: uint8 (N, C, H, W), H equal to W, C 1 or 3.
        size: Side in pixels, by bicubic resampling; None: as it is.
        channels: 1 for grey (luma of colours), 3 for RGB (grey repeated); None: as they are.

    Raises:
        UserError: If the pictures are no squares.
    """
    return _recoloured(_resized(pixels, size), channels)


class PixelBatches:
    """Batches of a set in memory, a pure function of (seed, step, rank); nothing is to be saved.

    Args:
        images: The set.
        batch_size: Per process.
        seed: The same seed gives the same batches.
        device: Where batches are wanted; the set is held there as bytes.
        flip: Whether to mirror half of the images sideways.
        rank: Which of the ``world`` processes this is.
        world: How many processes train together.
    """

    def __init__(
        self,
        images: PixelSet,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        *,
        flip: bool = False,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self._order = Batches(images, batch_size, 1, seed, rank=rank, world=world)
        self._pixels = images.pixels.to(device)
        self.seed, self.flip, self.rank = seed, flip, rank
        self.steps_per_epoch = len(images) / (batch_size * world)

    def at(self, step: int) -> torch.Tensor:
        """Returns the batch of a step: uint8 (batch, channels, H, W)."""
        index = torch.tensor(self._order.indices(step), device=self._pixels.device)
        batch = self._pixels[index]
        if self.flip:
            # One stream beside that of the order; rank 0's would be it without the last number.
            generator = np.random.default_rng([self.seed, step, self.rank, 1])
            mirrored = torch.from_numpy(generator.random(len(batch)) < 0.5).to(batch.device)
            batch = torch.where(mirrored[:, None, None, None], batch.flip(3), batch)
        return batch
