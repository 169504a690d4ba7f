"""Extents of a body: how high, how wide, how far it reaches out and how far its foot does."""

import numpy as np

from rlgen.envs.design.measure.balance import CONTACT
from rlgen.envs.design.measure.sections import cut
from rlgen.envs.design.mesh import Mesh


def height(mesh: Mesh) -> float:
    """Returns the vertical extent, mm; 0 for an empty mesh."""
    return float(mesh.bounds[1, 2] - mesh.bounds[0, 2])


def footprint(mesh: Mesh) -> float:
    """Returns the larger of the bounding box's extents in x and y, mm; 0 for an empty mesh."""
    return float((mesh.bounds[1, :2] - mesh.bounds[0, :2]).max())


def reach(mesh: Mesh, at: float) -> float:
    """Returns the largest x of the horizontal section at a height, mm.

    Args:
        mesh: A closed surface.
        at: The height above z = 0, mm; at a horizontal face it means just above that face.

    Returns:
        The signed coordinate; 0 where the plane misses the body.
    """
    segments = cut(mesh, np.array([at]))
    return float(segments.start[0].max()) if len(segments.plane) else 0.0


def base(mesh: Mesh) -> float:
    """Returns the largest x of the ground contact, mm.

    The contact is every vertex within ``CONTACT`` of the lowest one.

    Args:
        mesh: A closed surface.

    Returns:
        The signed coordinate; 0 for an empty mesh.
    """
    if not len(mesh):
        return 0.0
    z = mesh.vertices[:, 2]
    return float(mesh.vertices[z < z.min() + CONTACT, 0].max())
