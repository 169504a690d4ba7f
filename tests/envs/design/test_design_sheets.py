import io

import numpy as np
import pytest
from PIL import Image

from rlgen.core.errors import UserError
from rlgen.envs.design.picture.sheets import (
    construction_strip,
    contact_sheet,
    gif_bytes,
    png_bytes,
    write_gif,
    write_png,
)


def _tile(value: int, height: int = 20, width: int = 30) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


@pytest.mark.parametrize(
    ("count", "columns", "rows"), [(1, 1, 1), (4, 3, 2), (12, 4, 3), (13, 5, 3)]
)
def test_sheet_is_about_four_to_three(count, columns, rows):
    sheet = contact_sheet([_tile(10)] * count, gap=5)
    assert sheet.shape == (rows * 25 + 5, columns * 35 + 5, 3)


def test_pictures_are_placed_row_by_row():
    sheet = contact_sheet([_tile(k) for k in range(5)], columns=2, gap=4)
    assert sheet[4:24, 4:34].tolist() == _tile(0).tolist()
    assert (sheet[4:24, 38:68] == 1).all()
    assert (sheet[52:72, 4:34] == 4).all()
    assert (sheet[52:, 34:] == 255).all()
    assert (sheet[:4] == 255).all()


def test_labels_are_written_below_and_kept_short():
    plain = contact_sheet([_tile(0, 40, 60)] * 2, ["", ""], columns=2)
    told = contact_sheet([_tile(0, 40, 60)] * 2, ["cup", "a very long name indeed"], columns=2)
    changed = (plain != told).any(2)
    assert changed[46:, 6:66].any()
    assert changed[46:, 72:132].any()
    assert not changed[:46].any()
    assert not changed[:, 66:72].any()
    assert not changed[:, 132:].any()


def test_strip_is_one_row():
    frames = [_tile(10 * k) for k in range(7)]
    strip = construction_strip(frames)
    assert strip.shape[1] == 7 * 36 + 6
    assert np.array_equal(strip, contact_sheet(frames, [str(k + 1) for k in range(7)], 7))


@pytest.mark.parametrize(
    ("images", "labels", "columns", "match"),
    [
        ([], None, None, "no picture"),
        ([_tile(0), _tile(0, 21)], None, None, "one size"),
        ([_tile(0)], ["a", "b"], None, "2 labels for 1 pictures"),
        ([_tile(0)], None, -1, "columns=-1"),
        ([np.zeros((4, 4))], None, None, r"uint8 \(H, W, 3\), not float64 \(4, 4\)"),
    ],
)
def test_mistakes_are_told(images, labels, columns, match):
    with pytest.raises(UserError, match=match):
        contact_sheet(images, labels, columns)


def test_png_reads_back_exactly(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    path = write_png(image, tmp_path / "a.png")
    assert np.array_equal(np.asarray(Image.open(path)), image)
    assert path.read_bytes() == png_bytes(image)


def test_gif_has_every_frame_and_holds_the_last(tmp_path):
    frames = [_tile(0), _tile(120), _tile(250)]
    path = write_gif(frames, tmp_path / "a.gif", milliseconds=300, hold=1500)
    assert path.read_bytes() == gif_bytes(frames, 300, 1500)
    shown, durations = [], []
    with Image.open(io.BytesIO(path.read_bytes())) as image:
        for k in range(image.n_frames):
            image.seek(k)
            durations.append(image.info["duration"])
            shown.append(int(np.asarray(image.convert("RGB"))[3, 3, 0]))
        assert image.info["loop"] == 0
    assert durations == [300, 300, 1500]
    assert shown == pytest.approx([0, 120, 250], abs=2)


def test_still_parts_of_a_gif_do_not_flicker():
    rng = np.random.default_rng(1)
    still = rng.integers(100, 140, (20, 30, 3)).astype(np.uint8)
    frames = [still.copy() for _ in range(3)]
    for k, frame in enumerate(frames):
        frame[:, :8] = 80 * k
    with Image.open(io.BytesIO(gif_bytes(frames))) as image:
        parts = []
        for k in range(image.n_frames):
            image.seek(k)
            parts.append(np.asarray(image.convert("RGB"))[:, 8:])
    assert len(parts) == 3
    assert np.array_equal(parts[0], parts[1])
    assert np.array_equal(parts[1], parts[2])
