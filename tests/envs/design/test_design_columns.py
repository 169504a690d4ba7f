"""Columns: intervals by hand, evenness, volumes, mistakes."""

import numpy as np
import pytest
from column_solids import block, cup, mesh_of, random_solid
from manifold3d import Manifold

from rlgen.core.errors import UserError
from rlgen.envs.design.measure import scanline as module
from rlgen.envs.design.measure.columns import Columns, cast, cast_grids, lay_grid
from rlgen.envs.design.measure.scanline import Grid, crossings
from rlgen.envs.design.mesh import EMPTY_MESH, Floats, Mesh


def rows_of(columns: Columns) -> Floats:
    return np.stack([columns.cell, columns.floor, columns.ceiling], 1)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_box_is_exact(axis: int) -> None:
    mesh = mesh_of(block((1, 2, 3), (11, 22, 43)))
    columns = cast(mesh, cell=3.0, axis=axis)
    sides = np.array([10, 20, 40])
    a, b = sides[(axis + 1) % 3], sides[(axis + 2) % 3]
    assert columns.grid.shape == (round(a / 3), round(b / 3))
    assert columns.grid.area == pytest.approx(9, rel=0.15)
    np.testing.assert_array_equal(columns.cell, np.arange(round(a / 3) * round(b / 3)))
    np.testing.assert_allclose(columns.floor, mesh.bounds[0, axis], atol=1e-12)
    np.testing.assert_allclose(columns.ceiling, mesh.bounds[1, axis], atol=1e-12)
    assert columns.volume == pytest.approx(8000, rel=1e-12)
    facing = mesh.area_vectors[:, axis]
    assert (facing[columns.under] < 0).all()
    assert (facing[columns.over] > 0).all()


def test_intervals_around_a_cavity() -> None:
    solid = block((0, 0, 0), (4, 2, 10)) - block((1, -1, 3), (2, 3, 7))
    columns = cast(mesh_of(solid), cell=1.0)
    wanted = [
        *([cell, 0, 10] for cell in (0, 1)),
        *([cell, *ends] for cell in (2, 3) for ends in ((0, 3), (7, 10))),
        *([cell, 0, 10] for cell in (4, 5, 6, 7)),
    ]
    np.testing.assert_allclose(rows_of(columns), wanted, atol=1e-12)
    np.testing.assert_array_equal(columns.first, [0, 1, 2, 4, 6, 7, 8, 9])
    np.testing.assert_array_equal(columns.last, [0, 1, 3, 5, 6, 7, 8, 9])
    centres = columns.grid.centres(columns.cell[columns.first])
    np.testing.assert_allclose(centres[:3], [[0.5, 0.5], [0.5, 1.5], [1.5, 0.5]])


def test_the_slope_of_a_face_is_followed() -> None:
    wedge = Manifold.hull_points([(0, 0, 0), (8, 0, 0), (0, 4, 0), (8, 4, 0), (8, 0, 4), (8, 4, 4)])
    columns = cast(mesh_of(wedge), count=8, spread=False)
    x = columns.grid.centres(columns.cell)[:, 0] + module.SHIFT[0]
    np.testing.assert_allclose(columns.ceiling - columns.floor, x / 2, atol=1e-12)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_volume_and_evenness(seed: int, axis: int) -> None:
    """Invariant 13: columns add up to the volume, and each has an even number of crossings."""
    solid = random_solid(seed, carve=0.3)
    mesh = mesh_of(solid)
    columns = cast(mesh, count=64, axis=axis)
    assert columns.volume == pytest.approx(solid.volume(), rel=0.01)
    met = crossings(mesh, [columns.grid])
    number, height = met.number, met.height
    assert not (np.bincount(number) % 2).any()
    assert (np.diff(number) >= 0).all()
    assert (columns.ceiling - columns.floor > -1e-6).all()
    assert np.diff(height)[np.diff(number) == 0].min() > -1e-6


def test_thin_walls_add_up() -> None:
    """Invariant 13 for a shell thinner than two cells, where a line more or less is 1 percent."""
    solid = cup(sides=32)
    assert cast(mesh_of(solid), count=64).volume == pytest.approx(solid.volume(), rel=0.01)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_lines_through_corners_and_edges(axis: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Invariant 13 where it is hardest: lines run through corners and along edges and walls."""
    monkeypatch.setattr(module, "SHIFT", np.zeros(2))
    pyramid = Manifold.hull_points([(0, 0, 0), (8, 0, 0), (8, 8, 0), (0, 8, 0), (4, 4, 6)])
    tower = block((2, 2, 0), (6, 6, 12)) - block((3, 3, -1), (5, 5, 20))
    for solid, solid_cells in ((block((0, 0, 0), (8, 8, 8)), 64), (pyramid + tower, None)):
        mesh = mesh_of(solid)
        grid = Grid(np.full(2, -2.5), np.ones(2), (16, 16), axis, spread=False)
        number = crossings(mesh, [grid]).number
        assert len(number)
        assert not (np.bincount(number) % 2).any()
        if solid_cells:  # the lines 0 to 7 meet the box, the line 8 does not
            assert len(number) == 2 * solid_cells


def test_directions_of_an_axis_are_cyclic() -> None:
    mesh = mesh_of(random_solid(3))
    turned = Mesh(mesh.vertices[:, [1, 2, 0]], mesh.triangles)
    np.testing.assert_allclose(
        rows_of(cast(mesh, count=20, axis=0)), rows_of(cast(turned, count=20)), atol=1e-9
    )


def test_rows_along_either_direction() -> None:
    """Long thin bodies are cut into rows the short way; both ways agree."""
    solid = Manifold.cylinder(90, 5, 3, 48).rotate((90, 0, 0)) + block((-4, -4, -4), (4, 4, 4))
    mesh = mesh_of(solid)
    turned = Mesh(mesh.vertices[:, [1, 0, 2]], mesh.triangles[:, ::-1])
    region = np.array([[-100.0, -100.0], [100.0, 100.0]])
    one, other = (cast(m, count=400, region=region) for m in (mesh, turned))
    assert one.volume == pytest.approx(solid.volume(), rel=0.01)
    assert other.volume == pytest.approx(solid.volume(), rel=0.01)


def test_grids_together_are_as_one_by_one() -> None:
    """All arrays, for grids of any axis, size and place, with and without spread lines."""
    mesh = mesh_of(random_solid(4, carve=0.3))
    region = np.array([[-90.0, -80.0], [80.0, 80.0]])
    grids = [lay_grid(mesh, count=12, axis=axis) for axis in range(3)]
    grids += [lay_grid(mesh, 2.5), lay_grid(mesh, count=20, region=region, spread=False)]
    for together, grid in zip(cast_grids(mesh, grids), grids, strict=True):
        (alone,) = cast_grids(mesh, [grid])
        assert together.grid is grid
        assert len(alone)
        for name in ("cell", "floor", "ceiling", "under", "over"):
            np.testing.assert_array_equal(getattr(together, name), getattr(alone, name))


def test_count_depends_on_size_only() -> None:
    solid = cup()
    shapes = {
        cast(mesh_of(solid.translate((shift, -shift, 0))), cell=1.5).grid.shape
        for shift in (0, 0.3, 17.7)
    }
    assert shapes == {(55, 55)}


def test_region_cuts_the_solid() -> None:
    mesh = mesh_of(block((0, 0, 0), (10, 10, 5)))
    columns = cast(mesh, count=4, region=np.array([[5.0, -5.0], [15.0, 5.0]]))
    np.testing.assert_array_equal(columns.cell, [2, 3, 6, 7])
    assert columns.volume == pytest.approx(125)


def test_nothing_to_cut() -> None:
    assert len(cast(EMPTY_MESH, cell=1.0)) == 0
    assert cast(EMPTY_MESH, count=8).volume == 0
    flat = Mesh(np.array([[0.0, 0, 0], [0, 1, 0], [0, 0, 1]]), np.array([[0, 1, 2]]))
    assert len(cast(flat, cell=0.1)) == 0
    # A grid that is seen edge on does not empty the others.
    grids = [lay_grid(flat, count=4, axis=axis) for axis in (2, 0)]
    flat = Mesh(flat.vertices, np.array([[0, 1, 2], [0, 2, 1]]))
    assert [len(columns) > 0 for columns in cast_grids(flat, grids)] == [False, True]


def test_columns_through_a_hole_lose_a_crossing() -> None:
    mesh = mesh_of(block((0, 0, 0), (8, 8, 8)))
    top = mesh.area_vectors[:, 2] > 0
    opened = Mesh(mesh.vertices, mesh.triangles[~top])
    assert len(cast(opened, cell=1.0)) == 0
    half = Mesh(mesh.vertices, np.delete(mesh.triangles, np.flatnonzero(top)[0], axis=0))
    columns = cast(half, cell=0.25)
    assert columns.volume == pytest.approx(256, rel=0.05)
    np.testing.assert_allclose(columns.ceiling, 8)


def test_same_result_twice() -> None:
    mesh = mesh_of(random_solid(5))
    assert rows_of(cast(mesh, cell=1.0)).tobytes() == rows_of(cast(mesh, cell=1.0)).tobytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give one of the two"),
        ({"cell": 1.0, "count": 8}, "give one of the two"),
        ({"cell": 0.0}, "positive"),
        ({"cell": float("nan")}, "positive"),
        ({"count": 0}, "at least one cell"),
        ({"cell": 1e-4}, "larger cells"),
        ({"count": 8, "axis": 3}, "axis=2"),
    ],
)
def test_mistakes(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        cast(mesh_of(block((0, 0, 0), (9, 9, 9))), **options)
