"""Frechet distance of two sets of features.

Paper: Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash
Equilibrium" (2017): both sets are described by Gaussians, whose Wasserstein-2 distance squared is

    d^2 = |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)).

The name FID belongs to the features of one Inception network; here features are anybody's, so
figures of different feature nets, and of different counts, must not be compared: with few rows the
distance is biased upwards. Everything is float64; (S1 S2)^(1/2) is not formed, only its trace.
"""

from typing import NamedTuple

import torch

from rlgen.core.errors import UserError
from rlgen.generative.metrics.rows import to_pair


class FrechetDistance(NamedTuple):
    """A Frechet distance and what it was computed from.

    Attributes:
        distance: d^2, 0 or more, in squared units of the features.
        mean_part: |m1 - m2|^2.
        spread_part: The rest, tr(S1 + S2 - 2 (S1 S2)^(1/2)).
        real: Rows of the first set.
        generated: Rows of the second.
        features: F; a set of F rows or fewer has a singular covariance.
    """

    distance: float
    mean_part: float
    spread_part: float
    real: int
    generated: int
    features: int


def frechet_distance(real: object, generated: object) -> FrechetDistance:
    """Returns the Frechet distance of two sets of features.

    Args:
        real: (N, F), 2 rows or more.
        generated: (M, F), likewise.

    Raises:
        UserError: If the two do not fit together, are too few or are not finite.
    """
    first, second = to_pair(real, generated, 2)
    counts = (len(first), len(second), first.shape[1])
    if min(counts) == counts[2]:
        mean_part, spread_part = gaussian_distance(*_moments(first), *_moments(second))
    else:
        mean_part, spread_part = _distance_of_few(first, second)
    return FrechetDistance(mean_part + spread_part, mean_part, spread_part, *counts)


def gaussian_distance(
    mean: torch.Tensor, covariance: torch.Tensor, mean2: torch.Tensor, covariance2: torch.Tensor
) -> tuple[float, float]:
    """Returns the squared Wasserstein-2 distance of two Gaussians, in two parts.

    Args:
        mean: (F,), float64.
        covariance: (F, F), symmetric, no eigenvalue below 0.
        mean2: Of the other.
        covariance2: Of the other.

    Returns:
        The part of the means and that of the covariances, 0 or more each.

    Raises:
        UserError: If the shapes do not fit.
    """
    dim = len(mean)
    if mean2.shape != (dim,) or {covariance.shape, covariance2.shape} != {(dim, dim)}:
        raise UserError("means (F,) and covariances (F, F) of one F are needed")
    traces = torch.trace(covariance) + torch.trace(covariance2)
    spread = traces - 2 * trace_of_root(covariance, covariance2)
    return float((mean - mean2).square().sum()), max(float(spread), 0.0)


def trace_of_root(covariance: torch.Tensor, covariance2: torch.Tensor) -> torch.Tensor:
    """Returns tr((S1 S2)^(1/2)), the sum of the roots of the eigenvalues of S1 S2.

    These roots are the singular values of S1^(1/2) S2^(1/2). Taken from there they are never
    negative or complex, and a singular covariance costs no accuracy: the eigenvalues themselves
    would be right to 1e-16 of the largest, their roots only to 1e-8.

    Args:
        covariance: S1, (F, F), float64.
        covariance2: S2.

    Returns:
        A scalar.
    """
    return torch.linalg.svdvals(_root(covariance) @ _root(covariance2)).sum()


def _distance_of_few(first: torch.Tensor, second: torch.Tensor) -> tuple[float, float]:
    """Returns what :func:`gaussian_distance` does, for fewer rows than features.

    With centred rows A and B, over the roots of their counts less one, S1 = A^T A and S2 = B^T B;
    the roots of the eigenvalues of S1 S2 are the singular values of A B^T, (N, M) instead of
    (F, F): seconds where pixels would take an hour.
    """
    gap = first.mean(0) - second.mean(0)
    one, two = ((rows - rows.mean(0)) / (len(rows) - 1) ** 0.5 for rows in (first, second))
    traces = one.square().sum() + two.square().sum()
    spread = traces - 2 * torch.linalg.svdvals(one @ two.t()).sum()
    return float(gap.square().sum()), max(float(spread), 0.0)


def _root(covariance: torch.Tensor) -> torch.Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.t()


def _moments(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    mean = rows.mean(0)
    centred = rows - mean
    return mean, centred.t() @ centred / (len(rows) - 1)
