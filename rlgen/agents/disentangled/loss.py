"""Losses of the action-conditional VAE: pure functions of tensors.

Paper: Yang, Lee, Chang, Kwak, ACML 2019 (arXiv 1811.04350). Seen in it: log-likelihood of the next
state minus beta times KL(q(z|s) || N(0, I)), the KL taken before the action is added; and, for one
of its figures, the objective of Burgess et al. (2018), gamma_c |KL - C| with C rising. Here both
are written as losses to minimise. Reconstructed: the sum over pixels or state dimensions and over
latent coordinates, and the mean over the batch; cross-entropy for pixels, half the squared error
for vectors (a Gaussian of unit variance, without its constant). The numbers of Burgess et al. are
from memory of their paper.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from rlgen.core.errors import UserError, closest

OBJECTIVES = ("beta", "capacity")


@dataclass(frozen=True)
class ObjectiveTerms:
    """A loss and its parts, means over the batch.

    Attributes:
        loss: What is minimised, a scalar.
        nll: Negative log-likelihood of the next state, in nats, a scalar.
        kl: KL divergence summed over the coordinates, in nats, a scalar.
        kl_per_coordinate: Its parts, (n,).
    """

    loss: torch.Tensor
    nll: torch.Tensor
    kl: torch.Tensor
    kl_per_coordinate: torch.Tensor


def kl_divergence(mu: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Returns KL(N(mu, sigma^2) || N(0, 1)) of every coordinate, in nats.

    (mu^2 + sigma^2 - 1 - ln sigma^2) / 2.

    Args:
        mu: Means, (batch, n).
        sigma: Standard deviations, (batch, n), positive.

    Returns:
        (batch, n), not negative.
    """
    return 0.5 * (mu.square() + sigma.square() - 1) - sigma.log()


def reconstruction_nll(
    prediction: torch.Tensor, target: torch.Tensor, likelihood: str
) -> torch.Tensor:
    """Returns -log p(target), summed over all dimensions but the batch.

    Args:
        prediction: (batch, ...): logits for ``bernoulli``, means for ``gaussian``.
        target: The same shape; within 0..1 for ``bernoulli``.
        likelihood: ``bernoulli`` or ``gaussian``, the latter with unit variance and without its
            constant.

    Returns:
        (batch,), in nats.

    Raises:
        UserError: If the likelihood is unknown or the shapes differ.
    """
    if prediction.shape != target.shape:
        raise UserError(
            f"a prediction of shape {tuple(prediction.shape)} and a target of shape "
            f"{tuple(target.shape)} do not fit each other"
        )
    if likelihood == "bernoulli":
        nll = F.binary_cross_entropy_with_logits(prediction, target, reduction="none")
    elif likelihood == "gaussian":
        nll = 0.5 * (prediction - target).square()
    else:
        hint = closest(likelihood, ("bernoulli", "gaussian"))
        raise UserError(f"likelihood={likelihood!r} is unknown; {hint}")
    return nll.flatten(1).sum(dim=1)


def beta_objective(
    prediction: torch.Tensor,
    target: torch.Tensor,
    mu: torch.Tensor,
    sigma: torch.Tensor,
    *,
    beta: float,
    likelihood: str,
) -> ObjectiveTerms:
    """The paper's objective as a loss: NLL + beta KL.

    beta = 1 is the AC-VAE. beta = 0 leaves the KL out altogether, so that sigma may be 0: the
    AC-AE.

    Args:
        prediction: As :func:`reconstruction_nll` takes it.
        target: Likewise.
        mu: Means of the latent, (batch, n).
        sigma: Standard deviations of the latent, (batch, n).
        beta: Weight of the KL, 0 or more.
        likelihood: ``bernoulli`` or ``gaussian``.
    """
    nll = reconstruction_nll(prediction, target, likelihood).mean()
    per_coordinate = kl_divergence(mu, sigma).mean(dim=0)
    kl = per_coordinate.sum()
    return ObjectiveTerms(nll + beta * kl if beta else nll, nll, kl, per_coordinate)


def capacity_objective(
    prediction: torch.Tensor,
    target: torch.Tensor,
    mu: torch.Tensor,
    sigma: torch.Tensor,
    *,
    gamma_c: float,
    capacity: float,
    likelihood: str,
) -> ObjectiveTerms:
    """The objective of Burgess et al. (2018) as a loss: NLL + gamma_c |KL - C|.

    The KL inside the bars is the batch's mean.

    Args:
        prediction: As :func:`reconstruction_nll` takes it.
        target: Likewise.
        mu: Means of the latent, (batch, n).
        sigma: Standard deviations of the latent, (batch, n), positive.
        gamma_c: Weight, 0 or more; no discount factor.
        capacity: C, in nats; see :func:`capacity_at`.
        likelihood: ``bernoulli`` or ``gaussian``.
    """
    nll = reconstruction_nll(prediction, target, likelihood).mean()
    per_coordinate = kl_divergence(mu, sigma).mean(dim=0)
    kl = per_coordinate.sum()
    return ObjectiveTerms(nll + gamma_c * (kl - capacity).abs(), nll, kl, per_coordinate)


def capacity_at(
    step: int, *, steps: int = 100_000, first: float = 0.0, last: float = 25.0
) -> float:
    """Returns the capacity C at an update: linear from ``first`` to ``last``, then constant.

    Args:
        step: Updates done, 0 or more.
        steps: Updates until ``last`` is reached; 0 for at once.
        first: Nats at the start.
        last: Nats at the end.
    """
    if step >= steps:
        return last
    return first + (last - first) * step / steps


@dataclass(frozen=True)
class Objective:
    """Which objective is minimised, and its numbers; a trainer calls it with the step.

    Attributes:
        name: ``beta`` or ``capacity``.
        beta: Weight of the KL in ``beta``; the paper's is 10 on Atari and 6 on dSprites, 4 is
            reconstructed for MuJoCo.
        gamma_c: Weight in ``capacity``.
        capacity: Nats that C rises to, from 0.
        capacity_steps: Updates in which it does.
    """

    name: str = "beta"
    beta: float = 4.0
    gamma_c: float = 1000.0
    capacity: float = 25.0
    capacity_steps: int = 100_000

    def __post_init__(self) -> None:
        if self.name not in OBJECTIVES:
            raise UserError(f"objective={self.name!r} is unknown; {closest(self.name, OBJECTIVES)}")
        for name in ("beta", "gamma_c", "capacity", "capacity_steps"):
            if getattr(self, name) < 0:
                raise UserError(f"{name}={getattr(self, name)} is negative; type 0 or more")

    def __call__(
        self,
        prediction: torch.Tensor,
        target: torch.Tensor,
        mu: torch.Tensor,
        sigma: torch.Tensor,
        *,
        likelihood: str,
        step: int = 0,
    ) -> ObjectiveTerms:
        """Returns the loss and its parts; ``step`` counts the model's updates."""
        if self.name == "beta":
            return beta_objective(
                prediction, target, mu, sigma, beta=self.beta, likelihood=likelihood
            )
        return capacity_objective(
            prediction,
            target,
            mu,
            sigma,
            gamma_c=self.gamma_c,
            capacity=capacity_at(step, steps=self.capacity_steps, last=self.capacity),
            likelihood=likelihood,
        )
