import math

import numpy as np
import pytest
from design_steps import assert_closed, build, random_design, volume

from rlgen.envs.design.mesh import Mesh
from rlgen.envs.design.shape import warps
from rlgen.envs.design.shape.layers import layered
from rlgen.envs.design.shape.symmetry import coincides, mirrored, turned

POINTS = np.array([[1.0, 2.0, 0.0], [3.0, -1.0, 10.0], [0.0, 5.0, 5.0]])
ROD = ("cylinder", "add", {"radius_low": 20, "radius_high": 12, "height": 60})
BLOCK = ("box", "add", {"size_x": 40, "size_y": 30, "size_z": 20})


def test_taper_grows_linearly():
    np.testing.assert_allclose(
        warps.taper(0.5, 10.0)(POINTS), [[1, 2, 0], [4.5, -1.5, 10], [0, 6.25, 5]]
    )


def test_twist_turns_with_height():
    np.testing.assert_allclose(
        warps.twist(90.0, 10.0)(POINTS),
        [[1, 2, 0], [1, 3, 10], [-5 / math.sqrt(2), 5 / math.sqrt(2), 5]],
        atol=1e-8,
    )


@pytest.mark.parametrize("angle", [60.0, -60.0])
def test_bend_follows_an_arc(angle):
    """The top of the z axis goes to (R - R cos a, R sin a); the table stays where it is."""
    axis_top, foot = np.array([[0.0, 7.0, 10.0]]), np.array([[4.0, 7.0, 0.0]])
    radius = 10.0 / math.radians(angle)
    bent = warps.bend(angle, 10.0, 0)
    lean, height = radius * (1 - 0.5), radius * math.sin(math.radians(angle))
    np.testing.assert_allclose(bent(axis_top), [[lean, 7.0, height]], atol=1e-8)
    np.testing.assert_allclose(bent(foot), foot, atol=1e-8)
    sideways = warps.bend(angle, 10.0, 1)(axis_top[:, [1, 0, 2]])
    np.testing.assert_allclose(sideways, [[7.0, lean, height]], atol=1e-8)


def test_folds_asks_for_the_inner_side():
    mesh = build(BLOCK).mesh  # 20 mm high, so 60 degrees have a radius of 19.1 mm
    assert warps.folds(mesh, 60.0, 0)
    assert warps.folds(mesh, -60.0, 0)
    assert not warps.folds(mesh, 40.0, 0)


@pytest.mark.parametrize("seed", range(5))
def test_layers_keep_the_shape(seed):
    mesh = random_design(seed, steps=4).mesh
    top = mesh.bounds[1, 2]
    cut = layered(mesh, np.linspace(0, top, 8)[1:-1])
    assert_closed(cut)
    assert volume(cut) == pytest.approx(volume(mesh), rel=1e-9)
    area = np.linalg.norm(cut.area_vectors, axis=1).sum()
    assert area == pytest.approx(np.linalg.norm(mesh.area_vectors, axis=1).sum(), rel=1e-9)


def test_no_edge_crosses_a_plane():
    mesh = build(ROD).mesh
    heights = np.array([10.0, 25.0, 40.0])
    cut = layered(mesh, heights)
    edges, _ = cut.edges
    low, high = np.sort(cut.vertices[edges, 2], axis=1).T
    for height in heights:
        assert not ((low < height - 1e-9) & (high > height + 1e-9)).any()


def test_layers_add_no_points_inside_flat_faces():
    """A box in 4 layers has 4 corners on each of 3 planes, and 2 triangles per face and layer."""
    mesh = build(BLOCK).mesh
    top = mesh.bounds[1, 2]
    cut = layered(mesh, np.linspace(0, top, 5)[1:-1])
    used = np.unique(cut.triangles)
    assert len(used) == 8 + 3 * 4
    assert len(cut) == 2 * 2 + 4 * 4 * 2


@pytest.mark.parametrize("angle", [40.0, -120.0])
def test_a_twisted_box_is_close_to_the_true_surface(angle):
    """Points in the middle of all triangles, twisted back, are near the faces of the box."""
    mesh = build(BLOCK).mesh
    x, y, top = mesh.bounds[1]
    twisted = warps.warped(mesh, warps.twist(angle, top), 4000, finer=1.5)
    assert twisted is not None
    assert_closed(twisted)
    back = warps.twist(-angle, top)(twisted.corners.mean(1))
    flat = np.minimum(np.abs(back[:, 2]), np.abs(back[:, 2] - top))
    side = np.minimum(np.abs(np.abs(back[:, 0]) - x), np.abs(np.abs(back[:, 1]) - y))
    assert np.minimum(flat, side).max() < 2 * warps.TOLERANCE


def test_a_warp_stops_at_its_limit():
    mesh = build(ROD).mesh
    assert warps.warped(mesh, warps.twist(120.0, 60.0), 300) is None


def test_a_tapered_prism_needs_no_new_triangle():
    mesh = build(BLOCK).mesh
    tapered = warps.warped(mesh, warps.taper(0.5, mesh.bounds[1, 2]), 100)
    assert tapered is not None
    assert len(tapered) == 12


def test_a_tapered_cone_is_divided_where_it_curves():
    mesh = build(ROD).mesh
    tapered = warps.warped(mesh, warps.taper(0.6, mesh.bounds[1, 2]), 4000)
    assert tapered is not None
    assert len(tapered) > len(mesh)


def test_coinciding_images():
    rod, block = build(ROD).mesh, build(BLOCK).mesh
    assert coincides(rod, turned(360 / 32))
    assert coincides(rod, mirrored(0))
    assert not coincides(rod, turned(17))
    assert coincides(block, turned(180))
    assert not coincides(block, turned(90))
    lopsided = build(BLOCK, ("drill", "z", {"radius": 4, "x": 9, "y": 0})).mesh
    assert coincides(lopsided, mirrored(1))
    assert not coincides(lopsided, mirrored(0))
    assert not coincides(lopsided, turned(180))


def test_the_same_corners_are_not_enough():
    """A prism twisted by 45 degrees has the corners of its mirror image whatever its diagonals.

    Where they lie outside it is an antiprism and has its faces, too; where they lie inside, not.
    """
    mesh = build(("prism", "add", {"sides": 4, "radius": 30, "height": 40})).mesh
    prisms = [
        Mesh(warps.twist(angle, mesh.bounds[1, 2])(mesh.vertices), mesh.triangles)
        for angle in (45.0, -45.0)
    ]
    inside, outside = sorted(prisms, key=volume)
    assert coincides(outside, mirrored(0))
    assert not coincides(inside, mirrored(0))
