"""Batches of images that depend on (seed, step, rank) alone."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from image_toys import noise
from PIL import Image

from rlgen.core.errors import UserError
from rlgen.data import Batches, ImageSet, to_uint8


@pytest.fixture
def seven(tmp_path):
    """Seven images; all pixels of image k are k in red, and differ in green."""
    for k in range(7):
        image = noise(8, 9, seed=k)
        image[..., 0] = k
        Image.fromarray(image).save(tmp_path / f"{k}.png")
    return ImageSet(tmp_path)


def drawn(batch):
    return to_uint8(batch)[:, 0, 0, 0].tolist()


def test_each_epoch_visits_each_image_once_in_its_own_order(seven):
    batches = Batches(seven, batch_size=3, crop_size=4, seed=5, stream=2)
    sequence = [index for step in range(7) for index in drawn(batches.at(step))]
    epochs = [sequence[k : k + 7] for k in (0, 7, 14)]
    for number, epoch in enumerate(epochs):
        assert epoch == np.random.default_rng([5, 2, number]).permutation(7).tolist()
    assert len(set(map(tuple, epochs))) == 3


def test_a_batch_is_a_function_of_seed_and_step(seven):
    def batch(step, seed=1, **options):
        return Batches(seven, batch_size=4, crop_size=4, seed=seed, **options).at(step)

    used = Batches(seven, batch_size=4, crop_size=4, seed=1)
    for step in (9, 0, 4, 9):  # in any order
        assert torch.equal(used.at(step), batch(step))
    assert not torch.equal(batch(0), batch(0, stream=1))
    assert not torch.equal(batch(0), batch(0, seed=2))
    assert not torch.equal(batch(0), batch(7))  # the same images may come, but not the same crops


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_out_one_sequence(seven, world):
    alone = Batches(seven, batch_size=2 * world, crop_size=4, seed=0)
    ranks = [Batches(seven, 2, 4, seed=0, rank=rank, world=world) for rank in range(world)]
    for step in range(5):
        parts = [rank.indices(step) for rank in ranks]
        assert list(itertools.chain(*parts)) == alone.indices(step)
        assert [drawn(rank.at(step)) for rank in ranks] == parts


def test_a_set_smaller_than_a_batch_is_repeated(seven):
    batch = Batches(seven, batch_size=17, crop_size=8, seed=0).at(1)  # positions 17 to 33
    assert batch.shape == (17, 3, 8, 8)
    counts = Counter(drawn(batch))
    assert set(counts) == set(range(7))
    assert max(counts.values()) <= 4  # epochs 2 to 4, the first and last of them in part


def test_crops_of_one_batch_differ_and_flips_can_be_off(tmp_path):
    image = np.arange(8, dtype=np.uint8)[None, :, None].repeat(8, axis=0).repeat(3, axis=2)
    Image.fromarray(image).save(tmp_path / "ramp.png")
    found = ImageSet(tmp_path)
    both = to_uint8(Batches(found, 64, 4, seed=0).at(0)).astype(int)
    upright = to_uint8(Batches(found, 64, 4, seed=0, flip=False).at(0)).astype(int)
    slope = (both[:, 0, 1, 0] - both[:, 0, 0, 0]).tolist()
    assert set(slope) == {-1, 1}
    assert set((upright[:, 0, 1, 0] - upright[:, 0, 0, 0]).tolist()) == {1}
    assert set(upright[:, 0, 0, 0].tolist()) == {0, 1, 2, 3, 4}


def test_only_the_orders_in_use_are_kept(seven):
    batches = Batches(seven, batch_size=5, crop_size=4, seed=0)
    for step in range(30):
        batches.at(step)
        assert len(batches._orders) <= 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size=0 is too small; allowed: 1 or more"),
        ({"crop_size": 0}, "crop_size=0 is too small"),
        ({"crop_size": 9}, "crop_size=9 is above short_side=8"),
        ({"seed": -1}, "seed=-1 is too small; allowed: 0 or more"),
        ({"stream": -1}, "stream=-1 is too small"),
        ({"world": 0}, "world=0 is too small"),
        ({"rank": 2, "world": 2}, "rank=2 is out of range; allowed: 0 to 1"),
        ({"rank": -1}, "rank=-1 is out of range; allowed: 0 to 0"),
    ],
)
def test_options_out_of_range_are_refused(folder, options, message):
    found = ImageSet(folder, short_side=8)
    with pytest.raises(UserError, match=message):
        Batches(found, **{"batch_size": 1, "crop_size": 4, "seed": 0, **options})


def test_an_image_below_the_crop_size_is_named(folder):
    with pytest.raises(UserError, match=r"image '.*png': 1.x8 pixels are too few"):
        Batches(ImageSet(folder), 5, 9, seed=1).at(0)
