"""What the metrics share: checked rows of features, and their distances block by block."""

from collections.abc import Iterator

import numpy as np
import torch

from rlgen.core.errors import UserError

BLOCK = 16_000_000  # distances held at a time; 128 MB
ROUNDING = 1e-12  # of a squared distance, as a share of the squared norms that it is made of


def to_rows(values: object, name: str, least: int) -> torch.Tensor:
    """Returns features as float64 rows, after a check.

    Args:
        values: (N, F), a tensor or an array.
        name: What they are, for messages.
        least: How many rows are needed.

    Returns:
        (N, F), float64.

    Raises:
        UserError: If the shape is another, rows are too few or numbers are not finite.
    """
    rows = torch.as_tensor(np.asarray(values) if isinstance(values, list) else values)
    if rows.dim() != 2 or rows.shape[1] == 0:
        raise UserError(f"{name} of shape {tuple(rows.shape)}; (count, features) is needed")
    if len(rows) < least:
        raise UserError(f"{name} has {len(rows)} rows; {least} or more are needed")
    rows = rows.detach().double()
    if not bool(rows.isfinite().all()):
        raise UserError(f"{name} has numbers that are not finite; remove those rows first")
    return rows


def to_pair(real: object, generated: object, least: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns two sets of features as float64 rows on one device, after a check.

    Args:
        real: (N, F).
        generated: (M, F).
        least: How many rows each needs.

    Raises:
        UserError: As :func:`to_rows`, or if the two have different numbers of features.
    """
    first, second = to_rows(real, "real", least), to_rows(generated, "generated", least)
    if first.shape[1] != second.shape[1]:
        raise UserError(
            f"real rows have {first.shape[1]} features, generated ones {second.shape[1]}; "
            "take both from one feature net"
        )
    return first, second.to(first.device)


def squared_distances(points: torch.Tensor, others: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yields squared Euclidean distances for one block of points after another.

    They are |x|^2 + |y|^2 - 2 x y by one matrix product, so a distance of 0 may come out as a tiny
    positive number: up to ``ROUNDING`` of the squared norms.

    Args:
        points: (N, F), float64.
        others: (M, F), float64.

    Yields:
        (block, M), 0 or more.
    """
    norms = others.square().sum(1)
    for part in points.split(max(BLOCK // max(len(others), 1), 1)):
        products = part.square().sum(1, keepdim=True) + norms
        yield products.addmm_(part, others.t(), alpha=-2).clamp_(min=0)
