import numpy as np
import pytest
from file_solids import box, cup, mesh_of, volume_of

from rlgen.envs.design.picture.overlays import (
    LIQUID,
    LOAD,
    MARK,
    SUPPORT,
    LiquidColumns,
    arrow_tail,
    draw_arrow,
    draw_centre,
    draw_liquid,
    draw_marks,
    draw_support,
    liquid_mesh,
)
from rlgen.envs.design.picture.raster import fit_camera, rasterise

FRAME = np.array([[-50.0, -50.0, 0.0], [50.0, 50.0, 100.0]])


def _white(size: int = 200) -> np.ndarray:
    return np.full((size, size, 3), 255, np.uint8)


def _grid(radius: float, cell: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    steps = np.arange(-60, 60, cell) + 0.3
    x, y = np.meshgrid(steps, steps)
    inside = np.hypot(x, y) < radius
    return x[inside], y[inside]


def _near(image: np.ndarray, colour, tolerance: int = 3) -> np.ndarray:
    return (np.abs(image.astype(int) - colour) <= tolerance).all(2)


def test_liquid_has_sides_only_at_its_border():
    x, y = np.meshgrid(np.arange(5) * 2.0, np.arange(4) * 2.0)
    ones = np.ones(20)
    mesh = liquid_mesh(LiquidColumns(x.ravel(), y.ravel(), 3 * ones, 9 * ones, 2.0))
    assert len(mesh) == 2 * 20 + 2 * (2 * 5 + 2 * 4)
    top = mesh.area_vectors[:, 2] > 0
    assert top.sum() == 2 * 20
    sides = mesh.area_vectors[~top]
    assert np.allclose(sides.sum(0), 0)  # they go around once, facing outwards
    centre = mesh.corners[~top].mean(1) - [4, 3, 6]
    assert (np.einsum("ij,ij->i", centre, sides) > 0).all()


def test_liquid_side_shows_where_the_neighbour_is_lower():
    x, ones = np.array([0.0, 2.0]), np.ones(2)
    mesh = liquid_mesh(LiquidColumns(x, 0 * x, 0 * ones, np.array([8.0, 4.0]), 2.0))
    towards = mesh.area_vectors[:, 0] > 0
    assert towards.sum() == 4  # the step in the middle and the far end
    assert liquid_mesh(LiquidColumns(x[:0], x[:0], x[:0], x[:0], 2.0)).triangles.shape == (0, 3)


def test_liquid_is_clear_in_the_mouth_and_faint_through_the_wall():
    x, y = _grid(37.9)
    liquid = LiquidColumns(x, y, np.full(len(x), 3.0), np.full(len(x), 60.0), 2.0)
    mesh = mesh_of(cup())
    for view, share in (("top", 0.78), ("front", 0.22)):
        camera = fit_camera(FRAME, view, 200)
        image = _white()
        draw_liquid(image, rasterise(mesh, camera), liquid)
        expected = 255 + share * (np.array(LIQUID) - 255)
        assert _near(image, expected).sum() > 3000
    # nothing of it comes through the wall from outside
    outside = ~rasterise(mesh, camera).covered
    assert (image[outside] == 255).all()


def test_full_cup_does_not_spill_over_its_brim():
    x, y = _grid(37.9)
    liquid = LiquidColumns(x, y, np.full(len(x), 3.0), np.full(len(x), 80.0), 2.0)
    camera = fit_camera(FRAME, "top", 400)
    image = _white(400)
    draw_liquid(image, rasterise(mesh_of(cup()), camera), liquid)
    clear = _near(image, 255 + 0.78 * (np.array(LIQUID) - 255))
    assert clear.sum() / camera.scale**2 == pytest.approx(np.pi * 38**2, rel=0.02)


def test_marked_underside_shows_red_from_above_too():
    mesh = mesh_of(box(60, 60, 20, (-30, -30, 30)))
    marked = mesh.area_vectors[:, 2] < 0
    shares = {"bottom": 0.72, "top": 0.30}
    for view, share in shares.items():
        raster = rasterise(mesh, fit_camera(FRAME, view, 100))
        image = _white(100)
        draw_marks(image, raster, mesh, marked)
        assert _near(image, 255 + share * (np.array(MARK) - 255))[raster.covered].all()


def test_support_polygon_covers_its_area():
    camera = fit_camera(FRAME, "top", 200)
    image = draw_support(_white(), camera, [(-20, -20), (20, -20), (20, 20), (-20, 20)], 2)
    assert _near(image, SUPPORT).sum() > 4 * 40 * camera.scale
    filled = (image != 255).any(2).sum() / camera.scale**2
    assert filled == pytest.approx(41.2 * 41.2, rel=0.01)  # with its border
    assert np.array_equal(draw_support(_white(), camera, np.zeros((0, 2)), 2), _white())


def test_centre_of_mass_has_a_plumb_line():
    camera = fit_camera(FRAME, "front", 200)
    image = draw_centre(_white(), camera, (10, 0, 60), 2)
    (column, row, _), (_, foot, _) = camera.project([[10, 0, 60], [10, 0, 0]])
    dark = (image < 60).all(2)
    assert dark[int(row) + 12 : int(foot), round(column)].all()
    assert not dark[: int(row) - 12].any()


def test_arrow_ends_at_the_point_of_attack():
    tail = arrow_tail(FRAME, ((0, 0, 60), (0, 0, -5)))
    assert tail.tolist() == [0, 0, 60 + 0.3 * 100]
    camera = fit_camera(FRAME, "front", 200)
    image = draw_arrow(_white(), camera, tail, (0, 0, 60), 2)
    rows, columns = np.nonzero(_near(image, LOAD))
    ends = camera.project([tail, [0, 0, 60]])[:, 1]
    assert rows.min() == pytest.approx(ends[0], abs=2)
    assert rows.max() == pytest.approx(ends[1], abs=2)
    assert columns.mean() == pytest.approx(100, abs=1)
    end_on = draw_arrow(_white(), fit_camera(FRAME, "top", 200), tail, (0, 0, 60), 2)
    assert _near(end_on, LOAD).any()


def test_arrow_without_direction_is_a_dot():
    tail = arrow_tail(FRAME, ((1, 2, 3), (0, 0, 0)))
    assert tail.tolist() == [1, 2, 3]


def test_the_test_cup_is_a_cup():
    section = 16 * np.sin(np.pi / 16)  # a 32-gon's area over its radius squared
    assert volume_of(mesh_of(cup())) == pytest.approx(section * (41**2 * 80 - 38**2 * 77), rel=1e-6)
