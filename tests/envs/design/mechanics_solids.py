"""Bodies with known mechanics, built with the geometry kernel alone."""

import manifold3d
import numpy as np
from manifold3d import Manifold

from rlgen.envs.design.mesh import Floats, Mesh


def mesh_of(solid: Manifold) -> Mesh:
    raw = solid.to_mesh64()
    return Mesh(
        np.asarray(raw.vert_properties, np.float64)[:, :3].copy(),
        np.asarray(raw.tri_verts).astype(np.int64),
    )


def box(a: float, b: float, c: float, at: tuple[float, float, float] = (0, 0, 0)) -> Manifold:
    """A box of three side lengths, its ground face centred on ``at``."""
    return Manifold.cube((a, b, c), True).translate((at[0], at[1], at[2] + c / 2))


def cylinder(low: float, high: float, height: float, sides: int = 32) -> Manifold:
    """A cylinder or a cone; a radius of 0 makes a tip."""
    if low == 0:
        return cylinder(high, 0, height, sides).rotate((180, 0, 0)).translate((0, 0, height))
    return Manifold.cylinder(height, low, high, sides)


def mug(segments: int = 60) -> Manifold:
    """An open cup with a ring for a handle: about 1,100 triangles."""
    cup = cylinder(41, 41, 80, segments) - cylinder(38.8, 38.8, 80, segments).translate((0, 0, 3))
    angles = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    tube = manifold3d.CrossSection([np.stack([22 + 5 * np.cos(angles), 5 * np.sin(angles)], 1)])
    ring = tube.revolve(32).rotate((90, 0, 0)).translate((44, 0, 42))
    return cup + (ring - cylinder(40, 40, 200, segments).translate((0, 0, -50)))


def turned(mesh: Mesh, axis: Floats, degrees: float) -> Mesh:
    """The mesh turned about an axis through the origin (Rodrigues)."""
    x, y, z = np.asarray(axis, float) / np.linalg.norm(axis)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return mesh.moved(np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k)
