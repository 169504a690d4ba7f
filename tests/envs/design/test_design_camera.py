import numpy as np
import pytest

from rlgen.core.errors import UserError
from rlgen.envs.design.picture.camera import MARGIN, VIEWS, fit_camera, view_axes


@pytest.mark.parametrize("view", [*VIEWS, (17.0, -33.0)])
def test_axes_are_a_right_handed_frame(view):
    axes = view_axes(view)
    assert np.allclose(axes @ axes.T, np.eye(3))
    assert np.linalg.det(axes) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("view", "right", "up"),
    [
        ("front", (1, 0, 0), (0, 0, 1)),
        ("top", (1, 0, 0), (0, 1, 0)),
        ("right", (0, 1, 0), (0, 0, 1)),
    ],
)
def test_named_views_look_where_they_say(view, right, up):
    assert np.allclose(view_axes(view)[:2], [right, up], atol=1e-12)


def test_isometric_shortens_all_axes_alike():
    lengths = np.linalg.norm(view_axes("isometric")[:2], axis=0)
    assert np.allclose(lengths, np.sqrt(2.0 / 3.0))


def test_projection_by_hand():
    camera = fit_camera([[-50, -50, 0], [50, 50, 100]], "front", 200)
    assert camera.scale == pytest.approx(200 * (1 - 2 * MARGIN) / 100)
    column, row, near = camera.project([[0, -7, 50], [50, 0, 100]]).T
    assert column[0] == pytest.approx(100)
    assert row[0] == pytest.approx(100)
    assert near[0] == pytest.approx(7)
    assert column[1] == pytest.approx(200 * (1 - MARGIN))
    assert row[1] == pytest.approx(200 * MARGIN)


@pytest.mark.parametrize("view", ["isometric", (123.0, 45.0)])
def test_the_whole_frame_is_in_the_picture(view):
    frame = np.array([[-10.0, -40.0, 5.0], [60.0, 0.0, 25.0]])
    camera = fit_camera(frame, view, 120, 300)
    corners = [[x, y, z] for x in frame[:, 0] for y in frame[:, 1] for z in frame[:, 2]]
    seen = camera.project(corners)[:, :2]
    assert (seen >= 0).all()
    assert (seen <= [120, 300]).all()


@pytest.mark.parametrize(
    ("view", "size", "match"),
    [("tpo", 64, "did you mean 'top'"), ((0.0, 91.0), 64, "elevation"), ("top", 0, "1 to 4096")],
)
def test_mistakes_are_told(view, size, match):
    with pytest.raises(UserError, match=match):
        fit_camera([[0, 0, 0], [1, 1, 1]], view, size)
