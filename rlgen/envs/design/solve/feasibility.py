"""Tells when wishes and limits cannot be met by any design, before time is spent on a search.

Only what follows from geometry in one line is looked at: bounds of the metrics themselves, those
that the design space and hard limits set on them, limits that exclude each other or a wish, and
keep-in and keep-out volumes. What passes may still be out of reach.
"""

import math
from collections.abc import Sequence
from typing import NoReturn

from rlgen.core.errors import UserError
from rlgen.envs.design.measure.conditions import METRIC_INFO
from rlgen.envs.design.shape.geometry import LEAST_EXTENT, LEAST_VOLUME, volume_body
from rlgen.envs.design.shape.space import Box, DesignSpace
from rlgen.envs.design.task.targets import Target
from rlgen.envs.design.task.tasks import Task

_SIGNED = ("reach", "base")  # coordinates; every other metric is 0 or more
_SHARES = ("upright", "overhang")
_ANGLES = ("tip", "loaded_tip")


def check_feasible(task: Task, space: DesignSpace) -> None:
    """Checks a task in a space.

    Args:
        task: Wishes and hard limits.
        space: Where the design may be.

    Raises:
        UserError: Something asked for cannot be; the message names what excludes what.
    """
    for limit in task.limits:
        _check_against(limit, "limit", task.limits)
    for wish in task.targets:
        _check_against(wish, "wish", task.limits)
        _check_against(wish, "wish", task.targets, "wish")
    _check_volumes(space)
    highest = _highest(task.limits, space, task.conditions.reach_height)
    lowest = {"height": LEAST_EXTENT, "footprint": LEAST_EXTENT, "volume": LEAST_VOLUME / 1000.0}
    for kind, targets in (("limit", task.limits), ("wish", task.targets)):
        for target in targets:
            least, most = _range(target)
            bound, why = highest.get(target.metric, (math.inf, ""))
            if least > bound:
                _impossible(f"{kind} {target}", f"{why}, so {_value(target, bound)} is the most")
            floor = lowest.get(target.metric, -math.inf if target.metric in _SIGNED else 0.0)
            if most < floor:
                _impossible(f"{kind} {target}", f"no design has less than {_value(target, floor)}")


def _check_against(
    target: Target, what: str, others: Sequence[Target], kind: str = "limit"
) -> None:
    least, most = _range(target)
    for other in others:
        if other is target or other.metric != target.metric:
            continue
        other_least, other_most = _range(other)
        if least > other_most or most < other_least:
            _impossible(f"{what} {target}", f"{kind} {other} excludes it")


def _range(target: Target) -> tuple[float, float]:
    """Returns the lowest and highest value that fully meets a target."""
    low = -math.inf if target.kind == "at_most" else target.value
    return low, math.inf if target.kind == "at_least" else target.value


def _highest(
    limits: Sequence[Target], space: DesignSpace, reach_height: float
) -> dict[str, tuple[float, str]]:
    """Returns the largest value of each metric that has one, and why."""
    top = {t.metric: t for t in limits if t.kind == "at_most"}
    width, depth, height = space.size
    why = f"the design space is {width:g} x {depth:g} x {height:g} mm"
    for name in ("footprint", "height"):
        if name in top:
            why += f" with {name} <= {top[name].value:g} mm"
    if "footprint" in top:
        width, depth = (min(side, top["footprint"].value) for side in (width, depth))
    if "height" in top:
        height = min(height, top["height"].value)
    room = max(width, 0.0) * max(depth, 0.0) * max(height, 0.0) / 1000.0
    found = {
        "height": (height, why),
        "footprint": (max(width, depth), why),
        "volume": (room, why),
        "capacity": (room, why),
        "spill": (room, why),
        "support": (room, why),
        "pad": (width * depth / 100.0, why),
        "wall": (max(width, depth, height), why),
        "reach": (space.size[0] / 2, why),
        "base": (space.size[0] / 2, why),
    }
    if "capacity" in top and top["capacity"].value < room:
        found["spill"] = (top["capacity"].value, f"limit {top['capacity']} holds")
    if reach_height >= height:
        found["reach"] = (0.0, f"{why} and reach is taken at {reach_height:g} mm")
    found |= {name: (1.0, f"{name} is a share") for name in _SHARES}
    found |= {name: (90.0, f"{name} is an angle") for name in _ANGLES}
    return found


def _check_volumes(space: DesignSpace) -> None:
    """Checks that keep-in volumes can be filled and that keep-out volumes leave some room."""
    low, high = ((float(x), float(y), float(z)) for x, y, z in space.bounds)
    room = volume_body(Box(low, high), space.segments)
    for taken in space.keep_out:
        room = room - volume_body(taken, space.segments)
    if room.volume() < LEAST_VOLUME:
        _impossible("the brief", "keep_out leaves nothing of the design space")
    for number, wanted in enumerate(space.keep_in, 1):
        body = volume_body(wanted, space.segments)
        missing = (body - room).volume() / body.volume()
        if missing > 1e-6:
            _impossible(
                f"keep_in volume {number}",
                f"{missing:.0%} of it lie in a keep_out volume or outside of the design space",
            )


def _impossible(what: str, why: str) -> NoReturn:
    raise UserError(f"{what} is impossible: {why}; change one of them")


def _value(target: Target, value: float) -> str:
    return f"{value:.4g} {METRIC_INFO[target.metric].unit}".rstrip()
