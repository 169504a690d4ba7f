import math

import numpy as np
import pytest
from mechanics_solids import box, cylinder, mesh_of

from rlgen.core.errors import UserError
from rlgen.envs.design.measure.strength import PLASTIC, Material, load_limit, pad, pad_area
from rlgen.envs.design.mesh import EMPTY_MESH, Mesh

SQUARE = 20.0**4 / 12  # mm4, second moment of the 20 x 20 section


def euler(second: float, length: float, youngs: float = 2000.0) -> float:
    return math.pi**2 * youngs * second / (2 * length) ** 2


def test_a_slender_column_buckles_by_euler() -> None:
    """Invariant 11: pi^2 E I / (K L)^2 to 1e-6."""
    assert load_limit(mesh_of(box(20, 20, 200))) == pytest.approx(euler(SQUARE, 200), rel=1e-6)


def test_a_slender_column_buckles_about_its_weak_axis_however_it_is_turned() -> None:
    plank = box(30, 10, 200)
    for turn in (0, 33, 90):
        found = load_limit(mesh_of(plank.rotate((0, 0, turn))))
        assert found == pytest.approx(euler(30 * 10**3 / 12, 200), rel=1e-6)


def test_a_short_column_yields() -> None:
    """Invariant 11: sigma A."""
    assert load_limit(mesh_of(box(20, 20, 40))) == pytest.approx(20 * 400, rel=1e-9)


@pytest.mark.parametrize("e", [1.0, 5.0, 12.0])
def test_an_eccentric_load_bends(e: float) -> None:
    """Invariant 11: sigma / (1/A + e c / I), with c half the diagonal of the square."""
    expected = 20 / (1 / 400 + e * 10 * math.sqrt(2) / SQUARE)
    assert load_limit(mesh_of(box(20, 20, 20)), e) == pytest.approx(expected, rel=1e-9)


def test_the_worst_direction_of_a_rectangle() -> None:
    """Tried over many directions of the eccentricity by the beam formula."""
    angles = np.linspace(0, 2 * np.pi, 7201)
    ix, iy = 30 * 16**3 / 12, 16 * 30**3 / 12
    bending = 4 * (np.abs(np.cos(angles)) * 15 / iy + np.abs(np.sin(angles)) * 8 / ix)
    expected = 20 / (1 / 480 + bending.max())
    assert load_limit(mesh_of(box(30, 16, 20)), 4.0) == pytest.approx(expected, rel=1e-6)


def test_a_load_beside_a_section_bends_it() -> None:
    """The pad sits 6 mm beside the column below; 1/A + d c / I with d = 6, c = 10."""
    bent = box(20, 20, 30) + box(8, 8, 4, (6, 0, 30))
    expected = 20 / (1 / 400 + 6 * 10 / SQUARE)
    assert load_limit(mesh_of(bent)) == pytest.approx(min(expected, 20 * 64), rel=1e-9)
    wide = box(20, 20, 30) + box(8, 20, 4, (6, 0, 30))
    assert load_limit(mesh_of(wide)) == pytest.approx(expected, rel=1e-9)


def test_the_thinnest_section_yields_first() -> None:
    waist = box(20, 20, 10) + box(10, 10, 10, (0, 0, 10)) + box(20, 20, 10, (0, 0, 20))
    assert load_limit(mesh_of(waist)) == pytest.approx(20 * 100)


def test_thin_sections_count_most_for_buckling() -> None:
    """Half of the length with I, half with 16 I: the harmonic mean is 32/17 I."""
    stepped = box(10, 10, 100) + box(20, 20, 100, (0, 0, 100))
    thin = 10**4 / 12
    assert load_limit(mesh_of(stepped)) == pytest.approx(euler(thin * 32 / 17, 200), rel=1e-6)


def test_the_stool_of_the_study_carries_its_load() -> None:
    """Disc, column of radius 11.2, disc: 1,500 N at 10 mm; its 32-gon by hand gives 1,704."""
    stool = (
        cylinder(40, 40, 8)
        + cylinder(11.2, 11.2, 84).translate((0, 0, 8))
        + cylinder(30, 30, 8).translate((0, 0, 92))
    )
    t, r = 2 * math.pi / 32, 11.2
    area, second = 16 * math.sin(t) * r**2, 32 / 24 * math.sin(t) * (2 + math.cos(t)) * r**4
    found = load_limit(mesh_of(stool), 10.0)
    assert found == pytest.approx(20 / (1 / area + 10 * r / second), rel=1e-6)
    assert found > 1500


def test_a_material_scales_the_limit() -> None:
    column = mesh_of(box(20, 20, 200))
    assert load_limit(column, material=Material(youngs=4000)) == pytest.approx(
        2 * load_limit(column)
    )
    cube = mesh_of(box(20, 20, 20))
    assert load_limit(cube, 3, material=Material(strength=5)) == pytest.approx(
        load_limit(cube, 3) / 4
    )


def test_nothing_carries_nothing() -> None:
    flat = mesh_of(box(9, 9, 9)).moved(np.diag([1.0, 1, 0]))
    assert load_limit(EMPTY_MESH) == load_limit(flat) == 0
    assert pad_area(EMPTY_MESH) == 0


@pytest.mark.parametrize(
    ("mesh", "cm2"),
    [
        (mesh_of(box(30, 40, 20)), 12.0),
        (mesh_of(box(30, 40, 20) - box(10, 10, 20)), 11.0),
        # A step of 0.2 mm is within 0.3 mm of the top, one of 5 mm is not.
        (mesh_of(box(30, 40, 20) + box(10, 10, 0.2, (0, 0, 20))), 12.0),
        (mesh_of(box(30, 40, 20) + box(10, 10, 5, (0, 0, 20))), 1.0),
        (mesh_of(cylinder(20, 0, 30)), 0.0),
    ],
)
def test_pad_area(mesh: Mesh, cm2: float) -> None:
    assert pad_area(mesh) == pytest.approx(cm2, abs=1e-9)


def test_the_pad_has_a_middle() -> None:
    two = box(60, 20, 10) + box(10, 10, 10, (-20, 0, 10)) + box(20, 10, 10, (15, 3, 10))
    area, middle = pad(mesh_of(two))
    assert area == pytest.approx(300)
    np.testing.assert_allclose(middle, [(-20 * 100 + 15 * 200) / 300, 3 * 200 / 300])
    tip = mesh_of(cylinder(20, 0, 30)).moved(None, np.array([7.0, -2, 0]))
    np.testing.assert_allclose(pad(tip)[1], [7, -2], atol=1e-12)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: load_limit(EMPTY_MESH, -1), "eccentricity = -1 mm; give 0 or more"),
        (lambda: load_limit(EMPTY_MESH, float("nan")), "eccentricity = nan"),
        (lambda: load_limit(EMPTY_MESH, n_sections=0), "n_sections = 0; give 1 or more"),
        (lambda: Material(youngs=0), "youngs = 0; give a number above 0"),
        (lambda: Material(strength=float("inf")), "strength = inf"),
        (lambda: Material(poisson=0.5), "poisson = 0.5; give 0 or more, below 0.5"),
    ],
)
def test_mistakes_are_told(call: object, told: str) -> None:
    with pytest.raises(UserError, match=told):
        call()  # type: ignore[operator]


def test_position_and_scale() -> None:
    """Moving changes nothing; twice the size carries four times the load before buckling."""
    mesh = mesh_of(box(20, 30, 40))
    moved = mesh.moved(None, np.array([30.0, -40, 5]))
    assert load_limit(moved, 4) == pytest.approx(load_limit(mesh, 4), rel=1e-9)
    double = Mesh(2 * mesh.vertices, mesh.triangles)
    assert load_limit(double, 8, material=PLASTIC) == pytest.approx(4 * load_limit(mesh, 4))
