"""Pairs of small and large pictures by name, and the patches that super-resolution trains on.

Only large pictures are read; the small ones are made of them by :mod:`rlgen.data.bicubic`. Spec
lsfd, section d (seen in FAKD's code): LR patches of 48x48, flips and quarter turns.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from rlgen.core.errors import UserError, closest
from rlgen.data.bicubic import Pixels, shrink, shrink_part
from rlgen.data.classification import FOLDERS
from rlgen.data.images import Batches, Images
from rlgen.data.sources import open_images
from rlgen.data.synthetic import PREFIX

# Where a set of this name may be in a folder of RLGEN_DATA.
NAMED = {
    "set5": ("Set5/HR", "Set5", "benchmark/Set5/HR", "sr_sets.tar/Set5"),
    "set14": ("Set14/HR", "Set14", "benchmark/Set14/HR", "sr_sets.tar/Set14"),
    "bsd100": ("BSD100/HR", "BSD100", "B100/HR", "benchmark/B100/HR", "sr_sets.tar/BSD100"),
    "urban100": ("Urban100/HR", "Urban100", "benchmark/Urban100/HR", "sr_sets.tar/Urban100"),
    "div2k": ("DIV2K/DIV2K_train_HR", "DIV2K_train_HR", "DIV2K_train_HR.tar"),
}


CHECKED = 64  # pictures whose sizes are looked at before training; the others' when they are read


class LargePictures:
    """The large pictures of several sources, each cut to a whole multiple of the scale.

    Args:
        source: For messages and the run's card.
        parts: Where they come from.
        scale: By which they are to be shrunk.
    """

    short_side: int | None = None

    def __init__(self, source: str, parts: Sequence[Images], scale: int) -> None:
        self.source, self.scale = source, scale
        self._parts = list(parts)
        self._places = [(part, k) for part in parts for k in range(len(part))]
        self.names = [name for part in parts for name in part.names]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Pixels:
        part, number = self._places[index]
        image: Pixels = part[number]
        height, width = (side - side % self.scale for side in image.shape[:2])
        return image[:height, :width]

    def pairs(self) -> Iterator[tuple[str, Pixels, Pixels]]:
        """Yields name, small and large picture, each uint8 (H, W, 3)."""
        for index, name in enumerate(self.names):
            high = self[index]
            yield name, shrink(high, self.scale), high


class PictureSets(NamedTuple):
    """What a network is trained on, and the sets it is tested on.

    Attributes:
        train: To cut patches from.
        tests: By name.
        scale: By which the small pictures are smaller.
    """

    train: LargePictures
    tests: dict[str, LargePictures]
    scale: int


def open_super_resolution(
    train: Sequence[str], tests: Sequence[str], scale: int, size: int | None = None
) -> PictureSets:
    """Opens large pictures to train and to test on.

    Args:
        train: Names (``set5``, ``set14``, ``bsd100``, ``urban100``, ``div2k``), which are looked up
            in the folders of ``RLGEN_DATA``; folders and archives as
            :func:`rlgen.data.sources.open_images` takes them; ``synthetic:photos``, drawn ones.
        tests: The same.
        scale: 2, 3 or 4.
        size: Shorter side to which pictures are brought; None: as they are.

    Raises:
        UserError: If one of them is missing or has no pictures.
    """
    opened = {source: _open(source, size) for source in dict.fromkeys((*train, *tests))}
    return PictureSets(
        LargePictures(" and ".join(train), [opened[source] for source in train], scale),
        {_short(s): LargePictures(s, [opened[s]], scale) for s in dict.fromkeys(tests)},
        scale,
    )


def _open(source: str, size: int | None) -> Images:
    if source in NAMED:
        return open_images(str(find_pictures(source)), size)
    if not source.startswith(PREFIX) and _is_bare(source):
        hint = closest(source, [*NAMED, f"{PREFIX}photos"])
        raise UserError(f"{source} is no known set of pictures and no file or folder; {hint}")
    return open_images(source, size)


def _is_bare(source: str) -> bool:
    return os.sep not in source and not Path(source).exists()


def _short(source: str) -> str:
    """Returns how a set is called in tables: the last part of a path, without its ending."""
    name = source.rstrip("/").rpartition("/")[2].rpartition(":")[2]
    return name.removesuffix(".tar") or source


def find_pictures(name: str) -> Path:
    """Returns where a named set is, below the folders of ``RLGEN_DATA``.

    Raises:
        UserError: If it is in none of them.
    """
    listed = os.environ.get(FOLDERS, "")
    folders = [Path(part).expanduser() for part in listed.split(os.pathsep) if part]
    for folder in folders:
        for place in NAMED[name]:
            archive, tar, _ = place.partition(".tar")
            if (folder / f"{archive}{tar}").exists():
                return folder / place
    where = f"not in {FOLDERS}={listed}" if folders else f"{FOLDERS} is not set"
    raise UserError(
        f"{name}: {where}; put a folder {NAMED[name][1]} there, or name a folder of pictures"
    )


class PatchBatches:
    """Aligned patches in an endless sequence, a pure function of (seed, step, rank).

    Every picture is visited once before the next round. An epoch is a round figure: as many batches
    as hold all pixels once, or a number that is given.

    Args:
        pictures: To cut from.
        batch_size: Patches per process.
        patch_size: Side of a small patch; the large one's is ``scale`` times as much.
        seed: The same seed gives the same batches.
        device: Where batches are wanted.
        turn: Whether patches are flipped and turned by quarters at random.
        epoch_steps: Batches of an epoch; None: see above.
        rank: Which of the ``world`` processes this is.
        world: How many processes train together.

    Raises:
        UserError: If a number is out of range.
    """

    def __init__(
        self,
        pictures: LargePictures,
        batch_size: int,
        patch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        *,
        turn: bool = True,
        epoch_steps: int | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.pictures, self.patch_size, self.turn = pictures, patch_size, turn
        self.seed, self.rank, self.device = seed, rank, device
        self._order = Batches(pictures, batch_size, 1, seed, rank=rank, world=world)
        for index in range(min(len(pictures), CHECKED)):
            self._require_room(index)
        self.steps_per_epoch = epoch_steps or self._count(batch_size * world)

    def _count(self, patches: int) -> int:
        sides = (self.pictures[k].shape[:2] for k in range(len(self.pictures)))
        pixels = sum(height * width for height, width in sides)
        return max(round(pixels / (patches * (self.patch_size * self.pictures.scale) ** 2)), 1)

    def at(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the batch of a step: small and large patches, float32 in [0, 1].

        Returns:
            (B, 3, p, p) and (B, 3, scale p, scale p), channels last in memory.

        Raises:
            UserError: If a picture is smaller than a patch.
        """
        generator = np.random.default_rng([self.seed, step, self.rank, 2])
        pairs = [self._patch(index, generator) for index in self._order.indices(step)]
        low, high = (np.stack(images) for images in zip(*pairs, strict=True))
        return self._tensor(low), self._tensor(high)

    def first_epoch(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yields the batches of the first epoch, as they are trained on."""
        for step in range(self.steps_per_epoch):
            yield self.at(step)

    def _require_room(self, index: int) -> tuple[int, int]:
        """Returns height and width of a small picture, which must hold a patch."""
        height, width = self.pictures[index].shape[:2]
        small = height // self.pictures.scale, width // self.pictures.scale
        if min(small) < self.patch_size:
            side = self.pictures.scale * self.patch_size
            raise UserError(
                f"picture '{self.pictures.names[index]}': {width}x{height} pixels are too few for "
                f"patches of {side}x{side}; type patch_size={min(small)} or less"
            )
        return small

    def _patch(self, index: int, generator: np.random.Generator) -> tuple[Pixels, Pixels]:
        image, scale, side = self.pictures[index], self.pictures.scale, self.patch_size
        height, width = self._require_room(index)
        top = int(generator.integers(height - side + 1))
        left = int(generator.integers(width - side + 1))
        turns, mirrored = int(generator.integers(4)), bool(generator.integers(2))
        low = shrink_part(image, scale, (top, left), (side, side))
        high = image[top * scale : (top + side) * scale, left * scale : (left + side) * scale]
        if not self.turn:
            return low, high
        return turned(low, turns, mirrored), turned(high, turns, mirrored)

    def _tensor(self, pixels: Pixels) -> torch.Tensor:
        return pixels_to_unit(pixels).to(self.device)


def turned(image: Pixels, turns: int, mirrored: bool) -> Pixels:
    """Returns a square (N, N, C), mirrored sideways if asked, then turned by quarters."""
    return np.rot90(image[:, ::-1] if mirrored else image, turns)


def pixels_to_unit(pixels: Pixels) -> torch.Tensor:
    """Returns bytes (B, H, W, C) as float32 (B, C, H, W) in [0, 1], channels last in memory."""
    return torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2).float().div_(255)
