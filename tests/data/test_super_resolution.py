"""Pictures for super-resolution by name, and aligned patches of them."""

import numpy as np
import pytest
import torch
from PIL import Image

from rlgen.core.errors import UserError
from rlgen.data.bicubic import shrink
from rlgen.data.super_resolution import (
    LargePictures,
    PatchBatches,
    open_super_resolution,
    turned,
)


class Noise:
    """Pictures of noise of given sizes."""

    short_side = None

    def __init__(self, *sizes):
        generator = np.random.default_rng(0)
        self.images = [generator.integers(0, 256, (*s, 3), dtype=np.uint8) for s in sizes]
        self.names = [str(k) for k in range(len(sizes))]

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index]


def pictures(scale=2, *sizes):
    return LargePictures("noise", [Noise(*(sizes or [(33, 40), (24, 26)]))], scale)


@pytest.mark.parametrize(("scale", "size"), [(2, (32, 40)), (3, (33, 39)), (4, (32, 40))])
def test_pictures_are_cut_to_multiples(scale, size):
    assert pictures(scale)[0].shape == (*size, 3)
    for name, low, high in pictures(scale).pairs():
        assert (low == shrink(high, scale)).all(), name


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_patches_are_aligned(scale):
    batches = PatchBatches(pictures(scale, (48, 48)), 4, 5, seed=1, turn=False)
    low, high = batches.at(0)
    assert low.shape == (4, 3, 5, 5)
    assert high.shape == (4, 3, 5 * scale, 5 * scale)
    large = batches.pictures[0]
    small = shrink(large, scale)
    for one, two in zip(low, high, strict=True):
        wanted = (one.permute(1, 2, 0) * 255).round().byte().numpy()
        places = [
            (y, x)
            for y in range(small.shape[0] - 4)
            for x in range(small.shape[1] - 4)
            if (small[y : y + 5, x : x + 5] == wanted).all()
        ]
        ((y, x),) = places
        y, x, side = y * scale, x * scale, 5 * scale
        truth = torch.from_numpy(large[y : y + side, x : x + side].copy()).permute(2, 0, 1)
        assert torch.equal((two * 255).round().byte(), truth)


def test_batches_depend_on_seed_step_and_rank_alone():
    made = [PatchBatches(pictures(), 3, 4, seed=s, rank=r, world=2) for s in (0, 1) for r in (0, 1)]
    first = [batches.at(2)[0] for batches in made]
    made[0].at(7)
    assert torch.equal(made[0].at(2)[0], first[0])
    assert not any(torch.equal(first[0], other) for other in first[1:])


def test_small_and_large_patches_turn_together():
    """Noise of 2x2 blocks: a small patch tells which way its large one was turned."""
    blocks = np.kron(Noise((12, 12))[0], np.ones((2, 2, 1), np.uint8))
    source = pictures()
    source._parts[0].images[:] = [blocks, blocks]
    batches = PatchBatches(source, 8, 12, seed=0)
    low, high = batches.at(0)
    means = torch.nn.functional.avg_pool2d(high, 2)
    for one, two in zip(low, means, strict=True):
        assert torch.corrcoef(torch.stack([one.flatten(), two.flatten()]))[0, 1] > 0.95
    assert len({tuple(one.flatten().tolist()) for one in low}) > 2  # of one picture, turned


def test_the_eight_turns_differ():
    image = Noise((4, 4))[0]
    seen = {turned(image, k, m).tobytes() for k in range(4) for m in (False, True)}
    assert len(seen) == 8


@pytest.mark.parametrize(("given", "steps"), [(None, 5), (7, 7)])
def test_an_epoch_holds_all_pixels_once_or_is_given(given, steps):
    # 32x40 + 24x26 = 1904 pixels, 6 patches of 8x8 a batch.
    batches = PatchBatches(pictures(), 6, 4, seed=0, epoch_steps=given)
    assert batches.steps_per_epoch == steps
    assert len(list(batches.first_epoch())) == steps


def test_a_picture_smaller_than_a_patch_is_told_at_once():
    with pytest.raises(UserError, match="picture '1': 26x24 pixels are too few for patches of 26x"):
        PatchBatches(pictures(), 2, 13, seed=0)


@pytest.fixture
def folder(cwd, monkeypatch):
    """A folder of data: Set5 as a folder, Urban100 as EDSR's code lays it out."""
    monkeypatch.setenv("RLGEN_DATA", str(cwd))
    for place, names in (("Set5", "ab"), ("benchmark/Urban100/HR", "c")):
        (cwd / place).mkdir(parents=True)
        for name in names:
            Image.fromarray(Noise((20, 30))[0]).save(cwd / place / f"{name}.png")
    return cwd


def test_named_sets_and_folders_are_found(folder):
    sets = open_super_resolution(["set5", "benchmark/Urban100"], ["urban100", "Set5"], 3)
    assert sets.train.names == ["a.png", "b.png", "HR/c.png"]
    assert sets.train.source == "set5 and benchmark/Urban100"
    assert {name: part.names for name, part in sets.tests.items()} == {
        "urban100": ["c.png"],
        "Set5": ["a.png", "b.png"],
    }


def test_drawn_pictures_have_the_size_that_is_asked():
    sets = open_super_resolution(["synthetic:photos"], ["synthetic:night"], 2, size=32)
    assert sets.train[0].shape == (32, 32, 3)
    assert list(sets.tests) == ["night"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("set6", "set6 is no known set of pictures .* did you mean 'set5'"),
        ("set14", "set14: not in RLGEN_DATA=.*; put a folder Set14 there"),
        ("div2k", "put a folder DIV2K_train_HR there"),
        ("Set5/none", "no images at"),
        ("synthetic:photo", "did you mean 'photos'"),
    ],
)
def test_a_mistake_is_told(folder, source, message):
    with pytest.raises(UserError, match=message):
        open_super_resolution([source], ["set5"], 2)


def test_without_a_folder_of_data_that_is_told(monkeypatch):
    monkeypatch.delenv("RLGEN_DATA", raising=False)
    with pytest.raises(UserError, match="set5: RLGEN_DATA is not set"):
        open_super_resolution(["set5"], ["set5"], 2)
