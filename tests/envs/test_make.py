"""One call from a name to a vector environment."""

import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from scripted_env import ScriptedEnv
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack

from rlgen.core.errors import MissingExtraError, UserError
from rlgen.envs import GymVecEnv, make_vec


@pytest.mark.parametrize(
    ("backend", "vector"),
    [("auto", SyncVectorEnv), ("sync", SyncVectorEnv), ("async", AsyncVectorEnv)],
)
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_gymnasium_backends(backend: str, vector: type) -> None:
    env = make_vec("CartPole-v1", 2, seed=0, backend=backend)
    assert isinstance(env, GymVecEnv)
    assert type(env.env.unwrapped) is vector
    assert env.reset().shape == (2, 4)
    env.close()


def test_sb3_backend() -> None:
    env = make_vec("CartPole-v1", 2, seed=0, backend="sb3")
    assert type(env) is DummyVecEnv
    assert env.env_is_wrapped(Monitor) == [True, True]


def test_atari_backends() -> None:
    for backend, kind in (("auto", GymVecEnv), ("native", GymVecEnv), ("sb3", VecFrameStack)):
        env = make_vec("Pong", 1, seed=0, backend=backend)
        assert type(env) is kind
        env.close()


def test_rendering_leaves_the_native_road() -> None:
    env = make_vec("Pong", 1, seed=0, render_mode="rgb_array")
    assert type(env) is VecFrameStack
    env.reset()
    assert env.render().shape == (210, 160, 3)
    env.close()


def test_all_backends_play_the_same_games() -> None:
    starts = [make_vec("CartPole-v1", 3, seed=4, backend=b).reset() for b in ("sync", "sb3")]
    np.testing.assert_array_equal(*starts)


def test_seed_of_each_copy_follows_the_first() -> None:
    pair = make_vec("CartPole-v1", 2, seed=4).reset()
    np.testing.assert_array_equal(pair[1], make_vec("CartPole-v1", 1, seed=5).reset()[0])


@pytest.mark.parametrize("backend", ["auto", "sb3"])
def test_env_kwargs_reach_the_environment(backend: str) -> None:
    env = make_vec("Pendulum-v1", 2, backend=backend, env_kwargs={"g": 3.5})
    assert env.get_attr("g", indices=[1]) == [3.5]


def test_env_kwargs_set_the_time_limit() -> None:
    env = make_vec("Pendulum-v1", 1, env_kwargs={"max_episode_steps": 3})
    env.reset()
    dones = [bool(env.step(np.zeros((1, 1), dtype=np.float32))[2][0]) for _ in range(4)]
    assert dones == [False, False, True, False]


def test_atari_kwargs_reach_the_emulator() -> None:
    env = make_vec("Breakout", 2, seed=0, env_kwargs={"noop_max": 1})
    first, second = env.reset()
    np.testing.assert_array_equal(first, second)  # without no-ops all games start alike
    env.close()


def test_both_roads_of_atari_take_the_time_limit() -> None:
    for backend in ("native", "sb3"):
        env = make_vec("Pong", 1, seed=0, backend=backend, env_kwargs={"max_frames": 400})
        env.reset()
        ends = [bool(env.step(np.array([0]))[2][0]) for _ in range(101)]
        assert any(ends)
        env.close()


def test_minatar() -> None:
    env = make_vec("MinAtar/Breakout", 2, seed=0)
    assert env.reset().shape == (2, 10, 10, 4)
    assert env.observation_space.dtype == bool


@pytest.mark.parametrize("backend", ["sync", "sb3"])
def test_render_mode_reaches_the_environment(backend: str) -> None:
    gym.register("Drawn-v0", entry_point=ScriptedEnv)
    try:
        env = make_vec("Drawn-v0", 2, backend=backend, render_mode="rgb_array")
    finally:
        gym.registry.pop("Drawn-v0")
    env.reset()
    assert env.render_mode == "rgb_array"
    assert [image.shape for image in env.get_images()] == [(4, 4, 3)] * 2


@pytest.mark.parametrize("backend", ["sync", "sb3"])
def test_environment_without_a_render_mode(backend: str) -> None:
    gym.register("NoRenderMode-v0", entry_point=lambda: gym.make("CartPole-v1"))
    try:
        assert make_vec("NoRenderMode-v0", 2, backend=backend).reset().shape == (2, 4)
    finally:
        gym.registry.pop("NoRenderMode-v0")


@pytest.mark.parametrize("env", ["CartPole-v1", "Pong"])
def test_wrong_env_kwargs_are_named(env: str) -> None:
    with pytest.raises(UserError, match=r"env_kwargs={'gravitee': 1} do not fit .*'gravitee'"):
        make_vec(env, env_kwargs={"gravitee": 1})


@pytest.mark.parametrize("n_envs", [0, -1])
def test_too_few_environments(n_envs: int) -> None:
    with pytest.raises(UserError, match=rf"n_envs={n_envs} is too small; type n_envs=1"):
        make_vec("CartPole-v1", n_envs)


def test_unknown_backend_lists_the_allowed() -> None:
    with pytest.raises(UserError, match=r"'fast' is unknown; allowed: auto, native, sync, async"):
        make_vec("CartPole-v1", backend="fast")


@pytest.mark.parametrize(("env", "render_mode"), [("CartPole-v1", None), ("Pong", "rgb_array")])
def test_native_is_for_atari_without_rendering(env: str, render_mode: str | None) -> None:
    with pytest.raises(UserError, match="use backend=auto"):
        make_vec(env, backend="native", render_mode=render_mode)


def test_missing_mujoco_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.startswith("gymnasium.envs.mujoco")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(MissingExtraError, match=r'pip install "rlgen\[mujoco\]"'):
        make_vec("HalfCheetah-v5")


def test_other_missing_dependency_is_told() -> None:
    def entry_point(**_: object) -> gym.Env:
        raise gym.error.DependencyNotInstalled("pip install something")

    gym.register("NeedsSomething-v0", entry_point=entry_point)
    try:
        with pytest.raises(MissingExtraError, match="NeedsSomething-v0 needs an optional"):
            make_vec("NeedsSomething-v0")
    finally:
        gym.registry.pop("NeedsSomething-v0")
