"""The six ready-made design tasks, each in four presets.

Names, targets and weights are the project's own proposal (see :mod:`rlgen.envs.design.task.tasks`).
The seventh task, MultiGoal, has no fixed targets: its goals are sampled, see
:mod:`rlgen.envs.design.task.goal_sampling`.

``hard`` was chosen by measurement: each number is the score of the scripted expert (which reaches
1.00 of ``normal``), of that expert after 750 local moves on the lattice, and the better of two
cross-entropy searches of 2,000 evaluations over four actions.

=========  ======  ========  ======
hard       expert  polished  search
=========  ======  ========  ======
Mast       0.92    0.98      0.91
Vessel     0.90    0.96      0.97
Stool      0.85    0.95      0.58
NestCup    0.90    0.98      0.99
Reach      0.92    0.94      0.73
PrintCup   0.92    0.97      0.96
=========  ======  ========  ======

So Stool and Reach need several parts to fit together and are hard to search; the others ask for
precision.
"""

from dataclasses import dataclass, field

from rlgen.core.errors import UserError, closest
from rlgen.envs.design.measure.conditions import Conditions, checked_choice
from rlgen.envs.design.task.targets import Target
from rlgen.envs.design.task.tasks import PRESETS, Task

MULTI_GOAL = "MultiGoal"
_LEVELS = PRESETS[:3]


@dataclass(frozen=True)
class _Wish:
    """A target with its values for easy, normal and hard; the width only for ``about``."""

    metric: str
    kind: str
    values: tuple[float, float, float]
    weight: float = 1.0
    widths: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def target(self, level: int) -> Target:
        return Target(self.metric, self.kind, self.values[level], self.weight, self.widths[level])


@dataclass(frozen=True)
class _Recipe:
    description: str
    wishes: tuple[_Wish, ...]
    conditions: Conditions = field(default_factory=Conditions)


def _least(metric: str, easy: float, normal: float, hard: float, weight: float = 1.0) -> _Wish:
    return _Wish(metric, "at_least", (easy, normal, hard), weight)


def _most(metric: str, easy: float, normal: float, hard: float) -> _Wish:
    return _Wish(metric, "at_most", (easy, normal, hard))


_RECIPES: dict[str, _Recipe] = {
    "Mast": _Recipe(
        "stand tall on a small foot without toppling, with little material",
        (
            _least("height", 110, 140, 155, weight=3),
            _least("tip", 35, 50, 68),
            _most("volume", 90, 60, 38),
            _most("footprint", 80, 60, 54),
        ),
    ),
    "Vessel": _Recipe(
        "hold a drink, also when tilted, with sound walls and little material",
        (
            _least("capacity", 200, 330, 450, weight=2),
            _least("spill", 140, 250, 380),
            _most("volume", 160, 110, 50),
            _least("wall", 2, 2, 2),
            _least("tip", 14, 18, 30),
            _most("footprint", 120, 100, 80),
        ),
        Conditions(tilt=20.0),
    ),
    "Stool": _Recipe(
        "carry a load beside the axis on a broad top, with little material",
        (
            _least("load", 800, 1500, 2500),
            _Wish("height", "about", (100, 100, 100), widths=(60, 40, 20)),
            _most("volume", 100, 60, 50),
            _least("pad", 12, 20, 25),
            _least("loaded_tip", 9, 12, 16),
        ),
        Conditions(eccentricity=10.0, payload=2000.0, payload_at="top"),
    ),
    "NestCup": _Recipe(
        "hold a drink and stack closely into a copy of itself",
        (
            _least("capacity", 120, 200, 380),
            _most("nest", 0.5, 0.3, 0.15),
            _most("volume", 140, 100, 42),
            _least("wall", 2, 2, 2),
            _least("tip", 12, 15, 28),
        ),
    ),
    "Reach": _Recipe(
        "hold a weight far beside a small foot without toppling",
        (
            _least("reach", 50, 70, 78, weight=2),
            _most("base", 40, 30, 25),
            _least("loaded_tip", 6, 10, 14),
            _most("volume", 220, 150, 120),
        ),
        Conditions(payload=100.0, payload_at="arm", reach_height=100.0),
    ),
    "PrintCup": _Recipe(
        "be a tall cup that a 3D printer builds without support",
        (
            _least("capacity", 160, 250, 420),
            _most("overhang", 0.05, 0.01, 0.01),
            _least("wall", 2, 2, 2),
            _least("tip", 15, 20, 28),
            _most("volume", 170, 120, 52),
            _least("height", 80, 110, 130),
        ),
    ),
}
TASK_NAMES: tuple[str, ...] = (*_RECIPES, MULTI_GOAL)


def make_task(name: str, preset: str = "normal") -> Task:
    """Returns a ready-made task.

    Args:
        name: One of :data:`TASK_NAMES` but ``MultiGoal``.
        preset: ``"easy"``, ``"normal"``, ``"hard"`` or ``"open"``.

    Raises:
        UserError: The name or the preset is unknown, or the task has no fixed targets.
    """
    if name == MULTI_GOAL:
        raise UserError("MultiGoal has no fixed targets; use goal_sampling.sample_goal(rng)")
    if name not in _RECIPES:
        raise UserError(f"unknown design task {name!r}; {closest(name, TASK_NAMES)}")
    checked_choice("preset", preset, PRESETS)
    recipe = _RECIPES[name]
    level = _LEVELS.index("normal" if preset == "open" else preset)
    return Task(
        name=name if preset == "normal" else f"{name}-{preset}",
        targets=tuple(wish.target(level) for wish in recipe.wishes),
        conditions=recipe.conditions,
        open=preset == "open",
        description=recipe.description,
    )
