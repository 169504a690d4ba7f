"""Crops side by side."""

import numpy as np
from PIL import Image

from rlgen.data.super_resolution import open_super_resolution
from rlgen.distill.crops import draw_crops, worst_place


def test_the_place_is_where_pictures_differ_most():
    target = np.zeros((64, 80, 3), np.uint8)
    result = target.copy()
    result[10, 10] = 5
    result[40:44, 60:64] = 9
    top, left, height, width = worst_place(result, target, 4, side=18)
    assert (height, width) == (16, 16)
    assert (top % 4, left % 4) == (0, 0)
    assert top <= 40
    assert left <= 60
    assert top + height >= 44
    assert left + width >= 64


def test_small_pictures_are_shown_whole():
    target = np.zeros((20, 30, 3), np.uint8)
    assert worst_place(target, target, 2) == (0, 0, 20, 30)


def test_a_sheet_is_drawn_whole(tmp_path):
    pictures = open_super_resolution(["synthetic:photos"], ["synthetic:photos"], 2, size=32).train
    seen = []

    def network(low):
        seen.append(low.shape)
        return np.kron(low, np.ones((2, 2, 1), np.uint8))

    draw_crops(tmp_path / "crops.png", pictures, {"student": network})
    assert seen == [(16, 16, 3)] * 4
    assert [path.name for path in tmp_path.iterdir()] == ["crops.png"]
    with Image.open(tmp_path / "crops.png") as image:
        assert image.width > 700  # small, bicubic, student, true
        assert np.asarray(image).std() > 10
