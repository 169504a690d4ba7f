"""Scanline code: where lines through the cells of grids cross the surface of a mesh.

All triangles and all grids are rasterised at once, because for the small meshes of designs every
call of NumPy costs more than its work. A triangle is a set of rows (lines of constant first
coordinate) and in each row a half-open span between two edges. Where a row cuts an edge is
computed from that edge's own two ends alone, so the two triangles that share it get the same
number to the last bit: a line through an edge or a vertex is counted by exactly one of them, and
every line crosses a closed surface an even number of times by construction.

From here on, u and v are the coordinates across a grid's axis in units of its cells, such that the
lines pass through the whole numbers, u being the direction in which the triangles span fewer
lines; h is the height along the axis. The method is a proposal of this project.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlgen.envs.design.mesh import Floats, Ints, Mesh

# Lines pass this far from the middle of a cell (in cells), so that the vertices of symmetric
# designs do not lie on them.
SHIFT = np.array([0.0113, -0.0071])
# A spread grid is turned a little, so that from one end to the other its lines wander across a
# cell by this much. Faces along x or y, of which designs are full, then meet the lines at all
# places in a cell, and what is counted too much at one line is counted too little at another.
SPREAD = 0.96
_ACROSS = np.array([[1, 2], [2, 0], [0, 1]])  # the cells' directions for lines along each axis
_MARGIN = 1e-9  # cells, for rounding: without it, evenness would be lost


@dataclass(frozen=True, eq=False)
class Grid:
    """Cells in the plane across an axis.

    Attributes:
        origin: float64 (2,): the lowest corner, mm.
        step: float64 (2,): size of a cell, mm.
        shape: How many cells along the two directions.
        axis: Direction of the lines: 0, 1 or 2. The cells' directions are the next two axes in
            the cyclic order x, y, z; for 2 (vertical lines) they are x and y.
        spread: Whether the lines meet their cells at varying places, for accuracy, instead of in
            the middle.
    """

    origin: Floats
    step: Floats
    shape: tuple[int, int]
    axis: int = 2
    spread: bool = True

    @property
    def area(self) -> float:
        """Area of a cell in mm2."""
        return float(self.step[0] * self.step[1])

    @property
    def size(self) -> int:
        """Number of cells."""
        return self.shape[0] * self.shape[1]

    def centres(self, cell: Ints) -> Floats:
        """float64 (N, 2): the middles of cells given by their row-major numbers (N,)."""
        place = np.stack(np.divmod(cell, self.shape[1]), -1)
        return self.origin + (place + 0.5) * self.step


@dataclass(frozen=True, eq=False)
class Crossings:
    """Crossings of a surface by lines, sorted by line and then by height.

    Attributes:
        number: int64 (M,): number of the line; lines are numbered row by row, and grid by grid.
        height: float64 (M,): mm along the line (sorted to 1e-8 of the greatest extent).
        triangle: int64 (M,): what is crossed.
    """

    number: Ints
    height: Floats
    triangle: Ints

    def paired(self) -> "Crossings":
        """Leaves out the last crossing of lines that have an odd number of them."""
        number = self.number
        if not len(number) % 2 and (number[::2] == number[1::2]).all():
            return self
        even = _even(number)
        return Crossings(number[even], self.height[even], self.triangle[even])


_NONE = Crossings(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64))


def crossings(mesh: Mesh, grids: Sequence[Grid]) -> Crossings:
    """Finds every crossing of the surface by the lines of grids.

    Args:
        mesh: Any triangles.
        grids: One or more.

    Returns:
        The crossings; the first line of a grid has the number of all lines of those before it.
    """
    if not len(mesh) or not all(grid.step.all() for grid in grids):
        return _NONE
    faces = _faces(mesh, grids)
    return _filled(_spans(faces), faces, grids)


@dataclass(frozen=True, eq=False)
class _Faces:
    """Triangles that may meet a line.

    Attributes:
        along: int64 (G,): which direction of each grid u is, 0 or 1.
        u: float64 (3, K): of the corners with the lowest, the middle and the highest u.
        v: See ``u``.
        h: See ``u``.
        lines: float64 (2, K): lines of the triangle's grid along u and v.
        grid: int64 (K,): which grid.
        triangle: int64 (K,): which triangle.
    """

    along: Ints
    u: Floats
    v: Floats
    h: Floats
    lines: Floats
    grid: Ints
    triangle: Ints


def _faces(mesh: Mesh, grids: Sequence[Grid]) -> _Faces:
    """Picks the triangles that may meet a line of each grid, and sorts the corners of each."""
    axes = [grid.axis for grid in grids]
    lines = np.array([grid.shape for grid in grids], np.float64)
    place = _places(mesh, grids, lines[:, :, None])
    corners = place.take(mesh.corner_rows, axis=2)  # (G, 2, 3, T)
    span = _first_line(corners.max(2) + _MARGIN, lines[:, :, None])
    span -= _first_line(corners.min(2) - _MARGIN, lines[:, :, None])
    met = span.min(1) > 0
    total = (span * met[:, None]).sum(2)
    along = (total[:, 1] < total[:, 0]).astype(np.int64)
    each = np.arange(len(grids))
    # Corners are renamed to their ranks by u, so that equal ones are told apart alike everywhere.
    count = place.shape[2]
    u = place[each, along]
    order = (u.argsort(axis=1, kind="stable") + count * each[:, None]).ravel()
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    grid, triangle = np.divmod(met.ravel().nonzero()[0], len(mesh))
    ranks = rank.take(mesh.corner_rows.take(triangle, axis=1) + count * grid)
    low, high = ranks.min(0), ranks.max(0)
    corner = order.take(np.array([low, ranks.sum(0) - low - high, high]))
    return _Faces(
        along,
        u.take(corner),
        place[each, 1 - along].take(corner),
        mesh.coordinates.take(axes, axis=0).take(corner),
        np.array([lines[each, along], lines[each, 1 - along]]).take(grid, axis=1),
        grid,
        triangle,
    )


def _places(mesh: Mesh, grids: Sequence[Grid], lines: Floats) -> Floats:
    """Returns the vertices (G, 2, V) in units of the cells of each grid."""
    place = mesh.coordinates.take(_ACROSS.take([grid.axis for grid in grids], axis=0), axis=0)
    place -= np.array([grid.origin for grid in grids])[:, :, None]
    place /= np.array([grid.step for grid in grids])[:, :, None]
    place -= 0.5
    place -= SHIFT[:, None]
    if any(grid.spread for grid in grids):
        spread = np.array([SPREAD if grid.spread else 0.0 for grid in grids])
        turn = (place - 0.5 * (lines - 1)) * (spread[:, None, None] / lines)
        place[:, 0] += turn[:, 1]
        place[:, 1] -= turn[:, 0]
    return place


@dataclass(frozen=True, eq=False)
class _Spans:
    """Neighbouring lines of a row that meet a triangle; arrays (S,).

    Attributes:
        face: int64: index into the faces.
        row: float64: line along u.
        first: float64: first line along v.
        count: int64: how many.
        height: float64: mm, at the first line.
        slope: float64: mm, change from line to line.
    """

    face: Ints
    row: Floats
    first: Floats
    count: Ints
    height: Floats
    slope: Floats


def _spans(faces: _Faces) -> _Spans:
    """Cuts triangles into rows, and rows into spans."""
    size = len(faces.grid)
    begin = _first_line(faces.u[0].copy(), faces.lines[0])
    rows = (_first_line(faces.u[2].copy(), faces.lines[0]) - begin).astype(np.int64)
    face = np.arange(size).repeat(rows)
    row = np.arange(len(face)) + (begin - (rows.cumsum() - rows)).take(face)
    # Three edges per triangle, each from its end with the lower u to the one with the higher u.
    start, end = np.array([0, 0, 1]), np.array([2, 1, 2])
    u, v, h = (axis.take(start, axis=0) for axis in (faces.u, faces.v, faces.h))
    run = faces.u.take(end, axis=0) - u
    run[run <= 0] = 1.0
    v_slope = (faces.v.take(end, axis=0) - v) / run
    h_slope = (faces.h.take(end, axis=0) - h) / run
    # The long edge, and the one of the two others that a row meets.
    second = np.where(row >= faces.u[1].take(face), 2 * size, size)
    edge = np.array([face, face + second])
    ahead = row - u.take(edge)
    cut = v.take(edge) + v_slope.take(edge) * ahead
    left, right = np.minimum(cut[0], cut[1]), np.maximum(cut[0], cut[1])
    lines = faces.lines[1].take(face)
    first = _first_line(left.copy(), lines)
    count = (_first_line(right.copy(), lines) - first).astype(np.int64)
    kept = count.nonzero()[0]
    edge = edge.take(kept, axis=1)
    one, two = h.take(edge) + h_slope.take(edge) * ahead.take(kept, axis=1)
    swapped = (cut[0] > cut[1]).take(kept)
    left, first = left.take(kept), first.take(kept)
    height = np.where(swapped, two, one)
    slope = (np.where(swapped, one, two) - height) / (right.take(kept) - left)
    height += slope * (first - left)
    return _Spans(face.take(kept), row.take(kept), first, count.take(kept), height, slope)


def _filled(spans: _Spans, faces: _Faces, grids: Sequence[Grid]) -> Crossings:
    """Writes spans out line by line, and sorts."""
    if not len(spans.face):
        return _NONE
    each = np.arange(len(grids))
    strides = np.array([[grid.shape[1], 1] for grid in grids])
    before = np.cumsum([0, *(grid.size for grid in grids[:-1])])
    grid = faces.grid.take(spans.face)
    stride = strides[each, 1 - faces.along].take(grid)  # of the number from line to line in v
    number = before.take(grid) + strides[each, faces.along].take(grid) * spans.row
    number += stride * spans.first
    span = np.arange(len(grid)).repeat(spans.count)
    offset = np.arange(len(span)) - (spans.count.cumsum() - spans.count).take(span)
    number = number.take(span) + stride.take(span) * offset
    height = spans.height.take(span) + spans.slope.take(span) * offset
    # One sort by line and then by height: of the line's number + a fraction for the height.
    low = height.min()
    order = (number + (height - low) * (0.999 / max(height.max() - low, 1e-9))).argsort()
    triangle = faces.triangle.take(spans.face).take(span.take(order))
    return Crossings(number.take(order).astype(np.int64), height.take(order), triangle)


def _first_line(values: Floats, lines: Floats) -> Floats:
    """Number of the first line at or after each value, 0..lines; overwrites the values."""
    np.ceil(values, out=values)
    np.maximum(values, 0.0, out=values)
    return np.minimum(values, lines, out=values)


def _even(number: Ints) -> NDArray[np.bool_]:
    """Marks all crossings but the last one of each line that has an odd number of them."""
    _, count = np.unique(number, return_counts=True)
    keep = np.ones(len(number), np.bool_)
    keep[np.cumsum(count)[count % 2 == 1] - 1] = False
    return keep
