"""Overhangs, support, walls and printing time, by hand."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from column_solids import block, cup, mesh_of
from manifold3d import Manifold

from rlgen.core.errors import UserError
from rlgen.envs.design.measure.columns import cast
from rlgen.envs.design.measure.printing import (
    overhang_share,
    overhanging,
    print_time,
    support_volume,
    wall_thickness,
)
from rlgen.envs.design.mesh import EMPTY_MESH


def table() -> Manifold:
    """A plate of 40 x 40 x 5 mm on a post of 10 x 10 x 20 mm."""
    return block((-20, -20, 20), (20, 20, 25)) + block((-5, -5, 0), (5, 5, 20))


def on_its_tip(slope: float) -> Manifold:
    """A pyramid upside down, its faces leaning ``slope`` degrees from the vertical."""
    a = 20 * math.tan(math.radians(slope))
    top = [(x, y, 20.0) for x in (-a - 1, a + 1) for y in (-a - 1, a + 1)]
    return Manifold.hull_points([*top, *((x, y, 0.0) for x in (-1, 1) for y in (-1, 1))])


# Overhang


@pytest.mark.parametrize("lift", [0.0, 33.0])
def test_overhang_of_a_table(lift: float) -> None:
    mesh = mesh_of(table().translate((0, 0, lift)))
    hanging = 40 * 40 - 10 * 10
    surface = 2 * 40 * 40 + 4 * 40 * 5 + 4 * 10 * 20
    assert overhang_share(mesh) == pytest.approx(hanging / surface, rel=1e-12)
    marked = overhanging(mesh)
    assert marked.shape == (len(mesh),)
    np.testing.assert_allclose(mesh.corners[marked][:, :, 2], 20 + lift)


def test_the_table_top_is_no_overhang() -> None:
    for solid in (block((0, 0, 0), (9, 9, 9)), cup(), cup().translate((0, 0, -7))):
        assert overhang_share(mesh_of(solid)) == 0.0
        assert support_volume(mesh_of(solid)) == 0.0


@pytest.mark.parametrize(
    ("slope", "angle", "hangs"), [(44, 45, False), (45, 45, False), (46, 45, True), (46, 50, False)]
)
def test_overhang_begins_at_an_angle(slope: float, angle: float, hangs: bool) -> None:
    assert (overhang_share(mesh_of(on_its_tip(slope)), angle) > 0) is hangs


# Support


@pytest.mark.parametrize("lift", [0.0, 33.0])
def test_support_below_a_table(lift: float) -> None:
    mesh = mesh_of(table().translate((0, 0, lift)))
    assert support_volume(mesh, cell=0.5) == pytest.approx((1600 - 100) * 20 / 1000, rel=0.01)
    assert support_volume(mesh, columns=cast(mesh, 0.5)) == support_volume(mesh, cell=0.5)


def test_support_stands_on_what_is_below() -> None:
    """A shelf above the foot of an L: support reaches down to the foot, not to the table."""
    solid = (
        block((0, 0, 0), (30, 10, 6))
        + block((0, 0, 0), (10, 10, 30))
        + block((0, 0, 24), (30, 10, 30))
    )
    assert support_volume(mesh_of(solid), cell=0.5) == pytest.approx(20 * 10 * 18 / 1000, rel=0.01)


# Walls


SHELLS: dict[str, tuple[Callable[[], Manifold], float]] = {
    "box": (lambda: block((0, 0, 0), (40, 30, 30)), 30),
    "plate": (lambda: block((0, 0, 0), (40, 30, 1.25)), 1.25),
    "shell": (lambda: block((0, 0, 0), (50, 40, 30)) - block((2.5, 3, 4), (47.5, 37, 31)), 2.5),
    "floor": (lambda: block((0, 0, 0), (50, 40, 30)) - block((6, 6, 3.5), (44, 34, 31)), 3.5),
    "cavity": (lambda: block((0, 0, 0), (40, 40, 40)) - block((5, 6, 7), (35, 34, 33)), 5),
}


@pytest.mark.parametrize("count", [32, 48])
@pytest.mark.parametrize("name", SHELLS)
def test_wall_of_an_axis_aligned_shell(name: str, count: int) -> None:
    """Invariant 12: exact."""
    build, wall = SHELLS[name]
    assert wall_thickness(mesh_of(build()), count) == pytest.approx(wall, rel=1e-9)


@pytest.mark.parametrize("turn", [(0, 0, 30), (20, 0, 45), (15, 35, 10)])
def test_a_turned_wall_is_as_thick(turn: tuple[float, float, float]) -> None:
    shell = block((0, 0, 0), (50, 40, 30)) - block((2.5, 2.5, 2.5), (47.5, 37.5, 31))
    assert wall_thickness(mesh_of(shell.rotate(turn)), 48) == pytest.approx(2.5, rel=1e-9)


def test_wall_of_a_round_cup() -> None:
    """Between flats of 32-gons of 41 and 38.8 mm there are 2.2 cos(pi / 32) mm."""
    wanted = 2.2 * math.cos(math.pi / 32)
    assert wall_thickness(mesh_of(cup()), 48) == pytest.approx(wanted, rel=5e-3)


def test_edges_are_no_walls() -> None:
    """Lines that clip the edges of a solid prism find no thin wall there."""
    prism = block((-15, -15, 0), (15, 15, 40)).rotate((0, 0, 45))
    assert wall_thickness(mesh_of(prism)) >= 30
    assert wall_thickness(mesh_of(Manifold.cylinder(30, 25, -1, 3))) >= 25


def test_faces_that_never_oppose_each_other() -> None:
    """A steep hollow roof has lengths to fall back on."""
    flat = Manifold.hull_points([(-9, 0, 0), (9, 0, 0), (0, -9, 8), (0, 9, 8)])
    assert wall_thickness(mesh_of(flat)) > 0


# Time


def test_print_time_of_a_cube() -> None:
    mesh = mesh_of(block((0, 0, 0), (20, 20, 20)))
    seconds = 8000 / 10 + 2400 / (0.25 * 50)
    assert print_time(mesh, flow=10, layer=0.25, speed=50) == pytest.approx(seconds / 60)


# Edges


def test_nothing_to_print() -> None:
    for value in (overhang_share, support_volume, wall_thickness, print_time):
        assert value(EMPTY_MESH) == 0.0
    assert len(overhanging(EMPTY_MESH)) == 0


def test_mistakes() -> None:
    mesh = mesh_of(table())
    with pytest.raises(UserError, match="angle=45"):
        overhang_share(mesh, 120)
    with pytest.raises(UserError, match="try cell="):
        support_volume(mesh, cell=0)
    with pytest.raises(UserError, match="try count="):
        wall_thickness(mesh, 0)
    with pytest.raises(UserError, match="layer=0: give a value above 0"):
        print_time(mesh, layer=0)
