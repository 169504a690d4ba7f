"""Whether a turned or mirrored body is the same body again.

Uniting a body with a copy of itself that coincides with it, or nearly so, costs the kernel more
than any other operation and changes nothing, so it is worth asking first.
"""

import math

import numpy as np

from rlgen.envs.design.mesh import Floats, Ints, Mesh

_SAME = 1e-6  # mm
_CELL = 1.2645e-4  # mm; odd, and shifted, so that corners are not on borders between cells


def turned(angle: float) -> Floats:
    """Returns the rotation (3, 3) by an angle in degrees about the z axis."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


def mirrored(axis: int) -> Floats:
    """Returns the mirror image (3, 3) through the plane where coordinate ``axis`` is 0."""
    return np.diag(np.where(np.arange(3) == axis, -1.0, 1.0))


def coincides(mesh: Mesh, image: Floats) -> bool:
    """Whether the image of a closed mesh is the same surface.

    Corners must fall on corners, and at each of them the outward normals, weighted by the angle of
    their triangles, must agree; these do not depend on how flat faces are divided.

    Args:
        mesh: Closed mesh.
        image: (3, 3) rotation or mirror image.
    """
    low, high = mesh.bounds
    if image[0, 0] < 0 and image[1, 1] > 0 and abs(low[0] + high[0]) > _SAME:
        return False
    if image[1, 1] < 0 and image[0, 0] > 0 and abs(low[1] + high[1]) > _SAME:
        return False
    here, there = mesh.vertices, mesh.vertices @ image.T
    order, image_order = _sorted(here), _sorted(there)
    if np.abs(here[order] - there[image_order]).max() > _SAME:
        return False
    normals = _corner_normals(mesh)
    return bool(np.abs((normals @ image.T)[image_order] - normals[order]).max() < 1e-4)


def _sorted(points: Floats) -> Ints:
    """Returns an order of points (N, 3) that does not notice rounding errors."""
    cells = np.floor(points / _CELL + 0.37)
    return np.lexsort(cells.T)


def _corner_normals(mesh: Mesh) -> Floats:
    """Returns the sum of the unit normals around each corner, weighted by angle (V, 3)."""
    corners = mesh.corners
    sides = corners[:, [1, 2, 0]] - corners
    sides = sides / np.linalg.norm(sides, axis=2, keepdims=True).clip(1e-12)
    cosines = -np.einsum("tij,tij->ti", sides, sides[:, [2, 0, 1]])
    angles = np.arccos(cosines.clip(-1.0, 1.0))
    normals = mesh.area_vectors / np.linalg.norm(mesh.area_vectors, axis=1)[:, None].clip(1e-12)
    total = np.zeros_like(mesh.vertices)
    np.add.at(total, mesh.triangles, angles[..., None] * normals[:, None])
    return total
