"""The training job of a distillation: its options, its configuration, its session."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlgen.core.errors import UserError, closest
from rlgen.core.ranges import check_range
from rlgen.distill.options import (
    FOR_PICTURES,
    ONLINE,
    OPTIMIZERS,
    PLAIN,
    SCHEMAS,
    DistillTrainOptions,
)

if TYPE_CHECKING:  # they bring torch, which --help does not need
    from rlgen.core.job import Once, Session

_ANY = 10**12
_RANGES: dict[str, tuple[float, float]] = {  # whole numbers where both ends are
    "scale": (2, 4),
    "patch_size": (8, 4096),
    "alpha": (0.0, 1.0),
    "epoch_steps": (1, _ANY),
    "n_teachers": (1, 100),
    "stages": (1, 100),
    "epochs": (1, _ANY),
    "teacher_epochs": (1, _ANY),
    "total_steps": (1, _ANY),
    "batch_size": (2, _ANY),
    "lr": (0.0, 1e3),
    "momentum": (0.0, 0.9999999),
    "weight_decay": (0.0, 1e3),
    "gamma": (0.0, 1.0),
    "padding": (0, 4096),
    "seed": (0, 2**63 - 1),
    "threads": (1, 4096),
    "log_every": (1, _ANY),
    "checkpoint_every": (1, _ANY),
    "eval_every": (0, _ANY),
}


def compose_train_config(arguments: Sequence[str]) -> dict[str, Any]:
    """Composes the configuration of a new run from the groups and the user's arguments.

    Raises:
        UserError: If an argument is wrong.
    """
    from rlgen.core.compose import CONF, compose_config, given, load_yaml, options

    typed = given(arguments)
    preset = typed.get("preset", "full")
    if preset not in options("presets"):
        raise UserError(f"unknown preset {preset!r}; {closest(preset, options('presets'))}")
    sections = load_yaml(CONF / "presets" / f"{preset}.yaml")
    method, task = typed.get("distiller", "kd"), typed.get("task", "classification")
    pictures = task == "super_resolution"
    taught = method not in (PLAIN, *ONLINE)
    wanted = ["super_resolution"] if pictures else ["distiller"]
    if taught:
        wanted.append("super_resolution_taught" if pictures else "taught")
    short = [f"{k}={v}" for name in wanted for k, v in sections.get(name, {}).items()]
    usual = FOR_PICTURES.get(method, {}) if pictures else {}
    short += [f"distiller.{key}={value}" for key, value in usual.items()]
    return compose_config("train_distiller", [*short, *arguments], SCHEMAS)


def job_name(config: dict[str, Any]) -> str:
    """Returns the name of the folder of all runs of this method, student and data."""
    given = config["data"] if isinstance(config["data"], list) else [config["data"]]
    data = "-".join(_bare(str(source)) for source in given)
    scale = f"x{config['scale']}-" if config["task"] == "super_resolution" else ""
    return f"{config['distiller']['name']}-{config['student']}-{scale}{data}"


def _bare(source: str) -> str:
    name = source.rstrip("/").rpartition("/")[2].rpartition(":")[2]
    return name.removesuffix(".npz").removesuffix(".tar")


def check_config(config: dict[str, Any]) -> None:
    """Checks what the types of the options leave open.

    Raises:
        UserError: If a value is wrong, or the configuration is not that of a distillation.
    """
    absent = sorted({f.name for f in fields(DistillTrainOptions)} - set(config))
    if absent or not isinstance(config["distiller"], dict):
        what = " ".join(absent) or "distiller"
        raise UserError(f"config.yaml is not that of a training run: {what}")
    defaults = DistillTrainOptions()
    for key, (smallest, largest) in _RANGES.items():
        optional = getattr(defaults, key) is None
        check_range(key, config[key], smallest, largest, optional=optional)
    check_range("distiller.weight", config["distiller"]["weight"], 0.0, 1e9, optional=True)
    check_range("distiller.task_weight", config["distiller"]["task_weight"], 0.0, 1e9)
    if config["optimizer"] not in OPTIMIZERS:
        raise UserError(
            f"optimizer={config['optimizer']} is unknown; allowed: {', '.join(OPTIMIZERS)}"
        )
    if config["nesterov"] and not config["momentum"]:
        raise UserError("nesterov=true needs a momentum; type nesterov=false beside momentum=0")
    if any(milestone <= 0 for milestone in config["milestones"]):
        raise UserError("milestones are shares of the run or epochs, above 0, such as [0.5,0.75]")
    if (config["threads"] or 1) > (os.cpu_count() or 1):
        raise UserError(f"threads={config['threads']} is more than the {os.cpu_count()} cores here")


@contextlib.contextmanager
def opened(config: dict[str, Any]) -> "Iterator[tuple[Callable[[Path], Session], Once]]":
    """Opens the data and checks all networks; inside the block a run folder makes a session.

    Yields:
        What makes the session, and what does something in the first process for all of them.

    Raises:
        UserError: If an option, a folder or a file is wrong.
    """
    from rlgen.core.loop import for_all, make_accelerator
    from rlgen.distill.chain import plan_stages
    from rlgen.distill.session import ChainSession
    from rlgen.distill.tasks import TASKS
    from rlgen.distill.training import TrainerMaker

    stages = plan_stages(config)
    accelerator = make_accelerator(config["device"], config["precision"])
    make = TrainerMaker(config, TASKS[config["task"]].open(config), accelerator)
    # A mistake is told now, and not once the teachers are trained.
    total_steps = make(stages[-1], None).total_steps
    yield (
        lambda folder: ChainSession(folder, config, stages, make, accelerator, total_steps),
        lambda work: for_all(accelerator, work),
    )
