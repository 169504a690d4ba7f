"""Design tasks: weighted targets under given conditions, and the score of a design.

Tasks, targets and score are a proposal of this project, inspired by arXiv 1903.05271 (its own
tasks are unknown). The score of a design is

    gate * (0.25 * arithmetic mean + 0.75 * geometric mean)

of the weighted satisfactions of its targets. The gate is 0 for an empty solid, 0.1 for one that
does not stand upright by itself or breaks a hard limit, else 1. The geometric part matters: under
a plain mean a random agent gets most of the points for what it never worked on.

Presets: ``normal`` is solved by the scripted experts, ``easy`` is wider, ``hard`` leaves the
same experts about a tenth below 1, and ``open`` is ``normal`` with a score that goes on growing:

    score * (1 + 0.1 * weighted mean of log-improvements beyond the targets)

so a half-finished design cannot live off one cheap improvement. Improvements end at ten times
better than wanted; open scores thus lie in 0..1.2303, all others in 0..1.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

from rlgen.core.errors import UserError
from rlgen.envs.design.measure.conditions import INDEX, Conditions, in_order, known_keys
from rlgen.envs.design.mesh import Floats
from rlgen.envs.design.task.targets import BEST_RATIO, Target

FALLEN_GATE = 0.1
ARITHMETIC_SHARE = 0.25
OPEN_SHARE = 0.1
OPEN_MAXIMUM = 1.0 + OPEN_SHARE * math.log(BEST_RATIO)
PRESETS = ("easy", "normal", "hard", "open")


@dataclass(frozen=True)
class Task:
    """What a design is for; wrong values are a UserError.

    Attributes:
        name: Shown to people.
        targets: At least one wish.
        conditions: How the metrics are measured.
        limits: Hard limits: a design that does not fully meet one passes only the gate of 0.1.
        open: Whether the score goes on growing beyond the targets.
        description: One line.
    """

    name: str
    targets: tuple[Target, ...]
    conditions: Conditions = field(default_factory=Conditions)
    limits: tuple[Target, ...] = ()
    open: bool = False
    description: str = ""

    def __post_init__(self) -> None:
        for name in ("targets", "limits"):
            given = getattr(self, name)
            listed = isinstance(given, list | tuple)
            if not listed or not all(isinstance(item, Target) for item in given):
                raise UserError(f"{name} of task {self.name!r} must be a list of Target: {given!r}")
            object.__setattr__(self, name, tuple(given))
        if not self.targets:
            raise UserError(f"task {self.name!r} has no targets; give at least one")
        if not isinstance(self.conditions, Conditions):
            raise UserError(f"conditions must be Conditions(...), not {self.conditions!r}")
        if not isinstance(self.open, bool):
            raise UserError(f"open={self.open!r} is not allowed; give true or false")

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that the score needs, in the fixed order."""
        return in_order(["upright", *(t.metric for t in (*self.targets, *self.limits))])

    @property
    def best(self) -> float:
        """The highest score: 1, or 1.2303 where the task is open."""
        return OPEN_MAXIMUM if self.open else 1.0

    def to_dict(self) -> dict[str, Any]:
        """Returns the task in types that JSON and TOML know, without what is default."""
        data: dict[str, Any] = {"name": self.name, "targets": [t.to_dict() for t in self.targets]}
        data["conditions"] = self.conditions.to_dict()
        data["limits"] = [limit.to_dict() for limit in self.limits]
        data["open"] = self.open
        data["description"] = self.description
        return {key: value for key, value in data.items() if value or key in ("name", "targets")}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Returns a task from named values; missing or unknown names: a UserError."""
        given = known_keys(data, cls, "a task", ("name", "targets"))
        for key in ("targets", "limits"):
            if key in given:
                if not isinstance(given[key], list | tuple):
                    raise UserError(f"{key} must be a list of targets, not {given[key]!r}")
                given[key] = tuple(Target.from_dict(item) for item in given[key])
        if "conditions" in given:
            given["conditions"] = Conditions.from_dict(given["conditions"])
        return cls(**given)


def satisfactions(metrics: Floats, task: Task) -> tuple[float, ...]:
    """Returns how well each target is met, 0..1 each, in the order of ``task.targets``.

    Args:
        metrics: float64 (16,), see :func:`rlgen.envs.design.measure.metrics.evaluate`.
        task: The task.
    """
    return tuple(t.satisfaction(float(metrics[INDEX[t.metric]])) for t in task.targets)


def gate(metrics: Floats, task: Task, upright: bool, empty: bool) -> float:
    """Returns the factor before a score: 0 empty, 0.1 fallen or a limit is broken, else 1."""
    if empty:
        return 0.0
    if not upright:
        return FALLEN_GATE
    kept = all(t.satisfaction(float(metrics[INDEX[t.metric]])) == 1.0 for t in task.limits)
    return 1.0 if kept else FALLEN_GATE


def score(
    metrics: Floats, task: Task, upright: bool | None = None, empty: bool | None = None
) -> float:
    """Returns the score of a design, 0..``task.best``, by the formula of this module.

    Args:
        metrics: float64 (16,), with at least those of ``task.metrics``.
        task: The task.
        upright: Whether the design stands by itself. None: as the metric ``upright`` says.
        empty: Whether there is no solid. None: there is none where all metrics are 0.
    """
    upright = bool(metrics[INDEX["upright"]] > 0.5) if upright is None else upright
    empty = not metrics.any() if empty is None else empty
    factor = gate(metrics, task, upright, empty)
    if factor == 0.0:
        return 0.0
    met = satisfactions(metrics, task)
    weights = [target.weight for target in task.targets]
    total = sum(weights)
    arithmetic = sum(w * s for w, s in zip(weights, met, strict=True)) / total
    geometric = 0.0
    if min(met) > 0.0:
        logs = sum(w * math.log(s) for w, s in zip(weights, met, strict=True))
        geometric = math.exp(logs / total)
    result = factor * (ARITHMETIC_SHARE * arithmetic + (1.0 - ARITHMETIC_SHARE) * geometric)
    if task.open:
        better = sum(
            t.weight * t.improvement(float(metrics[INDEX[t.metric]])) for t in task.targets
        )
        result *= 1.0 + OPEN_SHARE * better / total
    return result
