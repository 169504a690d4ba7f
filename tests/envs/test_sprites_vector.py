"""The vector of sprites worlds: the games of the single environment, behind SB3's interface."""

import time
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import rlgen.envs
from rlgen.core.errors import UserError
from rlgen.envs.sprites_vector import SpritesVectorEnv

ID = "rlgen/Sprites-v0"
NONE = [1, 1, 1, 1]


def actions(steps: int, count: int) -> np.ndarray:
    return np.random.default_rng(2).integers(3, size=(steps, count, 4))


@pytest.mark.parametrize("kwargs", [{}, {"second_object": True, "distractor": "jump", "size": 32}])
def test_a_world_plays_the_games_of_the_single_environment(kwargs: dict[str, Any]) -> None:
    fast = rlgen.envs.GymVecEnv(SpritesVectorEnv(1, max_episode_steps=7, **kwargs))
    sync = SyncVectorEnv(
        [lambda: gym.make(ID, max_episode_steps=7, **kwargs)],
        autoreset_mode=AutoresetMode.SAME_STEP,
    )
    slow = rlgen.envs.GymVecEnv(sync)
    for env in (fast, slow):
        env.seed(11)
    np.testing.assert_array_equal(fast.reset(), slow.reset())
    ends = 0
    for action in actions(40, 1):
        (obs, reward, done, (info,)), expected = fast.step(action), slow.step(action)
        np.testing.assert_array_equal(obs, expected[0])
        np.testing.assert_array_equal(info["factors"], expected[3][0]["factors"])
        assert (reward, done) == expected[1:3]
        assert {*info} == {*expected[3][0]}
        if done[0]:
            ends += 1
            last = expected[3][0]["terminal_observation"]
            np.testing.assert_array_equal(info["terminal_observation"], last)
            assert info["TimeLimit.truncated"]
            told = [env.reset_infos[0]["factors"] for env in (fast, slow)]
            np.testing.assert_array_equal(*told)
    assert ends == 5


def test_make_vec_builds_it_and_ends_episodes_after_30_steps() -> None:
    env = rlgen.envs.make_vec("Sprites", 6, seed=0, env_kwargs={"size": 16})
    assert isinstance(env.env.unwrapped, SpritesVectorEnv)
    rules, before = env.env.unwrapped.rules, env.reset()
    for number, action in enumerate(actions(61, 6), start=1):
        obs, _, dones, infos = env.step(action)
        assert dones.all() == dones.any() == (number % 30 == 0)
        if dones.any():
            told = np.stack([info["terminal_observation"] for info in infos])
            factors = np.stack([info["factors"] for info in infos])
            np.testing.assert_array_equal(told, rules.draw(factors))  # of the old episode
            assert not np.array_equal(told, obs)
            assert infos[0]["episode"]["l"] == 30
        assert not np.array_equal(obs, before)
        before = obs


def test_what_the_vector_returned_stays_as_it_was() -> None:
    env = SpritesVectorEnv(4, max_episode_steps=3, size=16)
    kept = [env.reset(seed=0)[0]]
    copies = [kept[0].copy()]
    for action in actions(9, 4):
        obs, *_, info = env.step(action)
        parts = [obs, info["factors"], *(p for p in info.get("final_obs", []) if p is not None)]
        kept += parts
        copies += [part.copy() for part in parts]
    for part, copy in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(part, copy)


def test_masked_reset_leaves_other_worlds_alone() -> None:
    env = SpritesVectorEnv(6, size=16)
    env.reset(seed=0)
    before, *_, info = env.step(np.full((6, 4), 1))
    mask = np.array([True, False] * 3)
    fresh, after = env.reset(options={"reset_mask": mask})
    np.testing.assert_array_equal(fresh[~mask], before[~mask])
    assert (info["factors"] != after["factors"]).any(1).tolist() == mask.tolist()


def test_staggered_episodes_end_at_different_times() -> None:
    env = SpritesVectorEnv(60, size=16, staggered=True)
    env.reset(seed=0)
    ended = [env.step(np.full((60, 4), 1))[3].sum() for _ in range(45)]
    assert ended == [2] * 45


def test_render_draws_every_world() -> None:
    env = SpritesVectorEnv(3, render_mode="rgb_array", size=32)
    obs, _ = env.reset(seed=0)
    frames = env.render()
    assert len(frames) == 3
    np.testing.assert_array_equal(np.stack(frames)[:, ::8, ::8], obs)
    assert SpritesVectorEnv(2).render() == (None, None)


def test_thousands_of_frames_a_second() -> None:
    env = SpritesVectorEnv(64)
    env.reset(seed=0)
    moves = actions(10, 64)
    env.step(moves[0])  # draws the masks
    begin = time.perf_counter()
    for action in moves:
        env.step(action)
    assert 640 / (time.perf_counter() - begin) > 2000


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_envs": 0}, "num_envs=0 is not valid; allowed: whole numbers from 1"),
        ({"max_episode_steps": 1.5}, "max_episode_steps=1.5 is not valid"),
        ({"render_mode": "human"}, "render_mode='human' is not valid"),
    ],
)
def test_mistakes_are_told_in_one_line(kwargs: dict, message: str) -> None:
    with pytest.raises(UserError) as error:
        SpritesVectorEnv(**kwargs)
    assert str(error.value).startswith(message)
