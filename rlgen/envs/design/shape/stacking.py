"""Closed meshes from convex outlines stacked at ascending heights.

Two neighbouring outlines are joined by a strip of triangles, one on each edge, with its tip at a
corner of the other outline. Which corner depends on how the two are alike:

* where their edges run in the same directions, as in a cone, edges are paired by direction; the
  strip is then the side of the convex hull of the two, and its faces are flat;
* where one is turned against the other, as in a twisted body, the hull would bulge by millimetres.
  There the long edges are divided and paired by their angle about the common centre.
"""

import itertools

import numpy as np

from rlgen.envs.design.mesh import Floats, Ints, Mesh

_BULGE = 0.1  # mm the hull may stick out between two outlines that are turned
_PIECE = 8.0  # mm, length of the pieces of a divided edge
_STRAIGHT = 1e-6  # mm off the straight line between its neighbours that makes an outline needless


class Ring:
    """A convex outline at a height.

    Args:
        height: mm.
        outline: (N, 2) corners, counter-clockwise, mm.

    Attributes:
        height: mm.
        outline: (N, 2), started so that ``directions`` ascend.
        edges: (N, 2) from each corner to the next.
        directions: (N,) of the edges, radians in -pi..pi, ascending.
    """

    def __init__(self, height: float, outline: Floats) -> None:
        self.height = height
        edges = _next(outline) - outline
        directions = np.arctan2(edges[:, 1], edges[:, 0])
        first = int(directions.argmin())
        order = (first + np.arange(len(outline))) % len(outline)
        self.outline, self.edges = outline[order], edges[order]
        # Rounding may swap the directions of two edges on one line; their order is known.
        self.directions = np.maximum.accumulate(directions[order])

    def __len__(self) -> int:
        return len(self.outline)

    def at(self, height: float) -> "Ring":
        """Returns the same outline at another height."""
        return Ring(height, self.outline)

    def divided(self) -> "Ring":
        """Returns the ring with every edge in equal pieces of at most ``_PIECE`` mm."""
        lengths = np.linalg.norm(self.edges, axis=1)
        count = np.maximum(np.ceil(lengths / _PIECE), 1).astype(int)
        edge = np.repeat(np.arange(len(self)), count)
        piece = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count)
        return Ring(
            self.height, self.outline[edge] + self.edges[edge] * (piece / count[edge])[:, None]
        )

    def angles(self, centre: Floats) -> Floats:
        """Returns the angle (N,) at which the middle of each edge is seen from a point."""
        x, y = (self.outline + 0.5 * self.edges - centre).T
        return np.arctan2(y, x)

    def same(self, other: "Ring") -> bool:
        """Whether both have the same corners."""
        return len(self) == len(other) and bool(
            np.abs(self.outline - other.outline).max() < _STRAIGHT
        )

    def inside(self, other: "Ring") -> bool:
        """Whether the outline lies within that of another ring."""
        off = self.outline[:, None] - other.outline
        along = other.edges
        return bool((along[:, 0] * off[..., 1] - along[:, 1] * off[..., 0]).min() > -1e-6)


def stacked(rings: list[Ring]) -> Mesh:
    """Joins rings into one closed mesh.

    Args:
        rings: Two or more, ascending. Two at the same height make a level face; one of them must
            lie inside the other.
    """
    rings = _needed(rings)
    turned = [_turned(low, high) for low, high in itertools.pairwise(rings)]
    if any(turned):
        rings = [ring.divided() for ring in rings]
    starts = np.cumsum([0, *map(len, rings)])
    heights = np.repeat([ring.height for ring in rings], np.diff(starts))
    faces = [_fan(len(rings[0]))[:, ::-1], _fan(len(rings[-1])) + starts[-2]]
    for i, by_angle in enumerate(turned):
        faces.append(_strip(rings[i], rings[i + 1], by_angle, starts[i], starts[i + 1]))
    corners = np.concatenate([ring.outline for ring in rings])
    return Mesh(np.column_stack([corners, heights]), np.concatenate(faces))


def _needed(rings: list[Ring]) -> list[Ring]:
    """Leaves out rings that lie on the straight faces between their neighbours."""
    kept = rings[:1]
    for ring, after in itertools.pairwise(rings[1:]):
        before = kept[-1]
        if len(before) == len(ring) == len(after) and before.height < ring.height < after.height:
            share = (ring.height - before.height) / (after.height - before.height)
            straight = before.outline + share * (after.outline - before.outline)
            if np.abs(straight - ring.outline).max() < _STRAIGHT:
                continue
        kept.append(ring)
    return [*kept, rings[-1]]


def _strip(low: Ring, high: Ring, by_angle: bool, low_0: int, high_0: int) -> Ints:
    """Returns the triangles between two rings whose corners are numbered from low_0, high_0."""
    keys = (low.directions, high.directions)
    if by_angle:
        centre = 0.5 * (low.outline.mean(0) + high.outline.mean(0))
        angles = low.angles(centre), high.angles(centre)
        # A centre outside one of them has no use; the hull is always there.
        keys = angles if all(map(_ascend, angles)) else keys
    (first, low_keys), (second, high_keys) = map(_from_least, keys)
    m, n = len(low), len(high)
    tip = (second + np.searchsorted(high_keys, low_keys, side="left")) % n
    edge = (first + np.arange(m)) % m
    below = np.stack([low_0 + edge, low_0 + (edge + 1) % m, high_0 + tip], axis=1)
    tip = (first + np.searchsorted(low_keys, high_keys, side="right")) % m
    edge = (second + np.arange(n)) % n
    above = np.stack([high_0 + (edge + 1) % n, high_0 + edge, low_0 + tip], axis=1)
    return np.concatenate([below, above])


def _next(values: Floats) -> Floats:
    return np.concatenate([values[1:], values[:1]])


def _ascend(keys: Floats) -> bool:
    """Whether cyclic keys go round exactly once."""
    return bool((_next(keys) <= keys).sum() == 1)


def _from_least(keys: Floats) -> tuple[int, Floats]:
    """Returns the position of the least of cyclic keys and the keys from there on."""
    first = int(keys.argmin())
    return first, np.concatenate([keys[first:], keys[:first]])


def _turned(low: Ring, high: Ring) -> bool:
    """Whether edges of one have no parallel in the other, so that the hull would bulge.

    An edge of length l whose nearest parallel is off by the angle a bulges by about a l / 4.
    """
    if low.height == high.height:
        return False
    off = np.abs((low.directions[:, None] - high.directions + np.pi) % (2 * np.pi) - np.pi)
    low_bulge = off.min(1) * np.hypot(*low.edges.T)
    high_bulge = off.min(0) * np.hypot(*high.edges.T)
    return bool(max(low_bulge.max(), high_bulge.max()) > 4 * _BULGE)


def _fan(count: int) -> Ints:
    """Returns triangles (count - 2, 3) of a convex polygon, counter-clockwise."""
    i = np.arange(1, count - 1)
    return np.stack([np.zeros_like(i), i, i + 1], axis=1)
