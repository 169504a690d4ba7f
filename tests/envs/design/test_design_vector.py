"""Vectors of design environments, and the road into SB3."""

import numpy as np
import pytest

from rlgen.core.errors import UserError
from rlgen.envs import make_vec
from rlgen.envs.design.encodings import sample
from rlgen.envs.design.env import DesignEnv
from rlgen.envs.design.vector import design_vector


def actions(count: int, steps: int, seed: int = 0) -> np.ndarray:
    """Actions that a single environment's mask allows, for each of some environments."""
    rows = []
    for number in range(count):
        env, rng = DesignEnv("Mast"), np.random.default_rng([seed, number])
        env.reset(seed=seed + number)
        row = []
        for _ in range(steps):
            row.append(sample(env.action_space, env.mask, rng))
            *_, terminated, truncated, _ = env.step(row[-1])
            if terminated or truncated:
                env.reset()
        rows.append(row)
    return np.array(rows).swapaxes(0, 1)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_vector_does_what_each_environment_does_alone(mode: str):
    """Invariant 17: same seeds and actions, same observations, rewards and ends."""
    chosen = actions(2, 15)
    vector = design_vector(2, mode=mode, task="Mast")
    alone = [DesignEnv("Mast") for _ in range(2)]
    try:
        observations, _ = vector.reset(seed=0)
        for i, env in enumerate(alone):
            first, _ = env.reset(seed=i)
            assert all(np.array_equal(observations[key][i], first[key]) for key in first)
        ends = 0
        for row in chosen:
            observations, rewards, terminated, truncated, infos = vector.step(row)
            for i, env in enumerate(alone):
                single, reward, done, cut, info = env.step(row[i])
                assert (rewards[i], terminated[i], truncated[i]) == (reward, done, cut)
                if done or cut:
                    ends += 1
                    assert infos["final_info"]["score"][i] == info["score"]
                    single, _ = env.reset()
                assert all(np.array_equal(observations[key][i], single[key]) for key in single)
        assert ends
    finally:
        vector.close()


def test_what_one_environment_learnt_another_knows():
    vector = design_vector(2, task="Mast")
    vector.reset(seed=0)
    row = actions(1, 1)[0]
    vector.step(np.repeat(row, 2, axis=0))
    caches = {id(env.cache) for env in vector.envs}
    assert len(caches) == 1
    assert vector.envs[0].cache.hits >= 1


def test_sb3_sees_the_end_of_an_episode():
    env = make_vec("Vessel", 2, seed=0, env_kwargs={"horizon": 2, "mask_in_observation": True})
    observations = env.reset()
    assert observations["geometry"].shape == (2, 3, 32, 32)
    masks = env.env_method("action_masks")
    assert [mask.shape for mask in masks] == [(121,), (121,)]
    for _ in range(2):
        _, _, dones, infos = env.step(np.array([[1, 0, 8, 8, 8, 8, 8, 8]] * 2))
    assert dones.all()
    for info in infos:
        assert info["final"]
        assert info["episode"]["l"] == 2
        assert info["design"].startswith("{")
        assert info["TimeLimit.truncated"]
        assert isinstance(info["metrics"]["capacity"], float)
    env.close()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"mode": "parallel"}, "mode='parallel' is unknown"),
        ({"num_envs": 0}, "num_envs=0"),
        ({"task": "Vesel"}, "did you mean 'Vessel'"),
        ({"mode": "async", "task": "Vesel"}, "did you mean 'Vessel'"),
    ],
)
def test_mistakes(arguments, told):
    with pytest.raises(UserError, match=told):
        design_vector(**{"num_envs": 2, **arguments})
