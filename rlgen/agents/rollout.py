"""A rollout kept as tensors: observations once, in the form the network wants them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import RolloutBuffer

from rlgen.agents.network import ActorCriticNetwork

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Minibatch:
    """Samples of one gradient step; the batch is axis 0 of each tensor.

    Attributes:
        index: Position of each sample in the rollout, step * n_envs + environment.
        observations: As :class:`ActorCriticNetwork` stores them.
        actions: int64 (batch,) for discrete actions, int64 (batch, parts) for several at once,
            else float32 (batch, dimensions).
        old_log_prob: Log-probability under the distribution that acted.
        old_values: Value estimates when acting.
        advantages: Generalised advantage estimates.
        returns: Targets of the value function.
    """

    index: torch.Tensor
    observations: torch.Tensor
    actions: torch.Tensor
    old_log_prob: torch.Tensor
    old_values: torch.Tensor
    advantages: torch.Tensor
    returns: torch.Tensor


class TensorRollout(RolloutBuffer):
    """One rollout of ``n_steps`` steps of ``n_envs`` environments.

    It has the array attributes of SB3's ``RolloutBuffer``, each (n_steps, n_envs, ...), so that
    callbacks can read them; ``observations`` is in stored form.

    Args:
        network: Decides how an observation is stored.
        n_steps: Steps per environment.
        n_envs: Environments.
        observation_space: Of the environments.
        action_space: Of the environments.
        device: Where minibatches are needed.
        gamma: Discount factor.
        gae_lambda: Bias-variance trade-off of the advantages.
    """

    def __init__(
        self,
        network: ActorCriticNetwork,
        n_steps: int,
        n_envs: int,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        *,
        device: torch.device,
        gamma: float,
        gae_lambda: float,
    ) -> None:
        self.network = network
        single = isinstance(action_space, spaces.Discrete)
        discrete = single or isinstance(action_space, spaces.MultiDiscrete)
        action_shape = () if single else (int(np.prod(action_space.shape or ())),)
        self.stored = torch.zeros(
            (n_steps, n_envs, *network.stored_shape), dtype=network.stored_dtype, device=device
        )
        self._rows = list(self.stored)  # views made once
        self._scratch = torch.zeros_like(self.stored[0])
        self._action_dtype: type = np.int64 if discrete else np.float32
        self._action_shape = action_shape
        super().__init__(
            n_steps, observation_space, action_space, device, gae_lambda, gamma, n_envs
        )

    def reset(self) -> None:
        """Empties the rollout; the memory is kept."""
        shape = (self.buffer_size, self.n_envs)
        self.observations = self.stored  # type: ignore[assignment]
        self.actions = np.zeros((*shape, *self._action_shape), dtype=self._action_dtype)
        for name in ("rewards", "values", "log_probs", "episode_starts", "advantages", "returns"):
            setattr(self, name, np.zeros(shape, dtype=np.float32))
        self.pos = 0
        self.full = False
        self._table: torch.Tensor | None = None

    def put_observations(self, observations: npt.NDArray[Any]) -> torch.Tensor:
        """Stores the observations of the current step and returns them in stored form."""
        row = self._rows[self.pos]
        self.network.store(observations, row)
        return row

    def pack(self, observations: npt.NDArray[Any]) -> torch.Tensor:
        """Returns up to ``n_envs`` observations in stored form, valid until the next call."""
        out = self._scratch[: len(observations)]
        self.network.store(observations, out)
        return out

    def put(
        self,
        actions: npt.NDArray[Any],
        rewards: FloatArray,
        episode_starts: npt.NDArray[np.bool_],
        values: FloatArray,
        log_probs: FloatArray,
    ) -> None:
        """Stores the rest of the current step, each (n_envs, ...), and goes to the next."""
        t = self.pos
        self.actions[t], self.rewards[t], self.episode_starts[t] = actions, rewards, episode_starts
        self.values[t], self.log_probs[t] = values, log_probs
        self.pos += 1
        self.full = self.pos == self.buffer_size

    def compute_advantages(self, last_values: FloatArray, dones: npt.NDArray[np.bool_]) -> None:
        """Fills ``advantages`` and ``returns`` by GAE(lambda), as SB3 does.

        A_t = delta_t + gamma lambda (1 - d_{t+1}) A_{t+1},
        delta_t = r_t + gamma (1 - d_{t+1}) V_{t+1} - V_t, and the returns are A_t + V_t.

        Args:
            last_values: Values of the observations after the last step, (n_envs,).
            dones: Whether the last step ended an episode, (n_envs,).
        """
        ends = np.concatenate([self.episode_starts[1:], dones[None].astype(np.float32)])
        next_values = np.concatenate([self.values[1:], last_values[None]])
        alive = 1.0 - ends
        delta = self.rewards + self.gamma * next_values * alive - self.values
        decay = self.gamma * self.gae_lambda * alive
        running = np.zeros(self.n_envs, dtype=np.float32)
        for t in range(self.buffer_size - 1, -1, -1):
            running = delta[t] + decay[t] * running
            self.advantages[t] = running
        self.returns = self.advantages + self.values

    def minibatches(
        self,
        batch_size: int | None,
        generator: np.random.Generator,
        keep: npt.NDArray[np.int64] | None = None,
    ) -> Iterator[Minibatch]:
        """Yields the samples once, in random order.

        Args:
            batch_size: Samples per minibatch, or None for all in one.
            generator: Decides the order.
            keep: Positions to use, or None for all.
        """
        positions = np.arange(self.buffer_size * self.n_envs) if keep is None else keep
        if batch_size is None:
            yield self._gather(torch.from_numpy(positions).to(self.device))
            return
        order = torch.from_numpy(generator.permutation(positions)).to(self.device)
        for index in order.split(batch_size):
            yield self._gather(index)

    def at(self, positions: npt.NDArray[np.int64]) -> Minibatch:
        """Returns the samples at some positions, step * n_envs + environment."""
        return self._gather(torch.from_numpy(positions).to(self.device))

    def _gather(self, index: torch.Tensor) -> Minibatch:
        if self._table is None:
            columns = (self.log_probs, self.values, self.advantages, self.returns)
            table = np.stack([column.reshape(-1) for column in columns])
            self._table = torch.from_numpy(table).to(self.device)
            self._action_rows = torch.from_numpy(self.actions).flatten(0, 1).to(self.device)
        # One look-up for the four scalars of a sample: small look-ups cost more than their bytes.
        scalars = self._table.index_select(1, index)
        return Minibatch(
            index=index,
            observations=self.stored.flatten(0, 1).index_select(0, index),
            actions=self._action_rows.index_select(0, index),
            old_log_prob=scalars[0],
            old_values=scalars[1],
            advantages=scalars[2],
            returns=scalars[3],
        )
