"""An environment that ends when it is told to, and whose observations say where it stands."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

ENDS = {"terminated": (True, False), "truncated": (False, True), "both": (True, True)}
# What the environments of one vector do: (length, kind of end) of each episode, in turn.
SCRIPTS = (
    ((3, "terminated"), (2, "truncated")),
    ((1, "truncated"), (4, "both")),
    ((5, "terminated"), (3, "truncated")),
)


class ScriptedEnv(gym.Env):
    """Observes (index, episode, step); rewards 10 * step + action.

    Args:
        index: Number of this environment in its vector.
        layout: Observation as one ``box``, a ``dict`` of two arrays, or a ``tuple`` of them.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012

    def __init__(self, index: int = 0, layout: str = "box", render_mode: str | None = None) -> None:
        place = spaces.Box(0, 100, (3,), np.float32)
        step = spaces.Box(0, 100, (2, 2), np.float64)
        self.observation_space = {
            "box": place,
            "dict": spaces.Dict({"place": place, "step": step}),
            "tuple": spaces.Tuple((place, step)),
        }[layout]
        self.action_space = spaces.Discrete(3)
        self.render_mode = render_mode
        self.index, self.layout, self.episode, self.steps = index, layout, -1, 0
        self.difficulty = 1

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self.episode += 1
        self.steps = 0
        return self._observe(), {"steps": 0, "action": -1, "nested": {"episode": self.episode}}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict]:
        self.steps += 1
        script = SCRIPTS[self.index]
        length, kind = script[self.episode % len(script)]
        terminated, truncated = ENDS[kind] if self.steps >= length else (False, False)
        info = {"steps": self.steps, "action": int(action), "nested": {"episode": self.episode}}
        if self.steps == 2:
            info["rare"] = 7.5
        return self._observe(), 10.0 * self.steps + float(action), terminated, truncated, info

    def render(self) -> np.ndarray:
        return np.full((4, 4, 3), 50 * self.index, dtype=np.uint8)

    def place(self, offset: int = 0) -> tuple[int, int, int]:
        """Tells where this environment stands, for calls from outside."""
        return self.index, self.episode, self.steps + offset

    def _observe(self) -> Any:
        place = np.array([self.index, self.episode, self.steps], dtype=np.float32)
        step = np.full((2, 2), self.steps, dtype=np.float64)
        return {"box": place, "dict": {"place": place, "step": step}, "tuple": (place, step)}[
            self.layout
        ]
