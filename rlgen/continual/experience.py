"""One task of a stream: pictures with labels of a space of their own (spec hc_net, section b)."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rlgen.core.errors import UserError
from rlgen.data.classification import LabelledImages, LabelledSets


@dataclass(frozen=True)
class Experience:
    """One task's data, `X_J` with `C_J` classes.

    Attributes:
        name: Of the task; learners know a task by it.
        train: Pictures to learn from.
        test: Pictures to be judged by.
        classes: Names of the classes 0..C_J - 1; the labels of other tasks are other classes.

    Raises:
        UserError: If a part is empty, pictures differ in shape, or labels are out of range.
    """

    name: str
    train: LabelledImages
    test: LabelledImages
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.name:
            raise UserError("a task needs a name")
        if self.name in (".", "..") or Path(self.name).name != self.name or "\\" in self.name:
            raise UserError(f"task {self.name!r}: its name names a folder too; type a plain one")
        if len(self.classes) < 2:
            raise UserError(f"task {self.name}: 2 or more classes are needed to learn anything")
        for what, part in (("train", self.train), ("test", self.test)):
            if not len(part):
                raise UserError(f"task {self.name} has no pictures in {what}")
            if part.labels.min() < 0 or part.labels.max() >= len(self.classes):
                raise UserError(
                    f"task {self.name}: labels in {what} go from {part.labels.min()} to "
                    f"{part.labels.max()}, of {len(self.classes)} classes; each task counts from 0"
                )
        if self.train.pixels.shape[1:] != self.test.pixels.shape[1:]:
            raise UserError(f"task {self.name}: pictures in train and test differ in shape")

    @classmethod
    def of(cls, name: str, sets: LabelledSets) -> "Experience":
        """Makes a task of an opened set (:func:`rlgen.data.classification.open_classification`)."""
        return cls(name, sets.train, sets.test, sets.classes)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of a picture, (C, H, W)."""
        return self.sets().shape

    def sets(self) -> LabelledSets:
        """Returns the same data as rlgen.data's batches take them."""
        return LabelledSets(self.name, self.classes, self.train, self.test)


@dataclass(frozen=True)
class TaskRecord:
    """What is kept of a task's data.

    Attributes:
        name: Of the task.
        classes: Names of its classes.
        mean: Of each channel, in 0 to 1; taken off every picture shown to this task's part.
        deviation: By which it is divided then.
    """

    name: str
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def normalized(self, images: Tensor) -> Tensor:
        """Maps pictures in 0 to 1, (B, C, H, W), as this task's training saw them."""
        mean, deviation = (
            torch.tensor(values, device=images.device)[:, None, None]
            for values in (self.mean, self.deviation)
        )
        return (images - mean) / deviation


def as_tensors(part: LabelledImages) -> tuple[Tensor, Tensor]:
    """Returns pictures (N, C, H, W), uint8, and labels (N,), int64, on the CPU."""
    images = torch.from_numpy(np.ascontiguousarray(part.pixels)).permute(0, 3, 1, 2)
    return images, torch.from_numpy(part.labels.astype(np.int64))


Progress = Callable[[int, dict[str, Tensor]], None]
"""Told after each step: steps taken in this task, and the terms of the loss by name."""
