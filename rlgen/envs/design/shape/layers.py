"""Cutting the triangles of a closed mesh along horizontal planes, without changing its shape."""

from dataclasses import dataclass

import numpy as np

from rlgen.envs.design.mesh import Floats, Ints, Mesh, cross


@dataclass(frozen=True, eq=False)
class _Cuts:
    """Where planes meet edges.

    Attributes:
        heights: (P,) of the planes, ascending, mm.
        first: (E,) the lowest plane strictly between an edge's ends.
        count: (E,) how many are.
        base: (E,) so that the point of plane p on edge e has the number ``base[e] + p``.
        points: (N, 3) the new points, mm.
    """

    heights: Floats
    first: Ints
    count: Ints
    base: Ints
    points: Floats


def layered(mesh: Mesh, heights: Floats) -> Mesh:
    """Cuts the triangles of a closed mesh along horizontal planes; the shape stays the same.

    Each triangle is seen as a strip between its long side, from the lowest corner to the highest,
    and the two others. Every plane gives a point on either chain, and the strip falls into layers.
    A point inside a flat face is then moved along its plane onto the face's outline, which halves
    the number of triangles.

    Args:
        mesh: Closed mesh.
        heights: Ascending heights of the planes, mm.
    """
    edges, sides = mesh.edges
    cuts = _cut(mesh, edges, heights)
    whole, pairs = _strips(mesh, sides, cuts)
    points = np.concatenate([mesh.vertices, cuts.points])
    moved = _to_outlines(mesh, sides, cuts, pairs)
    fewer = _proper(moved[whole])
    return Mesh(points, fewer if _upright(points, whole, moved) else _proper(whole))


def _cut(mesh: Mesh, edges: Ints, heights: Floats) -> _Cuts:
    z = mesh.vertices[:, 2]
    ends = np.sort(z[edges], axis=1)
    first = np.searchsorted(heights, ends[:, 0], side="right")
    count = np.maximum(np.searchsorted(heights, ends[:, 1], side="left") - first, 0)
    edge = np.repeat(np.arange(len(edges)), count)
    start = np.cumsum(count) - count
    plane = np.arange(len(edge)) - start[edge] + first[edge]
    a, b = mesh.vertices[edges[edge, 0]], mesh.vertices[edges[edge, 1]]
    points = a + (b - a) * ((heights[plane] - a[:, 2]) / (b[:, 2] - a[:, 2]))[:, None]
    points[:, 2] = heights[plane]
    return _Cuts(heights, first, count, len(mesh.vertices) + start - first, points)


def _strips(mesh: Mesh, sides: Ints, cuts: _Cuts) -> tuple[Ints, Ints]:
    """Returns the triangles of all layers (T', 3), and pairs (N, 2) of points on the two chains.

    Triangles with a repeated corner are still among them.
    """
    z = mesh.vertices[:, 2]
    order = np.argsort(z[mesh.triangles], axis=1, kind="stable")
    low, mid, high = np.take_along_axis(mesh.triangles, order, 1).T
    long, lower, upper = (_side(sides, order, *pair) for pair in ((0, 2), (0, 1), (1, 2)))
    n_cuts = cuts.count[long]
    t = np.repeat(np.arange(len(low)), n_cuts + 1)
    layer = np.arange(len(t)) - np.repeat(np.cumsum(n_cuts + 1) - n_cuts - 1, n_cuts + 1)
    middle = z[mid[t]]

    def boundary(step: Ints) -> tuple[Ints, Ints, Floats]:
        """Returns where boundaries between layers meet the long side and the others, and z."""
        plane = np.clip(cuts.first[long][t] + step - 1, 0, len(cuts.heights) - 1)
        level = cuts.heights[plane]
        on_long = cuts.base[long][t] + plane
        on_short = np.where(level < middle, cuts.base[lower][t], cuts.base[upper][t]) + plane
        on_short = np.where(level == middle, mid[t], on_short)
        bottom, top = step == 0, step == n_cuts[t] + 1
        end = np.where(bottom, low[t], high[t])
        level = np.where(bottom, -np.inf, np.where(top, np.inf, level))
        at_end = bottom | top
        return np.where(at_end, end, on_long), np.where(at_end, end, on_short), level

    long_0, short_0, below = boundary(layer)
    long_1, short_1, above = boundary(layer + 1)
    corner = np.where((below < middle) & (middle < above), mid[t], short_1)
    quads = ((long_0, short_0, corner), (long_0, corner, long_1), (long_1, corner, short_1))
    strips = np.concatenate([np.stack(corners, 1) for corners in quads])
    # An odd permutation of the corners turned the triangle round.
    flip = np.tile(((order[:, 1] - order[:, 0]) % 3 == 2)[t], 3)
    strips[flip] = strips[flip][:, ::-1]
    return strips, np.stack([long_1, short_1], axis=1)[layer < n_cuts[t]]


def _side(sides: Ints, order: Ints, i: int, j: int) -> Ints:
    """Returns the edge between the corners of rank i and j of each triangle (T,)."""
    a, b = order[:, i], order[:, j]
    position = np.where((a + 1) % 3 == b, a, b)
    return np.take_along_axis(sides, position[:, None], 1)[:, 0]


def _proper(triangles: Ints) -> Ints:
    a, b, c = triangles.T
    return triangles[(a != b) & (b != c) & (c != a)]


def _to_outlines(mesh: Mesh, sides: Ints, cuts: _Cuts, pairs: Ints) -> Ints:
    """Returns the number each point gets when points inside flat faces move to the outline (N,)."""
    normals = mesh.area_vectors / np.linalg.norm(mesh.area_vectors, axis=1, keepdims=True).clip(
        1e-12
    )
    halves = np.argsort(sides.ravel(), kind="stable").reshape(-1, 2) // 3
    inner = np.abs(normals[halves[:, 0]] - normals[halves[:, 1]]).max(1) < 1e-6
    count = len(mesh.vertices)
    moves = np.concatenate([np.zeros(count, bool), np.repeat(inner, cuts.count)])
    moved = np.arange(len(moves))
    for here, there in (pairs.T, pairs.T[::-1]):
        can = moves[here] & ~moves[there]
        moved[here[can]] = there[can]
    return moved


def _upright(points: Floats, triangles: Ints, moved: Ints) -> bool:
    """Whether moving points along flat faces turned no triangle over."""
    before, after = (
        cross(b - a, c - a)
        for a, b, c in (points[t].transpose(1, 2, 0) for t in (triangles, moved[triangles]))
    )
    return bool((before * after).sum(0).min() >= -1e-9)
