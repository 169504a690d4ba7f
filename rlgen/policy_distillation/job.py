"""The training job of ``distiller=policy``: its options, its configuration, its session."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlgen.core.errors import UserError, closest
from rlgen.core.ranges import check_range
from rlgen.policy_distillation.options import (
    ALGORITHMS,
    FROM_TEACHER,
    OPTION_TARGETS,
    SCHEMAS,
    TEACHERS,
    PolicyTrainOptions,
)

if TYPE_CHECKING:  # they bring torch, which --help does not need
    from rlgen.core.job import Once, Session

_ANY = 10**12
_RANGES: dict[str, tuple[float, float]] = {  # whole numbers where both ends are
    "student_size": (1e-6, 1e6),
    "n_envs": (1, 4096),
    "total_steps": (1, _ANY),
    "batch_size": (1, _ANY),
    "lr": (0.0, 1e3),
    "collect_every": (0, _ANY),
    "collect_states": (1, _ANY),
    "buffer_size": (1, _ANY),
    "seed": (0, 2**63 - 1),
    "threads": (1, 4096),
    "log_every": (1, _ANY),
    "checkpoint_every": (1, _ANY),
    "eval_every": (0, _ANY),
    "eval_episodes": (1, _ANY),
    "eval_max_steps": (1, _ANY),
}
_CHOICES = {
    "which": ("best", "last"),
    "algorithm": ALGORITHMS,
    "lr_schedule": ("linear", "constant"),
}
# Agents that no plain policy can stand for.
_REFUSED = {
    "maskable_ppo": "forbids actions by masks, which a plain policy does not have",
    "disentangled_random": "acts at random and has learnt no policy",
}
SHORT_ENV = "CartPole-v1"


def compose_train_config(arguments: Sequence[str]) -> dict[str, Any]:
    """Composes the configuration of a new run; environment and settings come from the teacher's.

    Raises:
        UserError: If an argument is wrong, or the teacher is no run of an agent.
    """
    from rlgen.core.compose import CONF, compose_config, given, load_yaml, options

    typed = given(arguments)
    for key in ("agent", "model"):
        if key in typed:
            raise UserError(
                f"distiller=policy and {key} are given; leave {key} out: the student's class is "
                "algorithm=ppo or a2c"
            )
    if any(key.split(".")[0] in FROM_TEACHER for key in typed):
        raise UserError("env_kwargs, backend and agent.* are the teacher's; leave them out")
    preset = typed.get("preset", "full")
    if preset not in options("presets"):
        raise UserError(f"unknown preset {preset!r}; {closest(preset, options('presets'))}")
    section = load_yaml(CONF / "presets" / f"{preset}.yaml").get("policy", {})
    short = [f"{key}={value}" for key, value in section.items()]
    config = compose_config("train_policy", [*short, *arguments], SCHEMAS)
    folder, teacher = find_teacher(config)
    if folder is not None:
        config["teacher"] = str(folder)
    config |= {key: teacher[key] for key in ("env", "env_kwargs", "backend")}
    if config["eval_max_steps"] is None:
        config["eval_max_steps"] = teacher["eval_max_steps"]
    settings = {key: teacher["agent"][key] for key in ("normalize", "gamma")}
    config["agent"] = {"name": f"distilled_{config['algorithm']}", "widths": None, **settings}
    return config


def find_teacher(config: dict[str, Any]) -> tuple[Path | None, dict[str, Any]]:
    """Returns the teacher's run folder and configuration; no folder where it is trained first.

    Raises:
        UserError: If there is no such run, or it is not that of an agent, or on another
            environment.
    """
    from rlgen.core.run import find_run, read_config
    from rlgen.envs.names import resolve_env

    source = config["teacher"]
    if source is None:
        return None, _short_teacher(config)
    folder = find_run(source, Path(config["run_root"]))
    teacher = read_config(folder)
    if not isinstance(teacher.get("agent"), dict):
        kinds = {"model": "an image model", "distiller": "a classifier"}
        kind = next((text for key, text in kinds.items() if key in teacher), "something else")
        raise UserError(f"teacher={source} is a run of {kind}; name the run of an agent")
    name = teacher["agent"].get("name")
    if name in _REFUSED:
        raise UserError(f"teacher={source}: {name} {_REFUSED[name]}; name another agent's run")
    _check_agent(folder, teacher)
    asked = config["env"]
    if asked is not None and resolve_env(asked).id != resolve_env(teacher["env"]).id:
        raise UserError(
            f"env={asked}, but the teacher {folder} plays {teacher['env']}; leave env out"
        )
    return folder, teacher


def _check_agent(folder: Path, teacher: dict[str, Any]) -> None:
    from rlgen.agents.job import TrainOptions

    wanted = PolicyTrainOptions if "distiller" in teacher else TrainOptions
    absent = sorted({f.name for f in fields(wanted)} - set(teacher))
    if absent:
        raise UserError(f"{folder}/config.yaml is not that of a training run: {' '.join(absent)}")


def _short_teacher(config: dict[str, Any]) -> dict[str, Any]:
    from rlgen.agents.job import compose_train_config as compose_agent

    if config["preset"] != "smoke":
        raise UserError(
            "distiller=policy needs a teacher; type teacher=RUN, the run of an agent, or "
            "preset=smoke, which trains a short one"
        )
    env = config["env"] or SHORT_ENV
    arguments = ["agent=g2n", f"env={env}", "preset=smoke", "video=false", "eval_every=0"]
    return compose_agent([*arguments, f"seed={config['seed']}", f"device={config['device']}"])


def job_name(config: dict[str, Any]) -> str:
    """Returns the name of the folder that holds runs on this environment."""
    from rlgen.envs.names import resolve_env

    return f"policy-{resolve_env(config['env']).short}"


def check_config(config: dict[str, Any]) -> None:
    """Checks what the types of the options leave open.

    Raises:
        UserError: If a value is wrong, or the configuration is not that of a policy distillation.
    """
    absent = sorted({f.name for f in fields(PolicyTrainOptions)} - set(config))
    if absent or not isinstance(config["distiller"], dict) or not isinstance(config["agent"], dict):
        what = " ".join(absent) or "distiller agent"
        raise UserError(f"config.yaml is not that of a run of distiller=policy: {what}")
    optional = {"student_size", "buffer_size", "threads", "eval_max_steps"}
    for key, (smallest, largest) in _RANGES.items():
        check_range(key, config[key], smallest, largest, optional=key in optional)
    options = config["distiller"]
    check_range("distiller.temperature", options["temperature"], 1e-3, 1e3)
    check_range("distiller.feed_weight", options["feed_weight"], 0.0, 1e9)
    check_range("distiller.student_states", options["student_states"], 0.0, 1.0)
    named = {"distiller.teachers": TEACHERS, "distiller.option_target": OPTION_TARGETS, **_CHOICES}
    for key, allowed in named.items():
        section, _, name = key.rpartition(".")
        value = config[section][name] if section else config[name]
        if value not in allowed:
            raise UserError(f"{key}={value} is unknown; {closest(str(value), allowed)}")
    widths = config["student"]
    if widths is not None and (not widths or min(widths) < 1):
        raise UserError("student holds widths of hidden layers, 1 or more each, such as [16,16]")
    if (config["threads"] or 1) > (os.cpu_count() or 1):
        raise UserError(f"threads={config['threads']} is more than the {os.cpu_count()} cores here")


@contextlib.contextmanager
def opened(config: dict[str, Any]) -> "Iterator[tuple[Callable[[Path], Session], Once]]":
    """Builds teacher and student; inside the block a run folder makes a session of them.

    The widths of the student's layers are put into ``config["agent"]``, if they are not there.

    Yields:
        What makes the session, and what does something once for all processes of the run: here
        there is one.

    Raises:
        UserError: If they do not fit each other.
    """
    from rlgen.policy_distillation.pair import Pair

    folder, teacher = find_teacher(config)
    with contextlib.closing(Pair(config, folder, teacher)) as pair:
        yield pair.session, lambda work: work()
