"""Mass, centre and inertia of a solid, exact for its triangle mesh.

Scope: homogeneous material. Every triangle spans a signed tetrahedron with the middle of the
bounding box; the integrals of 1, x and x x^T over a tetrahedron are polynomials of its corners,
so sums over triangles are exact up to rounding.
"""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from rlgen.envs.design.mesh import Floats, Mesh

SMALLEST_VOLUME = 1e-6
"""mm3; anything smaller, flat or inside out counts as no material."""


@dataclass(frozen=True, eq=False)
class MassProperties:
    """What a body weighs and how the weight is spread.

    Attributes:
        volume: mm3.
        area: Surface, mm2.
        mass: Grams.
        centre: float64 (3,): centre of mass, mm.
        inertia: float64 (3, 3): moments of inertia about the centre, g mm2, axes of the mesh.
    """

    volume: float
    area: float
    mass: float
    centre: Floats
    inertia: Floats


def mass_properties(mesh: Mesh, density: float = 1.0) -> MassProperties:
    """Integrates a mesh filled with one material.

    With d = a . (b x c) for the corners a, b, c of a triangle and s = a + b + c:
    volume = sum d / 6, first moments = sum d s / 24, and
    second moments = sum d (a a^T + b b^T + c c^T + s s^T) / 120.

    Args:
        mesh: A closed surface; where it is empty, flat or inside out, the mass is zero.
        density: g/cm3, above zero.

    Returns:
        Volume, area, mass, centre and inertia; without material the centre is the middle of the
        bounding box and the inertia zero.
    """
    unit = _UNIT.get(mesh)
    if unit is None:
        unit = _UNIT[mesh] = _integrated(mesh)
    inertia = density * unit.inertia
    return MassProperties(unit.volume, unit.area, density * unit.mass, unit.centre, inertia)


# At 1 g/cm3, of the meshes that are alive: observations and metrics both ask for it.
_UNIT: WeakKeyDictionary[Mesh, MassProperties] = WeakKeyDictionary()


def _integrated(mesh: Mesh) -> MassProperties:
    middle = mesh.bounds.mean(0)
    if not len(mesh):
        return MassProperties(0.0, 0.0, 0.0, middle, np.zeros((3, 3)))
    normals = mesh.area_vectors
    area = float(mesh.areas.sum())
    vertices = mesh.vertices - middle
    corners = vertices.take(mesh.triangles, axis=0)
    # a . (b x c) = a . ((b - a) x (c - a)): the area vectors already hold half of the product.
    six = 2.0 * np.einsum("ij,ij->i", corners[:, 0], normals)
    volume = float(six.sum()) / 6.0
    if volume < SMALLEST_VOLUME:
        return MassProperties(0.0, area, 0.0, middle, np.zeros((3, 3)))
    # What a sum over the corners of all triangles gives to each vertex.
    share = np.bincount(mesh.triangles.ravel(), np.repeat(six, 3), len(vertices))
    offset = share @ vertices / (24.0 * volume)
    total = corners[:, 0] + corners[:, 1] + corners[:, 2]
    second = (vertices * share[:, None]).T @ vertices + (total * six[:, None]).T @ total
    spread = second / 120.0 - volume * np.outer(offset, offset)  # about the centre, mm5
    inertia = np.trace(spread) * np.eye(3) - spread
    grams = 1e-3  # per mm3
    return MassProperties(volume, area, grams * volume, middle + offset, grams * inertia)
