"""Scripted experts and the hill climber that moves them to coarser lattices."""

import itertools

import numpy as np
import pytest

from rlgen.core.errors import UserError
from rlgen.envs.design.measure.metrics import evaluate
from rlgen.envs.design.shape.operations import BIN_STEP, LATTICE, Action, binned
from rlgen.envs.design.shape.solids import Solid
from rlgen.envs.design.task.experts import EXPERTS, Step, build, expert, script
from rlgen.envs.design.task.local_moves import improved, replay
from rlgen.envs.design.task.presets import MULTI_GOAL, TASK_NAMES, make_task
from rlgen.envs.design.task.tasks import Task, score


def worth(solid: Solid, task: Task, precise: bool = False) -> float:
    return score(evaluate(solid.mesh, task.metrics, task.conditions, precise), task)


def test_every_fixed_task_has_an_expert() -> None:
    assert (*EXPERTS, MULTI_GOAL) == TASK_NAMES


@pytest.mark.parametrize("precise", [False, True])
@pytest.mark.parametrize("name", EXPERTS)
def test_experts_solve_their_tasks(name: str, precise: bool) -> None:
    """Invariant 26."""
    built = expert(name)
    assert worth(built.solid, make_task(name), precise) >= 0.99
    assert worth(built.solid, make_task(name, "easy"), precise) >= 0.99
    assert worth(built.solid, make_task(name, "open"), precise) >= 0.99
    assert len(built.actions) <= 4


@pytest.mark.parametrize("name", EXPERTS)
def test_experts_leave_room_in_hard_tasks(name: str) -> None:
    assert 0.8 < worth(expert(name).solid, make_task(name, "hard")) < 0.95


@pytest.mark.parametrize("name", EXPERTS)
def test_replay_of_the_actions_gives_the_same_solid(name: str) -> None:
    built = expert(name)
    assert replay(built.actions).sha256 == built.solid.sha256


@pytest.mark.parametrize("name", EXPERTS)
def test_experts_solve_their_tasks_in_17_bins(name: str) -> None:
    """Invariants 23 and 26: after at most 400 local moves."""
    task = make_task(name)
    coarse = [binned(action) for action in expert(name).actions]
    rng = np.random.default_rng(0)
    actions, reached = improved(coarse, lambda solid: worth(solid, task), rng, enough=0.99)
    assert reached >= 0.99
    assert worth(replay(actions), task, precise=True) >= 0.98
    assert all(number % BIN_STEP == 0 for action in actions for number in action.k)


@pytest.mark.parametrize("name", EXPERTS)
def test_dimensions_work_at_their_limits(name: str) -> None:
    dimensions = EXPERTS[name].dimensions
    for ends in itertools.product(("low", "high"), repeat=len(dimensions)):
        chosen = {
            key: getattr(limits, end)
            for (key, limits), end in zip(dimensions.items(), ends, strict=True)
        }
        solid = expert(name, **chosen).solid
        assert evaluate(solid.mesh, ["upright"]).any(), chosen


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("Vessels", {}, r"no expert for 'Vessels'; did you mean 'Vessel'\?"),
        ("Vessel", {"radus": 3}, r"expert of Vessel has no dimension 'radus'; did you mean 'rad"),
        ("Vessel", {"radius": 90}, r"Vessel radius=90 is not allowed; give a number of 25 to 50"),
    ],
)
def test_mistakes_are_told(name: str, given: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        script(name, **given)


def test_refused_steps_are_told() -> None:
    steps = (Step("hollow", None, {"wall": 3, "floor": 3}),)
    with pytest.raises(UserError, match=r"hollow was refused \(vanished\); change its values"):
        build(steps)


def cylinder_of(height: float) -> tuple[Action, ...]:
    values = {"radius_low": 20.0, "radius_high": 20.0, "height": height}
    return (Action.named("cylinder", "add", **values),)


def test_hill_climber_finds_a_height() -> None:
    def close(solid: Solid) -> float:
        return -abs(float(solid.bounds[1, 2]) - 90.0)

    start = cylinder_of(40)
    actions, value = improved(start, close, np.random.default_rng(0), enough=-3.0, step=16)
    assert value >= -3
    assert close(replay(actions)) == value
    moved = [a != b for a, b in zip(actions[0].k, start[0].k, strict=True)]
    assert moved[2]  # the height
    assert all((a - b) % 16 == 0 for a, b in zip(actions[0].k, start[0].k, strict=True))


def test_hill_climber_never_gets_worse_and_stays_on_the_lattice() -> None:
    def taller(solid: Solid) -> float:
        return float(solid.bounds[1, 2])

    actions, value = improved(cylinder_of(140), taller, np.random.default_rng(1), 60, 1e9)
    assert value == pytest.approx(150)
    assert max(map(abs, actions[0].k)) <= LATTICE
    same, before = improved(cylinder_of(40), taller, np.random.default_rng(1), moves=0, enough=1e9)
    assert same == cylinder_of(40)
    assert before == pytest.approx(40, abs=0.1)
    assert improved((), lambda solid: 0.5, np.random.default_rng(0)) == ((), 0.5)
