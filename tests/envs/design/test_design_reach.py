import numpy as np
import pytest
from mechanics_solids import box, cylinder, mesh_of

from rlgen.envs.design.measure.reach import base, footprint, height, reach
from rlgen.envs.design.mesh import EMPTY_MESH

ARM = mesh_of(box(40, 30, 10, (0, 5, 0)) + box(10, 10, 100) + box(70, 10, 8, (30, 0, 92)))


@pytest.mark.parametrize(("at", "x"), [(5, 20), (50, 5), (95, 65), (99.9, 65), (120, 0), (-1, 0)])
def test_reach_at_a_height(at: float, x: float) -> None:
    assert reach(ARM, at) == pytest.approx(x)


def test_reach_between_the_vertices_of_a_slope() -> None:
    assert reach(mesh_of(cylinder(30, 10, 40)), 10) == pytest.approx(25)


def test_reach_may_be_negative() -> None:
    assert reach(mesh_of(box(4, 4, 9, (-30, 0, 0))), 5) == pytest.approx(-28)


def test_a_plane_at_a_face_means_just_above_it() -> None:
    assert reach(ARM, 10.0) == pytest.approx(5)
    assert reach(ARM, 100.0) == 0


def test_base_footprint_height() -> None:
    assert base(ARM) == pytest.approx(20)
    assert footprint(ARM) == pytest.approx(20 + 65)  # x: -20..65; y is 30
    assert footprint(ARM.moved(np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]))) == pytest.approx(85)
    assert height(ARM) == pytest.approx(100)
    assert base(mesh_of(cylinder(0, 30, 40))) == pytest.approx(0, abs=1e-12)


def test_nothing() -> None:
    assert reach(EMPTY_MESH, 10) == base(EMPTY_MESH) == footprint(EMPTY_MESH) == 0
    assert height(EMPTY_MESH) == 0
