"""Tiny runs of super-resolution that several test files make: drawn pictures of 32x32."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from distill_runs import load_group

from rlgen.core.compose import CONF, load_yaml, update
from rlgen.core.loop import make_accelerator
from rlgen.distill.chain import plan_stages
from rlgen.distill.exported_pictures import Enlargement, save_super_resolver
from rlgen.distill.options import FOR_PICTURES, OPTIONS, DistillTrainOptions
from rlgen.distill.tasks import SuperResolutionTask
from rlgen.distill.training import DistillTrainer, TrainerMaker
from rlgen.nets.super_resolution import make_super_resolver

PICTURES = [
    "data=synthetic:photos",
    "test=synthetic:stripes",
    "size=32",
    "student=edsr_tiny",
    "batch_size=2",
    "patch_size=8",
    "epoch_steps=2",
    "device=cpu",
    "lr=1e-3",
]


def picture_config(*arguments: str) -> dict[str, Any]:
    """Returns what the command composes from these arguments, without Hydra's tenth of a second."""
    named = dict(argument.split("=", 1) for argument in arguments)
    method = named.get("distiller", "none")
    values = asdict(DistillTrainOptions())
    values |= load_yaml(CONF / "task" / "super_resolution.yaml")
    values["distiller"] = asdict(OPTIONS[method](**load_group(method)))
    usual = [f"distiller.{key}={value}" for key, value in FOR_PICTURES.get(method, {}).items()]
    others = [argument for argument in arguments if not argument.startswith("distiller=")]
    short = [argument for argument in PICTURES if argument.split("=")[0] not in named]
    # A list may stand for a name.
    return update(values | {"data": None, "test": None}, [*usual, *short, *others])


def picture_trainer(*arguments: str, prepared: bool = True) -> DistillTrainer:
    """Makes the trainer of the student, whose teachers are files."""
    values = picture_config(*arguments)
    stages = plan_stages(values)
    accelerator = make_accelerator("cpu", "fp32")
    make = TrainerMaker(values, SuperResolutionTask.open(values), accelerator)
    made = make(stages[-1], None)
    if prepared:
        made.prepare()
    return made


def write_upscaler(folder: Path, name: str = "srresnet_small", scale: int = 2) -> None:
    """Exports an untrained network as a teacher."""
    torch.manual_seed(7)
    save_super_resolver(folder, make_super_resolver(name, scale), Enlargement(name, scale, 3))
