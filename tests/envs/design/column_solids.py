"""Bodies for the tests of columns and liquids, built with the geometry kernel alone."""

import numpy as np
from manifold3d import Manifold

from rlgen.envs.design.mesh import Mesh


def mesh_of(solid: Manifold) -> Mesh:
    raw = solid.to_mesh64()
    return Mesh(
        np.asarray(raw.vert_properties, np.float64)[:, :3].copy(),
        np.asarray(raw.tri_verts).astype(np.int64),
    )


def block(low: tuple[float, float, float], high: tuple[float, float, float]) -> Manifold:
    """A box between two corners."""
    size = np.subtract(high, low)
    return Manifold.cube(tuple(size.tolist())).translate(low)


def cup(
    low: float = 41, high: float = 41, height: float = 80, wall: float = 2.2, sides: int = 32
) -> Manifold:
    """An open cup with ``wall`` mm of floor and of wall, the latter measured level."""
    inner = Manifold.cylinder(height, low - wall, high - wall, sides).translate((0, 0, wall))
    return Manifold.cylinder(height, low, high, sides) - inner


def polygon_area(radius: float, sides: int) -> float:
    return sides / 2 * np.sin(2 * np.pi / sides) * radius**2


def random_solid(
    seed: int, steps: int = 6, carve: float = 0.0, start: Manifold | None = None
) -> Manifold:
    """A block with random boxes, cones and balls united with it or carved out of it."""
    rng = np.random.default_rng(seed)
    solid = Manifold.cube((60, 60, 50), True) if start is None else start
    for _ in range(steps):
        shape = rng.integers(3)
        if shape == 0:
            part = Manifold.cube(tuple(rng.uniform(10, 50, 3).tolist()), True)
        elif shape == 1:
            part = Manifold.cylinder(*rng.uniform((15, 5, 1), (70, 25, 20)).tolist(), 12, True)
        else:
            part = Manifold.sphere(float(rng.uniform(8, 25)), 12)
        part = part.rotate(rng.uniform(-180, 180, 3).tolist())
        part = part.translate(rng.uniform(-35, 35, 3).tolist())
        solid = solid - part if rng.random() < carve else solid + part
    return max(solid.decompose(), key=Manifold.volume)
