"""Kernel distance of two sets of features: the squared maximum mean discrepancy, unbiased.

Paper: Binkowski et al., "Demystifying MMD GANs" (2018), with its polynomial kernel
k(x, y) = (x y / F + 1)^3 and its mean over random subsets. It is called KID where the features are
Inception's; here they are anybody's. Unlike the Frechet distance it has no bias of the count, so it
may be compared between sets of different sizes, and may be slightly negative.
"""

from typing import NamedTuple

import torch

from rlgen.core.ranges import check_range
from rlgen.generative.metrics.rows import to_pair


class KernelDistance(NamedTuple):
    """A kernel distance and what it was computed from.

    Attributes:
        mean: Over subsets.
        deviation: Of one subset's value; the mean is more certain than that.
        subsets: How many.
        subset_size: Rows of each set in a subset.
    """

    mean: float
    deviation: float
    subsets: int
    subset_size: int


def kernel_distance(
    real: object,
    generated: object,
    *,
    generator: torch.Generator,
    subsets: int = 100,
    subset_size: int = 1000,
) -> KernelDistance:
    """Returns the mean kernel distance of random subsets of two sets of features.

    Args:
        real: (N, F), 2 rows or more.
        generated: (M, F), likewise.
        generator: Chooses the subsets; on the CPU.
        subsets: How many.
        subset_size: Rows taken of each set, without repetition; all of the smaller set where it
            has fewer.

    Raises:
        UserError: If the two do not fit together, are too few or are not finite.
    """
    check_range("subsets", subsets, 1, 10**6)
    check_range("subset_size", subset_size, 2, 10**6)
    first, second = to_pair(real, generated, 2)
    size = min(subset_size, len(first), len(second))
    values = []
    for _ in range(subsets):
        one, two = (rows[_choose(len(rows), size, generator)] for rows in (first, second))
        values.append(_discrepancy(one, two))
    found = torch.stack(values)
    return KernelDistance(float(found.mean()), float(found.std(correction=0)), subsets, size)


def squared_discrepancy(real: object, generated: object) -> float:
    """Returns the unbiased squared maximum mean discrepancy of two whole sets.

    Args:
        real: (N, F), 2 rows or more.
        generated: (M, F), likewise.

    Raises:
        UserError: If the two do not fit together, are too few or are not finite.
    """
    return float(_discrepancy(*to_pair(real, generated, 2)))


def _choose(count: int, size: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randperm(count, generator=generator)[:size]


def _discrepancy(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Sum of k(x, x') / (n (n - 1)) + sum of k(y, y') / (m (m - 1)) - 2 mean of k(x, y)."""
    within = torch.zeros((), dtype=first.dtype, device=first.device)
    for rows in (first, second):
        kernel = _kernel(rows, rows)
        within = within + (kernel.sum() - kernel.trace()) / (len(rows) * (len(rows) - 1))
    return within - 2 * _kernel(first, second).mean()


def _kernel(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    return (first @ second.t() / first.shape[1] + 1) ** 3
