"""Gymnasium vectors behind SB3's interface give what SB3's own vector gives."""

from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from scripted_env import SCRIPTS, ScriptedEnv
from stable_baselines3 import PPO
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize

from rlgen.core.errors import UserError
from rlgen.envs import GymVecEnv

COUNT = len(SCRIPTS)
# Python 3.12 warns when a process with threads forks; Gymnasium's async vector forks.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def sb3_vector(**kwargs: Any) -> DummyVecEnv:
    return DummyVecEnv([lambda i=i: Monitor(ScriptedEnv(i, **kwargs)) for i in range(COUNT)])


def our_vector(backend: str = "sync", mode: str = "SAME_STEP", **kwargs: Any) -> GymVecEnv:
    vector = {"sync": SyncVectorEnv, "async": AsyncVectorEnv}[backend]
    fns = [partial(ScriptedEnv, i, **kwargs) for i in range(COUNT)]
    return GymVecEnv(vector(fns, copy=False, autoreset_mode=AutoresetMode[mode]))


def plain(value: Any) -> Any:
    """Turns arrays into lists with their dtype, so that nested values compare with ==."""
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    return tuple(plain(part) for part in value) if isinstance(value, tuple) else value


def play(env: Any, steps: int = 15) -> list[Any]:
    """Returns everything an environment says under one fixed sequence of actions."""
    said = [plain(env.reset()), [plain(info) for info in env.reset_infos]]
    generator = np.random.default_rng(0)
    for _ in range(steps):
        observations, rewards, dones, infos = env.step(generator.integers(3, size=COUNT))
        for info in infos:
            info.setdefault("TimeLimit.truncated", False)
            if "episode" in info:
                assert info["episode"].pop("t") >= 0
        said += [plain(observations), plain(rewards), plain(dones), [plain(i) for i in infos]]
        said.append([plain(info) for info in env.reset_infos])
    env.close()
    return said


@pytest.mark.parametrize("layout", ["box", "dict", "tuple"])
@pytest.mark.parametrize("mode", ["SAME_STEP", "NEXT_STEP", "DISABLED"])
@pytest.mark.parametrize("backend", ["sync", "async"])
def test_says_what_sb3_says(backend: str, mode: str, layout: str) -> None:
    ours = play(our_vector(backend, mode, layout=layout))
    assert ours == play(sb3_vector(layout=layout))


def test_script_has_every_kind_of_end() -> None:
    env = our_vector()
    env.reset()
    ends = set()
    for _ in range(15):
        _, _, dones, infos = env.step(np.zeros(COUNT, dtype=np.int64))
        ends |= {infos[i]["TimeLimit.truncated"] for i in np.flatnonzero(dones)}
    assert ends == {True, False}


def test_vector_without_partial_reset_is_refused() -> None:
    vector = gym.make_vec("CartPole-v1", 2, vectorization_mode="vector_entry_point")
    with pytest.raises(UserError, match=r"autoreset_mode=AutoresetMode.SAME_STEP"):
        GymVecEnv(vector)
    vector.close()


@pytest.mark.parametrize("backend", ["sync", "async"])
def test_seeds_as_sb3_does(backend: str) -> None:
    fns = [partial(gym.make, "CartPole-v1") for _ in range(2)]
    vectors = {"sync": SyncVectorEnv, "async": AsyncVectorEnv}
    ours = GymVecEnv(vectors[backend](fns, autoreset_mode=AutoresetMode.SAME_STEP))
    theirs = DummyVecEnv(fns)
    for _ in range(2):  # the second round starts the same episodes again
        ours.seed(5), theirs.seed(5)
        first = ours.reset()
        np.testing.assert_array_equal(first, theirs.reset())
    assert not np.array_equal(first, ours.reset()), "a seed serves one reset only"
    ours.close()


@pytest.mark.parametrize("mode", ["SAME_STEP", "NEXT_STEP"])
def test_infos_of_the_next_episode_stay_out_of_the_last(mode: str) -> None:
    class Fresh(ScriptedEnv):
        def reset(self, **kwargs: Any) -> tuple[Any, dict]:
            observation, info = super().reset(**kwargs)
            return observation, {**info, "fresh": True}

    env = GymVecEnv(SyncVectorEnv([Fresh], autoreset_mode=AutoresetMode[mode]))
    env.reset()
    infos = [env.step(np.zeros(1, dtype=np.int64))[3][0] for _ in range(3)]
    assert "episode" in infos[2]
    assert "fresh" not in infos[2]
    assert env.reset_infos[0]["fresh"]


def test_infos_of_the_whole_vector_go_to_all() -> None:
    class Talks(gym.vector.VectorWrapper):
        def step(self, actions: Any) -> Any:
            *rest, infos = self.env.step(actions)
            return *rest, {**infos, "level": 3}

    vector = SyncVectorEnv([ScriptedEnv] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    env = GymVecEnv(Talks(vector))
    env.reset()
    assert [info["level"] for info in env.step(np.zeros(2, dtype=np.int64))[3]] == [3, 3]


@pytest.mark.parametrize("backend", ["sync", "async"])
@pytest.mark.parametrize("value", [[1, 2, 3], (4, 5)])
def test_sequence_is_one_value_for_each(backend: str, value: Any) -> None:
    env = our_vector(backend)
    env.set_attr("difficulty", value)
    assert env.get_attr("difficulty") == [value] * COUNT
    env.close()


@pytest.mark.parametrize("backend", ["sync", "async"])
def test_asking_for_a_missing_attribute_breaks_nothing(backend: str) -> None:
    env = our_vector(backend)
    env.reset()
    assert not env.has_attr("nonsense")
    with pytest.raises(AttributeError, match="nonsense"):
        env.env_method("nonsense")
    env.step(np.zeros(COUNT, dtype=np.int64))
    env.close()


def test_returned_observations_stay() -> None:
    for backend in ("sync", "async"):
        env = our_vector(backend)
        returned = [env.reset()]
        returned += [env.step(np.zeros(COUNT, dtype=np.int64))[0] for _ in range(3)]
        assert [list(o[2]) for o in returned] == [[2, 0, step] for step in range(4)]
        env.close()


def test_terminal_observations_stay() -> None:
    env = our_vector(mode="NEXT_STEP")
    env.reset()
    kept = env.step(np.zeros(COUNT, dtype=np.int64))[3][1]["terminal_observation"]
    env.step(np.zeros(COUNT, dtype=np.int64))
    assert list(kept) == [1, 0, 1]
    env.close()


def test_options_reach_the_environments() -> None:
    class Remembers(ScriptedEnv):
        def reset(self, *, seed: int | None = None, options: dict | None = None) -> Any:
            self.options = options
            return super().reset(seed=seed)

    env = GymVecEnv(SyncVectorEnv([Remembers], autoreset_mode=AutoresetMode.SAME_STEP))
    env.set_options({"level": 3})
    env.reset()
    assert env.get_attr("options") == [{"level": 3}]
    env.reset()
    assert env.get_attr("options") == [None]


def test_differing_options_are_refused() -> None:
    env = our_vector()
    env.set_options([{"level": i} for i in range(COUNT)])
    with pytest.raises(UserError, match="one set of reset options"):
        env.reset()


@pytest.mark.parametrize("backend", ["sync", "async"])
def test_attributes(backend: str) -> None:
    env = our_vector(backend)
    assert env.get_attr("index") == [0, 1, 2]
    assert env.get_attr("index", indices=[2, 0]) == [2, 0]
    assert env.get_attr("index", indices=1) == [1]
    env.set_attr("difficulty", 4)
    env.set_attr("difficulty", 9, indices=[1])
    assert env.get_attr("difficulty") == [4, 9, 4]
    env.close()


@pytest.mark.parametrize("backend", ["sync", "async"])
def test_methods(backend: str) -> None:
    env = our_vector(backend)
    env.reset()
    assert [tuple(p) for p in env.env_method("place", 2)] == [(0, 0, 2), (1, 0, 2), (2, 0, 2)]
    assert tuple(env.env_method("place", offset=1)[0]) == (0, 0, 1)
    env.close()


def test_methods_of_some_environments() -> None:
    env = our_vector("sync")
    env.reset()
    assert env.env_method("place", indices=[2, 0]) == [(2, 0, 0), (0, 0, 0)]
    asynchronous = our_vector("async")
    with pytest.raises(AttributeError, match="on all environments or on none"):
        asynchronous.env_method("place", indices=[2])
    asynchronous.close()


def test_is_wrapped() -> None:
    fns = [lambda: gym.make("CartPole-v1") for _ in range(2)]
    env = GymVecEnv(SyncVectorEnv(fns, autoreset_mode=AutoresetMode.SAME_STEP))
    assert env.env_is_wrapped(Monitor) == [True, True]
    assert env.env_is_wrapped(gym.wrappers.TimeLimit, indices=[1]) == [True]
    assert env.env_is_wrapped(gym.wrappers.ClipAction) == [False, False]


def test_images() -> None:
    env = our_vector(render_mode="rgb_array")
    assert [int(image[0, 0, 0]) for image in env.get_images()] == [0, 50, 100]
    assert env.render().shape == (8, 8, 3)  # tiled
    assert our_vector().get_images() == [None] * COUNT


@pytest.mark.parametrize("clip_reward", [True, False])
def test_clipping_is_for_the_learner_only(clip_reward: bool) -> None:
    vector = SyncVectorEnv([ScriptedEnv], autoreset_mode=AutoresetMode.SAME_STEP)
    env = GymVecEnv(vector, clip_reward=clip_reward)
    env.reset()
    for step in (1, 2, 3):
        _, rewards, _, infos = env.step(np.array([1]))
        assert rewards == (1 if clip_reward else 10 * step + 1)
    assert infos[0]["episode"]["r"] == 11 + 21 + 31
    assert infos[0]["episode"]["l"] == 3


def test_vec_normalize_sees_the_same() -> None:
    assert play(VecNormalize(our_vector())) == play(VecNormalize(sb3_vector()))


def test_vec_monitor_agrees() -> None:
    with pytest.warns(UserWarning, match="already wrapped with a `Monitor`"):
        env = VecMonitor(our_vector())
    own = our_vector()
    env.reset(), own.reset()
    ended = 0
    for _ in range(15):
        _, _, dones, infos = env.step(np.ones(COUNT, dtype=np.int64))
        own_infos = own.step(np.ones(COUNT, dtype=np.int64))[3]
        for i in np.flatnonzero(dones):
            ended += 1
            for key in ("r", "l"):
                assert infos[i]["episode"][key] == own_infos[i]["episode"][key]
    assert ended > COUNT


def test_sb3_learns_the_same_on_it() -> None:
    parameters = []
    for env in (our_vector(), sb3_vector()):
        model = PPO("MlpPolicy", env, n_steps=8, batch_size=12, n_epochs=2, seed=1, device="cpu")
        model.learn(3 * 8 * COUNT)
        parameters.append(torch.cat([p.detach().flatten() for p in model.policy.parameters()]))
    assert torch.equal(*parameters)
