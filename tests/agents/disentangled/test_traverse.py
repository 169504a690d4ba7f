"""Traversals: values that a linear decoder must give, sheets, heat maps and videos."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image, ImageSequence
from torch import nn

from rlgen.agents.disentangled.model import ActionConditionalVAE
from rlgen.agents.disentangled.traverse import (
    coverage,
    effect_sizes,
    mapping_ratio,
    traversal_sheet,
    traversal_video,
    traverse,
)
from rlgen.core.errors import UserError

WEIGHT = torch.tensor([[1.0, 0.0, -2.0], [0.5, 0.0, 0.0]])  # two outputs, three coordinates


@pytest.fixture
def vae() -> ActionConditionalVAE:
    """A model of vectors of two numbers whose decoder is a matrix; one coordinate is mapped."""
    torch.manual_seed(0)
    model = ActionConditionalVAE((2,), action_dim=1, latent_dim=3)
    model.decoder = nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        model.decoder.weight.copy_(WEIGHT)
    return model


def pictures(channels: int, size: int = 8) -> ActionConditionalVAE:
    torch.manual_seed(0)
    return ActionConditionalVAE((channels, size, size), action_dim=2, latent_dim=4, network="conv")


@pytest.mark.parametrize("isolate", [False, True])
def test_one_coordinate_takes_the_grid(vae: ActionConditionalVAE, isolate: bool) -> None:
    states, grid = torch.randn(4, 2), [-5.0, 0.0, 2.5]
    moved = traverse(vae, states, 2, grid, isolate=isolate)
    assert moved.shape == (3, 4, 2)
    with torch.no_grad():
        mu = vae.encode(states)[0] * (0 if isolate else 1)
    for k, value in enumerate(grid):
        z = mu.clone()
        z[:, 2] = value
        torch.testing.assert_close(moved[k], z @ WEIGHT.T)
    assert not moved.requires_grad


def test_shift_identity_of_a_mapped_coordinate(vae: ActionConditionalVAE) -> None:
    """Sliding mu_0 by one does what the action 1 does."""
    states = torch.randn(1, 2)
    with torch.no_grad():
        mu = vae.encode(states)[0]
        acted = vae.predict(mu + vae.map_action(torch.ones(1, 1)))
    moved = traverse(vae, states, 0, [float(mu[0, 0]) + 1])
    torch.testing.assert_close(moved[0], acted)


def test_effect_sizes_of_a_linear_decoder(vae: ActionConditionalVAE) -> None:
    spread = np.sqrt(10)  # population deviation of -5, -4, ..., 5
    effects = effect_sizes(vae, torch.randn(70, 2))
    np.testing.assert_allclose(effects, spread * WEIGHT.abs().T.numpy(), atol=1e-5)
    assert effects.shape == (3, 2)


def test_effects_are_in_the_units_of_the_data(vae: ActionConditionalVAE) -> None:
    before = effect_sizes(vae, torch.zeros(1, 2))
    vae.update_target_statistics(torch.tensor([[-3.0, 1.0], [3.0, 1.0]]) @ torch.eye(2))
    after = effect_sizes(vae, torch.zeros(1, 2))
    np.testing.assert_allclose(after[:, 0], 3 * before[:, 0], rtol=1e-3)


def test_ratio_and_coverage_by_hand() -> None:
    effects = np.array([[4.0, 2.0], [0.2, 0.2], [0.1, 0.3], [0.0, 0.0]])
    assert mapping_ratio(effects, 2) == pytest.approx((6.4 / 4) / (0.4 / 4))
    assert coverage(effects, 2) == 0.5  # row means 3 and 0.2; a tenth of the largest is 0.3
    assert coverage(effects, 2, share=0.05) == 1.0
    assert coverage(effects[::-1], 3) == 0.0
    assert mapping_ratio(np.eye(3)[:, :2], 2) == float("inf")
    assert np.isnan(mapping_ratio(np.zeros((3, 2)), 2))


@pytest.mark.parametrize(("shape", "mapped"), [((3,), 1), ((3, 2), 0), ((3, 2), 3)])
def test_effects_that_do_not_fit_are_refused(shape: tuple, mapped: int) -> None:
    for measure in (mapping_ratio, coverage):
        with pytest.raises(UserError, match="do not fit"):
            measure(np.ones(shape), mapped)


@pytest.mark.parametrize("coordinate", [-1, 3, 7])
def test_a_coordinate_that_does_not_exist(vae: ActionConditionalVAE, coordinate: int) -> None:
    with pytest.raises(UserError, match=f"coordinate {coordinate} does not exist; allowed: 0 to 2"):
        traverse(vae, torch.zeros(1, 2), coordinate)


@pytest.mark.parametrize("grid", [[], [[1.0, 2.0]], [0.0, float("nan")]])
def test_a_grid_that_is_none(vae: ActionConditionalVAE, grid: list) -> None:
    with pytest.raises(UserError, match="grid is not a row of finite numbers"):
        traverse(vae, torch.zeros(1, 2), 0, grid)
    with pytest.raises(UserError, match="grid has one value"):
        effect_sizes(vae, torch.zeros(1, 2), [1.0])


@pytest.mark.parametrize(("channels", "expected"), [(3, 3), (1, 1), (5, 1)])
def test_sheet_shows_the_predictions(channels: int, expected: int) -> None:
    vae, state = pictures(channels), torch.rand(1, channels, 8, 8)
    grid = [-2.0, 0.0, 2.0]
    sheet = np.asarray(traversal_sheet(vae, torch.cat([state, state * 0]), grid))
    assert sheet.shape == (16 + 4 * 50, 76 + 3 * 50, 3)
    moved = traverse(vae, state, 3, grid)[2, 0]
    wanted = moved if expected == 3 else moved.sum(0, keepdim=True).clamp(max=1).repeat(3, 1, 1)
    panel = sheet[16 + 3 * 50 :, 76 + 2 * 50 :][:48, :48][3::6, 3::6]
    np.testing.assert_allclose(panel, 255 * wanted.permute(1, 2, 0).numpy(), atol=1)
    labels = sheet[16:, :70].min(-1).reshape(4, 50, 70).min((1, 2))
    assert (labels < 100).all()  # every row has a name


def test_heat_map_of_a_model_of_vectors(vae: ActionConditionalVAE) -> None:
    sheet = traversal_sheet(vae, torch.randn(8, 2))
    assert isinstance(sheet, Image.Image)
    assert sheet.mode == "RGB"
    pixels = np.asarray(sheet).astype(int)
    # Coordinate 2 moves dimension 0 most, which has the brightest colour; coordinate 1 none.
    bright = (abs(pixels - (252, 253, 191)).sum(-1) < 12).sum()
    dark = (pixels.sum(-1) < 12).sum()
    assert bright > 500
    assert dark > 2 * bright


def read_frames(path: Path) -> list[npt.NDArray[np.int64]]:
    """Reads a video by libraries that did not write it."""
    if path.suffix == ".gif":
        with Image.open(path) as picture:
            return [np.array(f.convert("RGB"), int) for f in ImageSequence.Iterator(picture)]
    video, frames = cv2.VideoCapture(str(path)), []
    while (read := video.read())[0]:
        frames.append(read[1].astype(int))
    video.release()
    return frames


@pytest.mark.parametrize("name", ["slide.gif", "slide.mp4"])
def test_video_slides_to_and_fro(tmp_path: Path, name: str) -> None:
    if name.endswith("mp4"):
        pytest.importorskip("imageio_ffmpeg")
    vae, path = pictures(3), tmp_path / "deep" / name
    with torch.no_grad():
        list(vae.decoder.children())[-1].weight.mul_(40)  # so that something is to be seen
    assert traversal_video(vae, torch.rand(1, 3, 8, 8), path, frames=8, fps=10) == 8
    frames = read_frames(path)
    assert len(frames) == 8
    assert abs(frames[4] - frames[0]).max() > 20
    assert abs(frames[7] - frames[1]).mean() < 2  # there and back
    assert [file.name for file in path.parent.iterdir()] == [name]


def test_video_mistakes(tmp_path: Path, vae: ActionConditionalVAE) -> None:
    with pytest.raises(UserError, match="needs a model of pictures"):
        traversal_video(vae, torch.zeros(1, 2), tmp_path / "a.mp4")
    with pytest.raises(UserError, match=r"video a.avi is of an unknown kind"):
        traversal_video(pictures(3), torch.rand(1, 3, 8, 8), tmp_path / "a.avi")
    with pytest.raises(UserError, match="frames=1 is too small"):
        traversal_video(pictures(3), torch.rand(1, 3, 8, 8), tmp_path / "a.gif", frames=1)
