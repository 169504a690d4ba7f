"""Fitting a density by gradient descent, a step at a time, so that a run can save and go on.

Order of rows and noise of a step are functions of (seed, step), and the rate one of progress: a
state is weights, moments and the step number, and a resumed fit equals an uninterrupted one.

A few thousand latents are learned by heart within some dozens of epochs: on 5,000 faces the
estimator ends at 7 bits a dimension for others, the flow at thousands, where a single Gaussian has
3. So some rows may be held out, and the weights that were best on these are the fit's result.
"""

import math
from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch

from rlgen.core.errors import NonFiniteLossError
from rlgen.core.optimizer_state import optimizer_state, restore_optimizer
from rlgen.generative.latent_density.density.base import CHUNK, FitOptions, LatentDensity

_WEIGHTS, _ORDER, _NOISE, _SPLIT = range(4)  # purposes of random numbers
CHECKS = 50  # of held-out rows in a fit
MOST_HELD_OUT = 2000  # rows; it bounds the time of a check


class GradientDensity(LatentDensity):
    """A density that is fitted by gradient descent (Adam).

    Attributes:
        learning_rate: Usual one at the start.
        betas: Of Adam.
        max_grad_norm: Gradients are clipped to it; None for not at all.
    """

    learning_rate: ClassVar[float]
    betas: ClassVar[tuple[float, float]] = (0.9, 0.999)
    max_grad_norm: ClassVar[float | None] = None

    @abstractmethod
    def reset(self) -> None:
        """Draws fresh weights from torch's global generator."""

    @abstractmethod
    def loss(self, rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Returns the loss of standardised rows (B, D), a scalar; noise is the generator's."""

    def decay(self, progress: float) -> float:
        """Returns the factor of the learning rate at a progress of 0 to 1: half a cosine."""
        return 0.5 * (1 + math.cos(math.pi * progress))

    def _fit(self, rows: torch.Tensor, options: FitOptions) -> list[float]:
        fit = GradientFit(
            self,
            rows,
            steps=options.steps,
            batch_size=options.batch_size,
            seed=options.seed,
            learning_rate=options.learning_rate,
            holdout=options.holdout,
        )
        losses: list[float] = []
        while fit.done < options.steps:
            losses.append(fit.step())
            if options.on_step is not None and options.on_step(fit.done, losses[-1]):
                break
        fit.take_best()
        return losses


class GradientFit:
    """A fit in progress.

    Args:
        density: What is fitted; its weights are drawn afresh.
        rows: (N, D), standardised, as ``density.standardise_on(latents)`` returns them.
        steps: Of the whole fit; the learning rate falls over them.
        batch_size: Rows of a step. A permutation of all rows is gone through before the next; its
            incomplete last batch is left out.
        seed: Of weights, order and noise.
        learning_rate: At the start; None for the density's own.
        holdout: Share of the rows, 0 to 0.5, that is not fitted but chooses among the weights of
            about 50 moments: after the last step the density has the best ones. 0: it has the last
            ones.

    Attributes:
        rows: (M, D), those that are fitted.
        held_out: (N - M, D), at most 2,000.
    """

    def __init__(
        self,
        density: GradientDensity,
        rows: torch.Tensor,
        *,
        steps: int,
        batch_size: int,
        seed: int,
        learning_rate: float | None = None,
        holdout: float = 0.0,
    ) -> None:
        self.density = density
        self.rows, self.held_out = _split(rows, holdout, seed)
        self.steps = steps
        self.done = 0
        self._batch_size = min(batch_size, len(self.rows))
        self._seed = seed
        self._rate = density.learning_rate if learning_rate is None else learning_rate
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.long)
        self._best_loss, self._best = math.inf, dict[str, torch.Tensor]()
        self._last: dict[str, torch.Tensor] | None = None  # weights after the last step
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_derive(seed, _WEIGHTS, 0))
            density.reset()
        self._optimizer = torch.optim.Adam(
            density.parameters(), lr=self._rate, betas=density.betas, fused=True
        )

    def step(self) -> float:
        """Takes a gradient step and returns its loss.

        Raises:
            NonFiniteLossError: If the loss is NaN or infinite; no step is taken.
        """
        self.density.train()
        noise = torch.Generator().manual_seed(_derive(self._seed, _NOISE, self.done))
        loss = self.density.loss(self.rows[self._batch()], noise)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise NonFiniteLossError("the density's loss", self.done)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self.density.max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.density.parameters(), self.density.max_grad_norm)
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate * self.density.decay(self.done / self.steps)
        self._optimizer.step()
        self.done += 1
        last = self.done == self.steps
        if len(self.held_out) and (last or self.done % max(self.steps // CHECKS, 1) == 0):
            self._check()
        if last:
            self.take_best()
        return value

    @torch.no_grad()
    def _check(self) -> None:
        """Keeps the weights if no earlier ones had a lower loss on the held-out rows."""
        self.density.eval()
        noise = torch.Generator().manual_seed(_derive(self._seed, _SPLIT, 1))
        parts = self.held_out.split(CHUNK)
        losses = [float(self.density.loss(rows, noise)) * len(rows) for rows in parts]
        loss = sum(losses) / len(self.held_out)
        if loss < self._best_loss:
            self._best_loss = loss
            self._best = self._weights()

    def _weights(self) -> dict[str, torch.Tensor]:
        return {key: value.clone() for key, value in self.density.state_dict().items()}

    def take_best(self) -> None:
        """Ends the fit: the density gets the weights that were best on the held-out rows, if any.

        A state still has those of the last step, from which a longer fit goes on.
        """
        if self._best and self._last is None:
            self._last = self._weights()
            self.density.load_state_dict(self._best)

    def _batch(self) -> torch.Tensor:
        per_epoch = len(self.rows) // self._batch_size
        epoch, number = divmod(self.done, per_epoch)
        if epoch != self._epoch:
            order = torch.Generator().manual_seed(_derive(self._seed, _ORDER, epoch))
            self._order = torch.randperm(len(self.rows), generator=order).to(self.rows.device)
            self._epoch = epoch
        return self._order[number * self._batch_size : (number + 1) * self._batch_size]

    def state(self) -> tuple[dict[str, dict[str, torch.Tensor]], dict[str, Any]]:
        """Returns what training changes: named tensors by group, and JSON values."""
        moments, groups = optimizer_state(self._optimizer)
        weights = dict(self.density.state_dict()) if self._last is None else self._last
        tensors = {"density": weights, "density_optimizer": moments}
        state: dict[str, Any] = {"density_step": self.done, "density_groups": groups}
        if self._best:
            tensors["density_best"] = dict(self._best)
            state["density_best_loss"] = self._best_loss
        return tensors, state

    def restore(self, tensors: dict[str, dict[str, torch.Tensor]], state: dict[str, Any]) -> None:
        """Puts a state from :meth:`state` back.

        Raises:
            ValueError: If the moments are of other parameters.
            RuntimeError: If the weights are of another network.
        """
        self.density.load_state_dict(tensors["density"])
        restore_optimizer(self._optimizer, tensors["density_optimizer"], state["density_groups"])
        self.done = int(state["density_step"])
        self._last = None
        self._best = dict(tensors.get("density_best", {}))
        self._best_loss = float(state.get("density_best_loss", math.inf))
        if self.done >= self.steps:
            self.take_best()


def _split(rows: torch.Tensor, holdout: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns rows to fit and rows held out; of two or more rows at least two are fitted."""
    count = min(round(holdout * len(rows)), MOST_HELD_OUT, len(rows) - 2)
    if count < 1:
        return rows, rows[:0]
    generator = torch.Generator().manual_seed(_derive(seed, _SPLIT, 0))
    order = torch.randperm(len(rows), generator=generator).to(rows.device)
    return rows[order[count:]], rows[order[:count]]


def _derive(seed: int, purpose: int, number: int) -> int:
    words = np.random.SeedSequence([seed, purpose, number]).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))
