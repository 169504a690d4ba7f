"""Crops and flips of batches: which pixels they show, and that the generator decides."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from rlgen.core.errors import UserError
from rlgen.data.augment import augment


class Drawn:
    """A generator that gives what it is told: shifts down, shifts right, numbers for flips."""

    def __init__(self, down, right, flips):
        self.shifts, self.flips = [np.array(down), np.array(right)], np.array(flips)

    def integers(self, low, high, size):
        shift = self.shifts.pop(0)
        assert len(shift) == size
        assert low <= shift.min()
        assert shift.max() < high
        return shift

    def random(self, size):
        assert len(self.flips) == size
        return self.flips


PICTURE = torch.arange(1, 10, dtype=torch.uint8).view(1, 1, 3, 3)  # rows 123, 456, 789


@pytest.mark.parametrize(
    ("down", "right", "flip", "border", "rows"),
    [
        (0, 0, 0.9, "zero", [[1, 2, 3], [4, 5, 6], [7, 8, 9]]),
        (0, 0, 0.1, "zero", [[3, 2, 1], [6, 5, 4], [9, 8, 7]]),
        (1, 0, 0.9, "zero", [[4, 5, 6], [7, 8, 9], [0, 0, 0]]),
        (-1, 2, 0.9, "zero", [[0, 0, 0], [3, 0, 0], [6, 0, 0]]),
        (1, 0, 0.9, "reflect", [[4, 5, 6], [7, 8, 9], [4, 5, 6]]),
        (-2, 0, 0.9, "reflect", [[7, 8, 9], [4, 5, 6], [1, 2, 3]]),
        (0, 1, 0.9, "reflect", [[2, 3, 2], [5, 6, 5], [8, 9, 8]]),
        (0, 1, 0.1, "zero", [[0, 3, 2], [0, 6, 5], [0, 9, 8]]),
    ],
)
def test_a_crop_shows_these_pixels(down, right, flip, border, rows):
    seen = augment(PICTURE, Drawn([down], [right], [flip]), padding=2, border=border)
    assert seen.dtype == torch.uint8
    assert seen[0, 0].tolist() == rows


@pytest.mark.parametrize(("border", "mode"), [("zero", "constant"), ("reflect", "reflect")])
def test_it_is_a_crop_of_the_padded_batch(border, mode):
    images = torch.rand(40, 3, 9, 7)
    seen = augment(images, np.random.default_rng(3), padding=4, border=border, flip=False)
    again = np.random.default_rng(3)
    down, right = (again.integers(-4, 5, 40) + 4 for _ in range(2))
    padded = F.pad(images, (4, 4, 4, 4), mode=mode)
    for k in range(40):
        crop = padded[k, :, down[k] : down[k] + 9, right[k] : right[k] + 7]
        assert torch.equal(seen[k], crop), k
    assert len(set(zip(down, right, strict=True))) > 20


def test_half_of_the_pictures_are_mirrored_and_each_as_a_whole():
    images = torch.arange(5.0).expand(2000, 2, 3, 5)
    seen = augment(images, np.random.default_rng(0), padding=0)
    mirrored = (seen == images.flip(-1)).all(dim=(1, 2, 3))
    assert ((seen == images).all(dim=(1, 2, 3)) | mirrored).all()
    assert 0.46 < mirrored.float().mean() < 0.54  # 3.6 standard deviations


def test_without_a_border_and_flips_nothing_changes():
    images = torch.rand(4, 1, 5, 5)
    seen = augment(images, np.random.default_rng(0), padding=0, flip=False)
    assert torch.equal(seen, images)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"border": "mirror"}, "border='mirror' is unknown; allowed: zero, reflect"),
        ({"padding": -1}, "padding=-1 is too small"),
        ({"padding": 3, "border": "reflect"}, "type padding=2 or less"),
    ],
)
def test_a_mistake_is_told(options, message):
    with pytest.raises(UserError, match=message):
        augment(PICTURE, np.random.default_rng(0), **options)
