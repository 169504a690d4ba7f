"""What followed each step of a rollout: the next observation, or the last one of an episode.

At an episode's end a vector environment answers with the first observation of the next episode;
what the action led to is in ``info["terminal_observation"]``. Paper: silent about it; dropping such
tuples or using that observation are the two right ways, and it is there, so it is used.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rlgen.agents.disentangled.network import DisentangledNetwork
from rlgen.agents.rollout import TensorRollout


class NextStates:
    """Collects beside a :class:`TensorRollout` what its own observations do not tell."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Forgets the last rollout."""
        self._positions: list[int] = []
        self._ends: list[torch.Tensor] = []
        self._after: torch.Tensor | None = None

    def note_ends(
        self,
        rollout: TensorRollout,
        dones: npt.NDArray[np.bool_],
        infos: list[dict[str, Any]],
    ) -> None:
        """Takes the last observations of the episodes that the current step ended.

        Args:
            rollout: At the current step, which is not in it yet.
            dones: Which environments' episodes ended, (n_envs,).
            infos: What the environments said.
        """
        ended = [int(env) for env in np.flatnonzero(dones)]
        last = np.stack([infos[env]["terminal_observation"] for env in ended])
        self._positions += [rollout.pos * rollout.n_envs + env for env in ended]
        self._ends.append(rollout.pack(last).clone())

    def end(self, stored: torch.Tensor) -> None:
        """Takes the observations after the rollout's last step, (n_envs, ...), as stored."""
        self._after = stored.clone()

    def frames(self, rollout: TensorRollout, network: DisentangledNetwork) -> torch.Tensor:
        """Returns the part of each step's next state that is predicted.

        Args:
            rollout: Complete.
            network: Knows what is predicted.

        Returns:
            (n_steps * n_envs, ...), as :meth:`DisentangledNetwork.next_frames` gives it.
        """
        assert self._after is not None
        following = network.next_frames(rollout.stored[1:]).flatten(0, 1)
        frames = torch.cat([following, network.next_frames(self._after)])
        if self._positions:
            positions = torch.tensor(self._positions, device=frames.device)
            frames[positions] = network.next_frames(torch.cat(self._ends))
        return frames
