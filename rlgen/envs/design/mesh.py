"""Triangle meshes as two arrays: what evaluators, pictures and files of designs are made from."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Mesh:
    """A closed surface, or nothing.

    Attributes:
        vertices: float64 (V, 3), millimetres, z up, the table at z = 0.
        triangles: int64 (T, 3), indices into ``vertices``, counter-clockwise seen from outside.
    """

    vertices: Floats
    triangles: Ints

    def __len__(self) -> int:
        return len(self.triangles)

    @cached_property
    def corners(self) -> Floats:
        """float64 (T, 3, 3): the corners of each triangle."""
        return self.vertices[self.triangles]

    @cached_property
    def coordinates(self) -> Floats:
        """float64 (3, V): x, y and z of the vertices, each contiguous."""
        return np.ascontiguousarray(self.vertices.T)

    @cached_property
    def corner_rows(self) -> Ints:
        """int64 (3, T): the first, second and third corners of the triangles, each contiguous."""
        return np.ascontiguousarray(self.triangles.T)

    @cached_property
    def edges(self) -> tuple[Ints, Ints]:
        """The edges, int64 (E, 2), and, per triangle side, its edge, int64 (T, 3).

        Side i of a triangle runs from its corner i to the next.
        """
        start, end = self.triangles, self.triangles[:, [1, 2, 0]]
        count = len(self.vertices)
        keys = (np.minimum(start, end) * count + np.maximum(start, end)).ravel()
        keys, sides = np.unique(keys, return_inverse=True)
        return np.array(np.divmod(keys, max(count, 1))).T.copy(), sides.reshape(-1, 3)

    @cached_property
    def area_vectors(self) -> Floats:
        """float64 (T, 3): outward normals, each as long as its triangle's area in mm2."""
        a, b, c = self.coordinates.take(self.corner_rows, axis=1).transpose(1, 0, 2)
        return 0.5 * np.ascontiguousarray(cross(b - a, c - a).T)

    @cached_property
    def areas(self) -> Floats:
        """float64 (T,): areas of the triangles, mm2."""
        return np.sqrt(np.einsum("ij,ij->i", self.area_vectors, self.area_vectors))

    @cached_property
    def bounds(self) -> Floats:
        """float64 (2, 3): lowest and highest coordinates; zeros for an empty mesh."""
        if not len(self.vertices):
            return np.zeros((2, 3))
        return np.stack([self.vertices.min(0), self.vertices.max(0)])

    def moved(self, rotation: Floats | None = None, shift: Floats | None = None) -> "Mesh":
        """Returns the mesh rotated by a (3, 3) matrix about the origin, then shifted by (3,)."""
        vertices = self.vertices if rotation is None else self.vertices @ rotation.T
        return Mesh(vertices if shift is None else vertices + shift, self.triangles)


def cross(one: Floats, two: Floats) -> Floats:
    """Returns the cross products of (3, N) and (3, N); np.cross costs many times its work."""
    (x1, y1, z1), (x2, y2, z2) = one, two
    return np.array([y1 * z2 - z1 * y2, z1 * x2 - x1 * z2, x1 * y2 - y1 * x2])


EMPTY_MESH = Mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64))
