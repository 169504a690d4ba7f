"""A finished solid: the kernel's body together with everything read off it once.

The kernel is manifold3d. A ``Solid`` never changes; its mesh, volume and hash are worked out at
first use and kept, so that observations, scores and a cache shared by many environments cost
nothing for a design that has been seen.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import manifold3d
import numpy as np
from manifold3d import Manifold

from rlgen.envs.design.mesh import EMPTY_MESH, Floats, Mesh
from rlgen.envs.design.shape.table import ORIGIN_BOUNDS

CLEAN_UP = 0.005  # mm the surface may move when flat facets are merged
_DEBRIS = 0.01  # mm3 below which a loose piece or a void is a rounding error


@dataclass(frozen=True, eq=False)
class Solid:
    """A closed body standing on the table, or nothing.

    Attributes:
        body: The kernel's body, cleaned.
    """

    body: Manifold

    @cached_property
    def mesh(self) -> Mesh:
        """The surface, counter-clockwise from outside; arrays are read-only."""
        if self.is_empty:
            return EMPTY_MESH
        raw = self.body.to_mesh64()
        # Adding 0.0 turns -0.0 into 0.0, which would be another byte pattern for the same place.
        vertices = np.ascontiguousarray(raw.vert_properties[:, :3]) + 0.0
        triangles = raw.tri_verts.astype(np.int64)
        vertices.flags.writeable = triangles.flags.writeable = False
        return Mesh(vertices, triangles)

    @cached_property
    def bounds(self) -> Floats:
        """float64 (2, 3): lowest and highest coordinates, mm; zeros when empty."""
        if self.is_empty:
            return ORIGIN_BOUNDS
        return np.array(self.body.bounding_box()).reshape(2, 3)

    @cached_property
    def is_empty(self) -> bool:
        """Whether there is nothing."""
        return bool(self.body.is_empty())

    @cached_property
    def volume(self) -> float:
        """mm3."""
        return 0.0 if self.is_empty else float(self.body.volume())

    @cached_property
    def n_triangles(self) -> int:
        """Number of triangles."""
        return int(self.body.num_tri())

    @cached_property
    def genus(self) -> int:
        """Number of handles, less one for each closed void; 0 when empty."""
        return 0 if self.is_empty else int(self.body.genus())

    @cached_property
    def sha256(self) -> str:
        """Hexadecimal hash of the mesh: float64 vertices, then int64 triangles, little-endian."""
        digest = hashlib.sha256(self.mesh.vertices.astype("<f8").tobytes())
        digest.update(self.mesh.triangles.astype("<i8").tobytes())
        return digest.hexdigest()


EMPTY = Solid(Manifold())


def from_mesh(mesh: Mesh) -> Manifold | None:
    """Returns the kernel's body of a closed mesh, or None where it is not a closed surface."""
    # Copies, because the kernel takes no read-only arrays.
    raw = manifold3d.Mesh64(
        vert_properties=np.array(mesh.vertices, dtype=np.float64, order="C"),
        tri_verts=np.array(mesh.triangles, dtype=np.uint64, order="C"),
    )
    body = Manifold(raw)
    return body if body.status() == manifold3d.Error.NoError else None


def cleaned(body: Manifold) -> Manifold:
    """Merges flat facets; the surface moves by less than ``CLEAN_UP`` mm."""
    return body.as_original().simplify(CLEAN_UP)


def largest(body: Manifold) -> tuple[Manifold, int]:
    """Returns the largest connected piece with the voids in it, and how many pieces were dropped.

    A void is a surface of its own that faces inwards, hence a shell with a negative volume. Shells
    of less than a hundredth of a mm3 are rounding errors: they go, and are not counted.
    """
    shells = body.decompose()
    volumes = [float(shell.volume()) for shell in shells]
    order = sorted(range(len(shells)), key=lambda i: (-volumes[i], i))
    parts = [shells[i] for i in order if volumes[i] > _DEBRIS]
    voids = [shell for shell, volume in zip(shells, volumes, strict=True) if volume < -_DEBRIS]
    if not parts:
        return Manifold(), 0
    if len(parts) == 1 and len(shells) == 1 + len(voids):
        return body, 0
    kept = [_inside_out(void) for void in voids if _owner(void, parts) == 0]
    whole = Manifold.batch_boolean([parts[0], *kept], manifold3d.OpType.Subtract)
    return whole, len(parts) - 1


def _inside_out(void: Manifold) -> Manifold:
    """Returns the body that fills a void."""
    mesh = Solid(void).mesh
    return from_mesh(Mesh(mesh.vertices, mesh.triangles[:, ::-1])) or Manifold()


def _owner(void: Manifold, parts: list[Manifold]) -> int:
    """Returns the index of the smallest piece around a void, or -1; pieces are largest first."""
    point = void.to_mesh64().vert_properties[0, :3].tolist()
    for index in range(len(parts) - 1, -1, -1):
        above = (point[0], point[1], parts[index].bounding_box()[5] + 1.0)
        if len(parts[index].ray_cast(point, above)) % 2:
            return index
    return -1
