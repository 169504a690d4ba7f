import numpy as np
import pytest
from file_solids import box, cup, cylinder, mesh_of, mug

from rlgen.core.errors import UserError
from rlgen.envs.design.mesh import EMPTY_MESH
from rlgen.envs.design.picture.overlays import LIQUID, LOAD, MARK, SUPPORT
from rlgen.envs.design.picture.render import (
    LiquidColumns,
    Overlays,
    construction_frames,
    picture,
)


def _changed(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (one != other).any(2)


def _like(image: np.ndarray, colour, tolerance: int = 40) -> int:
    return int((np.abs(image.astype(int) - colour) <= tolerance).all(2).sum())


@pytest.mark.parametrize("size", [64, 97, 256])
@pytest.mark.parametrize("insets", [True, False])
def test_picture_has_the_size_asked_for_and_repeats(size, insets):
    """Invariant 30."""
    mesh = mesh_of(mug())
    image = picture(mesh, size, insets)
    assert image.shape == (size, size, 3)
    assert image.dtype == np.uint8
    assert np.array_equal(image, picture(mesh, size, insets))
    assert _changed(image, picture(EMPTY_MESH, size, insets)).mean() > 0.1


def test_insets_stay_in_their_column():
    mesh = mesh_of(cup())
    with_insets, empty = picture(mesh, 200, caption=""), picture(EMPTY_MESH, 200, caption="")
    right = _changed(with_insets, empty)[:130, 142:]
    assert right.mean() > 0.2
    white = (with_insets == 255).all(2)
    assert white[:, :136].sum() == 0
    assert white[:, 142:].sum() > 1000


def test_shadow_falls_beside_the_body_not_in_the_front_view():
    mesh = mesh_of(box(30, 30, 60, (-15, -15, 0)))
    frame = [[-60, -60, 0], [60, 60, 80]]
    empty = picture(EMPTY_MESH, 128, False)
    darker = picture(mesh, 128, False, frame=frame, caption="").astype(int) - empty
    assert (darker[:, 84:] < -8).any()
    assert (darker[:, 84:] <= 1).all()  # no body there
    flat = picture(mesh, 128, False, view="front", frame=frame, caption="")
    assert np.array_equal(flat[:, 84:], empty[:, 84:])


def test_corners_of_a_hollow_are_darker():
    plain, deep = mesh_of(cylinder(41, 80)), mesh_of(cup())
    images = [picture(m, 128, False, view="top", caption="") for m in (plain, deep)]
    beside_wall = [image[64, 14:18].mean() for image in images]
    middle = [image[56:72, 56:72].mean() for image in images]
    assert beside_wall[1] < beside_wall[0] - 15
    assert beside_wall[1] < middle[1] - 15
    assert middle[0] == pytest.approx(middle[1], abs=1)


def test_every_overlay_shows():
    mesh = mesh_of(cup())
    x, y = (a.ravel() for a in np.meshgrid(np.arange(-24, 25, 2.0), np.arange(-24, 25, 2.0)))
    full = np.ones(len(x))
    cases = {
        LIQUID: Overlays(liquid=LiquidColumns(x, y, 3 * full, 70 * full, 2.0)),
        SUPPORT: Overlays(support=[(-41, -41), (41, -41), (41, 41), (-41, 41)]),
        MARK: Overlays(marked=mesh.area_vectors[:, 2] > 0),
        LOAD: Overlays(load=((0, 0, 80), (0, 0, -1))),
        (20, 200, 20): Overlays(colours=np.tile([20, 200, 20], (len(mesh), 1))),
    }
    plain = picture(mesh, 200)
    for colour, overlay in cases.items():
        assert _like(picture(mesh, 200, overlays=overlay), colour) > 100 + _like(plain, colour)
    marked = picture(mesh, 200, overlays=Overlays(centre=(0, 0, 30)))
    assert _like(marked, (24, 28, 32), 30) > 20 + _like(plain, (24, 28, 32), 30)


def test_load_arrow_above_the_body_is_in_the_picture():
    mesh = mesh_of(box(40, 40, 40, (-20, -20, 0)))
    image = picture(mesh, 200, False, overlays=Overlays(load=((0, 0, 40), (0, 0, -1))))
    rows = np.nonzero((np.abs(image.astype(int) - LOAD) <= 40).all(2))[0]
    assert rows.min() > 4


def test_caption_tells_the_outer_dimensions():
    mesh = mesh_of(box(30, 40, 50))
    plain, told = picture(mesh, 200, False, caption=""), picture(mesh, 200, False)
    assert _changed(plain, told)[180:].any()
    assert not _changed(plain, told)[:175].any()
    assert np.array_equal(told, picture(mesh, 200, False, caption="30 x 40 x 50 mm"))


def test_construction_frames_keep_their_scale():
    stages = [EMPTY_MESH, mesh_of(cylinder(20, 30)), mesh_of(cylinder(20, 30) + cylinder(5, 90))]
    frames = construction_frames(stages, 128)
    assert [frame.shape for frame in frames] == [(128, 128, 3)] * 3
    changed = _changed(frames[1], frames[2])
    assert changed[:64].any()
    assert not changed[115:].any()  # the foot does not move
    assert np.array_equal(frames[0], picture(EMPTY_MESH, 128, False))
    assert np.array_equal(frames[2], construction_frames(stages[2:], 128)[0])


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"size": 8}, "type 32 to 2048"),
        ({"size": 5000}, "type 32 to 2048"),
        ({"view": "isometrc"}, "did you mean 'isometric'"),
        (
            {"overlays": Overlays(marked=[True])},
            r"marked has shape \(1,\); this mesh needs \(12,\)",
        ),
        ({"overlays": Overlays(colours=[1, 2, 3])}, r"colours has shape \(3,\)"),
    ],
)
def test_mistakes_are_told(arguments, match):
    with pytest.raises(UserError, match=match):
        picture(mesh_of(box(1, 1, 1)), **arguments)
