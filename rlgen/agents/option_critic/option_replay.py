"""Transitions with their options, the replay buffer of them, and how options were used."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.vec_env import VecNormalize

from rlgen.agents.option_critic.indicators import usage_entropy
from rlgen.core.errors import UserError

IntArray = npt.NDArray[np.int64]


class OptionBatch(NamedTuple):
    """Transitions with the options that acted; axis 0 is the batch.

    Attributes:
        observations: States s.
        options: Options w, int64 (batch,).
        actions: Actions counted from 0, int64 (batch,).
        rewards: Rewards, (batch,).
        next_observations: States s', those of ended episodes included.
        terminal: 1 where s' has no future, (batch,); a time limit is no such end.
        tested: 1 where w could end on entering s', (batch,): the episode went on.
    """

    observations: torch.Tensor
    options: torch.Tensor
    actions: torch.Tensor
    rewards: torch.Tensor
    next_observations: torch.Tensor
    terminal: torch.Tensor
    tested: torch.Tensor


class OptionReplay(ReplayBuffer):
    """SB3's replay buffer, which keeps the option of each transition too.

    Attributes:
        options: Set ``options[pos]`` before ``add``, (buffer_size, n_envs).
    """

    _SAVED = ("observations", "next_observations", "options", "actions", "rewards", "dones")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.options: IntArray = np.zeros((self.buffer_size, self.n_envs), dtype=np.int64)

    def draw(
        self, generator: np.random.Generator, size: int, env: VecNormalize | None = None
    ) -> OptionBatch:
        """Draws transitions uniformly, normalised by ``env`` where there is one."""
        rows = generator.integers(self.size(), size=size)
        return self.gather(rows, generator.integers(self.n_envs, size=size), env)

    def newest(self, count: int, env: VecNormalize | None = None) -> OptionBatch:
        """Returns the transitions of the last ``count`` steps of all environments."""
        steps = np.arange(self.pos - min(count, self.size()), self.pos) % self.buffer_size
        return self.gather(
            steps.repeat(self.n_envs), np.tile(np.arange(self.n_envs), len(steps)), env
        )

    def gather(self, rows: IntArray, envs: IntArray, env: VecNormalize | None) -> OptionBatch:
        """Returns the transitions of some steps and environments."""
        at = (rows, envs)
        dones = self.dones[at]
        arrays: tuple[Any, ...] = (
            self._normalize_obs(self.observations[at], env),
            self.options[at],
            self.actions[at][:, 0].astype(np.int64),
            self._normalize_reward(self.rewards[at], env),
            self._normalize_obs(self.next_observations[at], env),
            dones * (1 - self.timeouts[at]),
            1 - dones,
        )
        return OptionBatch(*(torch.from_numpy(array).to(self.device) for array in arrays))

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Returns the filled part as tensors, and counters as JSON values."""
        names = (*self._SAVED, "timeouts")
        tensors = {name: torch.from_numpy(getattr(self, name)[: self.size()]) for name in names}
        return tensors, {"pos": self.pos, "full": self.full}

    def restore(self, tensors: dict[str, torch.Tensor], values: dict[str, Any]) -> None:
        """Puts back what :meth:`state` returned.

        Raises:
            UserError: If it is of a buffer of another shape.
        """
        filled, n_envs = tensors["rewards"].shape
        if n_envs != self.n_envs or not values["pos"] <= filled <= self.buffer_size:
            raise UserError(
                f"the checkpoint's replay holds {filled} steps of {n_envs} environments, this one "
                f"has room for {self.buffer_size} of {self.n_envs}; resume with the same n_envs "
                "and buffer_size"
            )
        for name, tensor in tensors.items():
            getattr(self, name)[:filled] = tensor.numpy()
        self.pos, self.full = values["pos"], values["full"]


class OptionUsage:
    """Counts how options are used, from one record to the next.

    Args:
        n_options: K.

    Attributes:
        acted: Steps of each option, (K,).
        terminated: Terminations.
        chosen: Choices of an option: after a termination, or at an episode's start.
    """

    def __init__(self, n_options: int) -> None:
        self.acted: IntArray = np.zeros(n_options, dtype=np.int64)
        self.terminated = self.chosen = 0

    def add(self, options: IntArray, terminated: int, started: int) -> None:
        """Counts a step of all environments.

        Args:
            options: That act, (n_envs,).
            terminated: Environments whose option ended before.
            started: Environments whose episode began.
        """
        self.acted += np.bincount(options, minlength=len(self.acted))
        self.terminated += terminated
        self.chosen += terminated + started

    def figures(self) -> dict[str, float]:
        """Returns what is logged, by its name."""
        steps = max(int(self.acted.sum()), 1)
        return {
            "usage_entropy": usage_entropy(self.acted / steps) if self.acted.any() else 0.0,
            "largest_share": float(self.acted.max() / steps),
            "switch_rate": self.terminated / steps,
            "duration": steps / max(self.chosen, 1),
        }

    def state(self) -> dict[str, Any]:
        """Returns the counts as JSON values."""
        return {**vars(self), "acted": self.acted.tolist()}

    def restore(self, values: dict[str, Any]) -> None:
        """Puts back what :meth:`state` returned."""
        vars(self).update({**values, "acted": np.array(values["acted"])})
