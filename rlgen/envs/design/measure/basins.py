"""How high liquid stands in the hollows of a closed surface, without a grid.

Liquid at a place of a surface rises until it finds a way out: its *level* is the least height
that a path through free space from that place to the outside has to climb to (a minimax path).
Such a path may be pushed down until it runs along the surface and, where the surface leans over,
falls straight down. So it is enough to know

* the edges of the mesh: two corners of an edge meet at the height of the upper one, because the
  part of a flat triangle below any height is in one piece; and
* for every *tip*, a lowest place of the surface with free space below (the bottom of a handle,
  say), the triangle that a drop falling from it hits: the two meet at the height of the tip.

The levels are therefore exact for the mesh, however thin a wall is. Every corner first runs down
to a lowest corner (its *basin*); the few basins are then flooded from the outside. This is the
project's own method; ``gaps`` does the same on a grid of columns, for surfaces with holes.
"""

from heapq import heappop, heappush

import numpy as np

from rlgen.envs.design.mesh import Floats, Ints, Mesh

# mm: drops fall this far beside a tip, so that they miss the edges and corners right below it
_BESIDE = (1.37e-6, 0.73e-6)


def is_closed(mesh: Mesh) -> bool:
    """Returns whether every directed edge of a mesh has its opposite (true for no triangles)."""
    start, count = mesh.corner_rows, len(mesh.vertices)
    end = start[[1, 2, 0]]
    up = start < end
    one, other = (start * count + end)[up], (end * count + start)[~up]
    one.sort()
    other.sort()
    return len(one) == len(other) and bool((one == other).all())


def spill_levels(corners: Floats, triangles: Ints) -> Floats:
    """Computes the level to which liquid stands at each triangle of a closed surface.

    All wet places of a triangle have the same level, as they are joined along the triangle.

    Args:
        corners: float64 (3, V): x, y and z of the mesh's vertices, in mm, contiguous.
        triangles: int64 (3, T): the mesh's triangles, transposed.

    Returns:
        float64 (T,): level in mm; the height of the triangle's lowest corner where it stays dry,
        and also on the walls of a void that nothing can enter.
    """
    if not triangles.size:
        return np.zeros(0)
    order = np.argsort(corners[2], kind="stable")
    corners = corners.take(order, axis=1)
    # corners are renamed to their ranks by height, so that comparing names compares heights
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    triangles = rank.take(triangles)
    lowest, outside = triangles.min(0), len(order)
    basin, falls = _basins(triangles, outside)
    drops = _drops(corners, triangles, basin)
    if _all_drain(basin, drops):
        return corners[2].take(lowest)
    links = np.concatenate([_meetings(basin, falls), drops], axis=1)
    level = np.full(outside + 1, -1)
    for node, way in _ways_out(links, outside).items():
        level[node] = way
    return corners[2].take(np.maximum(level.take(basin.take(lowest)), lowest))


def _basins(triangles: Ints, count: int) -> tuple[Ints, Ints]:
    """Lets every corner run down to its lowest neighbour, and so on.

    Args:
        triangles: int64 (3, T): ranks of corners.
        count: Number of corners.

    Returns:
        int64 (V,): the rank at which each corner ends; int64 (2, E): the upper and the lower
        corner of each edge.
    """
    start, end = triangles.ravel(), triangles[[1, 2, 0]].ravel()
    falls = np.array([start, end]).compress(start > end, axis=1)  # each edge once
    basin = np.arange(count)
    np.minimum.at(basin, *falls)
    while ((further := basin.take(basin)) != basin).any():
        basin = further
    return basin, falls


def _meetings(basin: Ints, falls: Ints) -> Ints:
    """Returns int64 (3, L): two basins and the rank of the corner at whose height they meet."""
    one, two = basin.take(falls)
    return np.array([one, two, falls[0]]).compress(one != two, axis=1)


def _all_drain(basin: Ints, drops: Ints) -> bool:
    """Whether a drop at the lowest corner of every basin falls out, so that no liquid stays."""
    outside = len(basin)
    roots = np.count_nonzero(basin == np.arange(outside))
    return roots == drops.shape[1] and bool((drops[1] == outside).all())


def _drops(corners: Floats, triangles: Ints, basin: Ints) -> Ints:
    """Links the tips to what a drop from them hits.

    A basin's lowest corner is a tip or the bottom of a pit. It is no tip when no triangle there
    faces down, or when the first surface below it faces down (there is solid in between).

    Args:
        corners: float64 (3, V), sorted by height.
        triangles: int64 (3, T): ranks of corners.
        basin: int64 (V,): from :func:`_basins`.

    Returns:
        int64 (3, D): the tip's basin, the other basin or V for the outside, the tip's rank.
    """
    x, y, z = (axis.take(triangles) for axis in corners)
    facing = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
    is_tip = np.zeros(len(basin), bool)
    is_tip[triangles.compress(facing < 0, axis=1)] = True
    is_tip &= basin == np.arange(len(basin))
    tips = is_tip.nonzero()[0]
    below = np.full(len(tips), len(basin))
    # Most tips are on the table, where nothing is below them.
    high = (corners[2].take(tips) > corners[2, 0]).nonzero()[0]
    if not len(high):
        return np.array([tips, below, tips])
    hit = _first_below(x, y, z, facing, corners.take(tips.take(high), axis=1))
    below[high] = np.where(hit < 0, len(basin), basin.take(triangles.min(0)).take(hit))
    free = np.ones(len(tips), bool)
    free[high] = (hit < 0) | (facing.take(hit) > 0)
    return np.array([tips, below, tips]).compress(free, axis=1)


def _first_below(x: Floats, y: Floats, z: Floats, facing: Floats, points: Floats) -> Ints:
    """Finds the first triangle straight below each point.

    At the point's own height only a triangle that faces up counts: the point may touch it, while
    one that faces down belongs to the same flat underside as the point.

    Args:
        x: float64 (3, T): coordinates of the triangles' corners; ``y`` and ``z`` alike.
        y: See ``x``.
        z: See ``x``.
        facing: float64 (T,): positive where a triangle faces up, negative where it faces down.
        points: float64 (3, P).

    Returns:
        int64 (P,): numbers of triangles, -1 where there is none.
    """
    at_x, at_y, at_z = points[0] + _BESIDE[0], points[1] + _BESIDE[1], points[2]
    limit = np.where(facing > 0, 1e-9, -1e-9)
    near = z.min(0) - limit < at_z[:, None]
    for axis, at in ((x, at_x[:, None]), (y, at_y[:, None])):
        near &= (axis.min(0) <= at) & (axis.max(0) >= at)
    point, triangle = np.nonzero(near)
    # weights of the corners: areas of the three triangles that the place makes with the sides
    x, y, z = (axis.take(triangle, axis=1) for axis in (x, y, z))
    x, y = x - at_x.take(point), y - at_y.take(point)
    weight = x[[1, 2, 0]] * y[[2, 0, 1]] - x[[2, 0, 1]] * y[[1, 2, 0]]
    inside = np.flatnonzero((weight > 0).all(0) | (weight < 0).all(0))
    weight, point, triangle = weight.take(inside, axis=1), point.take(inside), triangle.take(inside)
    height = (weight * z.take(inside, axis=1)).sum(0) / weight.sum(0)
    found = np.full(len(at_z), -1)
    upwards = np.argsort(height, kind="stable")
    upwards = upwards[(height - limit.take(triangle) < at_z.take(point))[upwards]]
    found[point.take(upwards)] = triangle.take(upwards)  # the highest is written last
    return found


def _ways_out(links: Ints, outside: int) -> dict[int, int]:
    """Floods the basins from the outside, cheapest link first.

    Args:
        links: int64 (3, L): two nodes and the cost of passing between them, 0..outside - 1.
        outside: The node to start from.

    Returns:
        For each basin that can reach the outside, the least possible highest cost on its way.
    """
    one, two = np.minimum(links[0], links[1]), np.maximum(links[0], links[1])
    key = np.sort((one * (outside + 1) + two) * outside + links[2])
    pair, cost = np.divmod(key, outside)
    cheapest = np.ones(len(pair), bool)
    cheapest[1:] = pair[1:] != pair[:-1]
    one, two = np.divmod(pair[cheapest], outside + 1)
    neighbours: dict[int, list[tuple[int, int]]] = {}
    for a, b, c in zip(one.tolist(), two.tolist(), cost[cheapest].tolist(), strict=True):
        neighbours.setdefault(a, []).append((c, b))
        neighbours.setdefault(b, []).append((c, a))
    levels: dict[int, int] = {}
    queue = [(-1, outside)]
    while queue:
        level, node = heappop(queue)
        if node not in levels:
            levels[node] = level
            for c, other in neighbours.get(node, ()):
                if other not in levels:
                    heappush(queue, (max(level, c), other))
    return levels
