import numpy as np
import pytest
from file_solids import box, edge_contact, hollow_ball, mesh_of, mug, tetrahedron, volume_of

from rlgen.envs.design.export.topology import (
    groups,
    half_edges,
    open_edges,
    partners,
    signed_volumes,
    turned_edges,
)
from rlgen.envs.design.mesh import Mesh


def _welded(mesh: Mesh) -> Mesh:
    """The mesh with vertices of equal position made one."""
    points, which = np.unique(mesh.vertices, axis=0, return_inverse=True)
    return Mesh(points, which.reshape(-1)[mesh.triangles])


def test_half_edges_go_around_each_triangle():
    start, end = half_edges(np.array([[4, 7, 2], [0, 1, 2]]))
    assert start.tolist() == [4, 7, 2, 0, 1, 2]
    assert end.tolist() == [7, 2, 4, 1, 2, 0]


@pytest.mark.parametrize("build", [mug, edge_contact, hollow_ball])
@pytest.mark.parametrize("welded", [False, True])
def test_partners_are_mutual_and_run_the_other_way(build, welded):
    mesh = mesh_of(build())
    mesh = _welded(mesh) if welded else mesh
    partner = partners(mesh)
    start, end = half_edges(mesh.triangles)
    assert np.array_equal(partner[partner], np.arange(len(partner)))
    assert np.array_equal(start[partner], end)
    assert (partner != np.arange(len(partner))).all()


@pytest.mark.parametrize("turn", [0.0, 25.0, 200.0])
def test_bodies_that_touch_along_an_edge_stay_two(turn):
    mesh = _welded(mesh_of(edge_contact().rotate((turn, 10, turn))))
    assert len(mesh.vertices) == 14
    partner = partners(mesh)
    count, label = groups(len(mesh), np.arange(len(partner)) // 3, partner // 3)
    assert count == 2
    assert signed_volumes(mesh, label, count) == pytest.approx([8000, 8000])


def test_three_bodies_around_one_edge_stay_three():
    wedge = np.array([[0, 0, 0], [0, 0, 10], [10, -2, 0], [10, 2, 0]], float)
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    assert volume_of(Mesh(wedge, faces)) > 0
    points, triangles = [], []
    for k in range(3):
        angle = np.radians(10 + 120 * k)
        turn = np.array(
            [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
        )
        points.append(wedge @ turn.T)
        triangles.append(faces + 4 * k)
    mesh = _welded(Mesh(np.concatenate(points).round(12), np.concatenate(triangles)))
    assert len(mesh.vertices) == 8
    partner = partners(mesh)
    assert groups(len(mesh), np.arange(36) // 3, partner // 3)[0] == 3


def test_holes_and_turned_triangles_are_counted():
    _, triangles = tetrahedron()
    assert open_edges(triangles) == turned_edges(triangles) == 0
    assert open_edges(triangles[1:]) == 3
    assert turned_edges(triangles[1:]) == 0
    turned = triangles.copy()
    turned[2] = turned[2, ::-1]
    assert turned_edges(turned) == 3
    assert partners(Mesh(np.zeros((4, 3)), turned)) is None
    assert open_edges(np.zeros((0, 3), np.int64)) == 0


def test_volumes_of_a_body_and_its_cavity():
    mesh = mesh_of(hollow_ball())
    partner = partners(mesh)
    count, label = groups(len(mesh), np.arange(len(partner)) // 3, partner // 3)
    volumes = np.sort(signed_volumes(mesh, label, count))
    assert volumes[1] == pytest.approx(60**3)
    assert -4 / 3 * np.pi * 20**3 < volumes[0] < -4 / 3 * np.pi * 20**3 * 0.95
    assert volumes.sum() == pytest.approx(volume_of(mesh))
    assert volume_of(mesh_of(box(2, 3, 4))) == pytest.approx(24)
