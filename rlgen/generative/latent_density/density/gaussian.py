"""A Gaussian with full covariance, the standard normal prior, and what Gaussians share.

A vector is mean + L e with e standard normal and L the Cholesky factor in the order of the
coordinates. The leading block of L is the factor of the first coordinates alone, so a prefix fixes
the first entries of e and leaves the others free: completion is exact.
"""

import math

import torch
from diffusers.configuration_utils import register_to_config

from rlgen.core.ranges import check_range
from rlgen.generative.latent_density.density.base import DENSITIES, FitOptions, LatentDensity
from rlgen.generative.latent_density.density.draws import Generators, normal


def whiten(x: torch.Tensor, means: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Returns the e with mean + L e = x under each of K Gaussians, for the first coordinates.

    Args:
        x: (B, k), k from 0 to D.
        means: (K, D).
        factors: (K, D, D), lower triangular L.

    Returns:
        (B, K, k).
    """
    k = x.shape[1]
    offsets = (x[:, None] - means[:, :k]).permute(1, 2, 0)
    solved = torch.linalg.solve_triangular(factors[:, :k, :k], offsets, upper=False)
    return solved.permute(2, 0, 1)


def component_log_prob(x: torch.Tensor, means: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
    """Returns the log-density (B, K) of first coordinates (B, k) under each of K Gaussians."""
    k = x.shape[1]
    log_scales = factors.diagonal(dim1=1, dim2=2)[:, :k].log().sum(1)
    squares = whiten(x, means, factors).square().sum(2)
    return -0.5 * squares - log_scales - 0.5 * k * math.log(2 * math.pi)


def standard_log_prob(x: torch.Tensor) -> torch.Tensor:
    """Returns log N(x; 0, I), (B,), of (B, D)."""
    return -0.5 * (x.square().sum(1) + x.shape[1] * math.log(2 * math.pi))


@DENSITIES.register("gaussian")
class FullGaussian(LatentDensity):
    """One Gaussian with a full covariance.

    Its temperature multiplies the standard deviation.

    Args:
        dim: D, coordinates of a latent vector.
        ridge: Is added to the covariance's diagonal, in units of the mean variance. It shrinks
            correlations and keeps few rows, or coordinates that depend on each other, from a
            singular covariance.
        standardize: Learn on standardised coordinates.

    Raises:
        UserError: If an option is out of range.
    """

    can_complete = True
    mean: torch.Tensor
    factor: torch.Tensor

    @register_to_config
    def __init__(self, *, dim: int, ridge: float = 1e-4, standardize: bool = True) -> None:
        super().__init__(dim, standardize)
        check_range("ridge", ridge, 1e-6, 1e3)
        self._ridge = ridge
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("factor", torch.eye(dim))

    def _fit(self, rows: torch.Tensor, options: FitOptions) -> list[float]:
        exact = rows.double()
        mean = exact.mean(0)
        covariance = (exact - mean).T @ (exact - mean) / (len(rows) - 1)
        # Rows all equal have no unit of their own.
        unit = float(covariance.diagonal().mean()) or 1.0
        covariance.diagonal().add_(self._ridge * unit)
        self.mean.copy_(mean)
        self.factor.copy_(torch.linalg.cholesky(covariance))
        return self._whole_fit(rows, options.on_step)

    def _log_prob(self, u: torch.Tensor) -> torch.Tensor:
        return component_log_prob(u, self.mean[None], self.factor[None])[:, 0]

    def _complete(self, known: torch.Tensor, generator: Generators, tau: float) -> torch.Tensor:
        fixed = whiten(known, self.mean[None], self.factor[None])[:, 0]
        free = normal((len(known), self.dim - known.shape[1]), generator, known)
        return self.mean + torch.cat([fixed, tau * free], 1) @ self.factor.T


@DENSITIES.register("prior")
class StandardNormal(LatentDensity):
    """N(0, I) of raw latents: what a variational autoencoder is sampled with. It learns nothing.

    Its temperature multiplies the standard deviation.

    Args:
        dim: D, coordinates of a latent vector.
    """

    can_complete = True
    learns = False

    @register_to_config
    def __init__(self, *, dim: int) -> None:
        super().__init__(dim, standardize=False)

    def _fit(self, rows: torch.Tensor, options: FitOptions) -> list[float]:
        return self._whole_fit(rows, options.on_step)

    def _log_prob(self, u: torch.Tensor) -> torch.Tensor:
        return standard_log_prob(u)

    def _complete(self, known: torch.Tensor, generator: Generators, tau: float) -> torch.Tensor:
        free = normal((len(known), self.dim - known.shape[1]), generator, known)
        return torch.cat([known, tau * free], 1)
