"""The states that a student learns from, with what the teacher said of them: the newest ones."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces

MEMORY = 256 * 2**20  # bytes of observations that are kept by default
STATES = 100_000


def default_capacity(space: spaces.Space) -> int:
    """Returns how many states are kept: 100,000, or as many as fit into 256 MB."""
    shape, dtype = space.shape or (), space.dtype
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return max(min(STATES, MEMORY // size), 1)


class StateReplay:
    """A ring of observations and targets.

    Args:
        space: Of the observations.
        width: Numbers P of a target.
        capacity: States.

    Attributes:
        size: States that are there.
    """

    def __init__(self, space: spaces.Space, width: int, capacity: int) -> None:
        dtype = space.dtype
        self.capacity = capacity
        self.observations = np.zeros((capacity, *(space.shape or ())), dtype)
        self.targets = np.zeros((capacity, width), np.float32)
        self.size = self._next = 0

    def add(self, observations: npt.NDArray[Any], targets: npt.NDArray[np.float32]) -> None:
        """Puts states in, (n, ...) and (n, P); of more than the capacity, the last ones."""
        count = min(len(targets), self.capacity)
        places = (self._next + np.arange(count)) % self.capacity
        self.observations[places] = observations[len(observations) - count :]
        self.targets[places] = targets[len(targets) - count :]
        self._next = (self._next + count) % self.capacity
        self.size = min(self.size + count, self.capacity)

    def sample(
        self, count: int, generator: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draws states with replacement: observations (count, ...) and targets (count, P)."""
        places = generator.integers(self.size, size=count)
        return torch.from_numpy(self.observations[places]), torch.from_numpy(self.targets[places])

    def tensors(self) -> dict[str, torch.Tensor]:
        """Returns all that is there, for a checkpoint."""
        return {
            "observations": torch.from_numpy(self.observations[: self.size]),
            "targets": torch.from_numpy(self.targets[: self.size]),
            "next": torch.tensor(self._next),
        }

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        """Puts :meth:`tensors` back.

        Raises:
            ValueError: If they are more, or of another kind.
        """
        size = len(tensors["targets"])
        fits = size <= self.capacity and all(
            tensors[name].shape[1:] == getattr(self, name).shape[1:]
            for name in ("observations", "targets")
        )
        if not fits:
            raise ValueError(f"{size} states of another kind, or more than {self.capacity}")
        self.observations[:size] = tensors["observations"].numpy()
        self.targets[:size] = tensors["targets"].numpy()
        self.size, self._next = size, int(tensors["next"]) % self.capacity
