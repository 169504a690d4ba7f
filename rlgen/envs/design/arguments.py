"""Turns the environment's arguments into what it works with; mistakes are told in one line."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rlgen.core.errors import UserError
from rlgen.envs.design.shape.history import Design
from rlgen.envs.design.shape.masks import check_allowed
from rlgen.envs.design.shape.space import DesignSpace
from rlgen.envs.design.task.presets import make_task
from rlgen.envs.design.task.tasks import Task


def check_number(name: str, value: Any, low: float, high: float, whole: bool = False) -> None:
    """Raises a UserError unless a value is a number (a whole one) of low to high."""
    number = isinstance(value, int | float | np.integer | np.floating)
    if not number or isinstance(value, bool) or not low <= value <= high or (whole and value % 1):
        kind = "a whole number" if whole else "a number"
        raise UserError(f"{name}={value!r} is not allowed; give {kind} of {low:g} to {high:g}")


def as_task(task: Any, preset: str) -> Task:
    """Returns a task from its name and preset, from named values, or as it is."""
    if isinstance(task, Task):
        return task
    if isinstance(task, str):
        return make_task(task, preset)
    if isinstance(task, Mapping):
        return Task.from_dict(task)
    raise UserError(f"task={task!r} is no task; type a name such as 'Vessel'")


def as_space(space: Any) -> DesignSpace:
    """Returns a design space from named values, the default one for None, or as it is."""
    if space is None or isinstance(space, DesignSpace):
        return space or DesignSpace()
    if isinstance(space, Mapping):
        return DesignSpace.from_dict(space)
    raise UserError(
        f"space={space!r} is no design space; type a table such as {{size: [160, 160, 160]}}"
    )


def as_seed(seed: Any) -> Design | None:
    """Returns a seed design from its file, or as it is."""
    return Design.load(seed) if isinstance(seed, str | Path) else seed


def as_allowed(names: Iterable[str] | None, seeded: bool) -> frozenset[str] | None:
    """Returns the names of allowed operations, or None for all, after checking them."""
    if isinstance(names, str):
        raise UserError(f"allowed={names!r} is one word; type a list, such as [cylinder, hollow]")
    found = None if names is None else frozenset(names)
    check_allowed(found, seeded=seeded)
    return found
