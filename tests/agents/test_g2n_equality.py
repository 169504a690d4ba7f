"""With all gates open the genetic agents are their base algorithms, to the last bit."""

from typing import Any

import numpy as np
import pytest
import stable_baselines3
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecEnv
from tiny_envs import vector

from rlgen.agents import A2C, G2AC, G2PPO, PPO

ENVS = 2
OPTIONS: dict[str, dict[str, Any]] = {
    "ppo": {"n_steps": 16, "batch_size": 8, "n_epochs": 3},
    "a2c": {"n_steps": 5, "ent_coef": 0.01},
}
CLOSED = {"genetic_kwargs": {"evolve": False}}
ALONE = {"population_size": 1, "genetic_kwargs": {"mutation": 1.0}}


def task(name: str) -> tuple[str, VecEnv]:
    if name == "images":
        return "CnnPolicy", vector(ENVS, observation="image")
    if name == "dictionaries":
        return "MultiInputPolicy", vector(ENVS, observation="dict")
    return "MlpPolicy", make_vec_env(name, ENVS, seed=2)


class Actions(BaseCallback):
    """Keeps all actions."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[np.ndarray] = []

    def _on_step(self) -> bool:
        self.taken.append(np.array(self.locals["actions"]).reshape(ENVS, -1))
        return True


def train(algorithm: type, name: str, base: str, updates: int = 6, **kwargs: Any) -> tuple:
    """Returns all actions of a training and its weights, in a fixed order of names."""
    policy, env = task(name)
    options = {"seed": 4, "device": "cpu", **OPTIONS[base], **kwargs}
    if algorithm.__module__.startswith("rlgen"):
        options["precision"] = "fp32"
    model, actions = algorithm(policy, env, **options), Actions()
    model.learn(updates * model.n_steps * ENVS, actions)
    weights = dict(model.policy.named_parameters())
    return np.stack(actions.taken), {key: weights[key].detach() for key in sorted(weights)}, model


def assert_same(first: tuple, second: tuple) -> None:
    np.testing.assert_array_equal(first[0], second[0])
    assert first[1].keys() == second[1].keys()
    for name, weight in first[1].items():
        assert torch.equal(weight, second[1][name]), name


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1", "images", "dictionaries"])
def test_g2ppo_without_evolution_is_sb3s_ppo(name: str) -> None:
    theirs = train(stable_baselines3.PPO, name, "ppo")
    assert_same(train(G2PPO, name, "ppo", fast=False, **CLOSED), theirs)


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1", "images", "dictionaries"])
def test_g2ac_without_evolution_is_sb3s_a2c(name: str) -> None:
    theirs = train(stable_baselines3.A2C, name, "a2c")
    assert_same(train(G2AC, name, "a2c", fast=False, **CLOSED), theirs)


@pytest.mark.parametrize(("gated", "base"), [(G2PPO, "ppo"), (G2AC, "a2c")])
@pytest.mark.parametrize("fast", [True, False])
def test_population_of_one_is_the_base(gated: type, base: str, fast: bool) -> None:
    """The genetic algorithm runs, but its only individual is copied unmutated."""
    sb3 = {"ppo": stable_baselines3.PPO, "a2c": stable_baselines3.A2C}[base]
    ours = {"ppo": PPO, "a2c": A2C}[base] if fast else sb3
    alone = train(gated, "CartPole-v1", base, updates=20, fast=fast, **ALONE)
    assert alone[2].evolution.generation > 0
    assert_same(alone, train(ours, "CartPole-v1", base, updates=20))


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1", "images"])
@pytest.mark.parametrize(("gated", "ours", "base"), [(G2PPO, PPO, "ppo"), (G2AC, A2C, "a2c")])
def test_fast_path_without_evolution_is_our_base(
    name: str, gated: type, ours: type, base: str
) -> None:
    first = train(gated, name, base, **CLOSED)
    assert first[2].why_not_fast is None
    assert_same(first, train(ours, name, base))


def test_evolution_does_change_the_training() -> None:
    """Otherwise the equalities above would say nothing."""
    evolved = train(G2PPO, "CartPole-v1", "ppo", updates=20, population_size=4)
    assert evolved[2].evolution.evolve_steps > 0
    base = train(PPO, "CartPole-v1", "ppo", updates=20)
    assert not np.array_equal(evolved[0], base[0])
