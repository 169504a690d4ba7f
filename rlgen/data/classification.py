"""Labelled pictures by name, and the batches that training a classifier draws from them."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from rlgen.core.errors import UserError, closest
from rlgen.data.augment import augment, check_border
from rlgen.data.classification_files import Arrays, Labels, ReadSets, read_hub, read_sets
from rlgen.data.drawn_shapes import SHAPES, draw_shapes
from rlgen.data.images import Batches, Pixels
from rlgen.data.synthetic import PREFIX

FOLDERS = "RLGEN_DATA"  # environment variable: folders with named sets
HUB = "hub:"
SYNTHETIC_SIDE = 16
SYNTHETIC_COUNTS = (768, 192)


class _Named(NamedTuple):
    classes: int
    hub: str
    places: tuple[str, ...]  # beside NAME.npz and NAME


# Where a set of this name may be in a folder of RLGEN_DATA; part of a set (cifar10_12k.npz) is
# taken last.
NAMED = {
    "cifar10": _Named(10, "uoft-cs/cifar10", ("cifar-10-batches-bin",)),
    "cifar100": _Named(100, "uoft-cs/cifar100", ("cifar-100-binary",)),
    "fashion_mnist": _Named(
        10, "zalando-datasets/fashion_mnist", ("fashion-mnist.npz", "FashionMNIST/raw")
    ),
    "mnist": _Named(10, "ylecun/mnist", ("MNIST/raw",)),
    "usps": _Named(10, "flwrlabs/usps", ("USPS",)),
}


class LabelledImages:
    """Pictures of one size with a class each.

    Args:
        pixels: uint8 (N, H, W, C), C 1 or 3.
        labels: (N,), from 0.
    """

    short_side: int | None = None

    def __init__(self, pixels: Pixels, labels: Labels) -> None:
        self.pixels = pixels
        self.labels = labels
        self.names = [str(number) for number in range(len(labels))]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Pixels:
        image: Pixels = self.pixels[index]
        return image


class LabelledSets(NamedTuple):
    """A set to train on and one to test on.

    Attributes:
        source: What was read, for the run's card.
        classes: Names of the classes.
        train: Pictures with their classes.
        test: The same.
    """

    source: str
    classes: tuple[str, ...]
    train: LabelledImages
    test: LabelledImages

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of a picture, (C, H, W)."""
        height, width, channels = self.train.pixels.shape[1:]
        return channels, height, width

    def statistics(self) -> tuple[list[float], list[float]]:
        """Returns mean and deviation of each channel of the training pictures, in 0 to 1."""
        # By values and not by pixels: exact, and without a float copy of the set.
        channels = self.train.pixels.shape[-1]
        flat = self.train.pixels.reshape(-1, channels)
        counts = np.stack([np.bincount(flat[:, c], minlength=256) for c in range(channels)])
        share, values = counts / len(flat), np.arange(256) / 255
        mean = share @ values
        deviation = np.sqrt(share @ values**2 - mean**2)
        return mean.tolist(), np.maximum(deviation, 1 / 255).tolist()


def open_classification(
    source: str, size: int | None = None, root: str | None = None
) -> LabelledSets:
    """Opens labelled pictures.

    Args:
        source: A name (``cifar10``, ``cifar100``, ``fashion_mnist``, ``mnist``, ``usps``), which is
            looked up in the folders of ``RLGEN_DATA``; a path (see
            :mod:`rlgen.data.classification_files`); ``hub:NAME`` of the Hugging Face hub; or
            ``synthetic:shapes``, drawn pictures.
        size: Side to which drawn pictures and those of folders and parquet are brought.
        root: Folder of named sets instead of those of ``RLGEN_DATA``.

    Raises:
        UserError: If there is none, or it is damaged.
    """
    if size is not None and size < 4:
        raise UserError(f"size={size} is too small; type size=4 or more")
    if source.startswith(PREFIX):
        return _labelled(source, _drawn(source.removeprefix(PREFIX), size))
    if source.startswith(HUB):
        name = source.removeprefix(HUB)
        return _labelled(source, read_hub(NAMED[name].hub if name in NAMED else name, size), size)
    if source in NAMED:
        path = find_named(source, root)
        return _labelled(f"{source} ({path})", read_sets(path, size), size, NAMED[source].classes)
    path = Path(source).expanduser()
    if not path.exists():
        hint = closest(source, [*NAMED, f"{PREFIX}shapes"])
        raise UserError(f"data={source} is no known set and no file or folder; {hint}")
    return _labelled(str(path), read_sets(path, size), size)


def find_named(name: str, root: str | None = None) -> Path:
    """Returns where a named set is, below the folders of ``RLGEN_DATA``.

    Args:
        name: Of the set.
        root: Folder to look in instead.

    Raises:
        UserError: If it is in none of them.
    """
    listed = os.environ.get(FOLDERS, "") if root is None else str(root)
    folders = [Path(part).expanduser() for part in listed.split(os.pathsep) if part]
    exact = (f"{name}.npz", *NAMED[name].places, name)
    for folder in folders:
        found = [folder / place for place in exact if (folder / place).exists()]
        found += sorted(folder.glob(f"{name}_*.npz"))
        if found:
            return found[0]
    given = FOLDERS if root is None else "root"
    where = f"not in {given}={listed}" if folders else f"{FOLDERS} is not set"
    raise UserError(
        f"data={name}: {where}; put {exact[0]} or {exact[1]} there, name a path, or type "
        f"data={HUB}{name}"
    )


def _drawn(kind: str, size: int | None) -> ReadSets:
    if kind != "shapes":
        raise UserError(f"unknown drawn pictures {PREFIX}{kind}; {closest(kind, ['shapes'])}")
    side = size or SYNTHETIC_SIDE
    train, test = (draw_shapes(n, side, seed) for seed, n in enumerate(SYNTHETIC_COUNTS))
    return ReadSets(train, test, tuple(SHAPES))


def _labelled(
    source: str, sets: ReadSets, size: int | None = None, classes: int | None = None
) -> LabelledSets:
    """Checks what was read."""
    _check_shapes(source, sets.train, sets.test, size)
    named = len(sets.classes) if sets.classes is not None else classes
    count = named or int(sets.train[1].max()) + 1
    names = sets.classes or tuple(str(number) for number in range(count))
    for labels in (sets.train[1], sets.test[1]):
        if labels.min() < 0 or labels.max() >= count:
            raise UserError(
                f"{source}: labels go from {labels.min()} to {labels.max()}, of {count} classes"
            )
    if count < 2:
        raise UserError(f"{source} has one class; two or more are needed")
    return LabelledSets(source, names, LabelledImages(*sets.train), LabelledImages(*sets.test))


def _check_shapes(source: str, train: Arrays, test: Arrays, size: int | None) -> None:
    if not len(train[0]) or not len(test[0]):
        raise UserError(f"{source} has no pictures to train or to test on")
    if train[0].shape[1:] != test[0].shape[1:]:
        raise UserError(
            f"{source}: pictures to train on are {train[0].shape[1:]}, to test on "
            f"{test[0].shape[1:]}"
        )
    height, width = train[0].shape[1:3]
    if size is not None and (height, width) != (size, size):
        raise UserError(
            f"size={size}: {source} has pictures of {width}x{height}, and only those of folders "
            "and parquet are resized; leave out size="
        )


class LabelledBatches:
    """Normalised batches, a pure function of (seed, step, rank); nothing is to be saved.

    Each epoch visits every picture once in its own order; batches run on across epochs. Pictures
    stay on the device as bytes and are cropped and flipped there.

    Args:
        sets: The pictures.
        batch_size: Per process.
        seed: The same seed gives the same batches.
        device: Where batches are wanted.
        padding: Border for random crops; 0 for none.
        border: See :func:`rlgen.data.augment.augment`.
        flip: Whether to mirror half of the pictures.
        statistics: Mean and deviation of each channel to normalise by; None: the set's own.
        rank: Which of the ``world`` processes this is.
        world: How many processes train together.

    Raises:
        UserError: If an option is out of range.
    """

    def __init__(
        self,
        sets: LabelledSets,
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        *,
        padding: int = 4,
        border: str = "zero",
        flip: bool = True,
        statistics: tuple[list[float], list[float]] | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        check_border(border, padding, sets.shape[1:])
        self._order = Batches(sets.train, batch_size, 1, seed, rank=rank, world=world)
        self.seed, self.rank = seed, rank
        self.padding, self.border, self.flip = padding, border, flip
        self.steps_per_epoch = max(round(len(sets.train) / (batch_size * world)), 1)
        self._train, self._test = (_on(device, part) for part in (sets.train, sets.test))
        mean, deviation = (
            torch.tensor(values, device=device, dtype=torch.float32)
            for values in statistics or sets.statistics()
        )
        self._mean, self._deviation = mean[:, None, None], deviation[:, None, None]

    def at(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the batch of a step: pictures (B, C, H, W), float32, and classes (B,)."""
        images, labels = self._train
        index = torch.tensor(self._order.indices(step), device=labels.device)
        # One stream beside that of the order; rank 0's would be it without the last number.
        generator = np.random.default_rng([self.seed, step, self.rank, 1])
        seen = augment(images[index], generator, self.padding, self.border, self.flip)
        return self.normalized(seen), labels[index]

    def first_epoch(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yields the batches of the first epoch, as they are trained on."""
        for step in range(self.steps_per_epoch):
            yield self.at(step)

    def tests(self, batch_size: int = 500) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yields all test pictures in order, unchanged but for normalisation.

        Args:
            batch_size: Pictures at once.
        """
        images, labels = self._test
        for part, classes in zip(images.split(batch_size), labels.split(batch_size), strict=True):
            yield self.normalized(part), classes

    def normalized(self, images: torch.Tensor) -> torch.Tensor:
        """Maps bytes (B, C, H, W) to values of mean 0 and deviation 1 per channel."""
        scaled = images.to(torch.float32, memory_format=torch.channels_last).div_(255)
        return scaled.sub_(self._mean).div_(self._deviation)


def _on(device: torch.device | str, part: LabelledImages) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.from_numpy(np.ascontiguousarray(part.pixels)).permute(0, 3, 1, 2)
    return images.to(device), torch.from_numpy(part.labels).to(device)
