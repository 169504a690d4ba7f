"""Drawn images, and the door that leads to them or to a folder."""

import numpy as np
import pytest
from PIL import Image

from rlgen.core.errors import UserError
from rlgen.data import Batches, ImageSet, open_images
from rlgen.data.synthetic import SyntheticImages

KINDS = ["photos", "stripes", "night"]


def mean_colour(kind):
    images = SyntheticImages(kind, 32)
    return np.mean([image.mean((0, 1)) for image in images], axis=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("side", "count"), [(16, 3), (33, 1)])
def test_images_are_squares_of_bytes(kind, side, count):
    images = SyntheticImages(kind, side, count)
    assert len(images) == len(images.names) == len(set(images.names)) == count
    assert images.short_side == side
    for k in range(count):
        assert images[k].shape == (side, side, 3)
        assert images[k].dtype == np.uint8
    with pytest.raises(IndexError):
        images[count]


@pytest.mark.parametrize("kind", KINDS)
def test_a_set_is_the_same_at_every_use(kind):
    np.random.seed(0)  # noqa: NPY002 - what a user's program may do
    first = list(SyntheticImages(kind, 24, 4))
    np.random.seed(1)  # noqa: NPY002
    again = list(SyntheticImages(kind, 24, 6))
    assert all((a == b).all() for a, b in zip(first, again, strict=False))


@pytest.mark.parametrize("kind", KINDS)
def test_the_images_of_a_set_differ(kind):
    images = SyntheticImages(kind, 24, 8)
    assert len({image.tobytes() for image in images}) == 8


def test_night_is_dark_and_blue():
    photos, night = mean_colour("photos"), mean_colour("night")
    assert (night < 0.7 * photos).all()
    assert night.argmax() == 2
    assert night[2] / night[0] > 1.5 * photos[2] / photos[0]


def test_stripes_are_warm_and_run_diagonally():
    photos, stripes = mean_colour("photos"), mean_colour("stripes")
    assert stripes[0] / stripes[2] > 1.5 * photos[0] / photos[2]
    brightness = {
        kind: np.mean([image.astype(float).sum(2) for image in SyntheticImages(kind, 36)], axis=0)
        for kind in ("photos", "stripes")
    }
    y, x = np.mgrid[0:36, 0:36]
    # The light varies with (x + y) at a period of 6, and with (x - y) it does not.
    strength = {
        (kind, sign): abs((light * np.exp(2j * np.pi * (x + sign * y) / 6)).mean()) / light.mean()
        for kind, light in brightness.items()
        for sign in (1, -1)
    }
    assert strength["stripes", 1] > 0.1
    assert max(v for key, v in strength.items() if key != ("stripes", 1)) < 0.02


def test_looks_are_of_different_scenes():
    """Adversarial domains are unpaired: no image is another one's night."""
    photos = [image.astype(float).ravel() for image in SyntheticImages("photos", 24)]
    for night in SyntheticImages("night", 24):
        restored = night.astype(float) / (0.25, 0.3, 0.6)
        assert min(np.abs(restored.ravel() - photo).mean() for photo in photos) > 5


@pytest.mark.parametrize(
    ("kind", "tail"),
    [
        ("nigth", "did you mean 'night'?"),
        ("photo", "did you mean 'photos'?"),
        ("", "allowed: night, photos, stripes"),
        ("xyz", "allowed: night, photos, stripes"),
    ],
)
def test_an_unknown_kind_lists_the_closest(kind, tail):
    with pytest.raises(UserError) as caught:
        open_images(f"synthetic:{kind}", 16)
    assert str(caught.value) == f"unknown drawn images synthetic:{kind}; {tail}"


def test_the_prefix_opens_drawn_images():
    images = open_images("synthetic:night", 20)
    assert isinstance(images, SyntheticImages)
    assert (images[3] == SyntheticImages("night", 20)[3]).all()


def test_any_other_name_opens_a_folder(tmp_path):
    Image.new("RGB", (40, 30), "red").save(tmp_path / "a.png")
    images = open_images(str(tmp_path), 15)
    assert isinstance(images, ImageSet)
    assert images.names == ["a.png"]
    assert images[0].shape == (15, 20, 3)


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UserError, match="no images at"):
        open_images(str(tmp_path / "synthetic"), 16)


def test_drawn_images_give_batches():
    batch = Batches(open_images("synthetic:photos", 20), 3, 16, seed=0).at(0)
    assert batch.shape == (3, 3, 16, 16)
    assert batch.std() > 0.1
