"""The vector of Four Rooms: the games of the single environment, behind SB3's interface."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import rlgen.envs
from rlgen.envs.four_rooms import (
    CELLS,
    FourRoomsVectorEnv,
    transition_matrix,
)

UP, DOWN, LEFT, RIGHT = range(4)
ID = "rlgen/FourRooms-v0"


def same(left: Any, right: Any) -> bool:
    """Equal but for the clock; infos may lack what the other side tells on every step."""
    return all(np.array_equal(left[key], right[key]) for key in left if key not in ("episode",))


@pytest.mark.parametrize("limit", [1000, 7])
def test_a_room_plays_the_games_of_the_single_environment(limit: int) -> None:
    kwargs = {"goal_after": 2, "goal": 30}
    fast = rlgen.envs.GymVecEnv(FourRoomsVectorEnv(1, max_episode_steps=limit, **kwargs))
    sync = SyncVectorEnv(
        [lambda: gym.make(ID, max_episode_steps=limit, **kwargs)],
        autoreset_mode=AutoresetMode.SAME_STEP,
    )
    slow = rlgen.envs.GymVecEnv(sync)
    for env in (fast, slow):
        env.seed(11)
    np.testing.assert_array_equal(fast.reset(), slow.reset())
    assert same(fast.reset_infos[0], slow.reset_infos[0])
    ends = []
    for action in np.random.default_rng(2).integers(4, size=(3000, 1)):
        (obs, reward, done, (info,)), expected = fast.step(action), slow.step(action)
        np.testing.assert_array_equal(obs, expected[0])
        assert (reward, done) == expected[1:3]
        if done[0]:
            assert {*info} == {*expected[3][0]}
            assert same(info, expected[3][0])
            for key in "rl":
                assert info["episode"][key] == expected[3][0]["episode"][key]
            assert same(fast.reset_infos[0], slow.reset_infos[0])
            assert {*fast.reset_infos[0]} == {"goal", "position"}
            ends.append(info["TimeLimit.truncated"])
        else:
            assert info == {}
    assert len(ends) > 3
    assert {*ends} == {True, False}  # both cut and finished episodes


def test_infos_of_many_rooms_behind_sb3s_interface() -> None:
    env = rlgen.envs.GymVecEnv(FourRoomsVectorEnv(32, max_episode_steps=50))
    env.seed(0)
    before = env.reset()
    assert before.shape == (32,)
    assert before.dtype == np.int64
    returns, lengths, kinds = np.zeros(32), np.zeros(32, dtype=int), set()
    for actions in np.random.default_rng(0).integers(4, size=(300, 32)):
        obs, rewards, dones, infos = env.step(actions)
        returns, lengths = returns + rewards, lengths + 1
        for i in range(32):
            if not dones[i]:
                assert infos[i] == {}
                continue
            last, cut = infos[i]["terminal_observation"], infos[i]["TimeLimit.truncated"]
            kinds.add(cut)
            assert transition_matrix()[before[i], actions[i], last] > 0
            assert cut == (last != 62)
            assert infos[i]["goal"] == 62
            assert tuple(infos[i]["position"]) == tuple(CELLS[last])
            assert (infos[i]["episode"]["r"], infos[i]["episode"]["l"]) == (returns[i], lengths[i])
            assert lengths[i] <= 50
            assert (last == 62) == (returns[i] == 1)
            assert not cut or lengths[i] == 50
            assert obs[i] != 62
            assert tuple(env.reset_infos[i]["position"]) == tuple(CELLS[obs[i]])
            returns[i] = lengths[i] = 0
        before = obs
    assert kinds == {True, False}


def test_what_the_vector_returned_stays_as_it_was() -> None:
    env = FourRoomsVectorEnv(16, max_episode_steps=3)
    env.reset(seed=0)
    kept = []
    for _ in range(9):
        *parts, info = env.step(np.full(16, RIGHT))
        parts += [value for value in info.values() if isinstance(value, np.ndarray)]
        kept.append((parts, [part.copy() for part in parts]))
    for parts, copies in kept:
        for part, copy in zip(parts, copies, strict=True):
            np.testing.assert_array_equal(part, copy)


def test_writing_into_the_observation_moves_no_agent() -> None:
    env = FourRoomsVectorEnv(16, goal=103)
    obs, _ = env.reset(seed=0)
    before = obs.copy()
    obs[:] = 0
    assert (np.abs(CELLS[env.step(np.full(16, UP))[0]] - CELLS[before]).sum(axis=-1) <= 2).all()


def test_masked_reset_leaves_other_rooms_alone() -> None:
    env = FourRoomsVectorEnv(6)
    env.reset(seed=0)
    cells = env.step(np.zeros(6, dtype=int))[0]
    mask = np.array([True, False] * 3)
    fresh, info = env.reset(options={"reset_mask": mask})
    np.testing.assert_array_equal(fresh[~mask], cells[~mask])
    np.testing.assert_array_equal(info["_goal"], mask)


def test_sb3_trains_on_it() -> None:
    from stable_baselines3 import A2C

    env = rlgen.envs.GymVecEnv(FourRoomsVectorEnv(4, max_episode_steps=20))
    model = A2C("MlpPolicy", env, n_steps=8, seed=0, device="cpu").learn(200)
    assert {info["l"] for info in model.ep_info_buffer} <= set(range(1, 21))
    assert len(model.ep_info_buffer) > 4


@pytest.mark.parametrize("name", [ID, "FourRooms-v0", "FourRooms", "rlgen/FourRooms"])
def test_made_by_name(name: str) -> None:
    assert rlgen.envs.resolve_env(name) == rlgen.envs.EnvName(ID, "grid", "FourRooms")
    env = rlgen.envs.make_vec(name, 2, seed=0, env_kwargs={"goal": [1, 1]})
    assert isinstance(env.env.unwrapped, FourRoomsVectorEnv)
    assert env.env.unwrapped.goals.tolist() == [0, 0]
    env = rlgen.envs.make_vec(name, 2, seed=0, backend="sync")
    assert env.get_attr("goal") == [62, 62]
