"""Horizontal sections of a solid: area, centroid and second moments, exact for its mesh.

Scope: each triangle that a plane meets leaves one oriented segment, with the material on its
left. Integrals over the section follow from the segments by Green's theorem, so they need not be
chained into outlines, and holes and separate parts come out right by themselves.
"""

from dataclasses import dataclass

import numpy as np

from rlgen.envs.design.mesh import Floats, Ints, Mesh

_ABOVE_BITS = np.array([[1], [2], [4]])
# By the bits of the corners above the plane: the corner alone on its side, then its two
# neighbours, in the order in which the material lies to the left (row 0 and 7 never occur).
_ALONE = np.array(
    [[0, 0, 0], [0, 1, 2], [1, 2, 0], [2, 1, 0], [2, 0, 1], [1, 0, 2], [0, 2, 1], [0, 0, 0]]
).T


@dataclass(frozen=True, eq=False)
class Cut:
    """Oriented segments in which planes z = height meet a mesh.

    Attributes:
        heights: float64 (N,), mm.
        plane: int64 (M,): index into ``heights`` of each segment, ascending.
        start: float64 (2, M): x and y, mm.
        end: float64 (2, M): x and y, mm; the material lies to the left of start -> end.
    """

    heights: Floats
    plane: Ints
    start: Floats
    end: Floats


@dataclass(frozen=True, eq=False)
class Sections:
    """Integrals over each section.

    Attributes:
        cut: The segments they were computed from.
        area: float64 (N,), mm2; 0 where a plane misses the solid.
        centroid: float64 (N, 2), mm; of no meaning where the area is 0.
        moments: float64 (N, 2, 2): integrals of x x^T about the centroid, mm4.
    """

    cut: Cut
    area: Floats
    centroid: Floats
    moments: Floats


def inner_heights(mesh: Mesh, count: int) -> Floats:
    """Returns float64 (count,): heights in the middle of equal layers of a mesh, mm.

    A tiny fixed fraction of a layer is added, so that the planes miss the faces and vertices that
    designers put at round fractions of the height.
    """
    low, high = mesh.bounds[:, 2]
    return low + (high - low) * (np.arange(count) + 0.5 + 1.7e-5) / count


def cut(mesh: Mesh, heights: Floats) -> Cut:
    """Cuts a mesh with horizontal planes.

    A corner on a plane counts as below it. So each triangle is met in exactly one segment or not
    at all, and the section at a horizontal face is the one just above it.

    Args:
        mesh: A closed surface.
        heights: float64 (N,), mm.

    Returns:
        All segments, in the order of the planes.
    """
    heights = np.asarray(heights, np.float64)
    z = mesh.coordinates[2].take(mesh.corner_rows)
    low = np.minimum(np.minimum(z[0], z[1]), z[2])
    high = np.maximum(np.maximum(z[0], z[1]), z[2])
    met = (low <= heights[:, None]) & (high > heights[:, None])
    plane, triangle = np.divmod(np.flatnonzero(met), max(len(mesh), 1))
    level = heights.take(plane)
    bits = ((z.take(triangle, axis=1) > level) * _ABOVE_BITS).sum(0)
    corners = mesh.triangles.ravel().take(3 * triangle + _ALONE.take(bits, axis=1))  # (3, M)
    x, y, z = mesh.coordinates.take(corners, axis=1)
    share = (level - z[0]) / (z[1:] - z[0])  # (2, M): from the lone corner to each neighbour
    start, end = np.stack([x[0] + share * (x[1:] - x[0]), y[0] + share * (y[1:] - y[0])], axis=1)
    return Cut(heights, plane, start, end)


def sections(mesh: Mesh, heights: Floats) -> Sections:
    """Integrates over horizontal sections.

    With c = x0 y1 - x1 y0 of a segment: area = sum c / 2, first moment = sum (x0 + x1) c / 6,
    second moments = sum (x0^2 + x0 x1 + x1^2) c / 12 and
    sum (x0 y1 + 2 x0 y0 + 2 x1 y1 + x1 y0) c / 24, then moved to the centroid.

    Args:
        mesh: A closed surface.
        heights: float64 (N,), mm.

    Returns:
        Area, centroid and second moments of each section.
    """
    segments = cut(mesh, heights)
    middle = mesh.bounds[:, :2].mean(0)  # close to the centroid: little cancellation
    x0, y0 = segments.start - middle[:, None]
    x1, y1 = segments.end - middle[:, None]
    c = x0 * y1 - x1 * y0

    def total(values: Floats) -> Floats:
        sums = np.bincount(segments.plane, values, len(segments.heights))
        return np.asarray(sums, np.float64)

    area = total(c) / 2.0
    safe = np.where(area > 0.0, area, np.inf)
    cx, cy = total((x0 + x1) * c) / (6.0 * safe), total((y0 + y1) * c) / (6.0 * safe)
    xx = total((x0 * x0 + x0 * x1 + x1 * x1) * c) / 12.0 - area * cx * cx
    yy = total((y0 * y0 + y0 * y1 + y1 * y1) * c) / 12.0 - area * cy * cy
    xy = total((x0 * (y1 + 2.0 * y0) + x1 * (2.0 * y1 + y0)) * c) / 24.0 - area * cx * cy
    moments = np.stack([xx, xy, xy, yy], axis=1).reshape(-1, 2, 2)
    return Sections(segments, area, np.stack([cx, cy], axis=1) + middle, moments)
