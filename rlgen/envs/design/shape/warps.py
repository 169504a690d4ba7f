"""Taper, twist and bend: warps that are affine in every horizontal section.

A warp moves vertices only, so an edge that should become a curve stays a chord. The mesh is
therefore cut into layers first, and edges are halved after that, until the middle of each lies
within a tolerance of the warped surface. An edge whose middle slides inside the surface (a diagonal
on a face that stays flat) is left alone, so a prism is tapered exactly and without a new triangle.
"""

import math
from collections.abc import Callable

import numpy as np

from rlgen.envs.design.mesh import Floats, Ints, Mesh, cross
from rlgen.envs.design.shape.layers import layered

Warp = Callable[[Floats], Floats]

TOLERANCE = 0.5  # mm between the warped surface and its triangles
FOLD = 0.9  # share of the bending radius the body may reach to
_ROUNDS = 6
_MOST_LAYERS = 32
_GRID = 2.0**30  # sine and cosine differ by an ulp between processors; positions must not


def taper(growth: float, height: float) -> Warp:
    """Returns the map (x, y, z) -> (s x, s y, z) with s = 1 + growth z / height."""

    def warp(points: Floats) -> Floats:
        factor = 1.0 + points[:, 2:] * (growth / height)
        return np.concatenate([points[:, :2] * factor, points[:, 2:]], axis=1)

    return warp


def twist(angle: float, height: float) -> Warp:
    """Returns the map that turns the section at z by ``angle`` z / height degrees about z."""
    rate = math.radians(angle) / height

    def warp(points: Floats) -> Floats:
        x, y, z = points.T
        cos, sin = np.cos(z * rate), np.sin(z * rate)
        return _snapped(np.stack([x * cos - y * sin, x * sin + y * cos, z], axis=1))

    return warp


def bend(angle: float, height: float, axis: int) -> Warp:
    """Returns the map that bends the z axis into an arc.

    With the radius R = height / angle a point at distance u along ``axis`` and height z goes to
    u' = R - (R - u) cos(z / R) and z' = (R - u) sin(z / R).

    Args:
        angle: Degrees between the tangents at the table and at ``height``; positive leans towards
            the positive axis.
        height: mm.
        axis: 0 for x, 1 for y.
    """
    radius = height / math.radians(angle)

    def warp(points: Floats) -> Floats:
        turn = points[:, 2] / radius
        arm = radius - points[:, axis]
        bent = points.copy()
        bent[:, axis] = radius - arm * np.cos(turn)
        bent[:, 2] = arm * np.sin(turn)
        return _snapped(bent)

    return warp


def folds(mesh: Mesh, angle: float, axis: int) -> bool:
    """Whether bending would fold the body over the centre of the arc."""
    radius = mesh.bounds[1, 2] / math.radians(angle)
    side = mesh.bounds[1, axis] if radius > 0 else mesh.bounds[0, axis]
    return bool(side / radius > FOLD)


def warped(
    mesh: Mesh, warp: Warp, limit: int, tolerance: float = TOLERANCE, finer: float = 1.0
) -> Mesh | None:
    """Warps a closed mesh, splitting edges where the result needs it.

    Args:
        mesh: Closed mesh.
        warp: Map of (N, 3) points.
        limit: Most triangles to make.
        tolerance: mm, see the module.
        finer: Factor on the number of layers. A twist skews the faces between layers and needs
            fewer triangles in all with more of them.

    Returns:
        The warped closed mesh, or None where it would need more than ``limit`` triangles.
    """
    first = _heights(mesh, warp)
    heights: Floats | None = first  # of the present mesh, where they are known
    layers = math.ceil(finer * math.sqrt(float(first.max()) / tolerance))
    if layers > 1:
        cuts = np.linspace(0.0, float(mesh.vertices[:, 2].max()), min(layers, _MOST_LAYERS) + 1)
        mesh, heights = layered(mesh, cuts[1:-1]), None
    for _ in range(_ROUNDS):
        if len(mesh) > limit:
            return None
        split = (_heights(mesh, warp) if heights is None else heights) > tolerance
        if not split.any():
            break
        count, (edges, sides) = len(mesh.vertices), mesh.edges
        middle = np.where(split, count + np.cumsum(split) - 1, -1)
        new = 0.5 * mesh.vertices[edges[split]].sum(1)
        vertices = np.concatenate([mesh.vertices, new])
        mesh, heights = Mesh(vertices, _halved(mesh.triangles, middle[sides])), None
    return Mesh(warp(mesh.vertices), mesh.triangles)


def _snapped(points: Floats) -> Floats:
    return np.round(points * _GRID) / _GRID


def _heights(mesh: Mesh, warp: Warp) -> Floats:
    """Returns how far the warped middle of each edge is from the planes of its triangles, mm (E,).

    That is, from the farther of the two planes of the warped triangles.
    """
    edges, sides = mesh.edges
    images = warp(mesh.vertices)
    one, two = edges.T
    offset = warp(0.5 * (mesh.vertices.take(one, axis=0) + mesh.vertices.take(two, axis=0)))
    offset -= 0.5 * (images.take(one, axis=0) + images.take(two, axis=0))
    a, b, c = images.T.take(mesh.corner_rows, axis=1).transpose(1, 0, 2)
    x, y, z = normals = cross(b - a, c - a)
    lengths = np.sqrt(x * x + y * y + z * z)
    normals /= np.where(lengths > 1e-12, lengths, 1.0)
    above = np.abs(np.einsum("tsx,xt->ts", offset.take(sides, axis=0), normals))
    heights = np.zeros(len(edges))
    np.maximum.at(heights, sides.ravel(), above.ravel())
    return heights


def _halved(triangles: Ints, middle: Ints) -> Ints:
    """Splits triangles at the middles of their sides.

    Args:
        triangles: (T, 3).
        middle: (T, 3) vertex in the middle of the side from corner i to corner i + 1, or -1.

    Returns:
        (T', 3); orientation is kept and neighbours agree because a side is split in both.
    """
    count = (middle >= 0).sum(1)
    done = [triangles[count == 0]]
    # Turn each triangle so that its pattern starts at corner 0.
    one = count == 1
    a, b, c, m = _turned(triangles[one], middle[one], (middle[one] >= 0).argmax(1))
    done += [np.stack([a, m[0], c], 1), np.stack([m[0], b, c], 1)]
    two = count == 2
    whole = (middle[two] < 0).argmax(1)
    a, b, c, m = _turned(triangles[two], middle[two], (whole + 1) % 3)
    done += [np.stack(t, 1) for t in ((m[0], b, m[1]), (a, m[0], m[1]), (a, m[1], c))]
    three = count == 3
    a, b, c = triangles[three].T
    p, q, r = middle[three].T
    done += [np.stack(t, 1) for t in ((a, p, r), (p, b, q), (r, q, c), (p, q, r))]
    return np.concatenate(done)


def _turned(triangles: Ints, middle: Ints, first: Ints) -> tuple[Ints, Ints, Ints, Ints]:
    """Returns corners a, b, c and middles (3, T) with side ``first`` as side 0."""
    order = (first[:, None] + np.arange(3)) % 3
    a, b, c = np.take_along_axis(triangles, order, 1).T
    return a, b, c, np.take_along_axis(middle, order, 1).T
