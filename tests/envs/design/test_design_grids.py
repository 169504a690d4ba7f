"""Height maps, voxels and points of known bodies."""

import numpy as np
import pytest
from column_solids import block, cup, mesh_of, random_solid

from rlgen.core.errors import UserError
from rlgen.envs.design.measure.grids import height_maps, space_columns, surface_points, voxels
from rlgen.envs.design.mesh import EMPTY_MESH, Mesh

SMALL = (80.0, 60.0, 40.0)


def two_storeys() -> Mesh:
    """A bar along x from 5 to 10 mm, and above its right half another one from 20 to 30 mm."""
    return mesh_of(block((-20, -10, 5), (20, 0, 10)) + block((0, -10, 20), (20, 0, 30)))


def test_height_maps() -> None:
    maps = height_maps(two_storeys(), SMALL, count=8)  # cells of 10 x 7.5 mm
    assert maps.shape == (3, 8, 8)
    assert maps.dtype == np.float32
    wanted = np.zeros((3, 8, 8))
    rows = slice(3, 4)  # the one line in y between -10 and 0 is at -3.75
    wanted[:, 2:4, rows] = np.array([10, 5, 5]).reshape(3, 1, 1) / 40
    wanted[:, 4:6, rows] = np.array([30, 5, 15]).reshape(3, 1, 1) / 40
    np.testing.assert_allclose(maps, wanted, atol=1e-7)


def test_height_maps_stay_in_range() -> None:
    tall = mesh_of(block((-200, -200, -10), (200, 200, 90)))
    np.testing.assert_array_equal(height_maps(tall, SMALL, 4)[0], 1)
    np.testing.assert_array_equal(height_maps(tall, SMALL, 4)[1], 0)
    np.testing.assert_array_equal(height_maps(tall, SMALL, 4)[2], 1)


def test_voxels() -> None:
    filled = voxels(two_storeys(), SMALL, count=8)
    assert filled.shape == (8, 8, 8)
    assert filled.dtype == np.uint8
    wanted = np.zeros((8, 8, 8), np.uint8)
    wanted[2:6, 3, 1] = 1  # z from 5 to 10
    wanted[4:6, 3, 4:6] = 1  # z from 20 to 30
    np.testing.assert_array_equal(filled, wanted)


@pytest.mark.parametrize("seed", range(3))
def test_maps_and_voxels_agree(seed: int) -> None:
    solid = random_solid(seed, carve=0.4).translate((0, 0, 60))
    mesh = mesh_of(solid)
    columns = space_columns(mesh)
    maps, filled = height_maps(mesh, columns=columns), voxels(mesh, columns=columns)
    np.testing.assert_array_equal(maps, height_maps(mesh))
    np.testing.assert_array_equal(filled, voxels(mesh))
    share = solid.volume() / 160**3
    assert maps[2].mean() == pytest.approx(share, rel=0.06)
    assert filled.mean() == pytest.approx(share, rel=0.08)
    highest = np.where(filled.any(2), 32 - filled[:, :, ::-1].argmax(2), 0)
    in_one_piece = np.isclose(maps[0] - maps[1], maps[2]) & (maps[2] > 1 / 32)
    assert in_one_piece.sum() > 30
    assert np.abs(highest - 32 * maps[0])[in_one_piece].max() <= 0.5 + 1e-5
    assert not filled[maps[2] == 0].any()


def test_mirrored_designs_have_mirrored_maps() -> None:
    mesh = mesh_of(cup().translate((11, 0, 0)))
    mirrored = Mesh(mesh.vertices * (-1, 1, 1), mesh.triangles[:, ::-1])
    one, other = height_maps(mesh), height_maps(mirrored)[:, ::-1]
    assert (np.abs(one - other) > 0.05).mean() < 0.01


def test_points_lie_on_the_surface() -> None:
    mesh = mesh_of(block((-40, -20, 0), (40, 20, 10)))
    points = surface_points(mesh, np.random.default_rng(3), 4000, (160.0, 160.0, 160.0))
    assert points.shape == (4000, 3)
    assert points.dtype == np.float32
    place = (points + np.array([0, 0, 1])) * 80
    faces = np.abs(np.abs(place - (0, 0, 5)) - (40, 20, 5)) < 1e-4
    assert faces.any(1).all()
    areas = np.array([2 * 40 * 10, 2 * 80 * 10, 2 * 80 * 40])
    np.testing.assert_allclose(faces.mean(0), areas / areas.sum(), atol=0.02)
    on_top = place[np.abs(place[:, 2] - 10) < 1e-4]
    np.testing.assert_allclose(on_top.mean(0)[:2], 0, atol=2.5)
    np.testing.assert_allclose(on_top.std(0)[:2], np.array([80, 40]) / np.sqrt(12), rtol=0.05)


def test_points_come_from_the_generator_alone() -> None:
    mesh = mesh_of(cup())
    one, two, three = (surface_points(mesh, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.shape == (512, 3)
    assert one.tobytes() == two.tobytes() != three.tobytes()
    rng, other = np.random.default_rng(5), np.random.default_rng(5)
    surface_points(mesh, rng)
    surface_points(EMPTY_MESH, other)
    assert rng.random() == other.random()


def test_points_outside_the_space_are_clipped() -> None:
    mesh = mesh_of(block((-400, -400, -300), (400, 400, 300)))
    assert np.abs(surface_points(mesh, np.random.default_rng(0))).max() == 1.0


def test_nothing_to_see() -> None:
    assert not height_maps(EMPTY_MESH).any()
    assert height_maps(EMPTY_MESH).shape == (3, 32, 32)
    assert not voxels(EMPTY_MESH).any()
    assert voxels(EMPTY_MESH).shape == (32, 32, 32)
    assert not surface_points(EMPTY_MESH, np.random.default_rng(0)).any()


@pytest.mark.parametrize("draw", [height_maps, voxels])
def test_mistakes(draw) -> None:
    with pytest.raises(UserError, match="try count="):
        draw(mesh_of(cup()), count=0)
