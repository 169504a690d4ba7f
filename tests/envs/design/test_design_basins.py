"""Spill levels of closed surfaces, against hand calculations and against the geometry kernel."""

import numpy as np
import pytest
from column_solids import block, cup, mesh_of, random_solid
from manifold3d import Manifold, OpType

from rlgen.envs.design.measure.basins import is_closed, spill_levels
from rlgen.envs.design.measure.liquid import capacity
from rlgen.envs.design.mesh import EMPTY_MESH, Floats, Mesh


def levels_of(mesh: Mesh) -> Floats:
    return spill_levels(
        np.ascontiguousarray(mesh.vertices.T), np.ascontiguousarray(mesh.triangles.T)
    )


def retained(solid: Manifold) -> float:
    """Liquid in mm3 by the definition, with Booleans of the geometry kernel alone.

    Below any height, the parts of the free space that do not reach the far border are full. They
    change only at the heights of corners.
    """
    free = Manifold.cube((400, 400, 400), True) - solid
    parts = []
    for height in np.unique(mesh_of(solid).vertices[:, 2].round(6)):
        for part in free.trim_by_plane((0, 0, -1), -(height - 1e-4)).decompose():
            low, high = np.reshape(part.bounding_box(), (2, 3))
            if low.min() > -199 and high[2] < 199:
                parts.append(part)
    assert all(part.volume() > 0 for part in parts)
    return Manifold.batch_boolean(parts, OpType.Add).volume() if parts else 0.0


def vessel(seed: int) -> Manifold:
    """A bowl, spoiled at random and tilted."""
    bowl = block((-45, -45, -25), (45, 45, 30)) - block((-35, -35, -15), (35, 35, 31))
    return random_solid(seed, 8, 0.4, bowl).rotate((10.0 * (seed % 4), 0, 0))


SEEDS = (0, 1, 2, 4, 5)


@pytest.mark.parametrize("seed", SEEDS)
def test_liquid_of_random_solids(seed: int) -> None:
    """Levels and volume agree with an independent calculation."""
    solid = vessel(seed)
    held = retained(solid)
    assert capacity(mesh_of(solid)) * 1000 == pytest.approx(held, rel=1e-3, abs=2)


def test_random_solids_do_hold_liquid() -> None:
    """Guards the test above against solids that all hold nothing."""
    assert sum(capacity(mesh_of(vessel(seed))) > 1.0 for seed in SEEDS) >= 3


def test_levels_of_a_cup() -> None:
    mesh = mesh_of(block((0, 0, 0), (10, 10, 8)) - block((2, 2, 3), (8, 8, 9)))
    level = levels_of(mesh)
    heights = mesh.corners[:, :, 2]
    inside = (mesh.corners.mean(1)[:, :2] > 1.9).all(1) & (mesh.corners.mean(1)[:, :2] < 8.1).all(1)
    wet = inside & (heights.min(1) == 3)
    assert wet.sum() == 10  # the floor and four walls
    np.testing.assert_array_equal(level[wet], 8)
    np.testing.assert_array_equal(level[~wet], heights[~wet].min(1))


def test_chambers_fill_to_the_wall_between_them() -> None:
    outer = block((0, 0, 0), (40, 20, 30))
    low, high = block((2, 2, 2), (19, 18, 40)), block((21, 2, 12), (38, 18, 40))
    notch = block((18, 5, 25), (22, 15, 40))  # joins the chambers above 25
    spout = block((-1, 5, 20), (3, 15, 40))  # opens the low one to the outside above 20
    solid = outer - low - high - notch - spout
    # the low chamber loses what stands above 20; the high one flows over into it above 25
    wanted = 17 * 16 * (20 - 2) + 17 * 16 * (25 - 12)
    assert capacity(mesh_of(solid)) * 1000 == pytest.approx(wanted, rel=1e-9)


def test_something_dips_into_the_liquid() -> None:
    """A tip below the level has the level of the liquid around it."""
    bowl = block((0, 0, 0), (70, 70, 50)) - block((5, 5, 5), (65, 65, 60))
    bridge = block((0, 30, 49), (70, 40, 56)) - block((5, 29, 48), (65, 41, 51))
    box = block((30, 30, 20), (40, 40, 52))
    held = capacity(mesh_of(bowl + bridge + box)) * 1000
    assert held == pytest.approx(60 * 60 * 45 - 10 * 10 * 30, rel=1e-9)
    spike = Manifold.cylinder(30, 0.5, 6, 16).translate((35, 35, 22))
    bowl_and_spike = bowl + bridge + spike
    below = (spike ^ block((0, 0, 0), (70, 70, 50))).volume()
    held = capacity(mesh_of(bowl_and_spike)) * 1000
    assert held == pytest.approx(60 * 60 * 45 - below, rel=1e-9)


def test_liquid_falls_off_a_hanging_dish() -> None:
    """The way out leaves the surface: along it, liquid would have to climb the rod to 90."""
    bowl = block((0, 0, 0), (80, 80, 100)) - block((5, 5, 5), (75, 75, 101))
    drain = Manifold.cylinder(20, 8, -1, 16, True).translate((20, 20, 0))
    bar = block((0, 37, 90), (80, 43, 95))
    rod = block((38, 38, 32), (42, 42, 91))
    dish = block((20, 30, 30), (60, 50, 50)) - block((22, 32, 33), (58, 48, 51))
    held = capacity(mesh_of(bowl - drain + bar + rod + dish)) * 1000
    assert held == pytest.approx((36 * 16 - 4 * 4) * (50 - 33), rel=1e-9)
    without_drain = capacity(mesh_of(bowl + bar + rod + dish))
    dish_body = 40 * 20 * 20 - 36 * 16 * 17
    in_bowl = 70 * 70 * 95 - dish_body - 70 * 6 * 5 - 4 * 4 * (90 - 33)
    assert without_drain * 1000 == pytest.approx(in_bowl, rel=1e-9)


def test_bodies_side_by_side_and_inside_each_other() -> None:
    one, small = cup(), cup(low=10, high=10, height=20, wall=1)
    apart = capacity(mesh_of(one + small.translate((100, 0, 0))))
    assert apart == pytest.approx(capacity(mesh_of(one)) + capacity(mesh_of(small)), rel=1e-9)
    hovering = capacity(mesh_of(one + small.translate((0, 0, 10))))
    assert hovering == pytest.approx(capacity(mesh_of(one)) - small.volume() / 1000, rel=1e-9)


def test_a_body_that_touches_the_floor_in_a_point() -> None:
    bowl = block((0, 0, 0), (70, 70, 50)) - block((5, 5, 5), (65, 65, 60))
    top = Manifold.cylinder(30, 10, 0, 16).rotate((180, 0, 0)).translate((35, 35, 35))
    held = capacity(mesh_of(Manifold.compose([bowl, top]))) * 1000
    assert held == pytest.approx(60 * 60 * 45 - top.volume(), rel=1e-6)


def test_voids_hold_nothing() -> None:
    hollow = block((0, 0, 0), (30, 30, 30)) - block((5, 5, 5), (25, 25, 25))
    spike = Manifold.cylinder(10, 0.5, 4, 12).translate((15, 15, 16))
    for solid in (
        hollow,
        hollow + spike,
        hollow.rotate((30, 20, 0)),
        (hollow + spike).rotate((200, 9, 0)),
    ):
        assert capacity(mesh_of(solid)) == 0.0


def test_is_closed() -> None:
    mesh = mesh_of(cup())
    assert is_closed(mesh)
    assert is_closed(EMPTY_MESH)
    assert not is_closed(Mesh(mesh.vertices, mesh.triangles[1:]))
    turned = mesh.triangles.copy()
    turned[0] = turned[0, ::-1]
    assert not is_closed(Mesh(mesh.vertices, turned))
    soup = Mesh(mesh.corners.reshape(-1, 3), np.arange(3 * len(mesh)).reshape(-1, 3))
    assert not is_closed(soup)


def test_no_triangles() -> None:
    assert len(levels_of(EMPTY_MESH)) == 0
