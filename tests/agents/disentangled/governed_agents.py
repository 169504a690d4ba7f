"""Small agents with a disentangled extractor, and the world in which they walk."""

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from rlgen.agents.disentangled.extractor import DisentangledExtractor

N, M = 5, 2  # latent coordinates; numbers of an action


class Walk(gym.Env):
    """A point that the first action moves along a line; an episode takes ``limit`` steps.

    Args:
        numbered: Whether actions are two numbers, or a choice of two.
        limit: Steps of an episode.
    """

    observation_space = spaces.Box(-20, 20, (3,), np.float32)
    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(
        self, numbered: bool = False, limit: int = 6, render_mode: str | None = None
    ) -> None:
        self.action_space: spaces.Space = (
            spaces.Discrete(2) if numbered else spaces.Box(-1, 1, (2,), np.float32)
        )
        self.limit, self.render_mode = limit, render_mode

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self.place, self.steps = float(self.np_random.uniform(-1, 1)), 0
        return self._seen(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        moved = float(np.ravel(action)[0])
        self.place, self.steps = self.place + moved, self.steps + 1
        told = {"place": self.place, "name": "walk", "late": self.steps > 3}
        return self._seen(), moved, False, self.steps >= self.limit, told

    def render(self) -> np.ndarray:
        picture = np.zeros((40, 60, 3), np.uint8)
        picture[:, int(np.clip(30 + self.place, 0, 59))] = 255
        return picture

    def _seen(self) -> Any:
        return np.array([self.place, np.sin(self.place), self.steps / self.limit], np.float32)


def walks(count: int, numbered: bool = False, limit: int = 6) -> DummyVecEnv:
    """Returns a vector of monitored walks; the later ones are longer."""
    env = DummyVecEnv([lambda k=k: Monitor(Walk(numbered, limit + k)) for k in range(count)])
    env.seed(0)
    return env


def agent(kind: str = "ppo", seed: int = 0) -> BaseAlgorithm:
    """Returns an untrained PPO, DQN or SAC whose weights are large enough to act clearly."""
    kwargs: dict[str, Any] = {
        "policy_kwargs": {
            "features_extractor_class": DisentangledExtractor,
            "features_extractor_kwargs": {"latent_dim": N, "action_dim": M},
        },
        "seed": seed,
        "device": "cpu",
    }
    if kind == "ppo":
        model: BaseAlgorithm = PPO("MlpPolicy", walks(2), **kwargs)
    elif kind == "dqn":
        model = DQN("MlpPolicy", walks(1, numbered=True), buffer_size=10, **kwargs)
    else:
        model = SAC("MlpPolicy", walks(1), buffer_size=10, **kwargs)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.policy.named_parameters():
            if "log_std" not in name:
                parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator))
    return model
