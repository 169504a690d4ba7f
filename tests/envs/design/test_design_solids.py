import hashlib

import numpy as np
import pytest
from design_steps import assert_closed
from manifold3d import Manifold

from rlgen.envs.design.mesh import Mesh
from rlgen.envs.design.shape.solids import EMPTY, Solid, from_mesh, largest


def cube(size, x=0.0, y=0.0, z=0.0):
    return Manifold.cube((size, size, size)).translate((x, y, z))


def test_an_empty_solid_has_zeros():
    assert EMPTY.is_empty
    assert (EMPTY.volume, EMPTY.n_triangles, EMPTY.genus) == (0.0, 0, 0)
    np.testing.assert_array_equal(EMPTY.bounds, np.zeros((2, 3)))
    assert len(EMPTY.mesh) == 0


def test_the_hash_is_over_vertices_and_triangles():
    solid = Solid(cube(10))
    data = solid.mesh.vertices.tobytes() + solid.mesh.triangles.tobytes()
    assert solid.sha256 == hashlib.sha256(data).hexdigest()
    assert Solid(cube(10.000001)).sha256 != solid.sha256
    assert Solid(cube(10)).sha256 == solid.sha256


def test_negative_zero_is_zero():
    assert not np.signbit(
        Solid(cube(10).mirror((1, 0, 0)).translate((10, 0, 0))).mesh.vertices
    ).any()


def test_a_mesh_cannot_be_written_to():
    with pytest.raises(ValueError, match="read-only"):
        Solid(cube(10)).mesh.vertices[0] = 1.0


def test_a_mesh_goes_into_the_kernel_and_comes_back():
    mesh = Solid(cube(10)).mesh
    body = from_mesh(mesh)
    assert body is not None
    assert body.volume() == pytest.approx(1000)
    assert from_mesh(Mesh(mesh.vertices, mesh.triangles[1:])) is None  # open


def test_the_largest_piece_is_kept():
    body, dropped = largest(cube(10) + cube(4, 20) + cube(5, 40))
    assert (body.volume(), dropped) == (pytest.approx(1000), 2)


def test_one_piece_is_left_alone():
    body = cube(10) - cube(2, 4, 4, 4)
    assert largest(body) == (body, 0)


def test_voids_go_with_their_piece():
    """A cube with a void of 64 that holds a loose cube of 1, and a smaller cube with a void."""
    island = cube(1, 5, 5, 5)
    body, dropped = largest(
        (cube(10) - cube(4, 3, 3, 3)) + island + (cube(5, 20) - cube(1, 22, 2, 2))
    )
    assert dropped == 2
    assert body.volume() == pytest.approx(936)
    assert body.genus() == -1
    assert_closed(Solid(body).mesh)
