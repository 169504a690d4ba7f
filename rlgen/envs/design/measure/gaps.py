"""How high liquid stands in columns: the method for surfaces that have holes.

The gaps above the solid intervals of the columns are the nodes of a graph. Two gaps of
neighbouring cells that overlap are joined at the higher of their two floors; gaps below the whole
solid, empty cells and the border of the grid are the outside. The level of a gap is the highest
floor on its best way out, the way along the minimum spanning tree. Walls thinner than a cell
leak.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

from rlgen.envs.design.measure.columns import Columns
from rlgen.envs.design.mesh import Floats, Ints


def gap_tops(columns: Columns) -> Floats:
    """Returns float64 (N,): upper end of the gap above each interval, infinite in the open."""
    tops = np.append(columns.floor[1:], np.inf)[: len(columns)]
    tops[columns.last] = np.inf
    return tops


def gap_levels(columns: Columns) -> Floats:
    """Computes the level of the liquid in the gap above each solid interval.

    Args:
        columns: Vertical columns of a design.

    Returns:
        float64 (N,): mm; the gap's floor where it stays dry, and in voids that nothing can enter.
        A level may lie above the gap's upper end: the gap is then full.
    """
    count = len(columns)
    if not count:
        return np.zeros(0)
    floor = columns.ceiling
    order = np.argsort(floor, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(count)
    one, two = _neighbours(columns)
    tops = gap_tops(columns)
    joined = np.maximum(floor[one], floor[two]) < np.minimum(tops[one], tops[two])
    open_ = np.flatnonzero(_beside_outside(columns))
    one = np.concatenate([one[joined], open_])
    two = np.concatenate([two[joined], np.full(len(open_), count)])
    cost = np.maximum(rank[one], np.append(rank, -1)[two])
    way = _ways_along_tree(one, two, cost, count)
    return floor[order[np.maximum(way, rank)]]


def _neighbours(columns: Columns) -> tuple[Ints, Ints]:
    """Pairs every gap with every gap of the next cell along both directions."""
    nx, ny = columns.grid.shape
    amount = np.bincount(columns.cell, minlength=nx * ny)
    start = np.cumsum(amount) - amount
    x, y = np.divmod(columns.cell, ny)
    pairs = []
    for gaps, step in ((np.flatnonzero(x < nx - 1), ny), (np.flatnonzero(y < ny - 1), 1)):
        beside = columns.cell[gaps] + step
        times = amount[beside]
        offset = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
        pairs.append((np.repeat(gaps, times), np.repeat(start[beside], times) + offset))
    return np.concatenate([p[0] for p in pairs]), np.concatenate([p[1] for p in pairs])


def _beside_outside(columns: Columns) -> NDArray[np.bool_]:
    """Marks the gaps (N,) beside an empty cell, the border, or the space below the solid."""
    nx, ny = columns.grid.shape
    underside = np.full((nx + 2, ny + 2), np.inf)
    inner = underside[1:-1, 1:-1]
    x, y = np.divmod(columns.cell, ny)
    inner[x[columns.first], y[columns.first]] = columns.floor[columns.first]
    around = [underside[x + 1 + i, y + 1 + j] for i, j in ((-1, 0), (1, 0), (0, -1), (0, 1))]
    return np.asarray(columns.ceiling < np.stack(around).max(0))


def _ways_along_tree(one: Ints, two: Ints, cost: Ints, outside: int) -> Ints:
    """Finds the least possible highest cost on a way from each node to the outside.

    Args:
        one: int64 (L,): links between nodes, each pair once.
        two: int64 (L,): their other ends; ``outside`` is the greatest number.
        cost: int64 (L,): what passing costs, at least 0.
        outside: The node to reach.

    Returns:
        int64 (outside,): costs; -1 for nodes that cannot reach it.
    """
    size = outside + 1
    # one is added because a stored zero would be no link
    graph = csr_array((cost + 1.0, (one, two)), shape=(size, size))
    tree = minimum_spanning_tree(graph).tocoo()
    _, parent = breadth_first_order(tree.tocsr(), outside, directed=False)
    child = np.where(parent[tree.row] == tree.col, tree.row, tree.col)
    way = np.full(size, -1)
    way[child] = tree.data.astype(np.int64) - 1
    way[parent < 0] = -1
    parent = np.where(parent < 0, np.arange(size), parent)
    while ((further := parent[parent]) != parent).any():
        way = np.maximum(way, way[parent])
        parent = further
    return np.maximum(way, way[parent])[:outside]
