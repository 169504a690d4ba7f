import numpy as np
import pytest
from gallery_items import box

from rlgen.core.errors import UserError
from rlgen.envs.design.mesh import EMPTY_MESH
from rlgen.envs.design.picture.camera import fit_camera
from rlgen.envs.design.picture.portrait import CLAY, SHADOW, light, portrait, portraits


def test_a_picture_is_a_cut_out_with_a_shadow() -> None:
    picture = portrait(box(40, 40, 60), 128)
    assert picture.shape == (128, 128, 4)
    assert picture.dtype == np.uint8
    alpha = picture[..., 3]
    assert not alpha[0].any()  # nothing behind it
    body = alpha == 255
    shadow = (alpha > 30) & (alpha <= round(255 * SHADOW))
    assert 0.15 < body.mean() < 0.6
    assert 0.02 < shadow.mean() < 0.3
    assert np.median(picture[shadow][:, :3]) == 0  # black; lines begin at its edge
    assert picture[body][:, :3].max() > 150
    ends = np.flatnonzero(body.any(0))[[0, -1]]
    assert abs(ends.sum() - 127) <= 2  # the body is in the middle, whatever its shadow does
    np.testing.assert_array_equal(picture, portrait(box(40, 40, 60), 128))


def test_the_shadow_stays_inside() -> None:
    alpha = portrait(box(10, 10, 150), 96)[..., 3]
    assert not alpha[:, 0].any()
    assert not alpha[:, -1].any()
    assert not alpha[0].any()
    assert not alpha[-1].any()


def test_light_follows_its_formula() -> None:
    """The top of a box under the isometric camera: 0.46 + 0.5 key + 0.12 fill + 0.14."""
    mesh = box(10, 10, 10)
    camera = fit_camera(mesh.bounds, "isometric")
    up = np.array([0.0, np.sqrt(2 / 3), np.sqrt(1 / 3)])  # the z axis as this camera sees it
    lamps = [
        np.array(lamp) / np.linalg.norm(lamp) for lamp in ((-0.5, 0.25, 0.83), (0.85, 0.1, 0.5))
    ]
    expected = 0.46 + 0.5 * up @ lamps[0] + 0.12 * up @ lamps[1] + 0.14
    top = mesh.area_vectors[:, 2] > 0
    np.testing.assert_allclose(light(mesh, camera)[top], min(expected, 1.0), rtol=1e-6)
    down = mesh.area_vectors[:, 2] < 0
    np.testing.assert_allclose(light(mesh, camera)[down], 0.40, rtol=1e-6)


def test_no_surface_is_brighter_than_the_clay() -> None:
    picture = portrait(box(50, 30, 20), 64)
    assert (picture[..., :3] <= CLAY + 1).all()


def test_stages_share_a_scale() -> None:
    low, high = portraits([box(40, 40, 20), box(40, 40, 100)], 64)
    widths = [(picture[..., 3] == 255).any(0).sum() for picture in (low, high)]
    assert abs(int(widths[0]) - int(widths[1])) <= 1
    assert (low[..., 3] == 255).sum() < (high[..., 3] == 255).sum()


def test_nothing_gives_an_empty_picture() -> None:
    assert not portrait(EMPTY_MESH, 32).any()
    assert [p.shape for p in portraits([EMPTY_MESH], 32)] == [(32, 32, 4)]
    assert portraits([]) == []


@pytest.mark.parametrize("size", [0, 15, 33, 4096])
def test_impossible_sizes_are_told(size: int) -> None:
    with pytest.raises(UserError, match=f"size={size}"):
        portrait(box(10, 10, 10), size)
