"""Sampled goals: several metrics at once, and a design that reaches each of them."""

import numpy as np
import pytest

from rlgen.core.errors import UserError
from rlgen.envs.design.measure.conditions import METRICS
from rlgen.envs.design.measure.metrics import evaluate
from rlgen.envs.design.shape.space import Box, DesignSpace
from rlgen.envs.design.task.experts import EXPERTS, expert
from rlgen.envs.design.task.goal_sampling import GOAL_CONDITIONS, LEVELS, SampledGoal, sample_goal
from rlgen.envs.design.task.goals import achieved_goal, compute_reward, desired_goal, goal_spaces
from rlgen.envs.design.task.local_moves import replay
from rlgen.envs.design.task.tasks import score


def check_attainable(goal: SampledGoal) -> None:
    """Runs the parametric expert of a goal and asks for the full score, on both grids."""
    solid = expert(goal.expert, **goal.dimensions).solid
    assert solid.sha256 == replay(goal.actions).sha256
    for precise in (False, True):
        metrics = evaluate(solid.mesh, METRICS, goal.task.conditions, precise)
        assert score(metrics, goal.task) == pytest.approx(1)
        assert compute_reward(achieved_goal(metrics), goal.desired) == pytest.approx(1)


@pytest.mark.parametrize("preset", LEVELS)
def test_goals_are_attainable(preset: str) -> None:
    rng = np.random.default_rng(5)
    goals = [sample_goal(rng, preset) for _ in range(8)]
    for goal in goals:
        check_attainable(goal)
    assert len({goal.expert for goal in goals}) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("preset", LEVELS)
def test_many_goals_are_attainable(preset: str) -> None:
    rng = np.random.default_rng(6)
    goals = [sample_goal(rng, preset) for _ in range(400)]
    assert {goal.expert for goal in goals} == set(EXPERTS)
    for goal in goals:
        check_attainable(goal)


@pytest.mark.parametrize("preset", LEVELS)
def test_goals_hold_what_they_promise(preset: str) -> None:
    rng = np.random.default_rng(7)
    desired_space = goal_spaces()[1]
    low, high = LEVELS[preset].active
    for _ in range(10):
        goal = sample_goal(rng, preset)
        assert desired_space.contains(goal.desired)
        assert low <= np.count_nonzero(goal.desired[16:]) <= high
        assert np.abs(goal.desired[16:]).max() == 1
        np.testing.assert_allclose(desired_goal(goal.task), goal.desired, rtol=1e-6)
        assert goal.task.conditions == GOAL_CONDITIONS
        assert any(target.kind == "at_least" for target in goal.task.targets)


def test_nothing_and_a_block_do_not_reach_hard_goals() -> None:
    """Goals ask for something."""
    rng = np.random.default_rng(8)
    block = evaluate(replay(expert("Mast").actions[:1]).mesh, METRICS, GOAL_CONDITIONS)
    for _ in range(10):
        desired = sample_goal(rng, "hard").desired
        assert compute_reward(np.zeros(16), desired) == 0
        assert compute_reward(achieved_goal(block), desired) < 0.9


def test_same_seed_gives_the_same_goal() -> None:
    one, two, other = (sample_goal(np.random.default_rng(seed)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.desired, two.desired)
    assert one.actions == two.actions
    assert not np.array_equal(one.desired, other.desired)


def test_mistakes_are_told() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(UserError, match=r"preset='open' is not allowed; allowed: easy, hard, nor"):
        sample_goal(rng, "open")
    with pytest.raises(UserError, match="no expert's design fits into"):
        sample_goal(rng, space=DesignSpace(keep_out=(Box((-80, -80, 0), (80, 80, 159)),)))
