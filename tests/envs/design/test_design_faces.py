import manifold3d
import numpy as np
import pytest
from file_solids import (
    box,
    clean,
    cup,
    cylinder,
    drilled,
    edge_contact,
    hollow_ball,
    mesh_of,
    mug,
    patchwork,
    tetrahedron,
    volume_of,
)

from rlgen.core.errors import UserError
from rlgen.envs.design.export.faces import FLATNESS, flat_faces
from rlgen.envs.design.mesh import Mesh


def test_a_box_has_six_faces():
    faces = flat_faces(mesh_of(box(30, 20, 10)))
    assert len(faces.normal) == 6
    assert len(faces.start) == 24
    assert faces.outer.all()
    assert sorted(map(tuple, faces.normal.round(9).tolist())) == sorted(
        [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]
    )


def test_a_bore_leaves_a_hole_in_two_faces():
    solid = clean(box(40, 40, 10, (-20, -20, 0)) - cylinder(8, 30).translate((0, 0, -5)))
    faces = flat_faces(mesh_of(solid))
    assert len(faces.normal) == 6 + 32
    assert (~faces.outer).sum() == 2
    holed = faces.loop_face[~faces.outer]
    assert np.abs(faces.normal[holed, 2]).tolist() == [1, 1]


@pytest.mark.parametrize(
    "build",
    [cup, mug, drilled, hollow_ball, edge_contact, lambda: patchwork(1), lambda: patchwork(7)],
)
def test_faces_are_a_closed_surface_of_the_same_volume(build):
    mesh = mesh_of(build())
    faces = flat_faces(mesh)
    half = np.arange(len(faces.start))
    assert np.array_equal(faces.partner[faces.partner], half)
    assert np.array_equal(faces.start[faces.partner], faces.end)
    assert np.array_equal(faces.start[faces.following], faces.end)
    assert np.array_equal(np.sort(faces.following), half)
    assert (np.bincount(faces.loop_face, faces.outer) == 1).all()
    assert faces.volumes.sum() == pytest.approx(volume_of(mesh), rel=1e-12)
    # Divergence theorem over the loops: a face of normal n at height d adds d * area / 3.
    owner = faces.loop_face[faces.loop]
    swept = np.cross(mesh.vertices[faces.start], mesh.vertices[faces.end])
    area = 0.5 * np.bincount(owner, np.einsum("ij,ij->i", swept, faces.normal[owner]))
    height = np.empty(len(faces.normal))
    height[owner] = np.einsum("ij,ij->i", mesh.vertices[faces.start], faces.normal[owner])
    assert (area * height).sum() / 3 == pytest.approx(volume_of(mesh), rel=1e-7)


def _furthest_from_its_plane(mesh: Mesh) -> float:
    faces = flat_faces(mesh)
    owner = faces.loop_face[faces.loop]
    height = np.einsum("ij,ij->i", mesh.vertices[faces.start], faces.normal[owner])
    low, high = np.full(len(faces.normal), np.inf), np.full(len(faces.normal), -np.inf)
    np.minimum.at(low, owner, height)
    np.maximum.at(high, owner, height)
    return float((high - low).max())


def test_a_finely_bent_side_is_not_one_plane():
    """Each strip lies within a micrometre of the next, all together they turn by 11 degrees."""
    angle = np.linspace(0.0, 0.2, 201)
    arc = 0.5 * np.column_stack([np.cos(angle), np.sin(angle)])
    outline = manifold3d.CrossSection([np.vstack([[0.0, 0.0], arc])])
    mesh = mesh_of(manifold3d.Manifold.extrude(outline, 5.0))
    assert len(mesh) > 400
    assert _furthest_from_its_plane(mesh) <= 2.5 * FLATNESS
    assert _furthest_from_its_plane(mesh_of(mug())) <= 2.5 * FLATNESS


def test_slightly_bent_neighbours_stay_apart():
    solid = box(20, 20, 10)
    mesh = mesh_of(solid)
    bent = mesh.vertices.copy()
    bent[np.argmax(bent.sum(1)), 2] += 1e-3
    assert len(flat_faces(Mesh(bent, mesh.triangles)).normal) == 7  # the top has a fold


def test_a_face_that_meets_itself_in_a_corner_falls_back_to_triangles():
    """A plate with two square holes whose corners touch: six flat sides and two pinched ones."""
    plate = box(30, 30, 6) - box(10, 10, 9, (5, 5, -1)) - box(10, 10, 9, (15, 15, -1))
    mesh = mesh_of(clean(plate))
    points, which = np.unique(mesh.vertices, axis=0, return_inverse=True)
    mesh = Mesh(points, which.reshape(-1)[mesh.triangles])
    faces = flat_faces(mesh)
    lying = np.abs(mesh.area_vectors[:, 2]) > 0
    assert len(faces.normal) == 4 + 8 + lying.sum()
    assert faces.outer.all()
    keys = faces.loop_face[faces.loop] * len(points) + faces.start
    assert len(np.unique(keys)) == len(keys)


def test_cavities_have_negative_volume():
    faces = flat_faces(mesh_of(hollow_ball()))
    assert len(faces.volumes) == 2
    assert (faces.volumes < 0).sum() == 1


def test_needles_go_with_their_neighbour():
    """A vertex on the edge of a box splits one side; on the other side it makes a needle."""
    mesh = mesh_of(box(10, 10, 10))
    start = mesh.triangles[0]
    middle = mesh.vertices[start[:2]].mean(0)
    new = len(mesh.vertices)
    split = [[start[0], new, start[2]], [new, start[1], start[2]]]
    needle = [[start[0], start[1], new]]
    triangles = np.concatenate([mesh.triangles[1:], split, needle])
    faces = flat_faces(Mesh(np.vstack([mesh.vertices, middle]), triangles))
    assert len(faces.normal) == 6
    assert np.isfinite(faces.normal).all()


def test_an_open_mesh_is_refused():
    points, triangles = tetrahedron()
    with pytest.raises(UserError, match=r"not closed: 3 edges have no partner"):
        flat_faces(Mesh(points, triangles[1:]))
