"""Fitting a density by gradient descent, a step at a time, so that a run can save and go on.

Order of rows and noise of a step are functions of (seed, step), and the rate one of progress: a
state is weights, moments and the step number, and a resumed fit equals an uninterrupted one.
"""

import math
from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch

from rlgen.core.errors import NonFiniteLossError
from rlgen.core.optimizer_state import optimizer_state, restore_optimizer
from rlgen.generative.latent_density.density.base import FitOptions, LatentDensity

_WEIGHTS, _ORDER, _NOISE = range(3)  # purposes of random numbers


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
        )
        losses: list[float] = []
        while fit.done < options.steps:
            losses.append(fit.step())
            if options.on_step is not None and options.on_step(fit.done, losses[-1]):
                break
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
    ) -> None:
        self.density = density
        self.rows = rows
        self.steps = steps
        self.done = 0
        self._batch_size = min(batch_size, len(rows))
        self._seed = seed
        self._rate = density.learning_rate if learning_rate is None else learning_rate
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.long)
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
        return value

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
        tensors = {"density": dict(self.density.state_dict()), "density_optimizer": moments}
        return tensors, {"density_step": self.done, "density_groups": groups}

    def restore(self, tensors: dict[str, dict[str, torch.Tensor]], state: dict[str, Any]) -> None:
        """Puts a state from :meth:`state` back.

        Raises:
            ValueError: If the moments are of other parameters.
            RuntimeError: If the weights are of another network.
        """
        self.density.load_state_dict(tensors["density"])
        restore_optimizer(self._optimizer, tensors["density_optimizer"], state["density_groups"])
        self.done = int(state["density_step"])


def _derive(seed: int, purpose: int, number: int) -> int:
    words = np.random.SeedSequence([seed, purpose, number]).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))
