"""Goals as flat vectors, and rewards computed from vectors alone.

A *desired goal* is 32 numbers: 16 targets, each divided by the scale of its metric, then 16
weights: 0 where a metric does not matter, above 0 for "at least", below 0 for "at most"; the
largest has size 1. An *achieved goal* is the 16 metrics, scaled likewise. It may be followed by
the weights of the current goal, as :func:`achieved_goal` writes them on request: then both have
one length, and a buffer that relabels by ``desired = achieved`` (Stable-Baselines3's HER) works
without knowing what a goal is.

All functions are pure and take one goal or a batch in the leading dimensions. The score is that
of :mod:`rlgen.envs.design.task.tasks`; this goal mode is a proposal of this project. Gymnasium is
imported only by :func:`goal_spaces`.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlgen.core.errors import UserError
from rlgen.envs.design.measure.conditions import (
    INDEX,
    METRICS,
    SCALES,
    Conditions,
    checked_choice,
)
from rlgen.envs.design.mesh import Floats
from rlgen.envs.design.task.targets import Target
from rlgen.envs.design.task.tasks import ARITHMETIC_SHARE, FALLEN_GATE, Task

if TYPE_CHECKING:
    from gymnasium.spaces import Box

N_METRICS = len(METRICS)
GOAL_SIZE = 2 * N_METRICS
GOAL_LIMIT = 8.0  # in scales; keeps the spaces finite
REWARDS = ("score", "dense", "sparse")
_UPRIGHT = INDEX["upright"]


def goal_bounds(weights: bool = True) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns the lowest and highest goal, float32 (32,), or (16,) without weights."""
    sizes = [GOAL_LIMIT] * N_METRICS + [1.0] * (N_METRICS if weights else 0)
    high = np.array(sizes, dtype=np.float32)
    return -high, high


def goal_spaces(weights: bool = True) -> tuple["Box", "Box"]:
    """Returns Gymnasium's spaces of achieved and desired goals.

    Args:
        weights: Whether achieved goals carry the weights of the desired one.
    """
    from gymnasium.spaces import Box

    achieved, desired = goal_bounds(weights), goal_bounds()
    return Box(*achieved, dtype=np.float32), Box(*desired, dtype=np.float32)


def achieved_goal(metrics: Floats, desired: ArrayLike | None = None) -> NDArray[np.float32]:
    """Returns metrics as an achieved goal.

    Args:
        metrics: float64 (..., 16), in their units.
        desired: float32 (..., 32): the goal whose weights are appended. None: none are.

    Returns:
        float32 (..., 16) or (..., 32), metrics divided by their scales, clipped to -8..8.
    """
    scaled = np.clip(np.asarray(metrics) / SCALES, -GOAL_LIMIT, GOAL_LIMIT).astype(np.float32)
    if desired is None:
        return scaled
    weights = np.asarray(desired, dtype=np.float32)[..., N_METRICS:]
    return np.concatenate([scaled, weights], axis=-1)


def desired_goal(task: Task) -> NDArray[np.float32]:
    """Returns the targets of a task as a desired goal, float32 (32,).

    Raises:
        UserError: The task has a target of kind ``about``, two for one metric, hard limits, or
            an open score, none of which a goal can express.
    """
    names = [target.metric for target in task.targets]
    if len(set(names)) < len(names) or any(t.kind == "about" for t in task.targets):
        raise UserError(f"task {task.name!r} as a goal: one at_least or at_most for each metric")
    if task.limits or task.open:
        raise UserError(f"task {task.name!r} as a goal: no hard limits and no open score")
    goal = np.zeros(GOAL_SIZE)
    largest = max(target.weight for target in task.targets)
    for target in task.targets:
        at = INDEX[target.metric]
        goal[at] = np.clip(target.value / SCALES[at], -GOAL_LIMIT, GOAL_LIMIT)
        goal[N_METRICS + at] = target.weight / largest * (1 if target.kind == "at_least" else -1)
    return goal.astype(np.float32)


def task_of(desired: ArrayLike, conditions: Conditions, name: str = "goal") -> Task:
    """Returns a desired goal as a task; the reverse of :func:`desired_goal` to 7 digits.

    Args:
        desired: (32,).
        conditions: How the metrics are measured.
        name: Name of the task.

    Raises:
        UserError: No metric has a weight.
    """
    goal = np.asarray(desired, dtype=np.float64)
    targets = []
    for at in np.flatnonzero(goal[N_METRICS:]):
        weight = float(goal[N_METRICS + at])
        kind = "at_least" if weight > 0 else "at_most"
        targets.append(Target(METRICS[at], kind, float(goal[at] * SCALES[at]), abs(weight)))
    return Task(name, tuple(targets), conditions)


def relabelled(desired: ArrayLike, achieved: ArrayLike) -> NDArray[np.float32]:
    """Returns goals whose targets are what was achieved; what matters stays as it was.

    Args:
        desired: (..., 32).
        achieved: (..., 16) or (..., 32).
    """
    goal = np.array(desired, dtype=np.float32)
    goal[..., :N_METRICS] = np.asarray(achieved)[..., :N_METRICS]
    return goal


def goal_satisfactions(achieved: ArrayLike, desired: ArrayLike) -> Floats:
    """Returns how well each metric meets its target, float64 (..., 16); 1 where irrelevant.

    The formulas are those of :meth:`rlgen.envs.design.task.targets.Target.satisfaction`.

    Args:
        achieved: (..., 16) or (..., 32).
        desired: (..., 32).
    """
    goal = np.asarray(desired, dtype=np.float64)
    values = np.asarray(achieved, dtype=np.float64)[..., :N_METRICS]
    weights = goal[..., N_METRICS:]
    met = _satisfied(values, goal[..., :N_METRICS], weights > 0.0)
    return np.where(weights == 0.0, 1.0, met)


def _satisfied(values: Floats, targets: Floats, least: NDArray[np.bool_]) -> Floats:
    """Returns satisfactions, entry by entry; ``least`` tells "at least" from "at most"."""
    positive = targets > 0.0
    ratio = values / np.where(positive, targets, 1.0)
    met: Floats = np.clip(np.where(least, ratio, 2.0 - ratio), 0.0, 1.0)
    if not positive.all():
        met = np.where(positive, met, np.where(least, values >= targets, values <= targets))
    return met


def goal_score(achieved: ArrayLike, desired: ArrayLike) -> Floats:
    """Returns the score of achieved under desired goals, float64 (...), 0..1.

    The formula is that of :func:`rlgen.envs.design.task.tasks.score`. The metric ``upright`` opens
    the gate; where every metric is 0 the solid is taken as empty. A goal without weights scores 0.

    Args:
        achieved: (..., 16) or (..., 32).
        desired: (..., 32).
    """
    shape = np.broadcast_shapes(np.shape(achieved)[:-1], np.shape(desired)[:-1])
    values, goal = _rows(achieved, shape), _rows(desired, shape)
    # Few of the metrics matter to a goal: only those entries are worked on.
    active = np.flatnonzero(goal[:, N_METRICS:] != 0)
    rows = active // N_METRICS
    place = active + rows * (GOAL_SIZE - N_METRICS)
    targets = goal.take(place).astype(np.float64)
    signed = goal.take(place + N_METRICS).astype(np.float64)
    reached = values.take(active + rows * (values.shape[1] - N_METRICS)).astype(np.float64)
    met = _satisfied(reached, targets, signed > 0.0)
    weights, n = np.abs(signed), len(goal)
    total = np.maximum(np.bincount(rows, weights, n), 1e-30)
    arithmetic = np.bincount(rows, weights * met, n) / total
    with np.errstate(divide="ignore"):  # the logarithm of 0 is the wanted minus infinity
        logs = weights * np.log(met)
    geometric = np.exp(np.bincount(rows, logs, n) / total) * (arithmetic > 0.0)
    metrics = values[:, :N_METRICS]
    solid = np.einsum("ij,ij->i", metrics, metrics) > 0.0
    opened = np.where(metrics[:, _UPRIGHT] > 0.5, 1.0, FALLEN_GATE) * solid
    score: Floats = opened * (ARITHMETIC_SHARE * arithmetic + (1.0 - ARITHMETIC_SHARE) * geometric)
    return score.reshape(shape)


def _rows(vectors: ArrayLike, shape: tuple[int, ...]) -> NDArray[Any]:
    """Returns vectors as the rows of a contiguous matrix, after broadcasting to a shape."""
    given = np.asarray(vectors)
    if given.shape[:-1] != shape:
        given = np.broadcast_to(given, (*shape, given.shape[-1]))
    return np.ascontiguousarray(given).reshape(-1, given.shape[-1])


Info = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None


def _read(info: Info, key: str, default: Any) -> Any:
    """Returns one entry of an info, of a batch of them, or of Gymnasium's dict of arrays."""
    if info is None:
        return default
    if isinstance(info, Mapping):
        return info.get(key, default)
    return np.array([one.get(key, default) for one in info])


def compute_reward(
    achieved: ArrayLike,
    desired: ArrayLike,
    info: Info = None,
    kind: str = "score",
    gamma: float = 1.0,
) -> Any:
    """Returns the reward of reaching ``achieved`` when ``desired`` was wanted.

    Args:
        achieved: (..., 16) or (..., 32), after the step.
        desired: (..., 32).
        info: What the step said: a dict, a sequence or object array of them (one per row), a dict
            of arrays, or None. Read are ``achieved_before`` (the achieved goal before the step),
            ``penalty`` and ``final``; each may be missing.
        kind: ``"score"``: the score. ``"dense"``: ``gamma`` times the score minus the score
            before the step minus the penalty; where the goal before the step is missing, the
            solid is taken to have been empty. ``"sparse"``: the score where ``final`` (the
            default), else 0, minus the penalty.
        gamma: Discount, only for ``"dense"``.

    Returns:
        A float for one goal, else float64 (...).

    Raises:
        UserError: The kind is unknown.
    """
    checked_choice("kind", kind, REWARDS)
    reward = goal_score(achieved, desired)
    if kind == "dense":
        before = _read(info, "achieved_before", np.zeros(np.shape(achieved)[-1]))
        reward = gamma * reward - goal_score(before, desired)
    if kind == "sparse":
        reward = np.where(_read(info, "final", True), reward, 0.0)
    if kind != "score":
        reward = reward - _read(info, "penalty", 0.0)
    return float(reward) if np.ndim(reward) == 0 else reward


def compute_terminated(achieved: ArrayLike, desired: ArrayLike, info: Info = None) -> Any:
    """Returns whether an episode has ended by ``finish``: ``info["finished"]``, else False.

    The end does not depend on the goal, so relabelling does not change it. Arguments are those
    of :func:`compute_reward`; a bool for one goal, else bool (...).
    """
    return _flags(achieved, _read(info, "finished", False))


def compute_truncated(achieved: ArrayLike, desired: ArrayLike, info: Info = None) -> Any:
    """Returns whether the steps were used up: ``info["steps_left"] == 0`` and not finished."""
    used_up = np.equal(_read(info, "steps_left", 1), 0)
    return _flags(achieved, used_up & ~np.asarray(_read(info, "finished", False), dtype=bool))


def _flags(achieved: ArrayLike, flag: Any) -> Any:
    shape = np.shape(achieved)[:-1]
    flags = np.broadcast_to(np.asarray(flag, dtype=bool), shape)
    return bool(flags) if not shape else flags
