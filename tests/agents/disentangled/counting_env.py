"""An environment whose observations tell their episode, their step and the action before them."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import DummyVecEnv

LENGTH = 5  # steps of an episode


class Counting(gym.Env):
    """Observes (environment, episode, step, sum of the last action); ends after 5 steps.

    Episodes are counted from 0 to 7 and again.

    Args:
        number: Of the environment.
        form: ``vector``, ``image`` (uint8, channel-last) or ``discrete`` (the step alone).
        box: Take torques within -2..2 instead of one of three choices.
        cut: Let the episodes be truncated, not terminated.
    """

    def __init__(
        self, number: int = 0, form: str = "vector", box: bool = False, cut: bool = False
    ) -> None:
        self.number, self.form, self.cut = number, form, cut
        self.action_space = spaces.Box(-2, 2, (2,)) if box else spaces.Discrete(3)
        self.observation_space: spaces.Space = {
            "vector": spaces.Box(-99, 99, (4,)),
            "image": spaces.Box(0, 255, (36, 36, 3), np.uint8),
            "discrete": spaces.Discrete(LENGTH + 1),
        }[form]
        self.episode, self.step_number = -1, 0

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self.episode, self.step_number = (self.episode + 1) % 8, 0
        return self._observe(0.0), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        self.step_number += 1
        over = self.step_number == LENGTH
        return (
            self._observe(float(np.sum(action))),
            1.0,
            over and not self.cut,
            over and self.cut,
            {},
        )

    def _observe(self, action: float) -> Any:
        if self.form == "discrete":
            return self.step_number
        if self.form == "image":
            return np.full((36, 36, 3), 40 * self.step_number, np.uint8)
        seen = (self.number, self.episode, self.step_number, action)
        return np.array(seen, np.float32)


def counting_vector(n_envs: int = 3, **options: Any) -> DummyVecEnv:
    return DummyVecEnv([lambda i=i: Counting(i, **options) for i in range(n_envs)])


def assert_whole(states: Any, actions: Any, after: Any) -> None:
    """Checks tuples of vector observations: one step on, in the same episode, by that action.

    Args:
        states: (k, 4).
        actions: Sum of each action, (k,).
        after: (k, 4).
    """
    states, actions, after = (np.asarray(part) for part in (states, actions, after))
    np.testing.assert_array_equal(after[:, :2], states[:, :2])
    np.testing.assert_array_equal(after[:, 2], states[:, 2] + 1)
    np.testing.assert_allclose(after[:, 3], actions, atol=1e-5)
