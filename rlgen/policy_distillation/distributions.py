"""Action distributions as rows of numbers: what a teacher says of states and a student learns.

A row is kept for every state that was collected, so it must be short and mean the same for every
network:

    Discrete, MultiDiscrete   log-probabilities of all choices, part after part
    MultiBinary               logits ln p(1) - ln p(0)
    Box                       means, then log deviations, of independent Gaussians

The objective is the forward divergence KL(teacher || student): exactly, for each state, and not by
sampled actions. All its formulas are text-book ones.
"""

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from torch.nn import functional as F

from rlgen.core.errors import UserError


class ActionDistribution(ABC):
    """The distributions over one action space.

    Attributes:
        width: Numbers P that describe one of them.
        tempered: Whether a temperature means something.
    """

    width: int
    tempered: bool = True

    @abstractmethod
    def rows(self, outputs: torch.Tensor, log_std: torch.Tensor | None = None) -> torch.Tensor:
        """Returns rows (..., P) from what an SB3 action head says, (..., outputs).

        Args:
            outputs: Logits or means.
            log_std: Log deviations of Gaussians, (dimensions,) or like the outputs.
        """

    @abstractmethod
    def soften(self, rows: torch.Tensor, temperature: float) -> torch.Tensor:
        """Returns the rows at another temperature tau: p^(1/tau), normalised."""

    @abstractmethod
    def mixture(self, rows: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Returns the distribution q of this kind with the least sum_m w_m KL(p_m || q).

        That is the product of the parts' mean probabilities, and for Gaussians the one with the
        mixture's means and variances.

        Args:
            rows: Of the members m, (batch, members, P).
            weights: w, (batch, members), each row of sum 1.
        """

    @abstractmethod
    def kl(self, p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        """Returns KL(p || q) in nats, (batch,), of rows (batch, P); summed over parts."""

    @abstractmethod
    def agreement(self, p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        """Returns the share of parts, 0 to 1, (batch,), in which two distributions agree.

        Discrete parts agree where the most probable choice is the same; Gaussians where q's mean
        lies within one deviation of p's.
        """

    @abstractmethod
    def sample(self, rows: torch.Tensor, generator: np.random.Generator) -> npt.NDArray[Any]:
        """Draws one action per row, as environments take them, (batch, ...)."""


class Choices(ActionDistribution):
    """One choice, or several that are independent given the state.

    Args:
        sizes: Number of choices of each part.
        single: Actions are plain numbers, of ``Discrete``, and no vectors.
    """

    def __init__(self, sizes: list[int], single: bool) -> None:
        self.sizes, self.single = sizes, single
        self.width = sum(sizes)

    def _each(self, rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return rows.split(self.sizes, dim=-1)

    def rows(self, outputs: torch.Tensor, log_std: torch.Tensor | None = None) -> torch.Tensor:
        """See :meth:`ActionDistribution.rows`."""
        return self.soften(outputs, 1.0)

    def soften(self, rows: torch.Tensor, temperature: float) -> torch.Tensor:
        """See :meth:`ActionDistribution.soften`."""
        parts = [F.log_softmax(part / temperature, dim=-1) for part in self._each(rows)]
        return torch.cat(parts, dim=-1)

    def mixture(self, rows: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """See :meth:`ActionDistribution.mixture`."""
        return torch.logsumexp(rows + weights.log().unsqueeze(-1), dim=1)

    def kl(self, p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        """See :meth:`ActionDistribution.kl`."""
        return (p.exp() * (p - q)).sum(dim=-1)

    def agreement(self, p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        """See :meth:`ActionDistribution.agreement`."""
        pairs = zip(self._each(p), self._each(q), strict=True)
        return torch.stack([(a.argmax(-1) == b.argmax(-1)).float() for a, b in pairs]).mean(0)

    def sample(self, rows: torch.Tensor, generator: np.random.Generator) -> npt.NDArray[Any]:
        """See :meth:`ActionDistribution.sample`."""
        # The largest of logits with Gumbel noise is a draw from their softmax.
        noisy = torch.from_numpy(rows.cpu().numpy() + generator.gumbel(size=rows.shape))
        actions = torch.stack([part.argmax(-1) for part in self._each(noisy)], dim=-1).numpy()
        return actions[:, 0] if self.single else actions


class Switches(ActionDistribution):
    """Independent yes-or-no choices.

    Args:
        count: How many.
    """

    def __init__(self, count: int) -> None:
        self.width = count

    def rows(self, outputs: torch.Tensor, log_std: torch.Tensor | None = None) -> torch.Tensor:
        """See :meth:`ActionDistribution.rows`."""
        return outputs

    def soften(self, rows: torch.Tensor, temperature: float) -> torch.Tensor:
        """See :meth:`ActionDistribution.soften`."""
        return rows / temperature

    def mixture(self, rows: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """See :meth:`ActionDistribution.mixture`."""
        log_weights = weights.log().unsqueeze(-1)
        yes = torch.logsumexp(F.logsigmoid(rows) + log_weights, dim=1)
        return yes - torch.logsumexp(F.logsigmoid(-rows) + log_weights, dim=1)

    def kl(self, p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        """See :meth:`ActionDistribution.kl`."""
        yes = torch.sigmoid(p) * (F.logsigmoid(p) - F.logsigmoid(q))
        no = torch.sigmoid(-p) * (F.logsigmoid(-p) - F.logsigmoid(-q))
        return (yes + no).sum(dim=-1)

    def agreement(self, p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        """See :meth:`ActionDistribution.agreement`."""
        return ((p > 0) == (q > 0)).float().mean(dim=-1)

    def sample(self, rows: torch.Tensor, generator: np.random.Generator) -> npt.NDArray[Any]:
        """See :meth:`ActionDistribution.sample`."""
        chance = torch.sigmoid(rows).cpu().numpy()
        return (generator.random(chance.shape) < chance).astype(np.int8)


class Gaussians(ActionDistribution):
    """Independent Gaussians; actions are clipped to their space, as SB3 does.

    Args:
        space: The actions.
    """

    tempered = False

    def __init__(self, space: spaces.Box) -> None:
        self.space = space
        self.dimensions = math.prod(space.shape)
        self.width = 2 * self.dimensions

    def rows(self, outputs: torch.Tensor, log_std: torch.Tensor | None = None) -> torch.Tensor:
        """See :meth:`ActionDistribution.rows`."""
        assert log_std is not None
        return torch.cat([outputs, log_std.expand_as(outputs)], dim=-1)

    def soften(self, rows: torch.Tensor, temperature: float) -> torch.Tensor:
        """Returns the rows: only a temperature of 1 is allowed, which changes nothing."""
        assert temperature == 1
        return rows

    def mixture(self, rows: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """See :meth:`ActionDistribution.mixture`."""
        means, log_std = rows.chunk(2, dim=-1)
        w = weights.unsqueeze(-1)
        mean = (w * means).sum(1)
        variance = (w * ((2 * log_std).exp() + (means - mean.unsqueeze(1)).square())).sum(1)
        return torch.cat([mean, 0.5 * variance.log()], dim=-1)

    def kl(self, p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        """See :meth:`ActionDistribution.kl`."""
        (mean_p, log_p), (mean_q, log_q) = p.chunk(2, dim=-1), q.chunk(2, dim=-1)
        spread = ((2 * log_p).exp() + (mean_p - mean_q).square()) * (-2 * log_q).exp()
        return (log_q - log_p + 0.5 * (spread - 1)).sum(dim=-1)

    def agreement(self, p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        """See :meth:`ActionDistribution.agreement`."""
        (mean_p, log_p), (mean_q, _) = p.chunk(2, dim=-1), q.chunk(2, dim=-1)
        return ((mean_p - mean_q).abs() <= log_p.exp()).float().mean(dim=-1)

    def sample(self, rows: torch.Tensor, generator: np.random.Generator) -> npt.NDArray[Any]:
        """See :meth:`ActionDistribution.sample`."""
        mean, log_std = rows.cpu().numpy().reshape(len(rows), 2, -1).swapaxes(0, 1)
        actions = mean + np.exp(log_std) * generator.standard_normal(mean.shape, dtype=np.float32)
        shaped = actions.reshape(len(rows), *self.space.shape)
        return np.clip(shaped, self.space.low, self.space.high).astype(self.space.dtype)


def distribution_of(space: spaces.Space) -> ActionDistribution:
    """Returns the distributions over an action space.

    Raises:
        UserError: If SB3's policies have none for it.
    """
    if isinstance(space, spaces.Box):
        return Gaussians(space)
    if isinstance(space, spaces.Discrete) and space.start == 0:
        return Choices([int(space.n)], single=True)
    if isinstance(space, spaces.MultiDiscrete) and space.nvec.ndim == 1 and not space.start.any():
        return Choices([int(n) for n in space.nvec], single=False)
    if isinstance(space, spaces.MultiBinary) and len(space.shape) == 1:
        return Switches(int(np.prod(space.shape)))
    raise UserError(
        f"distiller=policy cannot use {space} actions; allowed: Box, Discrete, MultiDiscrete, "
        "MultiBinary, counted from 0"
    )
