"""What every latent density offers: fit, sample, score and complete latent vectors.

Paper: Yoo, Lee, Kwak, "Density Estimation and Incremental Learning of Latent Vector for Generative
Autoencoders" (arXiv 1902.04294). Its estimator is :class:`~rlgen.generative.latent_density.density.
lde.LDE`; the others are the rivals it is compared with, behind one interface.

Latents are standardised coordinate by coordinate with statistics of the training rows, and the
log-determinant -sum log(scale) is part of every log-density, so that figures are nats of the raw
latents. The paper's code trains on raw latents (``standardize=False``); standardising is the option
that our specification recommends, since raw ones may be far wider than the estimator's start.
"""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from diffusers import ConfigMixin, ModelMixin
from torch import nn

from rlgen.core.errors import UserError
from rlgen.core.ranges import check_range
from rlgen.core.registry import Registry
from rlgen.generative.latent_density.density.draws import Generators, check_generators, part

OnStep = Callable[[int, float], bool | None]
CHUNK = 512  # rows at a time in sampling and scoring; bounds the memory that they need


@dataclass(frozen=True)
class FitOptions:
    """What a fit was asked for, checked; see :meth:`LatentDensity.fit`."""

    steps: int
    batch_size: int
    seed: int
    learning_rate: float | None
    on_step: OnStep | None
    holdout: float


class LatentDensity(ModelMixin, ConfigMixin, ABC):
    """A distribution of latent vectors that is learned from examples.

    ``save_pretrained`` and ``from_pretrained`` are those of diffusers (JSON and safetensors). A
    subclass does its part on standardised vectors, in the methods that begin with an underscore.

    Args:
        dim: D, coordinates of a latent vector.
        standardize: Whether to learn on standardised coordinates.

    Attributes:
        has_log_prob: Whether there is a log-density.
        can_complete: Whether the rest of a vector can be drawn given its first coordinates.
        learns: Whether fitting does anything; False for a fixed prior.
        shift: (D,), mean of the training rows.
        scale: (D,), their standard deviation; 1 where a coordinate is constant.

    Raises:
        UserError: If ``dim`` is not a whole number from 1 on.
    """

    has_log_prob: ClassVar[bool] = True
    can_complete: ClassVar[bool] = False
    learns: ClassVar[bool] = True
    shift: torch.Tensor
    scale: torch.Tensor

    def __init__(self, dim: int, standardize: bool) -> None:
        super().__init__()
        check_range("dim", dim, 1, 65_536)
        self._standardize = standardize
        self.register_buffer("shift", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))

    @property
    def dim(self) -> int:
        """D, coordinates of a latent vector."""
        return len(self.shift)

    def fit(
        self,
        latents: torch.Tensor,
        *,
        steps: int = 10_000,
        batch_size: int = 128,
        seed: int = 0,
        learning_rate: float | None = None,
        on_step: OnStep | None = None,
        holdout: float = 0.0,
    ) -> list[float]:
        """Learns the distribution of some latents, from fresh weights, and ends in eval mode.

        The result depends on the latents, the options and the seed alone. Densities without
        gradient descent take all rows at once and count as one step.

        Args:
            latents: (N, D), one row per training example.
            steps: Gradient steps, or at most so many iterations of expectation-maximization.
            batch_size: Rows of a step; all rows where there are fewer.
            seed: Of initial weights, order of the rows and noise.
            learning_rate: At the start; None for the density's own usual one.
            on_step: Called after each step with its number, from 1, and its loss; returning True
                ends the fit early.
            holdout: Share of the latents, 0 to 0.5 and at most 2,000 of them, that is not fitted
                but chooses, about 50 times, the best weights so far: 0.05 guards a few thousand
                latents against being learned by heart. Densities without gradient descent take
                all latents.

        Returns:
            The loss of each step: nats per coordinate of the standardised latents, or what the
            density minimises.

        Raises:
            UserError: If an argument is wrong, or latents are not finite.
            NonFiniteLossError: If training diverges.
            MissingExtraError: If the density needs a library that is not installed.
        """
        check_range("steps", steps, 1, 10**9)
        check_range("batch_size", batch_size, 1, 10**7)
        check_range("seed", seed, 0, 2**63 - 1)
        check_range("learning_rate", learning_rate, 1e-9, 1e3, optional=True)
        check_range("holdout", holdout, 0.0, 0.5)
        rows = self.standardise_on(latents)
        self.check_fit(len(rows))
        options = FitOptions(steps, batch_size, seed, learning_rate, on_step, holdout)
        losses = self._fit(rows, options)
        self.eval()
        return losses

    def check_fit(self, count: int) -> None:
        """Checks, before anything is trained, whether so many latents can be fitted.

        Raises:
            UserError: If there are too few.
            MissingExtraError: If a library is missing.
        """
        if count < 2:
            raise UserError(f"{count} latents cannot be fitted; give 2 or more")

    @torch.no_grad()
    def standardise_on(self, latents: torch.Tensor) -> torch.Tensor:
        """Takes the statistics of training latents and returns these standardised.

        Raises:
            UserError: If latents are not (N, D) finite numbers with N at least 2.
        """
        rows = self._rows(latents, "latents").detach()
        if len(rows) < 2:
            raise UserError(f"{len(rows)} latents cannot be fitted; give 2 or more")
        if self._standardize:
            deviation, mean = torch.std_mean(rows.double(), dim=0)
            # A constant coordinate keeps its unit: dividing by rounding noise would invent spread.
            constant = deviation <= 1e-6 * (1e-6 + mean.abs())
            self.shift.copy_(mean)
            self.scale.copy_(torch.where(constant, 1.0, deviation))
        return (rows - self.shift) / self.scale

    @torch.no_grad()
    def sample(
        self, count: int, *, generator: Generators, temperature: float = 1.0
    ) -> torch.Tensor:
        """Draws latent vectors.

        Args:
            count: How many.
            generator: Of all randomness: one for all, or a list with one for each vector.
            temperature: 1 samples the density as it was learned; lower is less varied. What it
                acts on, each density says.

        Returns:
            (count, D).

        Raises:
            UserError: If an argument is out of range.
        """
        check_range("count", count, 1, 10**9)
        nothing = self.shift.new_zeros(count, 0)
        return self._draw(nothing, generator, temperature)

    @torch.no_grad()
    def complete(
        self, prefix: torch.Tensor, *, generator: Generators, temperature: float = 1.0
    ) -> torch.Tensor:
        """Draws the rest of latent vectors given their first coordinates.

        Args:
            prefix: (B, k), k from 0 to D.
            generator: Of all randomness: one for all, or a list with one for each vector.
            temperature: As in :meth:`sample`.

        Returns:
            (B, D); the first k columns are the prefix.

        Raises:
            UserError: If an argument is wrong, or this density cannot complete vectors.
        """
        if not self.can_complete:
            able = [name for name in DENSITIES if DENSITIES[name].can_complete]
            raise UserError(
                f"{type(self).__name__} cannot complete vectors; allowed: {', '.join(able)}"
            )
        return self._draw(self._rows(prefix, "prefix", whole=False), generator, temperature)

    def _draw(self, known: torch.Tensor, generator: Generators, tau: float) -> torch.Tensor:
        check_range("temperature", tau, 1e-3, 1e3)
        check_generators(generator, len(known))
        k = known.shape[1]
        known_u = (known - self.shift[:k]) / self.scale[:k]
        with evaluating(self):
            parts = [
                self._complete(rows, part(generator, start, start + len(rows)), tau)
                for start, rows in zip(
                    range(0, max(len(known), 1), CHUNK), known_u.split(CHUNK), strict=True
                )
            ]
        drawn = torch.cat(parts) * self.scale + self.shift
        drawn[:, :k] = known  # as it was given, without the rounding of there and back
        return drawn

    def log_prob(self, z: torch.Tensor) -> torch.Tensor:
        """Returns the log-density of latent vectors, with a gradient where ``z`` has one.

        Args:
            z: (B, D).

        Returns:
            (B,), nats.

        Raises:
            UserError: If ``z`` has another shape or numbers that are not finite, or this density
                has no log-density.
        """
        if not self.has_log_prob:
            able = [name for name in DENSITIES if DENSITIES[name].has_log_prob]
            raise UserError(f"{type(self).__name__} has no log-density; allowed: {', '.join(able)}")
        u = (self._rows(z, "z") - self.shift) / self.scale
        with evaluating(self):
            scores = torch.cat([self._log_prob(rows) for rows in u.split(CHUNK)])
        return scores - self.scale.log().sum()

    def _rows(self, values: torch.Tensor, name: str, whole: bool = True) -> torch.Tensor:
        """Returns rows in this density's type and on its device, after a check."""
        fits = values.dim() == 2 and (
            values.shape[1] == self.dim if whole else values.shape[1] <= self.dim
        )
        if not fits:
            wanted = f"(rows, {self.dim})" if whole else f"(rows, at most {self.dim})"
            raise UserError(f"{name} of shape {tuple(values.shape)}; {wanted} is needed")
        if not bool(values.isfinite().all()):
            raise UserError(f"{name} has numbers that are not finite; remove those rows first")
        return values.to(self.shift)

    @abstractmethod
    def _fit(self, rows: torch.Tensor, options: FitOptions) -> list[float]:
        """Learns standardised rows (N, D)."""

    @abstractmethod
    def _complete(self, known: torch.Tensor, generator: Generators, tau: float) -> torch.Tensor:
        """Draws standardised vectors (B, D) whose first coordinates are ``known`` (B, k).

        k is 0 where ``can_complete`` is False.
        """

    def _log_prob(self, u: torch.Tensor) -> torch.Tensor:
        """Returns the log-density (B,) of standardised vectors."""
        raise NotImplementedError

    def _whole_fit(self, rows: torch.Tensor, on_step: OnStep | None) -> list[float]:
        """Returns the loss of a fit that took all rows at once, after telling of it."""
        with torch.no_grad():
            loss = float(-torch.cat([self._log_prob(u) for u in rows.split(CHUNK)]).mean())
        loss /= self.dim
        if on_step is not None:
            on_step(1, loss)
        return [loss]


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Inside the block a network is in eval mode; then as before."""
    before = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(before)


def check_choice(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    """Checks a named option.

    Raises:
        UserError: If its value is none of the allowed ones.
    """
    if value not in allowed:
        raise UserError(f"{name}={value} is unknown; allowed: {', '.join(allowed)}")


DENSITIES: Registry[type[LatentDensity]] = Registry("latent density", "latent_densities")
