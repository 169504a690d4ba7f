"""Goal vectors, and rewards computed from them alone."""

import time

import numpy as np
import pytest
from numpy.typing import NDArray

from rlgen.core.errors import UserError
from rlgen.envs.design.measure.conditions import INDEX, SCALES, Conditions
from rlgen.envs.design.task.goals import (
    GOAL_LIMIT,
    achieved_goal,
    compute_reward,
    compute_terminated,
    compute_truncated,
    desired_goal,
    goal_bounds,
    goal_satisfactions,
    goal_score,
    goal_spaces,
    relabelled,
    task_of,
)
from rlgen.envs.design.task.presets import make_task
from rlgen.envs.design.task.targets import Target
from rlgen.envs.design.task.tasks import Task, score

Rows = NDArray[np.float32]
TWO = Task("two", (Target("height", "at_least", 75, weight=3), Target("volume", "at_most", 30)))


def random_goals(rows: int, seed: int = 0) -> tuple[Rows, Rows]:
    """Achieved (rows, 16) and desired (rows, 32) with one to five active metrics."""
    rng = np.random.default_rng(seed)
    achieved = rng.uniform(-0.5, 2, (rows, 16)).astype(np.float32)
    achieved[:, INDEX["upright"]] = rng.random(rows) < 0.8
    desired = np.zeros((rows, 32), dtype=np.float32)
    desired[:, :16] = rng.uniform(-0.2, 2, (rows, 16))
    for row in desired:
        active = 16 + rng.choice(16, rng.integers(1, 6), replace=False)
        row[active] = rng.choice([-1, 1], len(active)) * rng.uniform(0.2, 1, len(active))
    achieved[:5] = 0  # empty solids
    return achieved, desired


def test_layout() -> None:
    goal = desired_goal(TWO)
    expected = np.zeros(32)
    expected[[INDEX["height"], INDEX["volume"]]] = 0.5, 0.1
    expected[[16 + INDEX["height"], 16 + INDEX["volume"]]] = 1, -1 / 3
    np.testing.assert_allclose(goal, expected, rtol=1e-6)
    assert goal.dtype == np.float32
    back = task_of(goal, Conditions())
    assert [(t.metric, t.kind) for t in back.targets] == [
        ("height", "at_least"),
        ("volume", "at_most"),
    ]
    assert [t.value for t in back.targets] == pytest.approx([75, 30], rel=1e-6)


@pytest.mark.parametrize("name", ["Mast", "Vessel", "NestCup", "Reach", "PrintCup"])
def test_fixed_tasks_as_goals_score_the_same(name: str) -> None:
    task = make_task(name)
    rows = np.random.default_rng(1).uniform(0, 2, (50, 16)) * SCALES
    rewards = compute_reward(achieved_goal(rows), desired_goal(task))
    assert rewards == pytest.approx([score(row, task) for row in rows], abs=1e-5)


@pytest.mark.parametrize(
    "task",
    [
        make_task("Stool"),
        make_task("Mast", "open"),
        Task("twice", (Target("height", "at_least", 1), Target("height", "at_most", 2))),
        Task("limit", TWO.targets, limits=TWO.targets[:1]),
    ],
)
def test_what_goals_cannot_express_is_refused(task: Task) -> None:
    with pytest.raises(UserError, match="as a goal"):
        desired_goal(task)


def test_batch_equals_single() -> None:
    """Invariant 22."""
    achieved, desired = random_goals(300)
    batch = compute_reward(achieved, desired)
    single = [compute_reward(*pair) for pair in zip(achieved, desired, strict=True)]
    assert all(isinstance(reward, float) for reward in single)
    np.testing.assert_array_equal(batch, single)
    cube = compute_reward(achieved.reshape(3, 100, 16), desired.reshape(3, 100, 32))
    np.testing.assert_array_equal(cube.ravel(), batch)
    np.testing.assert_array_equal(
        compute_reward(achieved, desired[7]), compute_reward(achieved, desired[[7] * 300])
    )


def test_reward_equals_the_score_of_the_task() -> None:
    """Invariant 22: vectors and tasks are two ways to the same number."""
    achieved, desired = random_goals(300, seed=2)
    expected = [
        score(row.astype(np.float64) * SCALES, task_of(goal, Conditions()))
        for row, goal in zip(achieved, desired, strict=True)
    ]
    rewards = compute_reward(achieved, desired)
    np.testing.assert_allclose(rewards, expected, atol=1e-9)
    assert rewards.min() == 0
    assert rewards.max() <= 1


def test_satisfactions_follow_the_formulas_of_targets() -> None:
    achieved, desired = random_goals(100, seed=9)
    met = goal_satisfactions(achieved, desired)
    assert (met[desired[:, 16:] == 0] == 1).all()
    for row, goal, shares in zip(achieved, desired, met, strict=True):
        for at in np.flatnonzero(goal[16:]):
            kind = "at_least" if goal[16 + at] > 0 else "at_most"
            target = Target("height", kind, float(goal[at]))
            assert shares[at] == pytest.approx(target.satisfaction(float(row[at])), abs=1e-12)


def test_relabelling_satisfies_every_active_metric() -> None:
    """Invariant 22."""
    achieved, desired = random_goals(300, seed=3)
    goals = relabelled(desired, achieved)
    assert goal_satisfactions(achieved, desired).min() < 1
    assert (goal_satisfactions(achieved, goals) == 1).all()
    upright = achieved[:, INDEX["upright"]] > 0.5
    np.testing.assert_allclose(goal_score(achieved, goals)[5:], np.where(upright, 1, 0.1)[5:])
    np.testing.assert_array_equal(goals[:, 16:], desired[:, 16:])


def test_achieved_with_weights_is_its_own_relabelling() -> None:
    """Invariant 22, as Stable-Baselines3's HER does it: desired := achieved as a whole."""
    _, desired = random_goals(50, seed=4)
    metrics = np.random.default_rng(5).uniform(0, 20, (50, 16)) * SCALES  # some beyond the limit
    metrics[:, INDEX["upright"]] = 1
    achieved = achieved_goal(metrics, desired)
    assert achieved.shape == desired.shape
    assert achieved.max() == GOAL_LIMIT
    np.testing.assert_array_equal(relabelled(desired, achieved), achieved)
    assert (compute_reward(achieved, achieved) == 1).all()
    np.testing.assert_array_equal(
        compute_reward(achieved, desired), compute_reward(achieved[:, :16], desired)
    )


def test_goal_without_weights_scores_nothing() -> None:
    achieved, desired = random_goals(8)
    assert (compute_reward(achieved, np.zeros_like(desired)) == 0).all()
    with pytest.raises(UserError, match="has no targets"):
        task_of(np.zeros(32), Conditions())


def test_dense_rewards_add_up_to_the_score() -> None:
    """Invariant 21, at the level of scores."""
    path, desired = random_goals(12, seed=6)
    path[0] = 0
    infos = [{"achieved_before": before, "penalty": 0.01} for before in path[:-1]]
    rewards = compute_reward(path[1:], desired[[3] * 11], infos, kind="dense")
    final = compute_reward(path[-1], desired[3])
    assert sum(rewards) == pytest.approx(final - 11 * 0.01, abs=1e-9)
    single = compute_reward(path[4], desired[3], infos[3], kind="dense")
    assert single == pytest.approx(rewards[3], abs=1e-15)


def test_discounted_shaping_and_missing_infos() -> None:
    achieved, desired = random_goals(10, seed=8)
    carried = np.concatenate([achieved, desired[:, 16:]], axis=1)
    infos: list[dict[str, object]] = [{} for _ in range(9)]
    infos[4] = {"achieved_before": carried[4], "penalty": 0.25}
    after = goal_score(carried[1:], desired[1:])
    expected = 0.9 * after
    expected[4] -= goal_score(achieved[4], desired[5]) + 0.25
    rewards = compute_reward(carried[1:], desired[1:], infos, "dense", gamma=0.9)
    np.testing.assert_allclose(rewards, expected, atol=1e-15)
    with pytest.raises(UserError, match=r"kind='shaped' is not allowed"):
        compute_reward(achieved, desired, kind="shaped")


def test_sparse_reward_comes_last() -> None:
    achieved, desired = random_goals(40, seed=7)
    infos = np.array([{"final": row % 2 == 1} for row in range(40)])
    rewards = compute_reward(achieved, desired, infos, kind="sparse")
    assert (rewards[::2] == 0).all()
    np.testing.assert_array_equal(rewards[1::2], compute_reward(achieved, desired)[1::2])
    arrays = {"final": np.arange(40) % 2 == 1, "penalty": np.full(40, 0.5)}
    np.testing.assert_allclose(compute_reward(achieved, desired, arrays, "sparse"), rewards - 0.5)


def test_ends_do_not_depend_on_the_goal() -> None:
    achieved, desired = random_goals(3)
    infos = [{"finished": True, "steps_left": 0}, {"steps_left": 0}, {"steps_left": 4}]
    assert compute_terminated(achieved, desired, infos).tolist() == [True, False, False]
    assert compute_truncated(achieved, desired, infos).tolist() == [False, True, False]
    assert compute_terminated(achieved[0], desired[0], infos[0]) is True
    assert compute_truncated(achieved[0], desired[0], infos[1]) is True
    assert compute_truncated(achieved[0], desired[0], {}) is False
    assert compute_terminated(achieved, desired).tolist() == [False] * 3


@pytest.mark.parametrize("weights", [True, False])
def test_spaces_are_finite_and_hold_the_goals(weights: bool) -> None:
    achieved_space, desired_space = goal_spaces(weights)
    low, high = goal_bounds(weights)
    assert np.isfinite([low, high]).all()
    goal = desired_goal(make_task("Reach"))
    metrics = np.array([-1e9, 1e9] * 8)
    assert achieved_space.contains(achieved_goal(metrics, goal if weights else None))
    assert desired_space.contains(goal)
    assert (achieved_space == desired_space) == weights


def test_a_thousand_rewards_take_less_than_a_millisecond() -> None:
    achieved, desired = random_goals(1024)
    times = []
    for _ in range(50):
        start = time.process_time()
        compute_reward(achieved, desired)
        times.append(time.process_time() - start)
    assert np.median(times) < 1e-3
