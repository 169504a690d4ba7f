"""Scanline code: where vertical lines through a grid's cells enter and leave a solid.

A solid is cut into *columns*, one vertical line per cell of a regular grid, each a list of solid
intervals between two crossings of the surface. Nesting, support, wall thickness, height maps,
voxels and the picture of a liquid are computed from these arrays.

All triangles are rasterised at once. A triangle is a set of rows (lines of constant first
coordinate) and in each row a half-open span between two edges. Where a row cuts an edge is
computed from that edge's own two ends alone, so the two triangles that share it get the same
number to the last bit: a line through an edge or a vertex is counted by exactly one of them, and
every column of a closed surface has an even number of crossings by construction.

The method is a proposal of this project (columns, after its own design study); no published
environment is reproduced.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rlgen.core.errors import UserError
from rlgen.envs.design.mesh import Floats, Ints, Mesh

# Lines pass this far from the middle of a cell (in cells), so that the vertices of symmetric
# designs do not lie on them.
SHIFT = np.array([0.0113, -0.0071])
# A spread grid is turned a little, so that from one end to the other its lines wander across a
# cell by this much. Faces along x or y, of which designs are full, then meet the lines at all
# places in a cell, and what is counted too much at one line is counted too little at another.
SPREAD = 0.96
MAX_COLUMNS = 4_000_000
_ACROSS = np.array([[1, 2], [2, 0], [0, 1]])  # the cells' directions for lines along each axis


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

    def centres(self, cell: Ints) -> Floats:
        """float64 (N, 2): the middles of cells given by their row-major numbers (N,)."""
        place = np.stack(np.divmod(cell, self.shape[1]), -1)
        return self.origin + (place + 0.5) * self.step


@dataclass(frozen=True, eq=False)
class Columns:
    """Solid intervals, sorted by cell and then by height. All arrays have length N.

    Attributes:
        grid: The cells.
        cell: int64: row-major number of the interval's cell.
        floor: float64: height at which the line enters the solid, mm.
        ceiling: float64: height at which it leaves the solid, mm.
        under: int64: the triangle crossed at the floor (it faces down).
        over: int64: the triangle crossed at the ceiling (it faces up).
    """

    grid: Grid
    cell: Ints
    floor: Floats
    ceiling: Floats
    under: Ints
    over: Ints

    def __len__(self) -> int:
        return len(self.cell)

    @cached_property
    def first(self) -> Ints:
        """int64 (C,): the lowest interval of each column that meets the solid."""
        return np.flatnonzero(np.diff(self.cell, prepend=-1))

    @cached_property
    def last(self) -> Ints:
        """int64 (C,): the highest interval of each column that meets the solid."""
        return np.flatnonzero(np.diff(self.cell, append=-1))

    @property
    def volume(self) -> float:
        """Sum of interval lengths times the area of a cell, mm3."""
        return float((self.ceiling - self.floor).sum() * self.grid.area)


def cast(
    mesh: Mesh,
    cell: float | None = None,
    count: int | None = None,
    axis: int = 2,
    region: Floats | None = None,
    spread: bool = True,
) -> Columns:
    """Cuts a solid into columns.

    The number of cells depends on the size of the region alone. With ``cell``, that size is
    rounded to a whole number of cells and the cells are stretched to fit it, so that a box is
    measured exactly.

    Args:
        mesh: A closed surface. Where a surface has holes, columns that cross it an odd number of
            times lose their highest crossing.
        cell: Wanted size of a cell in mm, or None.
        count: Cells along both sides, or None. Give exactly one of the two.
        axis: Direction of the lines, 0, 1 or 2.
        region: float64 (2, 2): lowest and highest corner of the grid in mm; the mesh's bounding
            box by default.
        spread: Meet the cells at varying places, which makes sums over columns several times more
            accurate; False: in the middle, as a picture needs it.

    Returns:
        The columns; none of them for a mesh without extent.

    Raises:
        UserError: Neither or both of ``cell`` and ``count``, a value that is not positive, an
            unknown axis, more than four million columns.
    """
    grid = replace(_grid(mesh, cell, count, axis, region), spread=spread)
    number, height, triangle = crossings(mesh, grid)
    if len(number) % 2 or (number[::2] != number[1::2]).any():
        even = _even(number)
        number, height, triangle = number[even], height[even], triangle[even]
    return Columns(grid, number[::2], height[::2], height[1::2], triangle[::2], triangle[1::2])


def cast_axes(mesh: Mesh, count: int) -> tuple[Columns, Columns, Columns]:
    """Casts ``count`` x ``count`` lines along x, y and z: :func:`cast` three times, but at once.

    For the small meshes of designs every call of NumPy costs more than its work.

    Returns:
        The columns along axis 0, 1 and 2.
    """
    grids = [_grid(mesh, None, count, axis, None) for axis in range(3)]
    if not len(mesh) or not all(grid.step.all() for grid in grids):
        return tuple(cast(mesh, count=count, axis=axis) for axis in range(3))  # type: ignore[return-value]
    along, low, mid, high, which_axis, triangle = _candidates_axes(mesh, grids, count)
    rows, which = _rows(low, mid, high, count)
    row, first, length, height, slope, kept = _spans(rows, count)
    which = which.take(kept)
    triangle, which_axis = triangle.take(which), which_axis.take(which)
    along = along.take(which_axis)
    step = np.where(along == 1, count, 1)  # of the number from line to line in v
    start = which_axis * count**2 + row * (count + 1 - step) + first * step
    offset = places(length)
    number = np.repeat(start, length) + np.repeat(step, length) * offset
    height = np.repeat(height, length) + np.repeat(slope, length) * offset
    order = _order(number, height)
    number, height = number.take(order), height.take(order)
    triangle = np.repeat(triangle, length).take(order)
    if len(number) % 2 or (number[::2] != number[1::2]).any():
        even = _even(number)
        number, height, triangle = number[even], height[even], triangle[even]
    ends = [0, *np.searchsorted(number, (count**2, 2 * count**2)).tolist(), len(number)]
    found = []
    for axis, grid in enumerate(grids):
        lower, upper = (
            slice(ends[axis], ends[axis + 1], 2),
            slice(ends[axis] + 1, ends[axis + 1], 2),
        )
        cell = number[lower] - axis * count**2
        found.append(
            Columns(grid, cell, height[lower], height[upper], triangle[lower], triangle[upper])
        )
    return found[0], found[1], found[2]


def _candidates_axes(
    mesh: Mesh, grids: list[Grid], count: int
) -> tuple[Ints, Floats, Floats, Floats, Ints, Ints]:
    """Does what :func:`_candidates` does for three axes.

    Returns:
        int64 (3,) the direction that u is; the corners as there; axis and number of each triangle.
    """
    points = np.ascontiguousarray(mesh.vertices.T)
    origin = np.array([grid.origin for grid in grids])[:, :, None]
    step = np.array([grid.step for grid in grids])[:, :, None]
    place = (points[_ACROSS] - origin) / step - 0.5 - SHIFT[:, None]  # (3, 2, V)
    turn = (place - 0.5 * (count - 1)) * (SPREAD / count)
    place[:, 0] += turn[:, 1]
    place[:, 1] -= turn[:, 0]
    triangles = mesh.triangles.T
    corners = place.take(triangles, axis=2)  # (3, 2, 3, T)
    lines = _first_line(corners.max(2) + 1e-9, count) - _first_line(corners.min(2) - 1e-9, count)
    met = np.asarray((lines > 0).all(1))
    total = (lines * met[:, None]).sum(2)
    along = (total[:, 1] < total[:, 0]).astype(np.int64)
    axes = np.arange(3)
    u, v = place[axes, along], place[axes, 1 - along]
    size = points.shape[1]
    order = (np.argsort(u, axis=1, kind="stable") + size * axes[:, None]).ravel()
    table = np.stack([u.ravel(), v.ravel(), points.ravel()]).take(order, axis=1)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    axis, kept = np.divmod(np.flatnonzero(met), len(mesh))
    ranks = rank.take(triangles.take(kept, axis=1) + size * axis)
    low, high = ranks.min(0), ranks.max(0)
    middle = ranks.sum(0) - low - high
    low, mid, high = (table.take(r, axis=1) for r in (low, middle, high))
    return along, low, mid, high, axis, kept


def crossings(mesh: Mesh, grid: Grid) -> tuple[Ints, Floats, Ints]:
    """Finds every crossing of the surface by the lines of a grid.

    Args:
        mesh: Any triangles.
        grid: The cells.

    Returns:
        Cell int64 (M,), height float64 (M,) in mm and triangle int64 (M,), sorted by cell and
        then by height (to 1e-8 of the mesh's height).
    """
    along, low, mid, high, triangle = _candidates(mesh, grid)
    rows, which = _rows(low, mid, high, grid.shape[along])
    row, first, length, height, slope, kept = _spans(rows, grid.shape[1 - along])
    triangle = triangle.take(which.take(kept))
    strides = (grid.shape[1], 1)
    offset = places(length)
    number = np.repeat(row * strides[along] + first * strides[1 - along], length)
    number += offset * strides[1 - along]
    height = np.repeat(height, length) + np.repeat(slope, length) * offset
    order = _order(number, height)
    return number.take(order), height.take(order), np.repeat(triangle, length).take(order)


def _grid(
    mesh: Mesh, cell: float | None, count: int | None, axis: int, region: Floats | None
) -> Grid:
    """Lays the cells over the region."""
    if (cell is None) == (count is None):
        raise UserError(f"cell={cell} and count={count} were given; give one of the two")
    if axis not in (0, 1, 2):
        raise UserError(f"axis={axis}: lines run along 0 (x), 1 (y) or 2 (z); try axis=2")
    across = ((axis + 1) % 3, (axis + 2) % 3)
    low, high = mesh.bounds[:, across] if region is None else np.asarray(region, np.float64)
    extent = high - low
    if cell is not None:
        if not cell > 0:
            raise UserError(f"cell={cell}: a cell has a positive size in mm; try cell=1.5")
        wanted = np.maximum(np.rint(extent / cell), 1.0)
    elif count is not None and count >= 1:
        wanted = np.array([count, count], np.float64)
    else:
        raise UserError(f"count={count}: there is at least one cell along a side; try count=32")
    if wanted[0] * wanted[1] > MAX_COLUMNS:
        raise UserError(
            f"{wanted[0]:.0f} x {wanted[1]:.0f} columns over {extent[0]:.0f} x {extent[1]:.0f} mm "
            f"are more than {MAX_COLUMNS}; use larger cells"
        )
    return Grid(low, extent / wanted, (int(wanted[0]), int(wanted[1])), axis)


def _candidates(mesh: Mesh, grid: Grid) -> tuple[int, Floats, Floats, Floats, Ints]:
    """Picks the triangles that may meet a line, and sorts the corners of each.

    From here on, u and v are the coordinates across the axis in units of cells, such that the
    lines pass through the whole numbers, u being the direction in which the triangles span fewer
    lines; h is the height.

    Returns:
        The grid's direction that u is (0 or 1); float64 (3, K) u, v, h of the corners with the
        lowest, the middle and the highest u; int64 (K,) the triangles' numbers.
    """
    if not len(mesh) or not grid.step.all():
        return 0, *np.zeros((3, 3, 0)), np.zeros(0, np.int64)
    across = ((grid.axis + 1) % 3, (grid.axis + 2) % 3)
    place = ((mesh.vertices[:, across] - grid.origin) / grid.step - 0.5 - SHIFT).T
    if grid.spread:
        shape = np.array(grid.shape)[:, None]
        turn = (place - 0.5 * (shape - 1)) * (SPREAD / shape)
        place = place + np.stack([turn[1], -turn[0]])
    triangles = mesh.triangles.T
    corners = place.take(triangles, axis=1)
    # Triangles without any line in their bounding box are dropped; with a margin for rounding,
    # or evenness would be lost.
    lines = np.stack(
        [
            _first_line(c.max(0) + 1e-9, n) - _first_line(c.min(0) - 1e-9, n)
            for c, n in zip(corners, grid.shape, strict=True)
        ]
    )
    kept = np.flatnonzero((lines > 0).all(0))
    total = lines.take(kept, axis=1).sum(1)
    along = int(total[1] < total[0])
    order = np.argsort(place[along], kind="stable")
    points = np.stack([place[along], place[1 - along], mesh.vertices[:, grid.axis]])
    points = points.take(order, axis=1)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    ranks = rank.take(triangles.take(kept, axis=1))
    low, high = ranks.min(0), ranks.max(0)
    low, mid, high = (points.take(r, axis=1) for r in (low, ranks.sum(0) - low - high, high))
    return along, low, mid, high, kept


def _rows(low: Floats, mid: Floats, high: Floats, count: int) -> tuple[Floats, Ints]:
    """Cuts triangles into rows.

    Args:
        low: float64 (3, K): u, v, h of the corners with the lowest u.
        mid: The same for the middle u.
        high: The same for the highest u.
        count: Lines along u.

    Returns:
        float64 (5, R): row, v and h on one edge, v and h on the other edge; int64 (R,): the
        row's triangle among the K.
    """
    begin = _first_line(low[0], count)
    length = _first_line(high[0], count) - begin
    which = np.repeat(np.arange(len(begin)), length)
    row = (begin.take(which) + places(length)).astype(np.float64)
    # three edges per triangle, each from its end with the lower u to the one with the higher u
    start = np.concatenate([low, low, mid], axis=1)
    change = np.concatenate([high - low, mid - low, high - mid], axis=1)
    slope = change[1:] / np.where(change[0] > 0, change[0], 1.0)
    table = np.concatenate([start, slope])
    second = row >= mid[0].take(which)
    cut = [row]
    for edge in (which, which + len(begin) * (1 + second)):
        u, v, h, v_slope, h_slope = table.take(edge, axis=1)
        cut += [v + v_slope * (row - u), h + h_slope * (row - u)]
    return np.stack(cut), which


def _spans(rows: Floats, count: int) -> tuple[Ints, Ints, Ints, Floats, Floats, Ints]:
    """Turns rows into spans of cells.

    Args:
        rows: float64 (5, R), from :func:`_rows`.
        count: Lines along v.

    Returns:
        Arrays (S,): row, first line in v, number of lines, height at the first line, change of
        height per line, and which of the R rows it is.
    """
    left, right = np.minimum(rows[1], rows[3]), np.maximum(rows[1], rows[3])
    first = _first_line(left, count)
    length = _first_line(right, count) - first
    kept = np.flatnonzero(length)
    row, v_one, h_one, v_two, h_two = rows.take(kept, axis=1)
    left, right, first = left.take(kept), right.take(kept), first.take(kept)
    swapped = v_one > v_two
    height = np.where(swapped, h_two, h_one)
    slope = (np.where(swapped, h_one, h_two) - height) / (right - left)
    height += slope * (first - left)
    return row.astype(np.int64), first, length.take(kept), height, slope, kept


def _first_line(values: Floats, count: int) -> Ints:
    """Number of the first line at or after each value, 0..count."""
    return np.minimum(np.maximum(np.ceil(values), 0), count).astype(np.int64)


def places(length: Ints) -> Ints:
    """Joins the ranges 0..length (N,) into one array."""
    ends = np.cumsum(length)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - length, length)


def _order(number: Ints, height: Floats) -> Ints:
    """Order by cell and then by height: one sort of cell + fraction of the height."""
    if not len(height):
        return np.zeros(0, np.int64)
    low, high = height.min(), height.max()
    return np.argsort(number + (height - low) * (0.999 / max(high - low, 1e-9)))


def _even(number: Ints) -> NDArray[np.bool_]:
    """Marks all crossings but the last one of each column that has an odd number of them."""
    _, count = np.unique(number, return_counts=True)
    keep = np.ones(len(number), np.bool_)
    keep[np.cumsum(count)[count % 2 == 1] - 1] = False
    return keep
