"""Actions of any Gymnasium space as the vectors that the model adds to its latent.

Paper: Yang, Lee, Chang, Kwak, ACML 2019 (arXiv 1811.04350). Seen in it: the sizes (4 for Breakout,
18 for Seaquest, one number per torque for MuJoCo, 4 for the three-way factors of dSprites).
Reconstructed: one-hot vectors for single choices, -1, 0, +1 for three-way ones, and torques
clipped to their bounds and divided by them, so that no coordinate moves by more than one standard
deviation of the prior.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from torch.nn import functional as F

from rlgen.core.errors import UserError


class ActionCoding:
    """Turns actions of a space into vectors.

    ============== ====================================== ==================
    space          vector                                 m
    ============== ====================================== ==================
    Discrete(k)    one-hot                                k
    MultiDiscrete  -1, 0, +1 if every choice is three-way number of choices
    MultiDiscrete  one-hots side by side otherwise        sum of choices
    MultiBinary    0, 1                                   number of bits
    Box            within -1..1 where it has bounds       number of values
    ============== ====================================== ==================

    Args:
        space: The action space.
        ternary: Whether a ``MultiDiscrete`` is coded by -1, 0, +1; None: if every choice is
            three-way.
        from_zero: Whether actions are counted from 0 even if the space starts elsewhere, as SB3
            keeps them.

    Attributes:
        dim: Size m of a vector.
        ternary: As resolved.

    Raises:
        UserError: If the space is another one, or ``ternary`` does not fit it.
    """

    def __init__(
        self, space: spaces.Space, ternary: bool | None = None, *, from_zero: bool = False
    ) -> None:
        self.space = space
        three_way = isinstance(space, spaces.MultiDiscrete) and bool(np.all(space.nvec == 3))
        if ternary and not three_way:
            raise UserError(f"ternary=True needs three choices in every part, not {space}")
        self.ternary = three_way if ternary is None else bool(ternary)
        self._choices: list[int] = []
        start: Any = 0
        if isinstance(space, spaces.Discrete):
            self._choices, start = [int(space.n)], int(space.start)
        elif isinstance(space, spaces.MultiDiscrete):
            self._choices = [int(n) for n in space.nvec.flatten()]
            start = np.asarray(space.start).flatten()
        elif isinstance(space, spaces.Box):
            self._frame = _box_frame(space)
        elif not isinstance(space, spaces.MultiBinary):
            raise UserError(
                f"an action space {type(space).__name__} has no vector; allowed: Discrete, "
                "MultiDiscrete, MultiBinary, Box"
            )
        self._start = torch.as_tensor(0 if from_zero else start)
        one_hot = self._choices and not self.ternary
        self.dim = sum(self._choices) if one_hot else int(np.prod(space.shape or ()))

    def encode(
        self, actions: npt.ArrayLike | torch.Tensor, device: torch.device | str | None = None
    ) -> torch.Tensor:
        """Returns the vectors of a batch of actions.

        Args:
            actions: (batch, ...) in the space's own numbers; Box actions may lie outside of the
                bounds and are clipped.
            device: Where the result is needed; None: where the actions are.

        Returns:
            (batch, m), float32.
        """
        raw = actions if isinstance(actions, torch.Tensor) else torch.as_tensor(np.asarray(actions))
        if device is not None:
            raw = raw.to(device)
        raw = raw.flatten(1) if raw.dim() > 1 else raw[:, None]
        if isinstance(self.space, spaces.Box):
            center, half, lower, upper = self._frame.to(raw.device)
            return ((raw.float() - center) / half).clamp(lower, upper)
        if isinstance(self.space, spaces.MultiBinary):
            return raw.float()
        index = raw.long() - self._start.to(raw.device)
        if self.ternary:
            return index.float() - 1.0
        columns = [F.one_hot(index[:, k], n) for k, n in enumerate(self._choices)]
        return torch.cat(columns, dim=1).float()


def _box_frame(space: spaces.Box) -> torch.Tensor:
    """Returns centre, half width, lower and upper limit of the vector's numbers, (4, m).

    A value with two bounds goes affinely to -1..1, one of no width to 0, others stay as they are.
    """
    low, high = (np.asarray(b, np.float64).flatten() for b in (space.low, space.high))
    bounded = np.isfinite(low) & np.isfinite(high)
    finite_low, finite_high = np.where(bounded, low, -1.0), np.where(bounded, high, 1.0)
    center, half = (finite_high + finite_low) / 2, (finite_high - finite_low) / 2
    limit = (half > 0).astype(np.float64)
    rows = (
        center,
        np.where(half > 0, half, 1.0),
        np.where(bounded, -limit, low),
        np.where(bounded, limit, high),
    )
    return torch.from_numpy(np.stack(rows)).float()
