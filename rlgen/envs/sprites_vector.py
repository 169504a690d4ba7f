"""Many sprites worlds in NumPy arrays: the vector of :mod:`rlgen.envs.sprites`."""

from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from rlgen.core.errors import UserError
from rlgen.envs.sprites import (
    EPISODE_STEPS,
    Pictures,
    SpritesEnv,
    SpritesRules,
    check_render_mode,
    enlarged,
)

Bools = npt.NDArray[np.bool_]


class SpritesVectorEnv(VectorEnv):
    """Many :class:`rlgen.envs.sprites.SpritesEnv`; an ended episode resets in the same step.

    All worlds share a generator; a vector of one world plays the very games of the single
    environment. ``info["factors"]`` is int64 (num_envs, factors).

    Args:
        num_envs: Number of worlds.
        max_episode_steps: Steps after which an episode is truncated.
        render_mode: As all that follow, an argument of the single environment for every world.
        second_object: See there.
        distractor: See there.
        shape: See there.
        size: See there.
        staggered: Begin as if episodes had begun at different times: at the first reset of all,
            world i has (i mod ``max_episode_steps``) steps of its first episode behind it. Batches
            of successive steps then are less alike; the first episodes are shorter.
    """

    metadata = {**SpritesEnv.metadata, "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int = EPISODE_STEPS,
        render_mode: str | None = None,
        second_object: bool = False,
        distractor: str | None = None,
        shape: str = "heart",
        size: int = 64,
        staggered: bool = False,
    ) -> None:
        self.rules = SpritesRules(second_object, distractor, shape, size)
        self.render_mode = check_render_mode(render_mode)
        self.num_envs = _count("num_envs", num_envs, 8)
        self._limit = _count("max_episode_steps", max_episode_steps, EPISODE_STEPS)
        self._staggered = staggered
        self.single_observation_space = self.rules.observation_space
        self.single_action_space = self.rules.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.factors = np.zeros((self.num_envs, len(self.rules.counts)), dtype=np.int64)
        self._steps = np.zeros(self.num_envs, dtype=np.int64)

    def reset(
        self, *, seed: int | None = None, options: dict | None = None
    ) -> tuple[Pictures, dict[str, Any]]:
        """Begins an episode in all worlds, or in those of ``options["reset_mask"]``."""
        super().reset(seed=seed)
        mask = np.full(self.num_envs, (options or {}).get("reset_mask", True), dtype=bool)
        self._begin(mask)
        if self._staggered and mask.all():
            self._steps = np.arange(self.num_envs) % self._limit
        return self.rules.draw(self.factors), {"factors": self.factors.copy()}

    def _begin(self, mask: Bools) -> None:
        worlds = np.flatnonzero(mask)
        self._steps[worlds] = 0
        self.factors[worlds] = self.rules.draw_starts(self.np_random, len(worlds))

    def step(
        self, actions: npt.NDArray[np.int64]
    ) -> tuple[Pictures, npt.NDArray[np.float64], Bools, Bools, dict[str, Any]]:
        """Moves all sprites; where an episode ends, the next one begins at once."""
        self.factors = self.rules.move(self.factors, actions, self.np_random)
        pictures = self.rules.draw(self.factors)
        self._steps += 1
        truncated = self._steps >= self._limit
        info: dict[str, Any] = {}
        if truncated.any():
            last = np.full(self.num_envs, None, dtype=object)
            for i in np.flatnonzero(truncated):
                last[i] = pictures[i].copy()
            told = {"factors": self.factors.copy(), "_factors": truncated.copy()}
            info = {"final_obs": last, "_final_obs": truncated.copy()}
            info |= {"final_info": told, "_final_info": truncated.copy()}
            self._begin(truncated)
            pictures[truncated] = self.rules.draw(self.factors[truncated])
        info["factors"] = self.factors.copy()
        nothing = np.zeros(self.num_envs)
        return pictures, nothing, nothing.astype(bool), truncated, info

    def render(self) -> tuple[Any, ...]:
        """Returns a picture or None for each world, as the render mode says."""
        if self.render_mode is None:
            return (None,) * self.num_envs
        return tuple(enlarged(self.rules.draw(self.factors)))


def _count(name: str, value: Any, example: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        allowed = f"allowed: whole numbers from 1; type {name}={example}"
        raise UserError(f"{name}={value!r} is not valid; {allowed}")
    return int(value)
