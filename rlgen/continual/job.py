"""The training job of continual learning: its options, its configuration, its session."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlgen.continual.options import SCHEMAS, LearnerTrainOptions
from rlgen.core.errors import UserError, closest
from rlgen.core.ranges import check_range

if TYPE_CHECKING:  # they bring torch, which --help does not need
    from rlgen.core.job import Once, Session

_ANY = 10**12
_RANGES: dict[str, tuple[float, float]] = {  # whole numbers where both ends are
    "tasks": (2, 1000),
    "size": (4, 4096),
    "train": (1, _ANY),
    "test": (1, _ANY),
    "epochs": (1, 10**6),
    "steps_per_task": (1, 10**9),
    "batch_size": (2, 10**6),
    "lr": (0.0, 1e3),
    "momentum": (0.0, 0.9999999),
    "weight_decay": (0.0, 1e3),
    "gamma": (0.0, 1.0),
    "padding": (0, 1000),
    "seed": (0, 2**31 - 1),
    "threads": (1, 4096),
    "log_every": (1, _ANY),
    "checkpoint_every": (1, _ANY),
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
    wanted = ["learner"]
    if typed.get("learner", "hcnet") == "hcnet":
        wanted.append(f"index_{typed.get('learner.index', 'gan')}")
    short = [f"{k}={v}" for name in wanted for k, v in sections.get(name, {}).items()]
    config = compose_config("train_learner", [*short, *arguments], SCHEMAS)
    config["stream"] = stream_names(config)  # a list, so that a resumed run may add to it
    return config


def job_name(config: dict[str, Any]) -> str:
    """Returns the name of the folder of all runs of this learner, network and stream."""
    names = "-".join(_bare(name) for name in stream_names(config))
    return f"{config['learner']['name']}-{config['network']}-{names}"


def stream_names(config: dict[str, Any]) -> list[str]:
    """Returns the sets of a configuration's stream, of which one may be given without brackets."""
    stream = config["stream"]
    return [str(name) for name in stream] if isinstance(stream, list) else [str(stream)]


def _bare(source: str) -> str:
    name = source.rstrip("/").rpartition("/")[2].rpartition(":")[2]
    return name.removesuffix(".npz").removesuffix(".tar")


def check_config(config: dict[str, Any]) -> None:
    """Checks what the types of the options leave open.

    Raises:
        UserError: If a value is wrong, or the configuration is not that of continual learning.
    """
    absent = sorted({f.name for f in fields(LearnerTrainOptions)} - set(config))
    if absent or not isinstance(config["learner"], dict):
        what = " ".join(absent) or "learner"
        raise UserError(f"config.yaml is not that of a training run: {what}")
    defaults = LearnerTrainOptions()
    for key, (smallest, largest) in _RANGES.items():
        optional = getattr(defaults, key) is None
        check_range(key, config[key], smallest, largest, optional=optional)
    if config["channels"] not in (1, 3):
        raise UserError(f"channels={config['channels']}; allowed: 1 for grey, 3 for colours")
    if not all(0 < milestone < 1 for milestone in config["milestones"]):
        raise UserError("milestones are shares of a task's steps in (0, 1), such as [0.5,0.75]")
    if (config["threads"] or 1) > (os.cpu_count() or 1):
        raise UserError(f"threads={config['threads']} is more than the {os.cpu_count()} cores here")


@contextlib.contextmanager
def opened(config: dict[str, Any]) -> "Iterator[tuple[Callable[[Path], Session], Once]]":
    """Opens the stream and makes the learner; inside the block a run folder makes a session.

    Yields:
        What makes the session, and what does something in the first process for all of them.

    Raises:
        UserError: If an option, a set, a folder or a file is wrong.
    """
    from rlgen.continual.runs import make_learner
    from rlgen.continual.session import StreamSession
    from rlgen.continual.streams import open_stream
    from rlgen.continual.training import StreamTrainer
    from rlgen.core.loop import make_accelerator

    accelerator = make_accelerator(config["device"], "fp32")
    if accelerator.num_processes > 1:
        raise UserError("tasks are learned in one process; start the run without a launcher")
    names = ("size", "channels", "train", "test", "seed", "tasks")
    stream = open_stream(stream_names(config), **{name: config[name] for name in names})
    share_capacity(config, len(stream))
    learner = make_learner(config, accelerator.device)
    trainer = StreamTrainer(config, learner, stream)
    yield (
        lambda folder: StreamSession(folder, config, trainer, accelerator),
        lambda work: work(),
    )


def share_capacity(config: dict[str, Any], tasks: int) -> None:
    """Lets a network be shared by the tasks of the stream, where nothing else was typed.

    Args:
        config: Is changed: the share stays that of the run if its stream grows later.
        tasks: Of the stream.

    Raises:
        UserError: If the stream has more tasks than shares and the network may not grow.
    """
    options = config["learner"]
    if "tasks" not in options or options.get("prune") is not None:
        return  # nothing is shared out, or as long as something is left
    fractions = options.get("fractions")
    if fractions is not None and options["tasks"] is not None:
        raise UserError(
            f"learner.tasks={options['tasks']} and learner.fractions={fractions} both share the "
            "network out; type one of them"
        )
    if fractions is None:
        options["tasks"] = tasks if options["tasks"] is None else options["tasks"]
    shares = options["tasks"] if fractions is None else len(fractions)
    if shares < tasks and not options.get("grow"):
        grow = "type learner.grow=true, or " if "grow" in options else ""
        raise UserError(
            f"the stream has {tasks} tasks and the network is shared out to {shares}; "
            f"{grow}begin a new run with learner.tasks={tasks}"
        )
