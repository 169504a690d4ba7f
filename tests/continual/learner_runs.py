"""Tiny runs of continual learning: two or three sets of 8x8 pictures, resnet8, three steps each."""

import shutil
from pathlib import Path

import numpy as np
from continual_toys import pictures

from rlgen.core.checkpoint import list_checkpoints

NAMES = ("ants", "bees", "cats")
TINY = [
    *("size=8", "network=resnet8", "steps_per_task=3", "batch_size=8", "lr=0.05"),
    *("device=cpu", "log_every=1", "checkpoint_every=1"),
]
STREAM = "stream=[ants.npz,bees.npz]"


def write_sets(folder: Path) -> None:
    """Writes ``ants.npz``, ``bees.npz`` and ``cats.npz``, each with three classes of its own."""
    for number, name in enumerate(NAMES):
        parts = {part: pictures(n, 3, number) for part, n in (("train", 24), ("test", 12))}
        arrays = {f"x_{part}": images.pixels for part, images in parts.items()}
        arrays |= {f"y_{part}": images.labels for part, images in parts.items()}
        classes = np.array([f"{name}{k}" for k in range(3)])
        np.savez(folder / f"{name}.npz", classes=classes, **arrays)


def cut(run: Path, step: int) -> None:
    """Makes a run one that was killed after a checkpoint."""
    (run / "card.md").unlink(missing_ok=True)
    for path in list_checkpoints(run / "checkpoints"):
        if int(path.name.removeprefix("step-")) > step:
            shutil.rmtree(path)
