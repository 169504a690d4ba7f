"""Log-likelihood of test images under a Parzen window of generated ones.

Protocol of arXiv 1902.04294's released code (spec section f, seen): p(x) is the mean of Gaussians
N(x; x_s, sigma^2) about 10,000 generated images x_s with pixels in [0, 1]; sigma is the one of a
grid with the best mean on a validation set; told are mean and standard error over the test set, in
nats per image. The grids are the release's. Reconstructed: nothing. The figure says little of
sample quality (Theis et al., 2016); it is here because the paper uses it.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch

from rlgen.core.errors import UserError
from rlgen.generative.metrics.rows import squared_distances, to_pair

MNIST_SIGMAS = tuple(round(0.10 + 0.01 * k, 2) for k in range(20))  # 0.10, 0.11, ... 0.29
TFD_SIGMAS = tuple(round(0.001 + 0.005 * k, 3) for k in range(40))  # 0.001, 0.006, ... 0.196
BLOCK = 1_000_000  # numbers at a time: exponentials of more no longer fit a cache


class ParzenScore(NamedTuple):
    """A Parzen log-likelihood and what it was computed from.

    Attributes:
        mean: Over the test set, nats per image.
        standard_error: Of the mean.
        sigma: That was chosen.
        at_edge: Whether it is the first or last of the grid; a wider one is needed then.
        validation: Mean for each sigma of the grid, over the validation set.
        samples: Generated images.
        tested: Test images.
    """

    mean: float
    standard_error: float
    sigma: float
    at_edge: bool
    validation: tuple[float, ...]
    samples: int
    tested: int


def parzen_log_prob(samples: object, points: object, sigmas: Sequence[float]) -> torch.Tensor:
    """Returns log( mean_s N(x; x_s, sigma^2 I) ) for each sigma and point.

    Args:
        samples: (S, F), centres.
        points: (N, F).
        sigmas: More than 0.

    Returns:
        (sigmas, N), nats, float64.

    Raises:
        UserError: If the two do not fit together, or a sigma is not above 0.
    """
    check_sigmas(sigmas)
    centres, rows = to_pair(samples, points, 1)
    scales = torch.tensor(list(sigmas), dtype=torch.float64, device=rows.device)
    parts = [
        torch.stack([torch.logsumexp(block / (-2 * s**2), dim=1) for s in scales])
        for wide in squared_distances(rows, centres)
        for block in wide.split(max(BLOCK // len(centres), 1))
    ]
    constant = math.log(len(centres)) + 0.5 * rows.shape[1] * (2 * math.pi * scales**2).log()
    return torch.cat(parts, dim=1) - constant[:, None]


def parzen_score(
    samples: object,
    validation: object,
    test: object,
    sigmas: Sequence[float] = MNIST_SIGMAS,
) -> ParzenScore:
    """Chooses sigma on a validation set and returns the mean log-likelihood of a test set.

    Args:
        samples: Generated images with pixels in [0, 1], (S, pixels).
        validation: (V, pixels).
        test: (N, pixels), 2 or more.
        sigmas: The grid, in ascending order.

    Raises:
        UserError: If the sets do not fit together, or the grid is wrong.
    """
    means = parzen_log_prob(samples, validation, sigmas).mean(1)
    best = int(means.argmax())
    scores = parzen_log_prob(samples, test, [sigmas[best]])[0]
    if len(scores) < 2:
        raise UserError("one test image has no standard error; give 2 or more")
    return ParzenScore(
        mean=float(scores.mean()),
        standard_error=float(scores.std()) / math.sqrt(len(scores)),
        sigma=float(sigmas[best]),
        at_edge=best in (0, len(sigmas) - 1),
        validation=tuple(means.tolist()),
        samples=len(torch.as_tensor(samples)),
        tested=len(scores),
    )


def check_sigmas(sigmas: Sequence[float]) -> None:
    """Checks a grid.

    Raises:
        UserError: If it is empty, or not of ascending numbers above 0.
    """
    ascending = all(one < two for one, two in pairwise(sigmas))
    if not sigmas or not ascending or not (sigmas[0] > 0 and math.isfinite(sigmas[-1])):
        raise UserError(f"sigmas={list(sigmas)}; ascending numbers above 0 are needed")
