"""How much weight a column-like body carries: yield and buckling by its horizontal sections.

Scope: a force pressing straight down on the top, elastic beam theory. It holds for bodies that
are one column, of whatever section. Bodies on separate legs are overrated, because the legs
share one combined second moment here; ``fem`` is for them.
"""

import math
from dataclasses import dataclass

import numpy as np

from rlgen.core.errors import UserError
from rlgen.envs.design.measure.sections import Sections, inner_heights, sections
from rlgen.envs.design.mesh import Floats, Mesh

PAD_DEPTH = 0.3
"""mm below the top within which upward faces carry the load."""
EFFECTIVE_LENGTH = 2.0
"""Euler's K of a column clamped at the foot and free at the top."""


@dataclass(frozen=True)
class Material:
    """An elastic material.

    Attributes:
        youngs: Young's modulus, MPa.
        strength: Stress at which it yields, MPa.
        density: g/cm3.
        poisson: Poisson's ratio, 0 to below 0.5; only ``fem`` uses it.
    """

    youngs: float = 2000.0
    strength: float = 20.0
    density: float = 1.0
    poisson: float = 0.35

    def __post_init__(self) -> None:
        for name in ("youngs", "strength", "density"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise UserError(f"material: {name} = {value}; give a number above 0")
        if not 0 <= self.poisson < 0.5:
            raise UserError(f"material: poisson = {self.poisson}; give 0 or more, below 0.5")


PLASTIC = Material()
"""Printed plastic."""


def pad(mesh: Mesh) -> tuple[float, Floats]:
    """Finds where a load put on top of a body rests.

    Args:
        mesh: A closed surface.

    Returns:
        The area in mm2, seen from above, of the faces that look up and lie with all corners
        within ``PAD_DEPTH`` of the top; and float64 (2,), its centroid, mm. Where the top is a
        tip the area is 0 and the centroid that of the vertices up there.
    """
    if not len(mesh):
        return 0.0, np.zeros(2)
    high = mesh.vertices[:, 2] >= mesh.bounds[1, 2] - PAD_DEPTH
    faces = np.flatnonzero(high.take(mesh.triangles).all(1))
    facing = mesh.area_vectors[faces, 2]
    faces, facing = faces[facing > 0], facing[facing > 0]
    area = float(facing.sum())
    if area <= 0:
        return 0.0, mesh.vertices[high, :2].mean(0)
    return area, facing @ mesh.corners[faces, :, :2].mean(1) / area


def pad_area(mesh: Mesh) -> float:
    """Returns the area in cm2 on which a load can stand, see ``pad``."""
    return pad(mesh)[0] / 100.0


def load_limit(
    mesh: Mesh, eccentricity: float = 0.0, n_sections: int = 16, material: Material = PLASTIC
) -> float:
    """Returns the force in N on top of a body at which it yields or buckles.

    Args:
        mesh: A closed surface, standing as it will be loaded.
        eccentricity: How far beside the middle of the pad the force acts, mm, in the direction
            that is worst for each section; 0 or more.
        n_sections: How many sections are looked at, in the middles of equal layers.
        material: What it is made of.

    Returns:
        The lesser of ``yield_limit`` and ``buckling_limit``; 0 for an empty mesh.

    Raises:
        UserError: The eccentricity is below zero, or there is no section.
    """
    if not eccentricity >= 0:
        raise UserError(f"eccentricity = {eccentricity} mm; give 0 or more")
    if n_sections < 1:
        raise UserError(f"n_sections = {n_sections}; give 1 or more")
    if not len(mesh):
        return 0.0
    found = sections(mesh, inner_heights(mesh, n_sections))
    if not (found.area > 0.0).all():
        return 0.0
    height = float(mesh.bounds[1, 2] - mesh.bounds[0, 2])
    return min(
        yield_limit(found, pad(mesh)[1], eccentricity, material.strength),
        buckling_limit(found, height, material.youngs),
    )


def yield_limit(found: Sections, line: Floats, eccentricity: float, strength: float) -> float:
    """Returns the force in N at which the most stressed section reaches the strength.

    Per newton, the stress at a point r from the centroid is 1/A + p . J^-1 r for a force acting
    at p from the centroid, with J the second moments. p is the load line's distance d from the
    centroid plus an eccentricity e in any direction, so the worst is
    1/A + max over outline points of (d . J^-1 r + e |J^-1 r|); pull on the far side is looked at
    as well. For a centred load that is 1/A + e c / I, with c the extreme fibre's distance in the
    worst direction, which for a square is along its diagonal.

    Args:
        found: Sections, each with an area above zero.
        line: float64 (2,): where the force acts when it is not eccentric, mm.
        eccentricity: mm.
        strength: MPa.
    """
    plane, xx, xy, yy = found.cut.plane, *found.moments.reshape(-1, 4)[:, [0, 1, 3]].T
    determinant = xx * yy - xy * xy
    if not (determinant > 0.0).all():
        return 0.0
    rx, ry = found.cut.start - found.centroid.T.take(plane, axis=1)
    gx = (yy / determinant).take(plane) * rx - (xy / determinant).take(plane) * ry
    gy = (xx / determinant).take(plane) * ry - (xy / determinant).take(plane) * rx
    dx, dy = (line - found.centroid).T.take(plane, axis=1)
    beside = eccentricity * np.sqrt(gx * gx + gy * gy)
    offset = dx * gx + dy * gy
    first = np.searchsorted(plane, np.arange(len(found.area)))
    pressure = np.maximum.reduceat(beside + offset, first) + 1.0 / found.area
    pull = np.maximum.reduceat(beside - offset, first) - 1.0 / found.area
    return strength / float(np.maximum(pressure, pull).max())


def buckling_limit(found: Sections, height: float, youngs: float) -> float:
    """Returns Euler's force in N, pi^2 E I / (K L)^2, for the least second moment.

    I is the harmonic mean over the sections, so thin sections count most.

    Args:
        found: Sections, each with an area above zero.
        height: L, mm.
        youngs: E, MPa.
    """
    xx, xy, yy = found.moments.reshape(-1, 4)[:, [0, 1, 3]].T
    least = (xx + yy) / 2.0 - np.sqrt(((xx - yy) / 2.0) ** 2 + xy * xy)
    if not (least > 0.0).all():
        return 0.0
    mean = len(least) / float((1.0 / least).sum())
    return math.pi**2 * youngs * mean / (EFFECTIVE_LENGTH * height) ** 2
