"""Which edge belongs to which: half-edges of a triangle mesh and their partners.

Half-edge 3 t + k runs from corner k of triangle t to its next corner. In a closed mesh each has
a partner that runs the other way.
"""

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from rlgen.envs.design.mesh import Floats, Ints, Mesh


def half_edges(triangles: Ints) -> tuple[Ints, Ints]:
    """Returns start and end vertex of the 3 T half-edges."""
    return triangles.reshape(-1), np.roll(triangles, -1, axis=1).reshape(-1)


def open_edges(triangles: Ints) -> int:
    """Returns how many half-edges have no partner; 0 for a closed, consistently turned mesh.

    Args:
        triangles: (T, 3) vertex indices.
    """
    start, end = half_edges(triangles)
    count = int(triangles.max(initial=-1)) + 1
    keys, which = np.unique(
        np.concatenate([start * count + end, end * count + start]), return_inverse=True
    )
    forth = np.bincount(which[: len(start)], minlength=len(keys))
    back = np.bincount(which[len(start) :], minlength=len(keys))
    return int(np.maximum(forth - back, 0).sum())


def turned_edges(triangles: Ints) -> int:
    """Returns how many edges two triangles run along in the same direction.

    One of the two is inside out.

    Args:
        triangles: (T, 3) vertex indices.
    """
    start, end = half_edges(triangles)
    count = int(triangles.max(initial=-1)) + 1
    low, high = np.minimum(start, end), np.maximum(start, end)
    _, which = np.unique(low * count + high, return_inverse=True)
    total = np.bincount(which)
    along = np.bincount(which, weights=np.where(start < end, 1, -1))
    return int(((total % 2 == 0) & (along != 0)).sum())


def partners(mesh: Mesh) -> Ints | None:
    """Returns int64 (3 T,), the partner of each half-edge, or None where the mesh is not closed.

    Where bodies touch along an edge, several half-edges lie on it; each is joined with the one
    across the material.

    Args:
        mesh: The mesh.
    """
    start, end = half_edges(mesh.triangles)
    count = len(mesh.vertices)
    forth, back = start * count + end, end * count + start
    by_forth = np.argsort(forth, kind="stable")
    by_back = np.argsort(back, kind="stable")
    if not np.array_equal(forth[by_forth], back[by_back]):
        return None
    partner = np.empty(len(forth), np.int64)
    partner[by_back] = by_forth
    shared = np.flatnonzero(np.diff(forth[by_forth]) == 0)
    for key in np.unique(forth[by_forth[shared]]).tolist():
        if key // count < key % count:
            _join_by_angle(mesh, partner, key // count, key % count, forth)
    return partner


def _join_by_angle(mesh: Mesh, partner: Ints, tail: int, head: int, forth: Ints) -> None:
    """Pairs the half-edges on one crowded edge by going around it.

    With the axis from tail to head, the outside of a triangle that runs along the axis follows it
    in the sense of rotation, and that of one that runs against it comes before it. The material
    therefore reaches from each of the latter to the next of the former.
    """
    count = len(mesh.vertices)
    along = np.flatnonzero(forth == tail * count + head)
    against = np.flatnonzero(forth == head * count + tail)
    axis = mesh.vertices[head] - mesh.vertices[tail]
    axis = axis / max(float(np.linalg.norm(axis)), 1e-300)
    first = np.eye(3)[np.argmin(np.abs(axis))]
    first = first - axis * float(first @ axis)
    second = np.cross(axis, first)
    edges = np.concatenate([against, along])
    tips = mesh.vertices[mesh.triangles[edges // 3, (edges % 3 + 2) % 3]] - mesh.vertices[tail]
    angle = np.arctan2(tips @ second, tips @ first)
    n = len(along)
    turn = (angle[None, n:] - angle[:n, None]) % (2.0 * np.pi)
    for row in np.argsort(turn.min(1), kind="stable").tolist():
        column = int(np.argmin(turn[row]))
        turn[:, column] = np.inf
        partner[against[row]], partner[along[column]] = along[column], against[row]


def groups(size: int, first: Ints, second: Ints) -> tuple[int, Ints]:
    """Returns how many sets the pairs join ``size`` things into, and the set of each, (size,)."""
    links = coo_matrix((np.ones(len(first), bool), (first, second)), shape=(size, size))
    count, label = connected_components(links, directed=False)
    return int(count), label.astype(np.int64)


def signed_volumes(mesh: Mesh, label: Ints, count: int) -> Floats:
    """Returns float64 (count,), the volume in mm3 that each set of triangles encloses.

    Args:
        mesh: The mesh.
        label: (T,) set of each triangle.
        count: Number of sets.
    """
    a, b, c = mesh.corners.transpose(1, 0, 2)
    tetrahedra = np.einsum("ij,ij->i", a, np.cross(b, c)) / 6.0
    return np.bincount(label, tetrahedra, minlength=count).astype(np.float64)
