"""Stored steps (s_t, a_t, s_{t+1}) on which the model is trained without a policy.

Paper: Yang, Lee, Chang, Kwak, ACML 2019 (arXiv 1811.04350). Seen in it: the module may be trained
on stored tuples, or with a random policy. Reconstructed: at the end of an episode s_{t+1} is the
episode's last observation, and where that is not known the tuple is dropped; the first observation
of the next episode is never a target.
"""

import copy
import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.preprocessing import is_image_space, preprocess_obs
from stable_baselines3.common.vec_env import VecEnv

from rlgen.agents.disentangled.actions import ActionCoding
from rlgen.agents.disentangled.extractor import model_layout, model_shape
from rlgen.core.errors import MissingExtraError, UserError

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
Array = npt.NDArray[Any]

_FIELDS = ("observations", "actions", "next_observations")


@dataclass(frozen=True)
class Transitions:
    """A set of steps; axis 0 counts them.

    Attributes:
        observations: (N, ...), in the model's layout: channel-first images as uint8 0..255,
            other numbers as float32, bits as booleans.
        actions: Action vectors, (N, m), float32.
        next_observations: As ``observations``.

    Raises:
        UserError: If the lengths differ or there are none.
    """

    observations: torch.Tensor
    actions: torch.Tensor
    next_observations: torch.Tensor

    def __post_init__(self) -> None:
        lengths = {len(getattr(self, name)) for name in _FIELDS}
        if len(lengths) > 1 or lengths == {0}:
            shapes = ", ".join(f"{name} {tuple(getattr(self, name).shape)}" for name in _FIELDS)
            raise UserError(f"transitions need equally many of each, one or more, not {shapes}")

    def __len__(self) -> int:
        return len(self.actions)

    @classmethod
    def from_random(
        cls,
        env: str | VecEnv,
        steps: int,
        seed: int = 0,
        *,
        n_envs: int = 8,
        ternary: bool | None = None,
    ) -> "Transitions":
        """Collects steps under uniformly random actions.

        Args:
            env: A name that ``rlgen.envs.resolve_env`` understands, or a vector, which stays open.
            steps: Tuples to collect.
            seed: Of the environments and of the actions.
            n_envs: Copies of an environment that is given by name.
            ternary: As :class:`ActionCoding` takes it.

        Raises:
            UserError: If the name or a space is not valid.
        """
        if steps < 1:
            raise UserError(f"steps={steps} is too small; type steps=1 or more")
        if isinstance(env, str):
            from rlgen.envs.make import make_vec

            vec = make_vec(env, n_envs)
            try:
                return cls.from_random(vec, steps, seed, ternary=ternary)
            finally:
                vec.close()
        coding = ActionCoding(env.action_space, ternary)
        model_shape(env.observation_space)  # refuses what the model cannot take
        # Of a copy, so that the environment's own generator is left alone.
        random_actions = batch_space(copy.deepcopy(env.action_space), env.num_envs)
        random_actions.seed(seed)
        env.seed(seed)
        current: Any = env.reset()
        kept: list[tuple[Array, Array, Array]] = []
        missing = steps
        while missing > 0:
            actions: Any = random_actions.sample()
            after: Any
            after, _, dones, infos = env.step(actions)
            rows = whole_steps(current, actions, after, dones, infos)
            kept.append(tuple(part[:missing] for part in rows))  # type: ignore[arg-type]
            missing -= len(rows[0])
            current = after
        states, taken, after = (np.concatenate(parts) for parts in zip(*kept, strict=True))
        space = env.observation_space
        return cls(_stored(states, space), coding.encode(taken), _stored(after, space))

    @classmethod
    def from_minari(cls, dataset_id: str, *, ternary: bool | None = None) -> "Transitions":
        """Reads a Minari dataset that is on this machine; its episodes hold no reset.

        Args:
            dataset_id: Such as ``mujoco/halfcheetah/medium-v0``.
            ternary: As :class:`ActionCoding` takes it.

        Raises:
            MissingExtraError: If Minari is not installed.
            UserError: If there is no such dataset here, or its spaces do not fit.
        """
        try:
            minari: Any = import_module("minari")
        except ImportError as error:
            raise MissingExtraError("a Minari dataset", "minari") from error
        try:
            dataset = minari.load_dataset(dataset_id)
        except (FileNotFoundError, ValueError) as error:
            raise UserError(
                f"Minari has no dataset {dataset_id!r} on this machine; run: minari download "
                f"{dataset_id}"
            ) from error
        space = dataset.observation_space
        coding = ActionCoding(dataset.action_space, ternary)
        model_shape(space)
        parts: list[Batch] = []
        for episode in dataset.iterate_episodes():
            stored = _stored(np.asarray(episode.observations), space)
            parts.append((stored[:-1], coding.encode(episode.actions), stored[1:]))
        if not parts:
            raise UserError(f"the Minari dataset {dataset_id!r} holds no episode")
        return cls(*(torch.cat(part) for part in zip(*parts, strict=True)))

    @classmethod
    def from_replay_buffer(
        cls, buffer: ReplayBuffer, *, scaled: bool = True, ternary: bool | None = None
    ) -> "Transitions":
        """Takes all steps of an SB3 replay buffer, as they were stored.

        Args:
            buffer: Of DQN, SAC, TD3 or another off-policy algorithm.
            scaled: Whether ``Box`` actions are scaled to -1..1 already, as those algorithms do.
            ternary: As :class:`ActionCoding` takes it.

        Raises:
            UserError: If the buffer is empty or a space is not valid.
        """
        model_shape(buffer.observation_space)
        rows = np.arange(buffer.size())
        if buffer.full:  # from the oldest on
            rows = np.roll(rows, -buffer.pos)
            # A lean buffer has the newest step's target where the oldest one's observation was.
            rows = rows[1:] if buffer.optimize_memory_usage else rows
        at, envs = np.meshgrid(rows, np.arange(buffer.n_envs), indexing="ij")
        states, actions, after = replay_steps(buffer, at.flatten(), envs.flatten())
        space, action_space = buffer.observation_space, buffer.action_space
        if scaled and isinstance(action_space, spaces.Box):
            coded = torch.as_tensor(actions).flatten(1).float().clamp(-1, 1)
        else:
            coded = ActionCoding(action_space, ternary, from_zero=True).encode(actions)
        return cls(_stored(states, space), coded, _stored(after, space))

    def minibatches(self, batch_size: int, generator: np.random.Generator) -> Iterator[Batch]:
        """Yields every step once, in random order, as the model takes them.

        Args:
            batch_size: Steps per minibatch; the last one may be smaller.
            generator: Decides the order.

        Yields:
            Observations, action vectors and next observations, float32; images within 0..1.
        """
        order = torch.from_numpy(generator.permutation(len(self)))
        for index in order.split(batch_size):
            yield self._at(index)

    def sample(self, batch_size: int, generator: np.random.Generator) -> Batch:
        """Returns a minibatch drawn with replacement; see :meth:`minibatches`."""
        return self._at(torch.from_numpy(generator.integers(len(self), size=batch_size)))

    def _at(self, index: torch.Tensor) -> Batch:
        return (
            as_float(self.observations[index]),
            self.actions[index],
            as_float(self.next_observations[index]),
        )

    def save(self, path: str | Path) -> None:
        """Writes a safetensors file, complete or not at all.

        Raises:
            OSError: If the disk is full or fails.
        """
        final = Path(path)
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = final.with_name(f".tmp-{final.name}-{os.getpid()}")
        try:
            save_file({name: getattr(self, name).contiguous() for name in _FIELDS}, temporary)
            temporary.replace(final)
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | Path) -> "Transitions":
        """Reads what :meth:`save` wrote.

        Raises:
            UserError: If there is no such file or it holds something else.
        """
        try:
            tensors = load_file(path)
            return cls(**{name: tensors[name] for name in _FIELDS})
        except (OSError, SafetensorError, KeyError) as error:
            raise UserError(f"{path} holds no transitions ({_first_line(error)})") from error


def as_float(observations: torch.Tensor) -> torch.Tensor:
    """Returns stored observations as float32; the 0..255 of uint8 images become 0..1."""
    numbers = observations.float()
    return numbers / 255 if observations.dtype == torch.uint8 else numbers


def whole_steps(
    states: Array, actions: Array, new: Array, dones: Array, infos: list[dict[str, Any]]
) -> tuple[Array, Array, Array]:
    """Returns the tuples of one step of a vector environment, none of them over a reset.

    Args:
        states: Observations before the step, environments on axis 0.
        actions: Actions taken.
        new: Observations after it; the next episode's first one where an episode ended.
        dones: Whether it ended.
        infos: With the episode's last observation as ``terminal_observation``.

    Returns:
        Observations, actions and true next observations of the environments where these are
        known; copies.
    """
    after = np.array(new)
    known = np.ones(len(after), dtype=bool)
    for i in np.flatnonzero(dones):
        last = infos[i].get("terminal_observation")
        if last is None:
            known[i] = False
        else:
            after[i] = last
    return np.asarray(states)[known], np.asarray(actions)[known], after[known]


def replay_steps(buffer: ReplayBuffer, rows: Array, envs: Array) -> tuple[Array, Array, Array]:
    """Returns steps of a replay buffer by position, without those that cross a reset.

    Args:
        buffer: SB3's replay buffer; of an n-step one, single steps are taken.
        rows: Positions in time, (k,).
        envs: Environments, (k,).

    Returns:
        Observations, actions and next observations as stored, k or fewer.
    """
    if buffer.optimize_memory_usage:
        # Such a buffer keeps no last observations: what follows an ended episode is a reset.
        kept = ~buffer.dones[rows, envs].astype(bool)
        rows, envs = rows[kept], envs[kept]
        after = buffer.observations[(rows + 1) % buffer.buffer_size, envs]
    else:
        after = buffer.next_observations[rows, envs]
    return buffer.observations[rows, envs], buffer.actions[rows, envs], after


def _stored(observations: Array, space: spaces.Space) -> torch.Tensor:
    """Returns raw observations in the form that :class:`Transitions` keeps."""
    raw = torch.as_tensor(observations)
    if not isinstance(space, spaces.Box):
        raw = preprocess_obs(raw, space)  # type: ignore[assignment]  # one-hot
    elif raw.dtype != torch.bool and not is_image_space(space):
        raw = raw.float()
    return model_layout(raw, space).contiguous()


def _first_line(error: Exception) -> str:
    return str(error).split("\n")[0][:120] or type(error).__name__
