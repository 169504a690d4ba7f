"""Columns: where vertical lines through a grid's cells enter and leave a solid.

A solid is cut into *columns*, one line per cell of a regular grid, each a list of solid intervals
between two crossings of the surface (``scanline``). Nesting, support, wall thickness, height maps,
voxels and the picture of a liquid are computed from these arrays.

The method is a proposal of this project (columns, after its own design study); no published
environment is reproduced.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from rlgen.core.errors import UserError
from rlgen.envs.design.measure.scanline import Grid, crossings
from rlgen.envs.design.mesh import Floats, Ints, Mesh

MAX_COLUMNS = 4_000_000


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
        return np.flatnonzero(np.append(True, self._changes)[: len(self)])

    @cached_property
    def last(self) -> Ints:
        """int64 (C,): the highest interval of each column that meets the solid."""
        return np.flatnonzero(np.append(self._changes, True)[: len(self)])

    @cached_property
    def _changes(self) -> NDArray[np.bool_]:
        """Whether the next interval belongs to another column, bool (N - 1,)."""
        return np.asarray(self.cell[1:] != self.cell[:-1])

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
    """Cuts a solid into columns: :func:`cast_grids` for the one grid of :func:`lay_grid`.

    Returns:
        The columns; none of them for a mesh without extent.

    Raises:
        UserError: A reason of :func:`lay_grid`.
    """
    return cast_grids(mesh, [lay_grid(mesh, cell, count, axis, region, spread)])[0]


def cast_grids(mesh: Mesh, grids: Sequence[Grid]) -> list[Columns]:
    """Cuts a solid into the columns of several grids, in much less time than one by one.

    Args:
        mesh: A closed surface. Where a surface has holes, columns that cross it an odd number of
            times lose their highest crossing.
        grids: From :func:`lay_grid`.

    Returns:
        The columns of each grid; none of them for a mesh without extent.
    """
    if len(grids) > 1 and not all(grid.step.all() for grid in grids):  # a flat mesh
        return [cast_grids(mesh, [grid])[0] for grid in grids]
    met = crossings(mesh, grids).paired()
    cell, floor, ceiling = met.number[::2], met.height[::2], met.height[1::2]
    under, over = met.triangle[::2], met.triangle[1::2]
    if len(grids) == 1:
        return [Columns(grids[0], cell, floor, ceiling, under, over)]
    before = np.cumsum([0, *(grid.size for grid in grids)])
    ends = cell.searchsorted(before).tolist()
    return [
        Columns(grid, cell[a:b] - start, floor[a:b], ceiling[a:b], under[a:b], over[a:b])
        for grid, start, a, b in zip(grids, before.tolist(), ends[:-1], ends[1:], strict=False)
    ]


def lay_grid(
    mesh: Mesh,
    cell: float | None = None,
    count: int | None = None,
    axis: int = 2,
    region: Floats | None = None,
    spread: bool = True,
) -> Grid:
    """Lays the cells of a grid over a region.

    The number of cells depends on the size of the region alone. With ``cell``, that size is
    rounded to a whole number of cells and the cells are stretched to fit it, so that a box is
    measured exactly.

    Args:
        mesh: What will be cut.
        cell: Wanted size of a cell in mm, or None.
        count: Cells along both sides, or None. Give exactly one of the two.
        axis: Direction of the lines, 0, 1 or 2.
        region: float64 (2, 2): lowest and highest corner of the grid in mm; the mesh's bounding
            box by default.
        spread: Meet the cells at varying places, which makes sums over columns several times more
            accurate; False: in the middle, as a picture needs it.

    Raises:
        UserError: Neither or both of ``cell`` and ``count``, a value that is not positive, an
            unknown axis, more than four million columns.
    """
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
    return Grid(low, extent / wanted, (int(wanted[0]), int(wanted[1])), axis, spread)
