"""Which networks a run trains one after another: teachers first, then students.

Specs kd_baselines and feed. Most methods have one student with fixed teachers. sFEED (spec feed,
section b, seen) is a chain: a teacher trained from the labels, then students, each of the same kind
and a fresh start, each taught by the one before. A run with ``stages=K`` is that for every method
with a teacher. Each training but the last has a folder of its own below the run's.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rlgen.core.cli import tell
from rlgen.core.errors import UserError, closest
from rlgen.distill.exported import find_exported
from rlgen.distill.options import ONLINE, PLAIN
from rlgen.distill.tasks import TASKS, Task

_TEACHERS, _STUDENTS = 1, 2  # streams of seeds beside the run's own


@dataclass(frozen=True)
class Teacher:
    """A fixed network of a stage.

    Attributes:
        name: Of the network, or the path of a trained one.
        folder: Where the run itself leaves it, below its folder; None for a path.
    """

    name: str
    folder: str | None = None


@dataclass(frozen=True)
class Stage:
    """One training of a run.

    Attributes:
        folder: Below the run's; "" for the last stage.
        title: For messages and cards.
        networks: Names of those that are trained together: one, or all peers.
        teachers: Fixed networks; none where the labels alone teach.
        seed: Of its weights and batches.
        distilled: Whether the run's method is used.
    """

    folder: str
    title: str
    networks: tuple[str, ...]
    teachers: tuple[Teacher, ...]
    seed: int
    distilled: bool


def plan_stages(config: dict[str, Any]) -> list[Stage]:
    """Returns the trainings of a run in their order.

    Args:
        config: As the train command composes it.

    Raises:
        UserError: If a network is unknown, or networks and method do not fit.
    """
    method, student = config["distiller"]["name"], config["student"]
    task = TASKS[config["task"]]
    task.check(config)
    if student not in task.networks:
        raise UserError(f"unknown student {student!r}; {closest(student, task.networks)}")
    if method == PLAIN or method in ONLINE:
        _tell_unused(config, method)
        networks = (student,) if method == PLAIN else _peers(config, task)
        distilled = method != PLAIN
        return [Stage("", _title(networks), networks, (), config["seed"], distilled)]
    teachers = _teachers(config, method, task)
    if config["stages"] > 1 and len(teachers) > 1:
        raise UserError(
            f"stages={config['stages']} is a chain with one teacher each, and there are "
            f"{len(teachers)}; type n_teachers=1 or stages=1"
        )
    if config["stages"] > 1 and config["start"] is not None:
        raise UserError("students of a chain start afresh; leave out start= or stages=")
    stages = [
        Stage(t.folder, f"{t.folder}: {t.name}", (t.name,), (), _seed(config, _TEACHERS, k), False)
        for k, t in enumerate(teachers)
        if t.folder is not None
    ]
    for number in range(1, config["stages"] + 1):
        last = number == config["stages"]
        folder = "" if last else f"stages/{number}"
        # The first stage is, to the last bit, that of a run without a chain.
        seed = config["seed"] if number == 1 else _seed(config, _STUDENTS, number)
        title = student if last else f"stage {number}: {student}"
        stages.append(Stage(folder, title, (student,), tuple(teachers), seed, True))
        teachers = [Teacher(student, folder)]
    return stages


def _title(networks: tuple[str, ...]) -> str:
    return " and ".join(networks)


def _tell_unused(config: dict[str, Any], method: str) -> None:
    if config["teacher"] is not None:
        tell(f"note: distiller={method} has no teacher; teacher={config['teacher']} is not used")
    if config["stages"] > 1:
        raise UserError(f"distiller={method} has no teacher to pass on; leave out stages=")


def _peers(config: dict[str, Any], task: type[Task]) -> tuple[str, ...]:
    peers, student = config["peers"], config["student"]
    if isinstance(peers, list):
        names = tuple(map(str, peers))
    elif isinstance(peers, int) and not isinstance(peers, bool):
        names = (student,) * peers
    else:
        names = ()
    if len(names) < 2:
        raise UserError(f"peers={peers}: a number of 2 or more, or a list [resnet20,resnet32]")
    for name in names:
        if name not in task.networks:
            raise UserError(f"unknown peer {name!r}; {closest(name, task.networks)}")
    if config["branch_at"] is not None and len(set(names)) > 1:
        raise UserError(f"branch_at={config['branch_at']}: peers that share layers are of one kind")
    return names


def _teachers(config: dict[str, Any], method: str, task: type[Task]) -> list[Teacher]:
    given, count = config["teacher"], config["n_teachers"]
    if given is None or given == []:
        raise UserError(
            f"distiller={method} needs a teacher; type teacher={task.examples[0]} to train one "
            "first, or teacher=RUN to take a trained one"
        )
    names = [str(name) for name in given] if isinstance(given, list) else [str(given)]
    known = [name in task.networks for name in names]
    for name in (n for n, is_known in zip(names, known, strict=True) if not is_known):
        if not Path(name).exists():
            raise UserError(
                f"unknown teacher {name!r}: no run or file, and no {task.noun}; "
                f"{closest(name, task.networks)}"
            )
        find_exported(name)
    if len(names) == 1 and known[0]:
        names, known = names * count, known * count
    elif count not in (1, len(names)):
        raise UserError(
            f"n_teachers={count} and {len(names)} given; list all of them: teacher=[..]"
        )
    return [
        Teacher(name, f"teachers/{k}" if is_known else None)
        for k, (name, is_known) in enumerate(zip(names, known, strict=True))
    ]


def _seed(config: dict[str, Any], stream: int, number: int) -> int:
    """Returns the seed of one training, apart from all others' of the run."""
    sequence = np.random.SeedSequence([config["seed"], stream, number])
    return int(sequence.generate_state(1, np.uint32)[0])
