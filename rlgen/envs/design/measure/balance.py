"""How a body comes to rest on the table, and how far it can be tilted before it topples.

Scope: quasi-static mechanics of one rigid body on a plane, without a simulator. Friction is
enough to prevent sliding, and momentum is ignored: a body that does not stand rolls over one edge
of its support polygon after another until it does. Only the lowest points touch a plane, so the
vertices of the mesh say everything and no collision shape is needed.
"""

import math
from dataclasses import dataclass

import numpy as np
from manifold3d import CrossSection

from rlgen.envs.design.measure.mass import MassProperties
from rlgen.envs.design.mesh import Floats, Ints, Mesh

CONTACT = 1e-3
"""mm: vertices this close to the lowest one touch the table."""
MARGIN = 1e-6
"""mm: a centre of mass this close to the edge of its support is balanced on it, and falls."""
MAX_ROLLS = 400
UPRIGHT_TILT = 1.0
"""Degrees the body's own z axis may lean at rest in a body called upright."""


@dataclass(frozen=True)
class Payload:
    """A point mass fixed to the body.

    Attributes:
        mass: Grams.
        position: Where it sits, in the coordinates of the mesh, mm.
    """

    mass: float
    position: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class RestPose:
    """A body at rest.

    Attributes:
        rotation: float64 (3, 3): turns the mesh into its resting orientation; the identity when
            it stands as it was designed.
        upright: Whether the body's z axis is still vertical, within ``UPRIGHT_TILT``.
        tip: Degrees the table can be tilted in the worst direction before the resting body
            topples; 0 where there is no body or it never settles.
        support: float64 (n, 2): corners of the support polygon, counter-clockwise, mm, in the
            mesh's coordinates after ``rotation`` (so drawn as it is when nothing rolled).
        foot: float64 (2,): the point below the centre of mass, in the same coordinates.
        heights: float64 (rolls + 1,): height of the centre of mass above the table before each
            roll and at rest, mm; it never rises.
    """

    rotation: Floats
    upright: bool
    tip: float
    support: Floats
    foot: Floats
    heights: Floats

    @property
    def rolls(self) -> int:
        """How often the body rolled over an edge or corner."""
        return max(len(self.heights) - 1, 0)


def rest_pose(
    mesh: Mesh, mass: MassProperties, payloads: tuple[Payload, ...] = (), max_rolls: int = MAX_ROLLS
) -> RestPose:
    """Lets a body settle on the table.

    The foot of the centre of mass lies inside the support polygon: at rest. Otherwise the body
    turns about the nearest edge (or corner) of the polygon, towards the foot, by the smallest
    angle at which another vertex touches the table. The tipping angle at rest is the minimum over
    the polygon's edges of atan(distance of the foot to the edge / height of the centre).

    Args:
        mesh: The body, as it is put on the table.
        mass: Its own mass properties.
        payloads: Point masses fixed to it; they shift the centre.
        max_rolls: How often it may roll; a body that goes on has ``tip`` 0 and is not upright.

    Returns:
        The pose it comes to rest in.
    """
    if not len(mesh) or mass.mass <= 0:
        return RestPose(np.eye(3), False, 0.0, np.zeros((0, 2)), np.zeros(2), np.zeros(0))
    centre = _loaded_centre(mass, payloads)
    points = mesh.vertices - centre
    rotation = np.eye(3)
    heights: list[float] = []
    while True:
        low = points[:, 2].min()
        touching = np.flatnonzero(points[:, 2] < low + CONTACT)
        polygon = _hull(points[touching, :2])
        inside = _clearance(polygon)
        heights.append(float(-low))
        if inside >= MARGIN or len(heights) > max_rolls:
            break
        direction, angle = _fall(points, touching, polygon)
        rotation = _tilt(direction, angle) @ rotation
        points = (mesh.vertices - centre) @ rotation.T  # from the start: errors do not add up
    foot = (rotation @ centre)[:2]
    settled = inside >= MARGIN
    tip = math.degrees(math.atan2(inside, heights[-1])) if settled else 0.0
    upright = settled and bool(rotation[2, 2] >= math.cos(math.radians(UPRIGHT_TILT)))
    return RestPose(rotation, upright, tip, polygon + foot, foot, np.array(heights))


def tip_angle(mesh: Mesh, mass: MassProperties, payloads: tuple[Payload, ...] = ()) -> float:
    """Returns the tipping angle in degrees of a body as it was put down, 0 if it falls over.

    Unlike ``rest_pose(...).tip``, which belongs to the pose in which it ends, this rewards no
    body for lying safely on its side.
    """
    pose = rest_pose(mesh, mass, payloads)
    return pose.tip if pose.upright else 0.0


def support_polygon(mesh: Mesh) -> Floats:
    """Returns float64 (n, 2): the convex hull of the ground contact, counter-clockwise, mm.

    The mesh is taken as it lies, without rolling. n is 0 for an empty mesh, 1 for a tip and 2 for
    an edge.
    """
    if not len(mesh):
        return np.zeros((0, 2))
    z = mesh.vertices[:, 2]
    return _hull(mesh.vertices[z < z.min() + CONTACT, :2])


def inner_radius(polygon: Floats, point: Floats) -> float:
    """Returns the radius in mm of the largest circle about a point that a convex polygon holds.

    Args:
        polygon: float64 (n, 2), counter-clockwise, such as ``RestPose.support``.
        point: float64 (2,), such as ``RestPose.foot``; the radius is 0 when it lies outside.
    """
    return max(_clearance(polygon - point), 0.0)


def weakest_direction(pose: RestPose) -> float:
    """Returns the direction in which a resting body topples first, radians from x towards y.

    Args:
        pose: How it rests, with a support polygon of three corners or more.
    """
    corners = pose.support - pose.foot
    edges = np.roll(corners, -1, axis=0) - corners
    length = np.linalg.norm(edges, axis=1)
    left = edges[:, 1] * corners[:, 0] - edges[:, 0] * corners[:, 1]
    left = np.where(length >= MARGIN, left / np.maximum(length, MARGIN), np.inf)
    x, y = edges[left.argmin()]
    return math.atan2(-x, y)  # the edge's outward normal


def stack_count(pose: RestPose, pitch: float, limit: float = 10.0, most: int = 1000) -> int:
    """Counts the copies that can be stacked before the stack tips too easily.

    Copies stand straight on each other, each ``pitch`` higher than the one below. With h the
    height of one copy's centre of mass and d the distance of its foot to the nearest edge of the
    support polygon, the centre of n copies is at h + (n - 1) pitch / 2 above the same foot. So
    atan(d / (h + (n - 1) pitch / 2)) >= limit gives n <= 1 + 2 (d / tan(limit) - h) / pitch. Every
    upper part of the stack is a smaller stack on the same polygon, so the table is the worst case.

    Args:
        pose: How one copy stands.
        pitch: Vertical offset from copy to copy, mm, above zero.
        limit: The tipping angle the whole stack must keep, degrees.
        most: Where counting stops.

    Returns:
        The number of copies, 0 where even one alone falls over or tips below ``limit``.
    """
    if not pose.upright or pose.tip < limit:
        return 0
    if pitch <= 0:
        return most
    height = float(pose.heights[-1])
    edge = height * math.tan(math.radians(pose.tip))
    slack = max(edge / math.tan(math.radians(limit)) - height, 0.0)
    return int(min(1.0 + 2.0 * slack / pitch + 1e-9, most))


def _clearance(polygon: Floats) -> float:
    """Returns how far inside a convex polygon the origin lies, mm; below zero outside.

    Edges shorter than ``MARGIN`` have no direction to rely on and are left out; a polygon of one
    or two points holds nothing.
    """
    if len(polygon) < 3:
        return -math.inf
    edges = np.concatenate((polygon[1:], polygon[:1])) - polygon
    length = np.sqrt(np.einsum("ij,ij->i", edges, edges))
    left = edges[:, 1] * polygon[:, 0] - edges[:, 0] * polygon[:, 1]
    if length.min() < MARGIN:
        left, length = left[length >= MARGIN], length[length >= MARGIN]
    return float((left / length).min()) if len(left) else -math.inf


def _loaded_centre(mass: MassProperties, payloads: tuple[Payload, ...]) -> Floats:
    if not payloads:
        return mass.centre
    weights = np.array([mass.mass, *(load.mass for load in payloads)])
    places = np.array([mass.centre, *(load.position for load in payloads)])
    return weights @ places / weights.sum()


def _hull(points: Floats) -> Floats:
    """Returns the convex hull of (n, 2) points, counter-clockwise; one or two points stay."""
    if len(points) < 3:
        return points
    rings = CrossSection.hull_points(points).to_polygons()
    ring = np.asarray(rings[0] if rings else points[:1], np.float64)
    return ring if len(ring) else points[:1]


def _fall(points: Floats, touching: Ints, polygon: Floats) -> tuple[Floats, float]:
    """Returns the horizontal direction (2,) in which a body falls, and how far, in radians.

    The centre of mass is the origin. It falls from the nearest point of the support polygon
    towards its foot. Balanced on an edge or a tip it takes the shortest fall, so that the choice
    depends on the body alone and not on how it is turned.
    """
    edges = np.roll(polygon, -1, axis=0) - polygon
    length = np.maximum(np.linalg.norm(edges, axis=1), 1e-12)
    along = np.clip(-(polygon * edges).sum(1) / length**2, 0.0, 1.0)
    near = polygon + along[:, None] * edges
    away = np.linalg.norm(near, axis=1)
    pivot = np.array([*near[away.argmin()], points[touching, 2].min()])
    relative = points - pivot
    balanced = (away < MARGIN) & (length > MARGIN)
    if away.min() >= MARGIN:
        options = -pivot[None, :2] / away.min()
    elif balanced.any():
        options = np.stack([edges[:, 1], -edges[:, 0]], 1)[balanced] / length[balanced, None]
    else:
        options = _towards_lowest(relative, touching)
    angles = np.arctan2(relative[:, 2], options @ relative[:, :2].T)
    angles[:, touching] = np.inf  # they lie behind the axis, or on it
    which, vertex = np.unravel_index(angles.argmin(), angles.shape)
    return options[which], float(angles[which, vertex])


def _towards_lowest(relative: Floats, touching: Ints) -> Floats:
    """Returns (1, 2): from a tip at the origin towards the vertex seen lowest above the table."""
    across = np.hypot(relative[:, 0], relative[:, 1])
    rise = np.arctan2(relative[:, 2], across)
    rise[touching] = np.inf
    first = rise.argmin()
    return relative[first, :2][None] / max(across[first], 1e-12)


def _tilt(direction: Floats, angle: float) -> Floats:
    """Returns the (3, 3) rotation that leans the z axis by an angle in a horizontal direction."""
    x, y = direction
    axis = np.array([[0.0, 0.0, x], [0.0, 0.0, y], [-x, -y, 0.0]])  # cross product with (-y, x, 0)
    return np.eye(3) + math.sin(angle) * axis + (1.0 - math.cos(angle)) * axis @ axis
