"""Scripted experts: a short sequence of operations per task, with dimensions to choose.

They serve three ends: an upper mark for learners, starting points for search, and proof that a
goal can be reached (:mod:`rlgen.envs.design.task.goal_sampling`). With its default dimensions each
script reaches at least 0.99 of its task's normal preset, see :mod:`rlgen.envs.design.task.presets`.
Scripts and dimensions are this project's own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rlgen.core.errors import UserError, closest
from rlgen.envs.design.measure.conditions import checked_number
from rlgen.envs.design.shape.geometry import EMPTY, Solid, apply
from rlgen.envs.design.shape.operations import Action
from rlgen.envs.design.shape.space import DesignSpace

DEFAULT_SPACE = DesignSpace()
OVERLAP = 1.0
"""mm by which parts reach into each other, so that they are one piece on any lattice point."""


@dataclass(frozen=True)
class Step:
    """An operation in physical units.

    Attributes:
        op: Name of the operation.
        mode: Name of the mode, None for an operation without modes.
        values: Values of its parameters, as for
            :meth:`rlgen.envs.design.shape.operations.Action.named`.
    """

    op: str
    mode: str | None
    values: dict[str, float]


@dataclass(frozen=True)
class Dimension:
    """A number that a script may be given, in mm, within limits between which it works."""

    default: float
    low: float
    high: float


Script = tuple[Step, ...]


@dataclass(frozen=True)
class Expert:
    """A script with dimensions.

    Attributes:
        script: Takes the dimensions as keywords.
        dimensions: What may be chosen.
    """

    script: Callable[..., Script]
    dimensions: Mapping[str, Dimension]


@dataclass(frozen=True, eq=False)
class Built:
    """What a script made: the actions, and the solid after them."""

    actions: tuple[Action, ...]
    solid: Solid


def _add(op: str, **values: float) -> Step:
    return Step(op, "add", values)


def _cylinder(radius: float, height: float, z: float = 0.0) -> Step:
    return _add("cylinder", radius_low=radius, radius_high=radius, height=height, z=z)


def _hollow(wall: float) -> Step:
    return Step("hollow", None, {"wall": wall, "floor": wall})


def _mast(foot: float, foot_height: float, rod: float, height: float) -> Script:
    start = foot_height - OVERLAP
    return _cylinder(foot, foot_height), _cylinder(rod, height - start, start)


def _cup(radius: float, height: float, wall: float) -> Script:
    return _cylinder(radius, height), _hollow(wall)


def _cone_cup(radius: float, flare: float, height: float, wall: float) -> Script:
    cone = _add("cylinder", radius_low=radius, radius_high=radius + flare, height=height)
    return cone, _hollow(wall)


def _stool(foot: float, seat: float, flare: float, column: float, height: float) -> Script:
    """An eight-sided column between a foot and a seat that narrow towards it."""
    start, top = flare / 2, height - flare  # the column reaches well into both
    return (
        _add("cylinder", radius_low=foot, radius_high=column, height=flare),
        _add("prism", sides=8, radius=column, height=top + 3 * OVERLAP - start, z=start),
        _add("cylinder", radius_low=column, radius_high=seat, height=flare, z=top),
    )


def _crane(base: float, reach: float, weight: float, width: float) -> Script:
    """A plate, a counterweight and a post behind its middle, and an arm from the post forwards."""
    plate, depth, post, level = 4.0, 64.0, 8.0, 100.0
    arm, arm_height = 4.0, 10.0
    back = -1.15 * base  # as far behind the plate as a part can be placed
    start, low = back - post / 2, level - 0.6 * arm_height
    return (
        _add("box", size_x=2 * base, size_y=width, size_z=plate),
        _add("box", size_x=depth, size_y=width, size_z=weight, x=back),
        _add("box", size_x=post, size_y=post, size_z=level, x=back),
        _add(
            "box",
            **{"size_x": reach - start, "size_y": arm, "size_z": arm_height},
            **{"x": (reach + start) / 2, "z": low},
        ),
    )


EXPERTS: dict[str, Expert] = {
    "Mast": Expert(
        _mast,
        {
            "foot": Dimension(30, 20, 45),
            "foot_height": Dimension(14, 8, 20),
            "rod": Dimension(3, 3, 6),
            "height": Dimension(144, 80, 150),
        },
    ),
    "Vessel": Expert(
        _cup,
        {
            "radius": Dimension(41, 25, 50),
            "height": Dimension(80, 40, 120),
            "wall": Dimension(2.2, 2.2, 5),
        },
    ),
    "Stool": Expert(
        _stool,
        {
            "foot": Dimension(26, 22, 45),
            "seat": Dimension(26.5, 20, 45),
            "flare": Dimension(12, 8, 20),
            "column": Dimension(11.8, 8, 16),
            "height": Dimension(100, 50, 140),
        },
    ),
    "NestCup": Expert(
        _cone_cup,
        {
            "radius": Dimension(27, 20, 32),
            "flare": Dimension(13, 8, 20),
            "height": Dimension(95, 50, 110),
            "wall": Dimension(2.2, 2.2, 4),
        },
    ),
    "Reach": Expert(
        _crane,
        {
            "base": Dimension(29.5, 22, 30),
            "reach": Dimension(72, 40, 75),
            "weight": Dimension(46, 20, 60),
            "width": Dimension(38, 30, 70),
        },
    ),
    "PrintCup": Expert(
        _cup,
        {
            "radius": Dimension(33, 22, 42),
            "height": Dimension(112, 60, 130),
            "wall": Dimension(2.2, 2.2, 4),
        },
    ),
}


def script(task: str, **dimensions: float) -> Script:
    """Returns the steps of a task's expert.

    Args:
        task: One of :data:`EXPERTS`.
        **dimensions: Those that differ from the defaults, mm.

    Raises:
        UserError: The task or a dimension is unknown, or a dimension is out of its limits.
    """
    if task not in EXPERTS:
        raise UserError(f"no expert for {task!r}; {closest(task, EXPERTS)}")
    expert = EXPERTS[task]
    for name, value in dimensions.items():
        if name not in expert.dimensions:
            known = closest(name, expert.dimensions)
            raise UserError(f"the expert of {task} has no dimension {name!r}; {known}")
        limits = expert.dimensions[name]
        checked_number(f"{task} {name}", value, limits.low, limits.high)
    defaults = {name: dimension.default for name, dimension in expert.dimensions.items()}
    return expert.script(**{**defaults, **dimensions})


def build(steps: Script, space: DesignSpace = DEFAULT_SPACE) -> Built:
    """Carries out steps on an empty solid.

    Args:
        steps: What to do.
        space: Where the design may be.

    Returns:
        The actions on the lattice, and the solid.

    Raises:
        UserError: An operation was refused, or a value is out of its range.
    """
    solid, actions = EMPTY, []
    for step in steps:
        action = Action.named(step.op, step.mode, solid.bounds, **step.values)
        outcome = apply(solid, action, space)
        if outcome.refused is not None:
            raise UserError(f"{step.op} was refused ({outcome.refused}); change its values")
        solid = outcome.solid
        actions.append(action)
    return Built(tuple(actions), solid)


def expert(task: str, space: DesignSpace = DEFAULT_SPACE, **dimensions: float) -> Built:
    """Runs a task's expert; see :func:`script` and :func:`build`."""
    return build(script(task, **dimensions), space)
