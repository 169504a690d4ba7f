import numpy as np
import pytest
from manifold3d import Manifold, OpType
from mechanics_solids import box, cylinder, mesh_of, mug, turned

from rlgen.envs.design.measure.balance import (
    Payload,
    RestPose,
    inner_radius,
    rest_pose,
    stack_count,
    support_polygon,
    tip_angle,
    weakest_direction,
)
from rlgen.envs.design.measure.mass import mass_properties
from rlgen.envs.design.mesh import EMPTY_MESH, Floats, Mesh


def pose_of(mesh: Mesh, *payloads: Payload) -> RestPose:
    return rest_pose(mesh, mass_properties(mesh), payloads)


def degrees(ratio: float) -> float:
    return float(np.degrees(np.arctan(ratio)))


BODIES = {
    "box": (mesh_of(box(30, 44, 50)), degrees(15 / 25)),
    "cone": (mesh_of(cylinder(30, 0, 60)), degrees(30 * np.cos(np.pi / 32) / 15)),
    "prism": (mesh_of(cylinder(40, 40, 44, 5)), degrees(40 * np.cos(np.pi / 5) / 22)),
}


@pytest.mark.parametrize("name", BODIES)
def test_tipping_angles_are_exact(name: str) -> None:
    """Invariant 8: atan(half width / half height), and atan(r cos(pi/n) / (h/4)) for a cone."""
    mesh, expected = BODIES[name]
    pose = pose_of(mesh)
    assert pose.upright
    assert pose.rolls == 0
    assert pose.tip == pytest.approx(expected, rel=1e-12)
    assert (pose.rotation == np.eye(3)).all()


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("axis", [(1, 0, 0), (0.3, 0.5, 0.2), (-1, 2, 0)])
def test_settles_to_the_same_angle_from_30_degrees(
    name: str, axis: tuple[float, float, float]
) -> None:
    """Invariant 8: it rolls back onto the face it leans from."""
    mesh, expected = BODIES[name]
    pose = pose_of(turned(mesh, np.array(axis), 30))
    assert pose.rolls >= 1
    assert pose.tip == pytest.approx(expected, rel=1e-9)
    assert not pose.upright  # its own z axis was turned away with it


def test_a_cone_on_its_tip_does_not_stand() -> None:
    """Invariant 8: balance without a base is no balance."""
    mesh = mesh_of(cylinder(0, 30, 60))
    pose = pose_of(mesh)
    assert not pose.upright
    assert pose.rolls == 2
    assert tip_angle(mesh, mass_properties(mesh)) == 0
    assert pose.tip > 0  # it lies on its side now


def test_a_prism_on_its_edge_does_not_stand() -> None:
    pose = pose_of(turned(mesh_of(box(20, 60, 20)), np.array([0.0, 1, 0]), 45))
    assert not pose.upright
    assert pose.rolls == 1
    assert pose.tip == pytest.approx(45, rel=1e-9)


@pytest.mark.parametrize("yaw", [17.0, 90.0, 211.3])
def test_yaw_does_not_matter(yaw: float) -> None:
    """Invariant 8."""
    for mesh in (mesh_of(mug()), turned(mesh_of(mug()), np.array([1.0, 0.4, 0]), 100)):
        assert pose_of(turned(mesh, np.array([0.0, 0, 1]), yaw)).tip == pytest.approx(
            pose_of(mesh).tip, rel=1e-6
        )


@pytest.mark.parametrize("factor", [0.2, 3.0])
def test_uniform_scale_does_not_matter(factor: float) -> None:
    """Invariant 8, for bodies whose contact is clear at a thousandth of a millimetre."""
    for mesh in (mesh_of(mug()), turned(mesh_of(box(20, 30, 70)), np.array([1.0, 0.4, 0]), 40)):
        scaled = Mesh(factor * mesh.vertices, mesh.triangles)
        assert pose_of(scaled).tip == pytest.approx(pose_of(mesh).tip, rel=1e-9)


def random_bodies(count: int) -> list[Mesh]:
    random = np.random.default_rng(5)
    bodies = []
    for _ in range(count):
        parts = [
            box(*random.uniform(8, 60, 3)).rotate(tuple(random.uniform(0, 360, 3)))
            + cylinder(*random.uniform(5, 25, 2), random.uniform(10, 80))
        ]
        bodies.append(mesh_of(Manifold.batch_hull(parts)))
    return bodies


def test_the_centre_never_rises_and_no_vertex_sinks_below_the_table() -> None:
    """Invariant 8, on bodies that fall in every way."""
    bodies = [*random_bodies(25), mesh_of(Manifold.sphere(30, 48).scale((0.5, 0.6, 1)))]
    rolled = 0
    for mesh in bodies:
        pose = pose_of(mesh)
        rolled += pose.rolls
        assert (np.diff(pose.heights) < 0).all()
        resting = mesh.moved(pose.rotation)
        assert pose.heights[-1] == pytest.approx(
            (pose.rotation @ mass_properties(mesh).centre)[2] - resting.bounds[0, 2], abs=1e-9
        )
        np.testing.assert_allclose(pose.rotation @ pose.rotation.T, np.eye(3), atol=1e-12)
        again = pose_of(resting)
        assert again.rolls == 0
        assert again.tip == pytest.approx(pose.tip, rel=1e-9)
    assert rolled > 25


def test_a_round_body_stops_rolling() -> None:
    assert 0 < pose_of(turned(mesh_of(Manifold.sphere(30, 48)), np.ones(3), 10)).rolls <= 10


def test_the_limit_of_rolls_ends_it() -> None:
    mesh = turned(mesh_of(box(20, 30, 60)), np.array([1.0, 0.7, 0]), 50)
    pose = rest_pose(mesh, mass_properties(mesh), max_rolls=1)
    assert (pose.rolls, pose.tip, pose.upright) == (1, 0, False)


def test_a_payload_shifts_the_centre() -> None:
    """A 24 g cube of 20 mm (3 g/cm3) with 8 g on its right top edge."""
    mesh = mesh_of(box(20, 20, 20))
    mass = mass_properties(mesh, density=3.0)
    pose = rest_pose(mesh, mass, (Payload(8.0, (10.0, 0.0, 20.0)),))
    np.testing.assert_allclose(pose.foot, [2.5, 0], atol=1e-12)  # 8 x 10 / 32
    assert pose.heights[-1] == pytest.approx(12.5)  # (24 x 10 + 8 x 20) / 32
    assert pose.tip == pytest.approx(degrees(7.5 / 12.5), rel=1e-12)
    assert np.degrees(weakest_direction(pose)) == pytest.approx(0)


def test_a_heavy_arm_tips_what_stands_without_it() -> None:
    mesh = mesh_of(box(20, 20, 20) + box(60, 6, 4, (30, 0, 16)))
    mass = mass_properties(mesh)
    assert tip_angle(mesh, mass) > 0
    assert tip_angle(mesh, mass, (Payload(50.0, (60.0, 0.0, 20.0)),)) == 0


def test_what_leans_by_less_than_a_degree_is_upright() -> None:
    tilted = turned(mesh_of(box(40, 40, 40)), np.array([1.0, 0, 0]), 0.5)
    assert pose_of(tilted).upright
    assert pose_of(tilted).rolls == 1
    assert not pose_of(turned(mesh_of(box(40, 40, 40)), np.array([1.0, 0, 0]), 1.5)).upright


@pytest.mark.parametrize("mesh", [EMPTY_MESH, mesh_of(box(9, 9, 9)).moved(np.diag([1.0, 1, 0]))])
def test_nothing_has_no_pose(mesh: Mesh) -> None:
    pose = pose_of(mesh)
    assert (pose.tip, pose.upright, pose.rolls, len(pose.support)) == (0, False, 0, 0)


def test_the_support_polygon_spans_separate_feet() -> None:
    feet = [box(4, 4, 10, (x, y, 0)) for x, y in ((-20, 0), (20, 0), (0, 30))]
    table = Manifold.batch_boolean([*feet, box(50, 80, 5, (0, 0, 10))], OpType.Add)
    polygon = support_polygon(mesh_of(table))
    x, y = polygon.T
    area = (x * np.roll(y, -1) - np.roll(x, -1) * y).sum() / 2  # above zero: counter-clockwise
    # By hand: the hull of the three squares has these seven corners.
    corners = {(-22, -2), (22, -2), (22, 2), (2, 32), (-2, 32), (-22, 2)}
    assert {tuple(corner) for corner in polygon.round(9)} == corners
    assert area == pytest.approx(44 * 4 + (44 + 4) / 2 * 30)


def test_the_support_polygon_of_a_tip_and_an_edge() -> None:
    assert len(support_polygon(EMPTY_MESH)) == 0
    assert len(support_polygon(mesh_of(cylinder(0, 10, 10)))) == 1
    edge = turned(mesh_of(box(10, 30, 10)), np.array([0.0, 1, 0]), 45)
    assert len(support_polygon(edge)) == 2


SQUARE = np.array([[-2.0, -2], [2, -2], [2, 2], [-2, 2]])


@pytest.mark.parametrize(
    ("point", "radius"), [((0, 0), 2), ((1.5, 0), 0.5), ((-1, 1.75), 0.25), ((3, 0), 0)]
)
def test_inner_radius(point: tuple[float, float], radius: float) -> None:
    assert inner_radius(SQUARE, np.array(point, float)) == pytest.approx(radius)


def test_inner_radius_of_less_than_a_polygon() -> None:
    for polygon in (SQUARE[:0], SQUARE[:2]):
        assert inner_radius(polygon, np.zeros(2)) == 0
    doubled = np.repeat(SQUARE, 2, axis=0) + np.tile([[0.0, 0], [1e-12, 1e-13]], (4, 1))
    assert inner_radius(doubled, np.zeros(2)) == pytest.approx(2)


def standing(tip: float, height: float) -> RestPose:
    nothing: Floats = np.zeros((0, 2))
    return RestPose(np.eye(3), True, tip, nothing, np.zeros(2), np.array([height]))


def test_stack_count_by_hand() -> None:
    """d = 20, h = 30, pitch 25: n <= 1 + 2 (20 / tan 10 - 30) / 25 = 7.67."""
    pose = standing(degrees(20 / 30), 30)
    assert stack_count(pose, 25.0) == 7
    tallest = 30 + 6 * 25 / 2
    assert degrees(20 / tallest) >= 10 > degrees(20 / (tallest + 25 / 2))


def test_stack_count_equals_a_stack_that_was_built() -> None:
    block, n = box(12, 50, 10), 0
    pose = pose_of(mesh_of(block))
    for n in range(1, 20):
        stack = mesh_of(box(12, 50, 10 * (n + 1)))
        if pose_of(stack).tip < 10:
            break
    assert stack_count(pose, 10.0) == n == 6


def test_stack_count_at_its_limits() -> None:
    assert stack_count(standing(10.0, 30), 5.0) == 1
    assert stack_count(standing(9.9, 30), 5.0) == 0
    assert stack_count(pose_of(mesh_of(cylinder(0, 30, 60))), 5.0) == 0
    assert stack_count(standing(80.0, 1), 1e-9, most=50) == 50
    assert stack_count(standing(80.0, 1), 0.0, most=50) == 50
