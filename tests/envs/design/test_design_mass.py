import numpy as np
import pytest
from manifold3d import Manifold
from mechanics_solids import box, cylinder, mesh_of, mug, turned

from rlgen.envs.design.measure.mass import mass_properties
from rlgen.envs.design.mesh import EMPTY_MESH, Mesh


@pytest.mark.parametrize("at", [(0, 0, 0), (300, -200, 50)])
def test_a_box_has_its_textbook_inertia(at: tuple[float, float, float]) -> None:
    """Invariant 7: m (b^2 + c^2) / 12 and its two sisters, wherever the box is."""
    a, b, c = 20.0, 30.0, 50.0
    found = mass_properties(mesh_of(box(a, b, c, at)), density=1.2)
    m = 1.2e-3 * a * b * c
    assert found.volume == pytest.approx(a * b * c, rel=1e-12)
    assert found.area == pytest.approx(2 * (a * b + b * c + c * a), rel=1e-12)
    assert found.mass == pytest.approx(m, rel=1e-12)
    np.testing.assert_allclose(found.centre, np.add(at, (0, 0, c / 2)), atol=1e-9)
    expected = np.diag([b * b + c * c, a * a + c * c, a * a + b * b]) * m / 12
    np.testing.assert_allclose(found.inertia, expected, rtol=1e-10, atol=1e-6)


def test_a_regular_prism_has_its_textbook_volume_and_inertia() -> None:
    n, r, h = 7, 25.0, 40.0
    found = mass_properties(mesh_of(cylinder(r, r, h, n)))
    assert found.volume == pytest.approx(n / 2 * np.sin(2 * np.pi / n) * r * r * h, rel=1e-9)
    polar = found.mass * r * r * (1 + 2 * np.cos(np.pi / n) ** 2) / 6  # of a regular polygon
    assert found.inertia[2, 2] == pytest.approx(polar, rel=1e-9)
    assert found.inertia[0, 0] == pytest.approx(polar / 2 + found.mass * h * h / 12, rel=1e-9)


def test_a_hole_takes_its_share_away() -> None:
    whole, hole = box(40, 40, 40), box(10, 20, 40, (8, 0, 0))
    found = mass_properties(mesh_of(whole - hole))
    parts = [mass_properties(mesh_of(part)) for part in (whole, hole)]
    assert found.mass == pytest.approx(parts[0].mass - parts[1].mass, rel=1e-10)
    moment = parts[0].mass * parts[0].centre - parts[1].mass * parts[1].centre
    np.testing.assert_allclose(found.mass * found.centre, moment, atol=1e-9)


def test_agrees_with_the_kernel_on_a_mug() -> None:
    solid = mug()
    found = mass_properties(mesh_of(solid))
    assert found.volume == pytest.approx(solid.volume(), rel=1e-10)
    assert found.area == pytest.approx(solid.surface_area(), rel=1e-10)


def test_a_rigid_motion_keeps_everything_but_the_axes() -> None:
    """Invariant 3, the part about inertia."""
    mesh = mesh_of(mug())
    moved = turned(mesh, np.array([1.0, 2.0, -0.5]), 77).moved(None, np.array([50.0, -20, 9]))
    before, after = mass_properties(mesh), mass_properties(moved)
    assert (after.volume, after.area, after.mass) == pytest.approx(
        (before.volume, before.area, before.mass), rel=1e-10
    )
    np.testing.assert_allclose(
        np.linalg.eigvalsh(after.inertia), np.linalg.eigvalsh(before.inertia), rtol=1e-9
    )


def test_what_has_no_volume_has_no_mass() -> None:
    cube = mesh_of(box(10, 10, 10))
    flat = Mesh(cube.vertices * [1, 1, 0], cube.triangles)
    inside_out = Mesh(cube.vertices, cube.triangles[:, ::-1])
    for mesh in (EMPTY_MESH, flat, inside_out, mesh_of(Manifold())):
        found = mass_properties(mesh)
        assert (found.volume, found.mass) == (0, 0)
        assert np.isfinite(found.centre).all()
        assert not found.inertia.any()
    assert mass_properties(flat).area == pytest.approx(200.0)
