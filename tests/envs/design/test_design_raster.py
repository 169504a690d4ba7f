import hashlib

import manifold3d
import numpy as np
import pytest
from file_solids import box, cup, cylinder, drilled, mesh_of, mug, patchwork

from rlgen.envs.design.mesh import EMPTY_MESH, Mesh
from rlgen.envs.design.picture.raster import (
    BACKGROUND,
    LINE,
    draw,
    find_lines,
    fit_camera,
    rasterise,
    shrink,
)


def _projected_area(solid) -> float:
    return manifold3d.CrossSection.area(solid.project())


@pytest.mark.parametrize("build", [cup, mug, drilled, lambda: patchwork(3), lambda: patchwork(5)])
@pytest.mark.parametrize("size", [128, 256])
def test_silhouette_has_the_area_of_the_projection(build, size):
    """Invariant 14."""
    solid = build()
    mesh = mesh_of(solid)
    camera = fit_camera(mesh.bounds, "top", size)
    area = rasterise(mesh, camera).covered.sum() / camera.scale**2
    assert area == pytest.approx(_projected_area(solid), rel=0.02)


def test_depth_and_face_of_a_box_by_hand():
    mesh = mesh_of(box(40, 20, 30, (-20, -10, 0)))
    raster = rasterise(mesh, fit_camera([[-50, -50, 0], [50, 50, 100]], "top", 100))
    assert raster.depth[50, 50] + 50 == pytest.approx(30, abs=1e-6)  # nearness counts from z = 50
    assert raster.depth[0, 0] == -np.inf
    assert raster.face[0, 0] == -1
    assert mesh.area_vectors[raster.face[50, 50], 2] > 0
    rows, columns = np.nonzero(raster.covered)
    scale = raster.camera.scale
    assert np.ptp(columns) + 1 == pytest.approx(40 * scale, abs=1)
    assert np.ptp(rows) + 1 == pytest.approx(20 * scale, abs=1)


def test_nearer_body_hides_the_other():
    front, back = mesh_of(box(20, 5, 20, (-10, -30, 0))), mesh_of(box(40, 5, 40, (-20, 20, 0)))
    both = Mesh(
        np.concatenate([front.vertices, back.vertices]),
        np.concatenate([front.triangles, back.triangles + len(front.vertices)]),
    )
    camera = fit_camera(both.bounds, "front", 101)
    seen = rasterise(both, camera).face
    alone = rasterise(front, camera).covered
    assert (seen[alone] < len(front)).all()
    assert (seen[rasterise(back, camera).covered & ~alone] >= len(front)).all()


def test_neighbours_leave_no_gap_and_share_no_pixel():
    """Every pixel inside a tilted, finely cut square belongs to exactly one triangle."""
    rng = np.random.default_rng(0)
    points = np.concatenate([[[0, 0], [1, 0], [1, 1], [0, 1]], rng.random((200, 2))])
    flat = np.column_stack([points, 0.3 * points[:, 0] + 0.2 * points[:, 1]])
    from scipy.spatial import Delaunay

    triangles = Delaunay(points).simplices.astype(np.int64)
    mesh = Mesh(flat, triangles)
    turned = np.where(mesh.area_vectors[:, 2:] > 0, triangles, triangles[:, ::-1])
    camera = fit_camera([[0.1, 0.1, 0], [0.9, 0.9, 1]], "top", 200)
    inner = slice(20, 180)
    hits = np.zeros((200, 200), int)
    for triangle in turned:
        hits += rasterise(Mesh(flat, triangle[None]), camera).covered
    assert (hits[inner, inner] == 1).all()


def test_picture_is_an_image_and_always_the_same():
    """Invariant 30."""
    mesh = mesh_of(mug())
    first, second = draw(mesh), draw(Mesh(mesh.vertices.copy(), mesh.triangles.copy()))
    assert first.shape == (256, 256, 3)
    assert first.dtype == np.uint8
    assert hashlib.sha256(first).digest() == hashlib.sha256(second).digest()
    assert len(np.unique(first.reshape(-1, 3), axis=0)) > 20


@pytest.mark.parametrize("frame", [None, [[-80, -80, 0], [80, 80, 160]]])
def test_empty_design_is_background(frame):
    """Invariant 30."""
    assert (draw(EMPTY_MESH, 64, frame=frame) == BACKGROUND).all()


def test_same_frame_same_scale():
    frame = np.array([[-80, -80, 0], [80, 80, 160]])
    small, large = (mesh_of(cylinder(r, 50)) for r in (20, 40))
    covered = [
        (draw(m, 200, "top", frame=frame, lines=False) != BACKGROUND).any(2).sum()
        for m in (small, large)
    ]
    assert covered[1] / covered[0] == pytest.approx(4, rel=0.02)


def test_lines_run_along_creases_and_outlines_only():
    mesh = mesh_of(box(40, 40, 40))
    lines = find_lines(rasterise(mesh, fit_camera(mesh.bounds, "isometric", 200)), mesh)
    assert (lines == 2).sum() > 300  # the hexagon
    assert (lines == 1).sum() > 150  # the three edges towards the viewer


@pytest.mark.parametrize("view", ["front", (-90.0, -20.0)])
def test_facets_of_a_round_body_carry_no_line(view):
    smooth = mesh_of(cylinder(30, 60, 96))
    raster = rasterise(smooth, fit_camera(smooth.bounds, view, 200))
    rows = slice(70, 130)  # away from the rims
    lines = find_lines(raster, smooth)[rows]
    outline = np.diff(np.pad(raster.covered[rows], ((0, 0), (1, 1))).astype(int), axis=1) != 0
    assert (lines[:, 1:-1] > 0).sum() == 2 * len(lines)
    assert (outline.sum(1) == 2).all()


def test_step_in_depth_carries_a_line():
    solid = box(60, 60, 10, (-30, -30, 0)) + box(20, 20, 30, (-10, -10, 0))
    mesh = mesh_of(solid)
    image = draw(mesh, 200, "top")
    middle = (image[100] == LINE).all(1)
    assert middle.sum() == 4  # two outer edges, two of the step


def test_own_colours_and_top_lighter_than_side():
    mesh = mesh_of(box(40, 40, 40))
    red = np.tile([200, 0, 0], (len(mesh), 1))
    image = draw(mesh, 64, colours=red, lines=False)
    body = (image != BACKGROUND).any(2)
    assert (image[body][:, 1:] == 0).all()
    plain = draw(mesh, 64, lines=False).astype(int)
    assert plain[20, 32].sum() > plain[44, 20].sum() + 30  # top against left side
    assert plain[20, 32].sum() > plain[44, 44].sum() + 30


def test_smoothing_averages_blocks():
    image = np.zeros((4, 4, 3), np.uint8)
    image[:2, :2] = [[[0], [1]], [[1], [1]]] * np.array([255, 100, 8], np.uint8)
    assert shrink(image, 2)[0, 0].tolist() == [191, 75, 6]
    assert shrink(image, 2)[1, 1].tolist() == [0, 0, 0]
    soft = draw(mesh_of(cup()), 64, smooth=3)
    assert soft.shape == (64, 64, 3)
    assert len(np.unique(soft.reshape(-1, 3), axis=0)) > len(
        np.unique(draw(mesh_of(cup()), 64).reshape(-1, 3), axis=0)
    )


def test_triangle_without_area_is_harmless():
    mesh = mesh_of(box(40, 40, 40))
    flat = Mesh(mesh.vertices, np.concatenate([mesh.triangles, [[0, 1, 1], [2, 2, 2]]]))
    assert np.array_equal(draw(flat, 64), draw(mesh, 64))
