import math

import numpy as np
import pytest
from design_steps import assert_closed, attempt, build, volume
from manifold3d import CrossSection

from rlgen.envs.design.shape.hollow import _Stack, hollowed
from rlgen.envs.design.shape.operations import physical
from rlgen.envs.design.shape.stacking import Ring, stacked

HOLLOW = ("hollow", None, {"wall": 3, "floor": 4})
ROD = ("cylinder", "add", {"radius_low": 40, "radius_high": 40, "height": 80})
CONE = ("cylinder", "add", {"radius_low": 25, "radius_high": 40, "height": 90})
FLARE = ("cylinder", "add", {"radius_low": 45, "radius_high": 15, "height": 40})
PRISM = ("prism", "add", {"sides": 5, "radius": 40, "height": 60})
BLOCK = ("box", "add", {"size_x": 60, "size_y": 30, "size_z": 50})


def asked(design):
    record = design.records[-1]
    values = physical(record.action, record.bounds)
    return values["wall"], values["floor"]


def contours(design, z):
    """Outlines at a height, the largest first."""
    found = design.solid.body.slice(z).to_polygons()
    return sorted(found, key=lambda outline: -np.ptp(outline, axis=0).prod())


def gaps(outer, inner):
    """Distance (N,) of each inner corner to the nearest edge line of a convex outline."""
    along = np.roll(outer, -1, axis=0) - outer
    normal = np.stack([-along[:, 1], along[:, 0]], 1) / np.linalg.norm(along, axis=1)[:, None]
    return (inner @ normal.T - (outer * normal).sum(1)).min(1)


@pytest.mark.parametrize("step", [ROD, CONE, FLARE, PRISM, BLOCK])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_the_wall_is_exact(step, share):
    """Perpendicular to the outline in a horizontal plane, to 1e-6 mm."""
    design = build(step, HOLLOW)
    wall, _ = asked(design)
    outer, inner = contours(design, share * design.solid.bounds[1, 2])
    np.testing.assert_allclose(gaps(outer, inner), wall, atol=1e-6)


@pytest.mark.parametrize("step", [ROD, CONE, FLARE, PRISM, BLOCK])
def test_the_floor_is_exact_and_the_top_is_open(step):
    design = build(step, HOLLOW)
    _, floor = asked(design)
    top = design.solid.bounds[1, 2]
    assert len(contours(design, floor - 1e-6)) == 1
    assert len(contours(design, floor + 1e-6)) == 2
    assert len(contours(design, top - 1e-6)) == 2
    assert design.solid.genus == 0  # a cup, not a void
    hits = design.solid.body.ray_cast((0.1, 0.2, -1.0), (0.1, 0.2, 200.0))
    assert [hit.position[2] for hit in hits] == pytest.approx([0.0, floor])


def test_the_volume_of_a_cup():
    """Outer cylinder minus inner: n/2 sin(2 pi / n) (R2 h - (R - w / cos(pi / n))2 (h - f))."""
    design = build(ROD, HOLLOW)
    wall, floor = asked(design)
    rod = physical(design.records[0].action, design.records[0].bounds)
    outer, height = rod["radius_low"], rod["height"]
    inner = outer - wall / math.cos(math.pi / 32)
    area = 16 * math.sin(2 * math.pi / 32)
    expected = area * (outer**2 * height - inner**2 * (height - floor))
    assert design.solid.volume == pytest.approx(expected, rel=1e-7)
    assert design.solid.n_triangles <= 252


def test_a_revolved_vase_has_an_even_wall():
    profile = {"radius_low": 25, "radius_middle": 70, "radius_high": 20, "height": 100}
    design = build(("revolve", "add", profile), HOLLOW)
    wall, _ = asked(design)
    for share in (0.2, 0.5, 0.8, 0.99):
        outer, inner = contours(design, share * design.solid.bounds[1, 2])
        np.testing.assert_allclose(gaps(outer, inner), wall, atol=1e-4)


def test_a_bottle_keeps_its_shoulder_and_neck():
    """Below a shelf that looks up stays a ceiling as thick as the wall."""
    neck = {"radius_low": 14, "radius_high": 14, "height": 30, "z": 79}
    design = build(ROD, ("cylinder", "add", neck), HOLLOW)
    wall, _ = asked(design)
    shoulder = design.records[0].solid.bounds[1, 2]
    assert design.solid.bounds[1, 2] == pytest.approx(109, abs=0.5)
    hits = design.solid.body.ray_cast((27.0, 1.0, -1.0), (27.0, 1.0, 200.0))
    assert [hit.position[2] for hit in hits][2:] == pytest.approx([shoulder - wall, shoulder])
    assert len(contours(design, shoulder + 20)) == 2
    assert design.solid.genus == 0


def test_a_goblet_keeps_the_underside_of_its_cup():
    """Above a shelf that looks down stays a floor."""
    cup = {"radius_low": 40, "radius_high": 40, "height": 50, "z": 40}
    stem = ("cylinder", "add", {"radius_low": 15, "radius_high": 15, "height": 42})
    design = build(stem, ("cylinder", "add", cup), HOLLOW)
    _, floor = asked(design)
    under = 40.0
    hits = design.solid.body.ray_cast((27.0, 1.0, -1.0), (27.0, 1.0, 200.0))
    assert [hit.position[2] for hit in hits] == pytest.approx([under, under + floor], abs=0.1)
    assert design.solid.genus == 0


def test_a_flat_cone_keeps_the_wall_straight_up_and_down():
    """Where a face slopes by less than 45 degrees the vertical thickness is the wall."""
    roof = {"radius_low": 60, "radius_high": 20, "height": 15, "z": 39}
    low = ("cylinder", "add", {"radius_low": 60, "radius_high": 60, "height": 40})
    design = build(low, ("cylinder", "add", roof), HOLLOW)
    wall, _ = asked(design)
    z = [hit.position[2] for hit in design.solid.body.ray_cast((40, 1, -1), (40, 1, 200))]
    assert len(z) == 4
    assert z[3] - z[2] == pytest.approx(wall, abs=0.35)


def test_a_handle_stays_solid_and_the_cup_stays_round():
    ring = {"radius": 22, "tube": 4, "x": 42, "z": 40}
    design = build(ROD, ("ring", "add", ring), HOLLOW)
    plain = build(ROD, HOLLOW)
    handle = design.records[1].solid.volume - design.records[0].solid.volume
    assert design.solid.genus == 1
    assert design.solid.volume == pytest.approx(plain.solid.volume + handle, rel=0.02)


def test_what_is_above_the_mouth_goes():
    """A dome is opened where its cavity would become too narrow."""
    dome = {"radius_low": 60, "radius_middle": 60, "radius_high": 4, "height": 60}
    design = build(("revolve", "add", dome), HOLLOW)
    assert design.solid.genus == 0
    _, floor = asked(design)
    hits = design.solid.body.ray_cast((0.1, 0.2, -1.0), (0.1, 0.2, 200.0))
    assert [hit.position[2] for hit in hits] == pytest.approx([0.0, floor])


def test_an_l_shape_is_hollowed_without_convexity():
    """Two boxes make an L: both legs get the wall, also where they meet."""
    other = {"size_x": 30, "size_y": 50, "size_z": 50, "x": -15, "y": 10, "z": 0}
    design = build(BLOCK, ("box", "add", other), HOLLOW)
    wall, floor = asked(design)
    assert design.solid.genus == 0
    x, y = design.solid.bounds[:, :2].T
    legs = (x[1] - x[0], 30.0), (30.0, y[1] - y[0])
    z = design.solid.bounds[1, 2]
    # The outline of an L with legs of 30 mm, moved inwards by the wall, is an L as well.
    outer = legs[0][0] * 30 + legs[1][1] * 30 - 30 * 30
    inner = (legs[0][0] + legs[1][1] - 4 * wall) * (30 - 2 * wall) - (30 - 2 * wall) ** 2
    assert design.solid.volume == pytest.approx(outer * z - inner * (z - floor), rel=0.01)


def test_a_twisted_vase_is_smooth_and_open():
    twist = ("twist", None, {"angle": 90})
    post = ("prism", "add", {"sides": 4, "radius": 45, "height": 100})
    design = build(post, twist, HOLLOW)
    straight = build(post, HOLLOW)
    assert design.solid.genus == 0
    assert design.solid.volume == pytest.approx(straight.solid.volume, rel=0.06)
    assert_closed(design.mesh)
    for share in (0.2, 0.5, 0.8):
        outer, inner = contours(design, share * design.solid.bounds[1, 2])
        room = CrossSection([outer]).offset(-0.75 * asked(design)[0]).area()
        assert CrossSection([inner]).area() < room


def test_no_room_is_too_thin():
    assert attempt(build(ROD), "hollow", wall=10, floor=20) is None
    thin = build(("cylinder", "add", {"radius_low": 5, "radius_high": 5, "height": 60}))
    assert attempt(thin, "hollow", wall=6, floor=4) == "too_thin"
    low = build(("cylinder", "add", {"radius_low": 30, "radius_high": 30, "height": 10}))
    assert attempt(low, "hollow", wall=3, floor=12) == "too_thin"


@pytest.mark.parametrize("least", [4, 40])
def test_more_triangles_than_the_limit_are_refused_early(monkeypatch, least):
    """Those of body and cavity count, and nothing is built after it is too much."""
    built, keep = [], _Stack._keep
    monkeypatch.setattr(_Stack, "_keep", lambda s, b: (built.append(b.num_tri()), keep(s, b)))
    other = {"size_x": 30, "size_y": 50, "size_z": 30, "x": -15, "y": 10, "z": 0}
    body = build(BLOCK, ("box", "add", other), ("twist", None, {"angle": 60})).solid
    assert not isinstance(hollowed(body, 3.0, 4.0, 10**6), str)
    assert len(built) > 2
    total = body.n_triangles + sum(built)
    assert not isinstance(hollowed(body, 3.0, 4.0, total), str)
    assert hollowed(body, 3.0, 4.0, total - 1) == "too_many_triangles"
    built.clear()
    assert hollowed(body, 3.0, 4.0, body.n_triangles + least) == "too_many_triangles"
    assert sum(built[:-1]) <= least < sum(built)


def test_hollowing_twice_hardly_changes_a_cup():
    design = build(ROD, HOLLOW)
    assert attempt(design, "hollow", wall=3, floor=4) in {"too_thin", "no_change"}


def square(half, turn=0.0):
    angles = np.radians(turn + np.array([-135, -45, 45, 135]))
    return half * math.sqrt(2) * np.stack([np.cos(angles), np.sin(angles)], 1)


def test_a_stack_of_squares_is_a_frustum():
    mesh = stacked([Ring(0.0, square(10)), Ring(30.0, square(20))])
    assert_closed(mesh)
    assert volume(mesh) == pytest.approx(30 / 3 * (400 + 800 + 1600))
    assert len(mesh) == 12


def test_a_ring_on_a_straight_face_is_left_out():
    middle = [Ring(z, square(10 + z / 3)) for z in (0.0, 12.0, 30.0)]
    assert len(stacked(middle)) == 12


def test_a_step_between_nested_rings():
    rings = [
        Ring(0.0, square(10)),
        Ring(5.0, square(10)),
        Ring(5.0, square(6)),
        Ring(9.0, square(6)),
    ]
    mesh = stacked(rings)
    assert_closed(mesh)
    assert volume(mesh) == pytest.approx(400 * 5 + 144 * 4)
    assert rings[2].inside(rings[1])
    assert not rings[1].inside(rings[2])


def test_different_corners_are_joined_like_a_hull():
    triangle = np.array([[0.0, 0.0], [12.0, 0.0], [0.0, 9.0]])
    mesh = stacked([Ring(0.0, triangle), Ring(8.0, np.add(square(0.5), 2.0))])
    assert_closed(mesh)
    assert volume(mesh) > 0


def test_turned_squares_do_not_bulge():
    """The hull of two squares of 80 mm turned by 10 degrees holds 8 percent more in the middle."""
    rings = [Ring(0.0, square(40)), Ring(10.0, square(40, turn=10.0))]
    assert volume(stacked(rings)) == pytest.approx(80 * 80 * 10, rel=0.01)
