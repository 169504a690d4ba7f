"""Tiny studies: 24 pictures of 8x8 in batches of 8, resnet8 taught by resnet8, a few steps."""

from pathlib import Path

import numpy as np
import torch

from rlgen.core.loop import make_accelerator
from rlgen.distill.study.crossing import Crossing
from rlgen.distill.study.options import StudyOptions, check_study
from rlgen.distill.study.pictures import open_pictures
from rlgen.distill.study.store import Store
from rlgen.distill.study.training import Trainer

TINY = {
    "data": "tiny.npz",
    "student": "resnet8",
    "teacher": "resnet8",
    "epochs": 1,
    "finetune_epochs": 1,
    "batch_size": 8,
    "padding": 1,
    "seeds": 1,
    "members": 2,
    "device": "cpu",
    "precision": "fp32",
}


def write_pictures(folder: Path) -> None:
    """Writes ``tiny.npz``: the class is the brightest channel, under noise."""
    generator = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 24), ("test", 12)):
        labels = np.arange(count) % 3
        pixels = generator.integers(0, 160, (count, 8, 8, 3), dtype=np.uint8)
        pixels[np.arange(count), :, :, labels] += 90
        arrays |= {f"x_{part}": pixels, f"y_{part}": labels}
    np.savez(folder / "tiny.npz", **arrays)


def make_trainer(**options: object) -> Trainer:
    """Returns the trainer of a tiny study in the current folder."""
    checked = check_study(StudyOptions(**(TINY | options)))
    accelerator = make_accelerator("cpu", "fp32")
    return Trainer(checked, open_pictures(checked), accelerator, lambda *_: None)


def make_crossing(**options: object) -> Crossing:
    trainer = make_trainer(**options)
    return Crossing(trainer.options, trainer, Store(Path("networks")))


def cross(**options: object) -> Crossing:
    """Runs a tiny study to its end."""
    crossing = make_crossing(**options)
    for _ in crossing.work():
        pass
    return crossing


def same(crossing: Crossing, one: str, two: str) -> bool:
    """Tells whether the networks of two results are equal to the last bit."""
    a, b = crossing.store.tensors(one), crossing.store.tensors(two)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
