"""Levels of liquid in columns."""

from collections.abc import Callable

import numpy as np
import pytest
from column_solids import block, cup, mesh_of, random_solid
from manifold3d import Manifold

from rlgen.envs.design.measure.columns import Columns, cast
from rlgen.envs.design.measure.gaps import gap_levels, gap_tops
from rlgen.envs.design.measure.liquid import capacity, grid_capacity
from rlgen.envs.design.measure.scanline import Grid
from rlgen.envs.design.mesh import EMPTY_MESH


def columns_of(rows: list[tuple[int, float, float]], shape: tuple[int, int]) -> Columns:
    cell, floor, ceiling = np.array(rows, np.float64).T
    nothing = np.zeros(len(rows), np.int64)
    grid = Grid(np.zeros(2), np.ones(2), shape)
    return Columns(grid, cell.astype(np.int64), floor, ceiling, nothing, nothing)


def test_a_row_of_columns() -> None:
    """Three cells wide, so that the middle row has walls on both sides."""
    rows = []
    for x, top in enumerate([9.0, 2.0, 5.0, 1.0, 7.0]):
        rows += [(3 * x, 0.0, 10.0), (3 * x + 1, 0.0, top), (3 * x + 2, 0.0, 10.0)]
    levels = gap_levels(columns_of(rows, (5, 3))).reshape(5, 3)
    np.testing.assert_array_equal(levels[:, 1], [9, 7, 7, 7, 7])
    np.testing.assert_array_equal(levels[:, 0], 10)


def test_tunnels_voids_and_overhangs() -> None:
    rows: list[tuple[int, float, float]] = []
    for cell in range(25):
        x, y = divmod(cell, 5)
        if 1 <= x <= 3 and 1 <= y <= 3:
            rows += [(cell, 0, 2)]
            if (x, y) == (2, 2):
                rows += [(cell, 3, 6), (cell, 8, 9)]  # a block in the liquid; another one above
        elif (x, y) == (0, 2):
            rows += [(cell, 0, 5), (cell, 7, 10)]  # a window from 5 to 7
        elif (x, y) == (4, 4):
            rows += [(cell, 0, 1), (cell, 4, 10)]  # no way from there to anywhere but the border
        else:
            rows += [(cell, 0, 10)]
    columns = columns_of(rows, (5, 5))
    level = gap_levels(columns)
    tops = gap_tops(columns)
    inside = columns.ceiling == 2
    np.testing.assert_array_equal(level[inside], 5)
    in_the_middle = np.flatnonzero(columns.cell == 12)
    np.testing.assert_array_equal(level[in_the_middle], [5, 6, 9])
    np.testing.assert_array_equal(tops[in_the_middle], [3, 8, np.inf])
    np.testing.assert_array_equal(level[columns.cell == 24], [1, 10])


def test_a_pit_and_a_void() -> None:
    rows = [(cell, 0.0, 10.0) for cell in range(9)]
    rows[4] = (4, 0.0, 3.0)
    assert gap_levels(columns_of(rows, (3, 3)))[4] == 10
    rows.insert(5, (4, 8.0, 10.0))
    assert gap_levels(columns_of(rows, (3, 3)))[4] == 3


def test_liquid_drains_below_a_solid() -> None:
    """The gap beside a column that begins higher up is open to the space below."""
    rows = [(cell, 0.0, 9.0) for cell in range(9)]
    rows[4] = (4, 0.0, 2.0)
    rows[1] = (1, 4.0, 9.0)
    assert gap_levels(columns_of(rows, (3, 3)))[4] == 2
    rows[1] = (1, 2.0, 9.0)
    assert gap_levels(columns_of(rows, (3, 3)))[4] == 9


SOLIDS: dict[str, Callable[[], Manifold]] = {
    "cup": cup,
    "tapered": lambda: cup(27, 40, 95),
    "hole": lambda: (
        cup(wall=4) - Manifold.cylinder(60, 6, -1, 24).rotate((0, 90, 0)).translate((0, 0, 50))
    ),
    "tilted": lambda: cup(wall=5).rotate((25, 10, 0)),
    "random": lambda: random_solid(
        3, 5, 0.3, block((-40, -40, -25), (40, 40, 30)) - block((-30, -30, -15), (30, 30, 31))
    ),
}


@pytest.mark.parametrize("name", SOLIDS)
def test_close_to_the_exact_capacity(name: str) -> None:
    """Invariants 9 and 10 for columns: within 1.5 percent for walls of at least 2 mm."""
    mesh = mesh_of(SOLIDS[name]())
    exact = capacity(mesh)
    assert exact > 10
    for cell in (1.5, 1.0):
        assert grid_capacity(mesh, cell) == pytest.approx(exact, rel=0.015)


def test_no_columns() -> None:
    assert len(gap_levels(cast(EMPTY_MESH, 1.0))) == 0
    assert len(gap_tops(cast(EMPTY_MESH, 1.0))) == 0
