import numpy as np
import pytest
from mechanics_solids import box, cylinder, mesh_of, mug, turned

from rlgen.envs.design.measure.sections import cut, inner_heights, sections
from rlgen.envs.design.mesh import EMPTY_MESH


def test_a_box_off_the_axis() -> None:
    found = sections(mesh_of(box(20, 30, 50, (5, -7, 0))), np.array([10.0, 33.3]))
    np.testing.assert_allclose(found.area, 600, rtol=1e-12)
    np.testing.assert_allclose(found.centroid, [[5, -7]] * 2, atol=1e-12)
    expected = np.diag([30 * 20**3, 20 * 30**3]) / 12
    np.testing.assert_allclose(found.moments, [expected] * 2, atol=1e-7)


def test_a_cone_by_the_formula_of_a_regular_polygon() -> None:
    n, h = 9, 40.0
    heights = np.array([4.0, 20.0, 36.0])
    found = sections(mesh_of(cylinder(30, 10, h, n)), heights)
    r = 30 - 20 * heights / h
    np.testing.assert_allclose(found.area, n / 2 * np.sin(2 * np.pi / n) * r**2, rtol=1e-12)
    second = n / 24 * np.sin(2 * np.pi / n) * (2 + np.cos(2 * np.pi / n)) * r**4
    np.testing.assert_allclose(found.moments[:, 0, 0], second, rtol=1e-10)
    np.testing.assert_allclose(found.moments[:, 1, 1], second, rtol=1e-10)
    np.testing.assert_allclose(found.moments[:, 0, 1], 0, atol=1e-8)


def test_holes_and_separate_parts_add_up() -> None:
    """A frame with an off-centre hole beside a post: Steiner's theorem by hand."""
    solid = box(40, 40, 30) - box(20, 10, 30, (5, 5, 0)) + box(10, 10, 30, (60, 0, 0))
    found = sections(mesh_of(solid), np.array([15.0]))
    parts = [(1600.0, 0.0, 0.0, 40, 40), (-200.0, 5.0, 5.0, 20, 10), (100.0, 60.0, 0.0, 10, 10)]
    area = sum(part[0] for part in parts)
    cx = sum(a * x for a, x, *_ in parts) / area
    cy = sum(a * y for a, _, y, *_ in parts) / area
    xx = sum(a * (w * w / 12 + (x - cx) ** 2) for a, x, y, w, d in parts)
    yy = sum(a * (d * d / 12 + (y - cy) ** 2) for a, x, y, w, d in parts)
    xy = sum(a * (x - cx) * (y - cy) for a, x, y, w, d in parts)
    assert found.area[0] == pytest.approx(area)
    np.testing.assert_allclose(found.centroid[0], [cx, cy])
    np.testing.assert_allclose(found.moments[0], [[xx, xy], [xy, yy]])


def test_agrees_with_the_kernel_on_a_tilted_mug() -> None:
    solid = mug().rotate((20, 35, 0))
    mesh = mesh_of(solid)
    heights = inner_heights(mesh, 16)
    areas = [solid.slice(height).area() for height in heights]
    np.testing.assert_allclose(sections(mesh, heights).area, areas, rtol=1e-6)


def test_turning_the_body_turns_the_moments() -> None:
    mesh = mesh_of(mug())
    heights = np.array([12.3, 45.6])
    before, after = (
        sections(mesh, heights),
        sections(turned(mesh, np.array([0, 0, 1.0]), 30), heights),
    )
    cos, sin = np.cos(np.pi / 6), np.sin(np.pi / 6)
    turn = np.array([[cos, -sin], [sin, cos]])
    np.testing.assert_allclose(after.centroid, before.centroid @ turn.T, atol=1e-9)
    np.testing.assert_allclose(after.moments, turn @ before.moments @ turn.T, rtol=1e-9, atol=1e-6)


def test_segments_keep_the_material_on_their_left_and_close() -> None:
    segments = cut(mesh_of(box(10, 10, 10)), np.array([2.0, 5.0]))
    assert (np.diff(segments.plane) >= 0).all()
    for plane in (0, 1):
        start, end = (
            segments.start[:, segments.plane == plane],
            segments.end[:, segments.plane == plane],
        )
        assert sorted(map(tuple, start.T.round(9))) == sorted(map(tuple, end.T.round(9)))
        left = np.stack([-(end - start)[1], (end - start)[0]])
        assert ((-(start + end) / 2 * left).sum(0) > 0).all()  # towards the middle


@pytest.mark.parametrize("height", [0.0, 10.0, 25.0])
def test_a_plane_on_vertices_takes_the_section_just_above(height: float) -> None:
    stepped = mesh_of(box(20, 20, 10) + box(10, 10, 15, (0, 0, 10)))
    expected = {0.0: 400, 10.0: 100, 25.0: 0}[height]
    assert sections(stepped, np.array([height])).area[0] == pytest.approx(expected)


def test_planes_that_miss_and_nothing_to_cut() -> None:
    found = sections(mesh_of(box(9, 9, 9)), np.array([-1.0, 4.0, 30.0]))
    np.testing.assert_allclose(found.area, [0, 81, 0])
    assert np.isfinite(found.moments).all()
    assert sections(EMPTY_MESH, np.array([1.0])).area.tolist() == [0]
    assert len(cut(mesh_of(box(9, 9, 9)), np.zeros(0)).plane) == 0


def test_inner_heights_are_middles_of_layers_slightly_moved() -> None:
    heights = inner_heights(mesh_of(box(10, 10, 40)), 4)
    np.testing.assert_allclose(heights, [5, 15, 25, 35], atol=1e-3)
    assert (heights != [5, 15, 25, 35]).all()
