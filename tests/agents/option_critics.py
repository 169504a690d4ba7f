"""Small option-critics, and a chain of numbered states for them."""

import math
from typing import Any

import gymnasium as gym
from stable_baselines3.common.vec_env import DummyVecEnv

from rlgen.agents.option_critic.option_critic import OptionCritic
from rlgen.envs import make_vec

DEEP: dict[str, Any] = {"learning_starts": 16, "buffer_size": 1000, "target_update_interval": 40}


class Chain(gym.Env):
    """Numbered places 0 to 4 from 1 on: action 1 goes right, 0 stays; place 4 ends with reward 1.

    Args:
        limit: Steps after which an episode is truncated.
    """

    def __init__(self, limit: int = 50) -> None:
        self.observation_space, self.action_space = gym.spaces.Discrete(5), gym.spaces.Discrete(2)
        self.limit, self.place, self.steps = limit, 1, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.steps = 1, 0
        return self.place, {}

    def step(self, action):
        assert 0 <= action < 2
        self.place += int(action)
        self.steps += 1
        ended = self.place == 4
        return self.place, float(ended), ended, self.steps >= self.limit, {}


def tabular(**kwargs: Any) -> OptionCritic:
    limit = kwargs.pop("limit", 50)
    return OptionCritic(
        "TabularPolicy",
        DummyVecEnv([lambda: Chain(limit)]),
        **{"seed": 0, "n_options": 2, **kwargs},
    )


def deep(env: str = "CartPole-v1", n_envs: int = 2, **kwargs: Any) -> OptionCritic:
    vec = make_vec(env, n_envs, seed=0)
    return OptionCritic("MlpPolicy", vec, **{"seed": 0, "n_options": 3, **DEEP, **kwargs})


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))
