"""Sets of small images in memory."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rlgen.core.errors import UserError
from rlgen.data.pixels import PixelBatches, PixelSet, open_pixels, to_pixels


def write(path: Path, width: int = 12, height: int = 12, color=(200, 100, 0)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), color).save(path)


def test_a_folder_holds_out_every_twentieth(tmp_path):
    for number in range(41):
        write(tmp_path / f"{number:02d}.png", color=(number, 0, 0))
    sets = open_pixels(str(tmp_path))
    assert sets.shape == (3, 12, 12)
    assert sets.test.names == ["19.png", "39.png"]
    assert sets.test.pixels[:, 0, 0, 0].tolist() == [19, 39]
    assert (len(sets.train), len(sets.test)) == (39, 2)
    assert 19 not in sets.train.pixels[:, 0, 0, 0].tolist()


def test_folders_named_train_and_val_are_what_they_say(tmp_path):
    for name in ("train/a.png", "train/b.png", "val/c.png"):
        write(tmp_path / name)
    sets = open_pixels(str(tmp_path))
    assert sets.train.names == ["train/a.png", "train/b.png"]
    assert sets.test.names == ["val/c.png"]


def test_of_few_images_the_last_one_is_held_out(tmp_path):
    for name in "abc":
        write(tmp_path / f"{name}.png")
    sets = open_pixels(str(tmp_path))
    assert (sets.train.names, sets.test.names) == (["a.png", "b.png"], ["c.png"])


def test_a_single_image_is_both(tmp_path):
    write(tmp_path / "a.png")
    sets = open_pixels(str(tmp_path), channels=1)
    assert sets.train is sets.test
    assert sets.train.pixels[0, 0, 0, 0].item() == round(0.299 * 200 + 0.587 * 100)


def test_images_of_several_sizes_need_a_size(tmp_path):
    write(tmp_path / "a.png")
    write(tmp_path / "b.png", 20, 16)
    with pytest.raises(UserError, match=r"another size than 'a\.png'; type size=64"):
        open_pixels(str(tmp_path))
    sets = open_pixels(str(tmp_path), 8)
    assert sets.train.pixels.shape == sets.test.pixels.shape == (1, 3, 8, 8)
    write(tmp_path / "a.png", 14, 12)
    with pytest.raises(UserError, match="which is no square; type size=64"):
        open_pixels(str(tmp_path))


def test_the_middle_of_an_image_is_taken():
    image = np.zeros((4, 8, 3), dtype=np.uint8)
    image[:, 2:6] = 255
    assert (to_pixels(image, 4, 1) == 255).all()


def write_npz(path: Path, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).integers(0, 256, (4, *shape), dtype=np.uint8)
    y = np.arange(4, dtype=np.uint8) % 2
    np.savez(path, x_train=x, y_train=y, x_test=x[:2], y_test=y[:2])


def test_a_named_set_is_read_and_resized(tmp_path, monkeypatch):
    write_npz(tmp_path / "fashion_mnist.npz", (8, 8))
    monkeypatch.setenv("RLGEN_DATA", str(tmp_path))
    sets = open_pixels("fashion_mnist")
    with np.load(tmp_path / "fashion_mnist.npz") as file:
        assert np.array_equal(sets.train.pixels[:, 0].numpy(), file["x_train"])
    assert sets.shape == (1, 8, 8)
    assert open_pixels("fashion_mnist", 12, 3).shape == (3, 12, 12)


def test_an_archive_or_folder_goes_by_its_name(tmp_path, monkeypatch):
    write(tmp_path / "faces/x/a.png")
    write(tmp_path / "faces/b.png")
    monkeypatch.setenv("RLGEN_DATA", str(tmp_path))
    sets = open_pixels("faces")
    assert (sets.train.names, sets.test.names) == (["b.png"], ["x/a.png"])
    assert open_pixels("faces/x").train.names == ["a.png"]


def test_an_empty_folder_is_told(tmp_path):
    with pytest.raises(UserError, match="has no images"):
        open_pixels(str(tmp_path))


def test_colours_become_grey_and_back(tmp_path):
    write_npz(tmp_path / "set.npz", (8, 8, 3))
    grey = open_pixels(str(tmp_path / "set.npz"), channels=1)
    with np.load(tmp_path / "set.npz") as file:
        luma = file["x_train"] @ np.array([0.299, 0.587, 0.114])
    assert np.abs(grey.train.pixels[:, 0].numpy() - luma).max() <= 0.51
    assert grey.shape == (1, 8, 8)


def test_batches_are_a_function_of_seed_and_step():
    pixels = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1).expand(10, 1, 2, 2).clone()
    images = PixelSet(pixels)
    batches = PixelBatches(images, 4, seed=1)
    epoch = torch.cat([batches.at(k) for k in range(5)])[:, 0, 0, 0].tolist()
    assert sorted(epoch[:10]) == list(range(10))
    assert sorted(epoch[10:]) == list(range(10))
    assert torch.equal(PixelBatches(images, 4, seed=1).at(3), batches.at(3))
    assert not torch.equal(PixelBatches(images, 4, seed=2).at(3), batches.at(3))
    shared = [PixelBatches(images, 2, seed=1, rank=rank, world=2).at(0) for rank in (0, 1)]
    assert torch.equal(torch.cat(shared), batches.at(0))
    assert batches.steps_per_epoch == 2.5


def test_half_of_the_images_are_mirrored_where_asked():
    pixels = torch.zeros(64, 1, 2, 2, dtype=torch.uint8)
    pixels[..., 1] = 9
    batch = PixelBatches(PixelSet(pixels), 64, seed=0, flip=True).at(0)
    mirrored = int((batch[:, 0, 0, 0] == 9).sum())
    assert 16 < mirrored < 48
    assert (batch.sum((1, 2, 3)) == 18).all()
