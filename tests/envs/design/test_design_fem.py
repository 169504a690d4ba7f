import math

import pytest
from mechanics_solids import box, mesh_of

from rlgen.core.errors import UserError
from rlgen.envs.design.measure.fem import FemResult, analyse, compliance, fem_load_limit
from rlgen.envs.design.measure.strength import Material, load_limit
from rlgen.envs.design.mesh import EMPTY_MESH, Mesh

BAR = mesh_of(box(20, 20, 200))
SECOND = 20.0**4 / 12
E = 2000.0


@pytest.mark.parametrize("unknowns", [600, 4000])
def test_a_bar_gives_way_by_the_closed_form(unknowns: int) -> None:
    """Compliance L / (E A) and sway L^3 / (3 E I) + 6/5 L / (G A), both within 3 percent."""
    found = analyse(BAR, max_unknowns=unknowns)
    shear = 1.2 * 200 * 2 * 1.35 / (E * 400)
    assert found.compliance == pytest.approx(200 / (E * 400), rel=0.03)
    assert found.sway == pytest.approx(200**3 / (3 * E * SECOND) + shear, rel=0.03)
    assert 0.5 * unknowns < found.unknowns <= unknowns


def test_a_bar_buckles_near_euler() -> None:
    found = analyse(BAR, max_unknowns=3000)
    assert found.load_limit == found.buckling_load
    assert found.buckling_load == pytest.approx(load_limit(BAR), rel=0.03)
    assert found.deflection == pytest.approx(found.compliance * found.load_limit)


@pytest.mark.parametrize(("e", "tolerance"), [(0.0, 0.12), (4.0, 0.12), (10.0, 0.12)])
def test_a_stocky_column_yields_near_the_beam_formula(e: float, tolerance: float) -> None:
    """From below: the clamped foot raises the peak somewhat."""
    column = mesh_of(box(20, 20, 60))
    expected = 20 / (1 / 400 + e * 10 * math.sqrt(2) / SECOND)
    found = analyse(column, e, max_unknowns=3000)
    assert found.load_limit == found.yield_load
    assert (1 - tolerance) * expected < found.yield_load < 1.01 * expected


def table(leg: float) -> Mesh:
    place = 30 - leg / 2
    legs = [box(leg, leg, 92, (x, y, 0)) for x in (-place, place) for y in (-place, place)]
    return mesh_of(sum(legs, box(60, 60, 8, (0, 0, 92))))


def test_separate_legs_are_not_one_column() -> None:
    """The four legs share one second moment in ``strength``; here they sway on their own."""
    endless = Material(strength=1e6)  # buckling alone
    found = analyse(table(8), material=endless)  # a grid of 4 mm fits it
    # Four legs, clamped at the foot and kept from turning by the plate: k = 4 x 12 E I / L^3.
    guided = 4 * 12 * E * 8**4 / 12 / 92**3
    assert 1 / guided < found.sway < 1.5 / guided  # the plate gives way as well
    assert found.buckling_load < load_limit(table(8), material=endless) / 10


def test_a_grid_that_fits_is_preferred_to_a_finer_one() -> None:
    assert analyse(table(8)).unknowns < 5500


def test_thicker_legs_carry_more() -> None:
    assert fem_load_limit(table(12)) > 1.3 * fem_load_limit(table(8))


def test_a_plate_that_overhangs_yields_where_sections_see_nothing() -> None:
    body = mesh_of(box(16, 16, 40) + box(80, 16, 4, (0, 0, 40)))
    assert load_limit(body) == pytest.approx(20 * 256)
    # Cantilevers of 32 mm under half of the load's 32/80 share each.
    bending = 20 * 16 * 4**2 / 6 / (0.4 * 16)
    assert fem_load_limit(body) == pytest.approx(bending, rel=0.35)


def test_materials() -> None:
    soft, weak = Material(youngs=E / 4), Material(strength=10.0)
    column = mesh_of(box(20, 20, 60))
    reference = analyse(column, max_unknowns=600)
    assert compliance(column, soft, 600) == pytest.approx(4 * reference.compliance)
    assert fem_load_limit(column, 0.0, weak, 600) == pytest.approx(reference.yield_load / 2)


def test_same_numbers_every_time() -> None:
    assert analyse(table(8), 5.0, max_unknowns=1500) == analyse(table(8), 5.0, max_unknowns=1500)


def test_what_cannot_carry() -> None:
    assert analyse(EMPTY_MESH) == FemResult()
    ball_on_nothing = mesh_of(box(20, 20, 10) + box(20, 20, 10, (0, 0, 40)))
    assert analyse(ball_on_nothing, max_unknowns=600) == FemResult()


def test_mistakes_are_told() -> None:
    with pytest.raises(UserError, match="eccentricity = -2 mm; give 0 or more"):
        analyse(BAR, -2)
    with pytest.raises(UserError, match="max_unknowns = 10; give 200 or more"):
        analyse(BAR, max_unknowns=10)
