"""Which of many designs to show: the best compromises first, then those that differ most.

A proposal of this project, inspired by arXiv 1903.05271, of which no text could be read that
tells how designs were chosen for designers. Two designs differ by what they can do and by what
they look like:

    distance^2 = (1 - s) * mean over metrics of (difference / range)^2 + s * shape^2

where the range of a metric is that of the designs at hand and ``shape`` is one minus the shared
share of their occupancies, ``1 - sum(min(a, b)) / sum(max(a, b))``. Both parts and the distance
lie in 0..1. Everything is deterministic: ties go to the lower index.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlgen.core.errors import UserError
from rlgen.envs.design.measure.columns import cast
from rlgen.envs.design.mesh import Floats, Ints, Mesh

SHAPE_WEIGHT = 0.5
_BLOCK = 1024  # rows compared at once, so that 20,000 designs need 20 MB and not 400
_LINES = 4  # columns per cell and side: walls of 2 mm are met by lines 2.5 mm apart or nearly so


def descriptor(
    mesh: Mesh, count: int = 16, size: tuple[float, float, float] = (160.0, 160.0, 160.0)
) -> NDArray[np.float32]:
    """Returns how much of each cell of a coarse grid is solid: a descriptor of the form.

    The design is centred in x and y first, as forms do not differ by where they stand. What
    reaches beyond the grid is left out.

    Args:
        mesh: A closed surface on the table.
        count: Cells along each side.
        size: Extent of the grid in mm, centred in x and y, from z = 0.

    Returns:
        float32 (count, count, count): shares 0..1 by x, y, z.

    Raises:
        UserError: ``count`` is not positive.
    """
    if count < 1:
        raise UserError(f"count={count} is not allowed; give at least 1 cell, e.g. 16")
    if not len(mesh):
        return np.zeros((count, count, count), np.float32)
    middle = mesh.bounds.mean(0)[:2]
    half = np.array(size[:2]) / 2
    columns = cast(mesh, count=count * _LINES, region=np.stack([middle - half, middle + half]))
    low = np.linspace(0.0, size[2], count + 1)[:-1]
    layer = size[2] / count
    inside = np.minimum(columns.ceiling[:, None], low + layer)
    inside = np.maximum(inside - np.maximum(columns.floor[:, None], low), 0.0)
    x, y = np.divmod(columns.cell, count * _LINES)
    cell = (x // _LINES * count + y // _LINES)[:, None] * count + np.arange(count)
    filled = np.bincount(cell.ravel(), inside.ravel(), count**3) / (layer * _LINES**2)
    return filled.reshape(count, count, count).astype(np.float32)


def non_dominated(values: ArrayLike, larger_is_better: ArrayLike = True) -> NDArray[np.bool_]:
    """Returns which designs no other design beats.

    Another design beats one when it is at least as good in every metric and better in one. Equal
    designs do not beat each other.

    Args:
        values: (n, m) finite metrics of n designs.
        larger_is_better: One bool, or (m,) bools, one per metric.

    Returns:
        bool (n,).

    Raises:
        UserError: ``values`` is not a finite table, or the bools do not fit it.
    """
    gains = _gains(values, larger_is_better)
    if not gains.shape[1]:
        return np.ones(len(gains), bool)
    # Equal rows are compared once: sets with many copies get small.
    rows, back = np.unique(gains, axis=0, return_inverse=True)
    beaten = np.zeros(len(rows), bool)
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        # Rows are distinct, so "at least as good in every metric" already means better in one;
        # each row is at least as good as itself, hence the comparison with 1.
        covered = np.ones((len(block), len(rows)), bool)
        for column in range(rows.shape[1]):
            covered &= rows[:, column] >= block[:, column, None]
        beaten[start : start + _BLOCK] = covered.sum(1) > 1
    return ~beaten[back.ravel()]


def fronts(values: ArrayLike, larger_is_better: ArrayLike = True) -> Ints:
    """Returns the rank of each design: 0 for the non-dominated, 1 once those are taken away, ...

    Args:
        values: (n, m) finite metrics of n designs.
        larger_is_better: One bool, or (m,) bools.

    Returns:
        int64 (n,).

    Raises:
        UserError: As :func:`non_dominated`.
    """
    gains = _gains(values, larger_is_better)
    ranks = np.full(len(gains), -1, np.int64)
    left = np.arange(len(gains))
    rank = 0
    while len(left):
        best = non_dominated(gains[left])
        ranks[left[best]] = rank
        left = left[~best]
        rank += 1
    return ranks


def diverse(
    values: ArrayLike,
    descriptors: ArrayLike,
    count: int,
    larger_is_better: ArrayLike = True,
    shape_weight: float = SHAPE_WEIGHT,
) -> Ints:
    """Returns a small set of designs that are good and unlike each other.

    Front by front (the non-dominated first), it takes the design farthest from all those taken;
    the first is the one with the highest mean of its metrics scaled to 0..1.

    Args:
        values: (n, m) finite metrics of n designs.
        descriptors: (n, c) or (n, ...) occupancies in 0..1, see :func:`descriptor`.
        count: How many to take, at least 0; all where there are fewer.
        larger_is_better: One bool, or (m,) bools.
        shape_weight: s in the module's formula, 0..1.

    Returns:
        int64 (min(count, n),): indices in the order of choice.

    Raises:
        UserError: Tables do not fit each other, or ``count`` is negative.
    """
    if count < 0:
        raise UserError(f"count={count} is not allowed; give 0 or more designs to select")
    gains = _gains(values, larger_is_better)
    scaled, shapes, shape_weight = _joint(gains, descriptors, shape_weight)
    ranks = fronts(gains)
    nearest = np.full(len(gains), np.inf)
    chosen: list[int] = []
    taken = np.zeros(len(gains), bool)
    while len(chosen) < min(count, len(gains)):
        candidates = np.flatnonzero(~taken & (ranks == ranks[~taken].min()))
        measure = nearest if chosen else scaled.mean(1)
        pick = int(candidates[np.argmax(measure[candidates])])
        chosen.append(pick)
        taken[pick] = True
        nearest = np.minimum(nearest, _distances_to(pick, scaled, shapes, shape_weight))
    return np.array(chosen, np.int64)


def distances(
    values: ArrayLike, descriptors: ArrayLike, shape_weight: float = SHAPE_WEIGHT
) -> Floats:
    """Returns how much each two designs differ, by the module's formula.

    Args:
        values: (n, m) finite metrics.
        descriptors: (n, ...) occupancies in 0..1.
        shape_weight: s, 0..1.

    Returns:
        float64 (n, n), symmetric, 0..1, zero on the diagonal.

    Raises:
        UserError: Tables do not fit each other.
    """
    scaled, shapes, shape_weight = _joint(_table(values), descriptors, shape_weight)
    rows = [_distances_to(i, scaled, shapes, shape_weight) for i in range(len(scaled))]
    return np.stack(rows) if rows else np.zeros((0, 0))


def similar_to(
    values: ArrayLike,
    descriptors: ArrayLike,
    liked: Sequence[int],
    shape_weight: float = SHAPE_WEIGHT,
) -> Ints:
    """Returns all designs, those most like a liked one first.

    Designs are ordered by the distance to the nearest liked one, so several tastes at once are
    possible; the liked ones lead.

    Args:
        values: (n, m) finite metrics.
        descriptors: (n, ...) occupancies in 0..1.
        liked: Indices of the liked designs, at least one.
        shape_weight: s in the module's formula, 0..1.

    Returns:
        int64 (n,): indices, most similar first.

    Raises:
        UserError: Nothing is liked, an index is out of range, or tables do not fit.
    """
    scaled, shapes, shape_weight = _joint(_table(values), descriptors, shape_weight)
    if not len(liked):
        raise UserError("no design is liked; give the index of at least one")
    wrong = [index for index in liked if not 0 <= index < len(scaled)]
    if wrong:
        raise UserError(f"liked design {wrong[0]} does not exist; give 0..{len(scaled) - 1}")
    rows = [_distances_to(index, scaled, shapes, shape_weight) for index in liked]
    nearest = np.min(rows, axis=0)
    nearest[list(liked)] = -1.0  # before copies of them
    return np.argsort(nearest, kind="stable")


def _table(values: ArrayLike) -> Floats:
    table = np.asarray(values, np.float64)
    if table.ndim != 2 or not np.isfinite(table).all():
        raise UserError(
            f"values of shape {table.shape} are not a table of finite metrics; "
            "give one row per design and one column per metric"
        )
    return table


def _gains(values: ArrayLike, larger_is_better: ArrayLike) -> Floats:
    """Returns the metrics with signs such that larger is better."""
    table = _table(values)
    larger = np.asarray(larger_is_better, bool)
    if larger.shape not in ((), (table.shape[1],)):
        raise UserError(
            f"larger_is_better of shape {larger.shape} does not fit {table.shape[1]} metrics; "
            "give one bool, or one per metric"
        )
    return np.where(larger, table, -table)


def _joint(
    table: Floats, descriptors: ArrayLike, shape_weight: float
) -> tuple[Floats, NDArray[np.float32], float]:
    """Returns metrics scaled to 0..1 by their range, flat occupancies and the checked weight."""
    shapes = np.asarray(descriptors, np.float32)
    shapes = shapes.reshape(len(shapes), -1) if shapes.size else shapes.reshape(len(table), 0)
    if len(shapes) != len(table):
        raise UserError(f"{len(shapes)} descriptors do not fit {len(table)} designs; give one each")
    if not 0.0 <= shape_weight <= 1.0:
        raise UserError(f"shape_weight={shape_weight} is not allowed; give 0..1")
    if not len(table):
        return table, shapes, shape_weight
    low, high = table.min(0), table.max(0)
    # A metric in which no two designs differ says nothing, whatever its size.
    return (table - low) / np.where(high > low, high - low, 1.0), shapes, shape_weight


def _distances_to(
    index: int, scaled: Floats, shapes: NDArray[np.float32], shape_weight: float
) -> Floats:
    """Returns float64 (n,): the distance of every design to one of them."""
    metric = np.zeros(len(scaled))
    if scaled.shape[1]:
        metric = ((scaled - scaled[index]) ** 2).mean(1)
    shared = np.minimum(shapes, shapes[index]).sum(1, dtype=np.float64)
    volumes = shapes.sum(1, dtype=np.float64)
    both = volumes + volumes[index] - shared  # sum of max(a, b)
    apart = 1.0 - np.divide(shared, both, out=np.ones_like(both), where=both > 0)
    apart = np.clip(apart, 0.0, 1.0)
    return np.sqrt((1.0 - shape_weight) * metric + shape_weight * apart**2)
