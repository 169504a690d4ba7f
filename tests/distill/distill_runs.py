"""Tiny runs of distillation that several test files make: pictures of 8x8, resnet8, few steps."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rlgen.core.compose import CONF, load_yaml, update
from rlgen.core.loop import make_accelerator
from rlgen.data.classification import open_classification
from rlgen.distill.chain import plan_stages
from rlgen.distill.exported import Description, save_classifier
from rlgen.distill.options import OPTIONS, DistillTrainOptions
from rlgen.distill.training import DistillTrainer, TrainerMaker
from rlgen.nets.classifiers import make_classifier

# 24 pictures in batches of 8: three steps an epoch.
TINY = ["data=tiny.npz", "student=resnet8", "batch_size=8", "device=cpu", "precision=fp32"]
CLASSES = ("ant", "bee", "cat")


def write_pictures(folder: Path) -> None:
    """Writes ``tiny.npz``: the class is the brightest channel, under noise."""
    generator = np.random.default_rng(0)
    arrays: dict[str, Any] = {"classes": np.array(CLASSES)}
    for part, count in (("train", 24), ("test", 12)):
        labels = np.arange(count) % 3
        pixels = generator.integers(0, 160, (count, 8, 8, 3), dtype=np.uint8)
        pixels[np.arange(count), :, :, labels] += 90
        arrays |= {f"x_{part}": pixels, f"y_{part}": labels}
    np.savez(folder / "tiny.npz", **arrays)


def write_teacher(
    folder: Path, name: str = "resnet8", seed: int = 7, mean: float = 0.4, classes: int = 3
) -> None:
    """Exports an untrained network as a teacher."""
    torch.manual_seed(seed)
    network = make_classifier(name, classes)
    names = tuple(str(number) for number in range(classes))
    statistics = ((mean,) * 3, (0.25,) * 3)
    save_classifier(folder, network, Description(name, names, (3, 8, 8), *statistics))


def config(*arguments: str, tiny: bool = True) -> dict[str, Any]:
    """Returns what the command composes from these arguments, without Hydra's tenth of a second."""
    named = dict(argument.split("=", 1) for argument in arguments)
    method = named.get("distiller", "kd")
    values = asdict(DistillTrainOptions())
    values["distiller"] = asdict(OPTIONS[method](**load_group(method)))
    if "peers" in named:
        values["peers"] = None  # a list may stand for a number
    others = [argument for argument in arguments if not argument.startswith("distiller=")]
    return update(values, [*(TINY if tiny else []), *others])


def load_group(method: str) -> dict[str, Any]:
    values = load_yaml(CONF / "distiller" / f"{method}.yaml")
    return {key: value for key, value in values.items() if key != "defaults"}


def trainer(*arguments: str, prepared: bool = True) -> DistillTrainer:
    """Makes the trainer of the student, whose teachers are files."""
    values = config(*arguments)
    make = TrainerMaker(
        values, open_classification(values["data"]), make_accelerator("cpu", "fp32")
    )
    made = make(plan_stages(values)[-1], None)
    if prepared:
        made.prepare()
    return made
