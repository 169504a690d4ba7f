"""One small deterministic environment in many forms, and its vector."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

OBSERVATIONS = {
    "vector": spaces.Box(-10, 10, (4,), np.float32),
    "image": spaces.Box(0, 255, (1, 36, 36), np.uint8),
    "channels_last": spaces.Box(0, 255, (36, 36, 3), np.uint8),
    "binary": spaces.Box(0, 1, (6, 6, 2), bool),
    "discrete": spaces.Discrete(20),
    "dict": spaces.Dict({"place": spaces.Box(-10, 10, (2,)), "step": spaces.Box(0, 1, (1,))}),
}
ACTIONS = {
    "discrete": spaces.Discrete(2),
    "box": spaces.Box(-1, 1, (2,), np.float32),
    "matrix": spaces.Box(-1, 1, (2, 2), np.float32),
    "multi_discrete": spaces.MultiDiscrete([2, 3]),
    "multi_binary": spaces.MultiBinary(2),
}


class TinyEnv(gym.Env):
    """A walker on a line, rewarded by its place: ends at place 3, cut after ``limit`` steps.

    Nothing is random: the same actions give the same episode after every reset.

    Args:
        start: Place at the start of an episode.
        observation: One of ``OBSERVATIONS``.
        action: One of ``ACTIONS``.
        limit: Steps after which an episode is truncated.
        goal: Place where an episode terminates.
        broken_at: Step at which the reward is NaN, 0 for never.
    """

    def __init__(
        self,
        start: float = 0.0,
        observation: str = "vector",
        action: str = "discrete",
        limit: int = 7,
        goal: float = 3.0,
        broken_at: int = 0,
    ) -> None:
        self.form = observation
        self.observation_space, self.action_space = OBSERVATIONS[observation], ACTIONS[action]
        self.start, self.limit, self.goal, self.broken_at = start, limit, goal, broken_at
        self.place, self.steps = start, 0

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self.place, self.steps = self.start, 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        self.steps += 1
        self.place += float(np.sum(action)) - (0.5 if isinstance(action, np.integer) else 0.0)
        reward = float("nan") if self.steps == self.broken_at else self.place - 0.3 * self.steps
        return self._observe(), reward, self.place >= self.goal, self.steps >= self.limit, {}

    def _observe(self) -> Any:
        place, step = np.clip(self.place, -10, 10), self.steps / self.limit
        if self.form == "dict":
            near = np.array([place, np.sin(place)], np.float32)
            return {"place": near, "step": np.array([step], np.float32)}
        if self.form == "discrete":
            return int(np.clip(round(2 * place) + 10, 0, 19))
        if self.form == "vector":
            return np.array([place, step, np.sin(place), np.cos(3 * place)], np.float32)
        shape = OBSERVATIONS[self.form].shape
        pattern = (np.arange(np.prod(shape)) * (3 + self.steps) + int(20 * place)) % 256
        pattern = pattern > 128 if self.form == "binary" else pattern
        return pattern.reshape(shape).astype(OBSERVATIONS[self.form].dtype)


def vector(n_envs: int = 4, **kwargs: Any) -> DummyVecEnv:
    """Returns SB3's vector of ``n_envs`` tiny environments, monitored."""
    return DummyVecEnv(
        [lambda i=i: Monitor(TinyEnv(start=i * 0.25, **kwargs)) for i in range(n_envs)]
    )
