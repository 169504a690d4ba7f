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
    def area_vectors(self) -> Floats:
        """float64 (T, 3): outward normals, each as long as its triangle's area in mm2."""
        a, b, c = self.corners.transpose(1, 0, 2)
        return 0.5 * np.cross(b - a, c - a)

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


EMPTY_MESH = Mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64))
