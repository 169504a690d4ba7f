"""Bodies for pictures and files, built with the geometry kernel alone."""

import manifold3d
import numpy as np
from manifold3d import Manifold

from rlgen.envs.design.mesh import Floats, Mesh


def mesh_of(solid: Manifold) -> Mesh:
    raw = solid.to_mesh64()
    return Mesh(np.array(raw.vert_properties[:, :3], np.float64), np.array(raw.tri_verts, np.int64))


def clean(solid: Manifold) -> Manifold:
    return solid.as_original().simplify(0.005)


def box(a: float, b: float, c: float, at: tuple[float, float, float] = (0, 0, 0)) -> Manifold:
    return Manifold.cube((a, b, c)).translate(at)


def cylinder(radius: float, height: float, sides: int = 32) -> Manifold:
    return Manifold.cylinder(height, radius, radius, sides)


def cup() -> Manifold:
    return clean(cylinder(41, 80) - cylinder(38, 90).translate((0, 0, 3)))


def mug() -> Manifold:
    profile = manifold3d.CrossSection.circle(5, 16).translate((24, 0))
    handle = Manifold.revolve(profile, 32).rotate((90, 0, 0)).translate((46, 0, 42))
    return clean(cylinder(41, 80) + handle - cylinder(38, 90).translate((0, 0, 3)))


def drilled() -> Manifold:
    solid = box(80, 60, 40, (-40, -30, 0)) - cylinder(12, 100).translate((10, 0, -10))
    solid -= cylinder(7, 200).rotate((90, 0, 0)).translate((-20, 100, 20))
    return clean(solid - cylinder(9, 200).rotate((0, 90, 0)).translate((-100, 0, 22)))


def hollow_ball() -> Manifold:
    """A cube of 60 mm with a closed cavity."""
    return box(60, 60, 60) - Manifold.sphere(20, 32).translate((30, 30, 30))


def edge_contact() -> Manifold:
    """Two cubes of 20 mm that share one edge."""
    return box(20, 20, 20) + box(20, 20, 20, (20, 20, 0))


def patchwork(seed: int) -> Manifold:
    """The largest part of a random heap of unions and cuts, as a careless agent builds it."""
    rng = np.random.default_rng(seed)
    solid = cylinder(rng.uniform(20, 40), rng.uniform(40, 90))
    for _ in range(5):
        size = tuple(rng.uniform(8, 60, 3).tolist())
        place = tuple(rng.uniform([-35, -35, 0], [35, 35, 60]).tolist())
        tool = [
            box(*size).translate(place),
            cylinder(size[0] / 2, size[1]).translate(place),
            cylinder(size[0] / 4, 300).translate((0, 0, -150)).rotate((90, 0, 0)).translate(place),
        ][rng.integers(3)]
        solid = clean(solid - tool if rng.random() < 0.4 else solid + tool)
        solid = max(solid.decompose(), key=lambda part: part.volume())
    return solid


def volume_of(mesh: Mesh) -> float:
    a, b, c = mesh.corners.transpose(1, 0, 2)
    return float(np.einsum("ij,ij->", a, np.cross(b, c))) / 6.0


def tetrahedron(size: float = 10.0) -> tuple[Floats, np.ndarray]:
    """Corners and outward triangles of a tetrahedron of size**3 / 6 mm3."""
    return size * np.eye(4)[:, :3][[3, 0, 1, 2]], np.array(
        [[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]
    )
