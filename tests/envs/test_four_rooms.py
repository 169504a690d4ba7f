"""The four rooms: layout, law of motion, episodes, pictures, mistakes."""

import subprocess
import sys
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as check_gymnasium
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.env_checker import check_env as check_sb3

from rlgen.core.errors import UserError
from rlgen.envs.four_rooms import (
    CELLS,
    GRID,
    LATER_GOALS,
    NEXT_CELLS,
    FourRoomsEnv,
    FourRoomsVectorEnv,
    cell_number,
    paint_cells,
    transition_matrix,
)

UP, DOWN, LEFT, RIGHT = range(4)
ID = "rlgen/FourRooms-v0"
MAP = """\
#############
#.....#.....#
#.....#.....#
#...........#
#.....#.....#
#.....#.....#
##.####.....#
#.....###.###
#.....#.....#
#.....#.....#
#...........#
#.....#.....#
#############"""


def route(start: int, goal: int) -> list[int]:
    """Actions of a shortest walk."""
    paths: dict[int, list[int]] = {start: []}
    for cell in (queue := [start]):
        for action, there in enumerate(NEXT_CELLS[cell].tolist()):
            if there not in paths:
                paths[there] = [*paths[cell], action]
                queue.append(there)
    return paths[goal]


# Layout


def test_layout() -> None:
    assert "\n".join("".join("#" if wall else "." for wall in row) for row in GRID) == MAP
    assert CELLS.shape == (104, 2)
    assert CELLS.tolist() == sorted(CELLS.tolist())  # row by row
    assert [cell_number(*place) for place in CELLS.tolist()] == list(range(104))
    assert cell_number(7, 9) == 62


@pytest.mark.parametrize(
    ("door", "free"),
    [
        ((3, 6), [(3, 5), (3, 7)]),
        ((10, 6), [(10, 5), (10, 7)]),
        ((6, 2), [(5, 2), (7, 2)]),
        ((7, 9), [(6, 9), (8, 9)]),
    ],
)
def test_doorways_join_two_rooms(door: tuple[int, int], free: list[tuple[int, int]]) -> None:
    number = cell_number(*door)
    around = sorted({*NEXT_CELLS[number].tolist()} - {number})
    assert around == [cell_number(*place) for place in free]


def test_later_goals_are_the_lower_right_room_and_its_west_doorway() -> None:
    places = [(r, c) for r in range(8, 12) for c in range(7, 12)] + [(10, 6)]
    assert LATER_GOALS.tolist() == sorted(cell_number(*place) for place in places)


# Law


def law(cell: tuple[int, int], action: int, slip: float = 1 / 3) -> dict[tuple[int, int], float]:
    row = transition_matrix(slip, goal=None)[cell_number(*cell), action]
    return {tuple(CELLS[i].tolist()): pytest.approx(row[i]) for i in np.flatnonzero(row)}


def test_law_at_a_corner() -> None:
    assert law((1, 1), UP) == {(1, 1): 1}
    assert law((1, 1), LEFT) == {(1, 1): 1}
    # Three ways out of (1, 2): back, on and down.
    ninth = 1 / 9
    assert law((1, 1), RIGHT) == {(1, 2): 6 / 9, (1, 1): ninth, (1, 3): ninth, (2, 2): ninth}


def test_law_at_a_doorway() -> None:
    assert law((3, 6), UP) == {(3, 6): 1}
    twelfth = 1 / 12
    assert law((3, 6), RIGHT) == {
        (3, 7): 8 / 12,
        (3, 6): twelfth,
        (3, 8): twelfth,
        (2, 7): twelfth,
        (4, 7): twelfth,
    }
    assert law((3, 5), RIGHT) == {(3, 6): 4 / 6, (3, 5): 1 / 6, (3, 7): 1 / 6}  # into it


def test_law_in_the_open() -> None:
    slips = {(4, 9): 0.125, (2, 9): 0.125, (3, 8): 0.125, (3, 10): 0.125}
    assert law((4, 9), UP, slip=0.5) == {(3, 9): 0.5, **slips}


@pytest.mark.parametrize("slip", [0, 0.2, 1 / 3, 1])
def test_rows_of_the_law_sum_to_one(slip: float) -> None:
    matrix = transition_matrix(slip)
    assert matrix.shape == (104, 4, 104)
    assert (matrix >= 0).all()
    np.testing.assert_allclose(matrix.sum(axis=-1), 1, atol=1e-12)
    np.testing.assert_array_equal(matrix[62, :, 62], 1)  # the goal is never left
    np.testing.assert_allclose(np.delete(matrix, 62, 0), np.delete(law_of(slip), 62, 0))


def law_of(slip: float) -> np.ndarray:
    """The law written out anew from the map alone."""
    text = MAP.split("\n")
    free = [(r, c) for r in range(13) for c in range(13) if text[r][c] == "."]
    strides = ((-1, 0), (1, 0), (0, -1), (0, 1))
    matrix = np.zeros((104, 4, 104))
    for cell, (row, column) in enumerate(free):
        for action, (down, right) in enumerate(strides):
            there = (row + down, column + right)
            if there not in free:
                matrix[cell, action, cell] = 1
                continue
            matrix[cell, action, free.index(there)] += 1 - slip
            near = [(there[0] + r, there[1] + c) for r, c in strides]
            near = [place for place in near if place in free]
            for place in near:
                matrix[cell, action, free.index(place)] += slip / len(near)
    return matrix


def assert_follows(counts: np.ndarray, matrix: np.ndarray) -> None:
    """Compares counted transitions, (104, 4, 104), with their law."""
    visits = counts.sum(axis=-1, keepdims=True)
    assert not counts[matrix == 0].any()
    expected = visits * matrix
    spread = np.sqrt(np.maximum(expected * (1 - matrix), 0))
    sure = spread < 1e-6  # a probability of 0 or 1, or a cell never seen
    np.testing.assert_allclose(counts[sure], expected[sure])
    scores = (counts[~sure] - expected[~sure]) / spread[~sure]
    if len(scores):
        assert abs(scores).max() < 6
        assert np.mean(scores**2) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("slip", [0, 1 / 3, 1])
def test_the_environment_follows_the_law(slip: float) -> None:
    env = FourRoomsEnv(slip=slip)
    rng = np.random.default_rng(1)
    counts = np.zeros((104, 4, 104), dtype=int)
    cell, _ = env.reset(seed=0)
    for action in rng.integers(4, size=40_000).tolist():
        new, _, ended, _, _ = env.step(action)
        counts[cell, action, new] += 1
        cell = env.reset()[0] if ended else new
    assert_follows(counts, transition_matrix(slip))


@pytest.mark.parametrize("slip", [0, 1 / 3, 1])
def test_the_vector_follows_the_law(slip: float) -> None:
    env = FourRoomsVectorEnv(512, slip=slip)
    rng = np.random.default_rng(1)
    counts = np.zeros((104, 4, 104), dtype=int)
    cells, _ = env.reset(seed=0)
    for actions in rng.integers(4, size=(800, 512)):
        fresh, _, terminated, _, info = env.step(actions)
        reached = np.where(terminated, info.get("final_obs", fresh), fresh).astype(int)
        np.add.at(counts, (cells, actions, reached), 1)
        cells = fresh
    assert (np.delete(counts.sum(axis=-1), 62, 0) > 100).all()
    assert_follows(counts, transition_matrix(slip))


def test_bumping_never_slips() -> None:
    env = FourRoomsEnv(slip=1)
    env.reset(seed=0)
    for cell, action in zip(*np.nonzero(np.arange(104)[:, None] == NEXT_CELLS), strict=True):
        env.cell = int(cell)
        assert {env.step(action)[0] for _ in range(20)} == {cell}


# Episodes


def test_episode_ends_on_the_goal_with_reward_one() -> None:
    env = gym.make(ID, slip=0)
    cell, info = env.reset(seed=3)
    assert info == {"goal": 62, "position": tuple(CELLS[cell])}
    *way, last = route(cell, 62)
    for action in way:
        cell, reward, terminated, truncated, info = env.step(action)
        assert (reward, terminated, truncated) == (0, False, False)
        assert info == {"goal": 62, "position": tuple(CELLS[cell])}
    assert env.step(last) == (62, 1.0, True, False, {"goal": 62, "position": (7, 9)})


def test_starts_are_uniform_over_all_but_the_goal() -> None:
    single = FourRoomsEnv(goal=(1, 1))
    starts = [single.reset(seed=0)[0], *(single.reset()[0] for _ in range(3000))]
    assert set(starts) == set(range(1, 104))
    counts = np.bincount(FourRoomsVectorEnv(103_000, goal=50).reset(seed=0)[0], minlength=104)
    assert counts[50] == 0
    assert np.sum((np.delete(counts, 50) - 1000) ** 2 / 1000) < 160  # chi-square, 102 degrees


def test_episode_is_truncated_after_a_thousand_steps() -> None:
    env = gym.make(ID, goal=0)
    env.reset(seed=0)
    env.unwrapped.cell = 103  # a corner: going down stays
    cuts = [env.step(DOWN)[2:4] for _ in range(1000)]
    assert cuts == [(False, False)] * 999 + [(False, True)]


def walk_to_goal(env: gym.Env, cell: int) -> None:
    for action in route(cell, env.unwrapped.goal):
        _, _, ended, _, _ = env.step(action)
    assert ended


def test_goal_moves_once_after_some_episodes() -> None:
    env = gym.make(ID, slip=0, goal_after=3)
    goals = []
    for seed in (5, *[None] * 7):
        cell, info = env.reset(seed=seed)
        goals.append(info["goal"])
        assert cell != info["goal"]
        walk_to_goal(env, cell)
    assert goals[:3] == [62] * 3
    assert goals[3] in LATER_GOALS
    assert goals[4:] == [goals[3]] * 4
    assert env.reset(seed=5)[1]["goal"] == 62  # a seed begins anew


def test_moved_goal_is_drawn_from_the_room_or_given() -> None:
    env = FourRoomsEnv(goal=103, goal_after=1)
    drawn = set()
    for seed in range(300):
        env.reset(seed=seed)
        env.step(UP)  # an unfinished episode of one step counts as well
        drawn.add(env.reset()[1]["goal"])
    assert drawn == {*LATER_GOALS.tolist()} - {103}
    env = FourRoomsEnv(goal_after=1, new_goal=(1, 1))
    env.reset()
    assert env.reset()[1]["goal"] == 62  # no step taken, no episode finished
    env.step(UP)
    assert env.reset()[1]["goal"] == 0


def test_goals_of_a_vector_move_room_by_room() -> None:
    env = FourRoomsVectorEnv(64, goal_after=2, max_episode_steps=40)
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    finished, moved = np.zeros(64, dtype=int), np.full(64, 62)
    for _ in range(200):
        _, _, terminated, truncated, info = env.step(rng.integers(4, size=64))
        finished += terminated | truncated
        np.testing.assert_array_equal(env.goals == 62, finished < 2)
        now = (finished == 2) & (moved == 62)
        moved[now] = info["goal"][now] if now.any() else 0
        np.testing.assert_array_equal(env.goals, moved)
    assert len({*moved.tolist()}) > 10
    assert {*moved.tolist()} <= {*LATER_GOALS.tolist()}
    env.reset(seed=0)
    assert (env.goals == 62).all()


@pytest.mark.parametrize("vector", [False, True])
def test_same_seed_same_trajectory(vector: bool) -> None:
    def play(seed: int) -> list[Any]:
        env: Any = FourRoomsVectorEnv(8, goal_after=1) if vector else gym.make(ID, goal_after=1)
        actions = np.random.default_rng(0).integers(4, size=(400, 8))
        trajectory = [np.copy(env.reset(seed=seed)[0])]
        for action in actions:
            obs, reward, terminated, truncated, _ = env.step(action if vector else action[0])
            trajectory += [np.copy(obs), np.copy(reward)]
            if not vector and (terminated or truncated):
                trajectory.append(env.reset()[0])
        return np.concatenate([np.ravel(part) for part in trajectory]).tolist()

    assert play(7) == play(7)
    assert play(7) != play(8)


# Names, checks and errors


def test_registered_by_importing_the_package_alone() -> None:
    code = (
        "import sys, gymnasium; env = gymnasium.make('rlgen.envs:rlgen/FourRooms-v0'); "
        "print(env.spec.max_episode_steps, 'rlgen.envs.four_rooms' in sys.modules); "
        "env.reset(seed=0)"
    )
    lazy = "import sys, rlgen.envs; print('rlgen.envs.four_rooms' in sys.modules)"
    for text, printed in ((code, "1000 True"), (lazy, "False")):
        done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
        assert done.stdout.strip() == printed, done.stderr


def test_gymnasium_builds_the_vector() -> None:
    env = gym.make_vec(ID, num_envs=3, goal=5)
    assert type(env) is FourRoomsVectorEnv
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    obs, info = env.reset(seed=0)
    assert obs in env.observation_space
    assert info["goal"].tolist() == [5] * 3
    np.testing.assert_array_equal(info["position"], CELLS[obs])


@pytest.mark.parametrize("kwargs", [{}, {"goal_after": 1, "slip": 0.1}])
def test_checkers_have_no_complaint(kwargs: dict[str, Any]) -> None:
    check_sb3(FourRoomsEnv(**kwargs))
    check_gymnasium(gym.make(ID, **kwargs).unwrapped)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"render_mode": "human"}, "render_mode='human' .* None, rgb_array, ansi; type"),
        ({"goal": 104}, "goal=104 .* 0 to 103, .* type goal=62"),
        ({"goal": -1}, "goal=-1"),
        ({"goal": (0, 0)}, r"goal=\(0, 0\)"),
        ({"goal": (7, 13)}, r"goal=\(7, 13\)"),
        ({"goal": (-6, 9)}, r"goal=\(-6, 9\)"),
        ({"goal": "door"}, "goal='door'"),
        ({"goal": 1.5}, "goal=1.5"),
        ({"slip": 1.1}, "slip=1.1 .* 0 to 1; type slip=0.333"),
        ({"slip": float("nan")}, "slip=nan"),
        ({"slip": "often"}, "slip='often'"),
        ({"goal_after": 0}, "goal_after=0 .* from 1; type goal_after=1000"),
        ({"goal_after": True}, "goal_after=True"),
        ({"new_goal": 5}, "new_goal=5 .* together with goal_after; type new_goal=103"),
        ({"new_goal": 62, "goal_after": 5}, "new_goal=62 .* another cell"),
        ({"new_goal": (6, 6), "goal_after": 5}, r"new_goal=\(6, 6\)"),
    ],
)
def test_bad_arguments(kwargs: dict[str, Any], message: str) -> None:
    for build in (FourRoomsEnv, FourRoomsVectorEnv):
        with pytest.raises(UserError, match=message) as error:
            build(**kwargs)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("kwargs", [{"num_envs": 0}, {"max_episode_steps": 1.5}])
def test_bad_arguments_of_the_vector(kwargs: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="whole numbers from 1; type"):
        FourRoomsVectorEnv(**kwargs)


def test_bad_arguments_of_the_helpers() -> None:
    with pytest.raises(UserError, match=r"cell=\(6, 6\)"):
        cell_number(6, 6)
    with pytest.raises(UserError, match="slip=2"):
        transition_matrix(2)
    with pytest.raises(UserError, match=r"float64\(104, 3\) .* uint8 \(104, 3\)"):
        paint_cells(np.zeros((104, 3)))
    with pytest.raises(UserError, match="cell=3"):
        paint_cells(np.zeros((104, 3), dtype=np.uint8), cell=3)
