"""Nesting pitch, by formula."""

import numpy as np
import pytest
from column_solids import block, cup, mesh_of
from manifold3d import Manifold

from rlgen.core.errors import UserError
from rlgen.envs.design.measure.columns import cast
from rlgen.envs.design.measure.nesting import nesting_pitch
from rlgen.envs.design.mesh import EMPTY_MESH


@pytest.mark.parametrize("cell", [2.5, 1.5])
def test_a_straight_cup_does_not_nest(cell: float) -> None:
    """Invariant 12: the pitch is the height."""
    assert nesting_pitch(mesh_of(cup(height=80)), cell) == pytest.approx(80, rel=1e-9)


@pytest.mark.parametrize("cell", [2.5, 1.5])
@pytest.mark.parametrize(("low", "high", "height", "wall"), [(27, 40, 95, 2.2), (20, 45, 60, 3)])
def test_a_tapered_cup(low: float, high: float, height: float, wall: float, cell: float) -> None:
    """Invariant 12: the pitch is the thickness of the wall measured vertically.

    The outer wall is at radius low + s z with slope s, the inner one at low - wall + s (z - wall):
    on a vertical line they are wall / s + wall apart.
    """
    slope = (high - low) / height
    wanted = wall / slope + wall
    mesh = mesh_of(cup(low, high, height, wall))
    assert nesting_pitch(mesh, cell) == pytest.approx(wanted, rel=1e-9)


def test_a_copy_at_the_pitch_just_fits() -> None:
    solid = cup(27, 40, 95)
    pitch = nesting_pitch(mesh_of(solid))
    assert (solid ^ solid.translate((0, 0, pitch + 0.01))).volume() < 1e-6
    assert (solid ^ solid.translate((0, 0, pitch - 0.1))).volume() > 100


def test_overhead_parts_count() -> None:
    """Between two shelves there is air, and still no copy gets in: from top to bottom it is 50."""
    low, high = block((-20, 0, 0), (20, 10, 4)), block((-45, 0, 46), (20, 10, 50))
    ends = ((-20, 0), (-15, 0), (-45, 50), (-40, 50))
    strut = Manifold.hull_points([(x, y, z) for x, z in ends for y in (0.0, 10.0)])
    assert nesting_pitch(mesh_of(strut)) < 12
    assert nesting_pitch(mesh_of(low + strut + high)) == pytest.approx(50, rel=1e-9)


def test_columns_may_be_shared() -> None:
    mesh = mesh_of(cup(27, 40, 95))
    columns = cast(mesh, 2.0)
    assert nesting_pitch(mesh, columns=columns) == nesting_pitch(mesh, cell=2.0)
    assert np.isfinite(nesting_pitch(mesh, columns=columns))


def test_edges() -> None:
    assert nesting_pitch(EMPTY_MESH) == 0.0
    with pytest.raises(UserError, match="try cell="):
        nesting_pitch(mesh_of(cup()), cell=0)
