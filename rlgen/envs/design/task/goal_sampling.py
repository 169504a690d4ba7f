"""Goals of the MultiGoal task: sampled, of several metrics at once, and always attainable.

A goal is made backwards. One of the scripted experts is drawn, and dimensions for it; the design
that it builds is measured, and the targets are set a little short of what it achieved. The design
is thus a witness that the goal can be reached, and comes with the goal. Dimensions lie on a grid
and measurements are kept, so that goals soon cost microseconds. This is the project's own
proposal; how the paper that inspired the environment (arXiv 1903.05271) set several goals at once
could not be read.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rlgen.core.errors import UserError
from rlgen.envs.design.measure.conditions import METRIC_INFO, Conditions, checked_choice
from rlgen.envs.design.measure.metrics import evaluate
from rlgen.envs.design.shape.operations import Action
from rlgen.envs.design.shape.space import DesignSpace
from rlgen.envs.design.task.experts import DEFAULT_SPACE, EXPERTS, expert
from rlgen.envs.design.task.goals import desired_goal, task_of
from rlgen.envs.design.task.presets import MULTI_GOAL
from rlgen.envs.design.task.targets import Target
from rlgen.envs.design.task.tasks import Task

GOAL_CONDITIONS = Conditions(tilt=20.0, payload=500.0, payload_at="top", eccentricity=5.0)
GRID = 5
"""Values that each dimension of an expert may take, from its lowest to its highest."""
_TRIES = 100
_MARGIN = 0.01  # in scales: leaves room above targets of 0, such as no overhang


@dataclass(frozen=True)
class _Level:
    """How many metrics are active (ends included), and by which share targets fall short."""

    active: tuple[int, int]
    slack: tuple[float, float]


LEVELS = {
    "easy": _Level((2, 3), (0.2, 0.5)),
    "normal": _Level((2, 5), (0.03, 0.2)),
    "hard": _Level((4, 5), (0.01, 0.05)),
}
# Per expert: the metrics that a goal always holds, then those that it may hold.
_CHOICES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "Mast": (("height",), ("tip", "volume", "footprint")),
    "Vessel": (("capacity",), ("spill", "volume", "wall", "tip", "footprint")),
    "Stool": (("load",), ("height", "volume", "pad", "loaded_tip", "footprint")),
    "NestCup": (("capacity", "nest"), ("volume", "wall", "tip", "spill")),
    "Reach": (("reach",), ("base", "tip", "volume", "support")),
    "PrintCup": (("capacity",), ("overhang", "support", "wall", "tip", "volume", "height")),
}
_METRICS = tuple(dict.fromkeys(name for sets in _CHOICES.values() for one in sets for name in one))


@dataclass(frozen=True, eq=False)
class SampledGoal:
    """A goal and a design that reaches it.

    Attributes:
        desired: float32 (32,), see :mod:`rlgen.envs.design.task.goals`.
        task: The same as a task.
        expert: Which expert built the witness.
        dimensions: What it was given, mm.
        actions: What it did.
    """

    desired: NDArray[np.float32]
    task: Task
    expert: str
    dimensions: dict[str, float]
    actions: tuple[Action, ...]


@dataclass(frozen=True, eq=False)
class _Witness:
    """What a design is good for: the lower and the higher value of the two grids per metric."""

    actions: tuple[Action, ...]
    low: dict[str, float]
    high: dict[str, float]


def sample_goal(
    rng: np.random.Generator,
    preset: str = "normal",
    space: DesignSpace = DEFAULT_SPACE,
    conditions: Conditions = GOAL_CONDITIONS,
) -> SampledGoal:
    """Draws an attainable goal.

    Args:
        rng: Where the randomness comes from; the same state gives the same goal.
        preset: ``"easy"`` (2 or 3 metrics, 20 to 50 percent below the witness), ``"normal"`` (2
            to 5, 3 to 20 percent) or ``"hard"`` (4 or 5, 1 to 5 percent).
        space: Where designs may be.
        conditions: How metrics are measured.

    Raises:
        UserError: The preset is unknown, or no expert's design fits into the space.
    """
    level = LEVELS[checked_choice("preset", preset, tuple(LEVELS))]
    for _ in range(_TRIES):
        name = list(EXPERTS)[rng.integers(len(EXPERTS))]
        ticks = tuple(rng.integers(GRID, size=len(EXPERTS[name].dimensions)).tolist())
        witness = _witness(name, ticks, space, conditions)
        targets = [] if witness is None else _targets(rng, name, witness, level)
        if witness is not None and len(targets) >= level.active[0]:
            desired = desired_goal(Task(MULTI_GOAL, tuple(targets), conditions))
            task = task_of(desired, conditions, MULTI_GOAL)
            return SampledGoal(desired, task, name, _dimensions(name, ticks), witness.actions)
    raise UserError(f"no expert's design fits into {space.size} mm; give a larger design space")


def _dimensions(name: str, ticks: tuple[int, ...]) -> dict[str, float]:
    """Returns the dimensions at places 0..GRID - 1 between their limits."""
    limits = EXPERTS[name].dimensions
    return {
        key: limit.low + (limit.high - limit.low) * tick / (GRID - 1)
        for (key, limit), tick in zip(limits.items(), ticks, strict=True)
    }


@lru_cache(maxsize=8192)
def _witness(
    name: str, ticks: tuple[int, ...], space: DesignSpace, conditions: Conditions
) -> _Witness | None:
    """Builds and measures a design; None where it cannot be built or does not stand."""
    try:
        built = expert(name, space, **_dimensions(name, ticks))
    except UserError:
        return None
    names = ("upright", *_METRICS)
    rows = [evaluate(built.solid.mesh, names, conditions, precise) for precise in (False, True)]
    low, high = np.minimum(*rows).tolist(), np.maximum(*rows).tolist()
    metrics = dict(zip(METRIC_INFO, low, strict=True)), dict(zip(METRIC_INFO, high, strict=True))
    return _Witness(built.actions, *metrics) if metrics[0]["upright"] > 0.5 else None


def _targets(rng: np.random.Generator, name: str, witness: _Witness, level: _Level) -> list[Target]:
    """Draws metrics, weights and how far each target falls short of the witness."""
    always, others = _CHOICES[name]
    count = int(rng.integers(level.active[0], level.active[1] + 1))
    drawn = rng.permutation(len(others))[: max(count - len(always), 0)].tolist()
    targets = []
    for metric in (*always, *(others[index] for index in drawn)):
        slack, weight = rng.uniform(*level.slack), float(rng.integers(1, 3))
        info = METRIC_INFO[metric]
        if info.better == "less":
            value = witness.high[metric] * (1.0 + slack) + _MARGIN * info.scale
            targets.append(Target(metric, "at_most", _rounded(value), weight))
        elif witness.low[metric] > _MARGIN * info.scale:
            value = witness.low[metric] * (1.0 - slack)
            targets.append(Target(metric, "at_least", _rounded(value), weight))
    return targets


def _rounded(value: float) -> float:
    """Returns a value to three digits, so that goals read well; off by half a percent at most."""
    return round(value, 2 - math.floor(math.log10(abs(value)))) if value else 0.0
