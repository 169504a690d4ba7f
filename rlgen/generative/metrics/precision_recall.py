"""Precision and recall of a generator, by nearest neighbours among features.

Paper: Kynkaanniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models"
(2019). A set's manifold is the union of balls about its rows, each reaching to the row's k-th
nearest neighbour in the set. Precision: the share of generated rows inside the real manifold, how
good images look. Recall: the share of real rows inside the generated manifold, how much of the
data is covered. The paper has k = 3 and sets of 50,000; figures depend on both counts.
"""

from typing import NamedTuple

import torch

from rlgen.core.errors import UserError
from rlgen.core.ranges import check_range
from rlgen.generative.metrics.rows import ROUNDING, squared_distances, to_pair


class PrecisionRecall(NamedTuple):
    """Precision and recall, 0 to 1, and what they were computed from.

    Attributes:
        precision: Share of generated rows inside the real manifold.
        recall: Share of real rows inside the generated manifold.
        real: Rows of the first set.
        generated: Rows of the second.
        neighbours: k.
    """

    precision: float
    recall: float
    real: int
    generated: int
    neighbours: int


def precision_recall(real: object, generated: object, neighbours: int = 3) -> PrecisionRecall:
    """Returns precision and recall of generated features against real ones.

    Args:
        real: (N, F), more than k rows.
        generated: (M, F), likewise.
        neighbours: k.

    Raises:
        UserError: If the two do not fit together, are too few or are not finite.
    """
    check_range("neighbours", neighbours, 1, 10**6)
    first, second = to_pair(real, generated, 2)
    fewest = min(len(first), len(second))
    if fewest <= neighbours:
        raise UserError(
            f"neighbours={neighbours} of {fewest} rows; give more rows or type "
            f"neighbours={fewest - 1}"
        )
    # Distances do not change, but rounding is a share of the norms.
    centre = first.mean(0)
    first, second = first - centre, second - centre
    precision = _inside(second, first, neighbours)
    recall = _inside(first, second, neighbours)
    return PrecisionRecall(precision, recall, len(first), len(second), neighbours)


def _inside(points: torch.Tensor, manifold: torch.Tensor, k: int) -> float:
    """Returns the share of points that lie in a ball of the manifold, borders included."""
    radii = torch.cat(
        # A row's nearest is itself, so the k-th neighbour is the (k + 1)-th smallest distance.
        [block.kthvalue(k + 1, dim=1).values for block in squared_distances(manifold, manifold)]
    )
    largest = torch.maximum(points.square().sum(1).max(), manifold.square().sum(1).max())
    reach = radii + 8 * ROUNDING * largest
    inside = [(block <= reach).any(1) for block in squared_distances(points, manifold)]
    return float(torch.cat(inside).double().mean())
