"""Labelled sets by name, their statistics, and the batches drawn from them."""

import numpy as np
import pytest
import torch

from rlgen.core.errors import UserError
from rlgen.data.classification import LabelledBatches, find_named, open_classification
from rlgen.data.drawn_shapes import SHAPES, draw_shapes


def write(path, count=10, side=4, top=3):
    generator = np.random.default_rng(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    x = generator.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    y = np.arange(count) % (top + 1)
    np.savez(path, x_train=x, y_train=y, x_test=x[:6], y_test=y[:6])
    return path


@pytest.fixture
def sets(tmp_path):
    return open_classification(str(write(tmp_path / "set.npz")))


def test_drawn_shapes_are_the_same_at_every_use():
    one, two = (draw_shapes(12, 16, seed=5) for _ in range(2))
    assert (one[0] == two[0]).all()
    assert one[1].tolist() == [0, 1, 2, 3, 4, 5] * 2
    assert (draw_shapes(12, 16, seed=6)[0] != one[0]).mean() > 0.9


@pytest.mark.parametrize("number", range(len(SHAPES)))
def test_a_shape_stands_out_of_its_ground(number):
    image = draw_shapes(6, 32, seed=1)[0][number].astype(int)
    ground = np.median(np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]]), axis=0)
    apart = np.abs(image - ground).max(axis=-1) > 60
    assert 0.01 < apart.mean() < 0.5


def test_drawn_sets_are_opened_by_name():
    sets = open_classification("synthetic:shapes", size=8)
    assert sets.shape == (3, 8, 8)
    assert sets.classes == tuple(SHAPES)
    assert np.bincount(sets.test.labels).tolist() == [32] * 6
    assert not (sets.test.pixels[:6] == sets.train.pixels[:6]).all()


def test_statistics_are_those_of_all_pixels(sets):
    mean, deviation = sets.statistics()
    scaled = sets.train.pixels / 255
    assert mean == pytest.approx(scaled.mean(axis=(0, 1, 2)), abs=1e-12)
    assert deviation == pytest.approx(scaled.std(axis=(0, 1, 2)), abs=1e-9)


def test_a_name_is_looked_up_in_every_folder(tmp_path, monkeypatch):
    part, whole = tmp_path / "one" / "cifar10_12k.npz", tmp_path / "two" / "cifar10.npz"
    write(part, top=9)
    monkeypatch.setenv("RLGEN_DATA", f"{tmp_path}/none:{tmp_path}/two:{tmp_path}/one")
    assert find_named("cifar10") == part
    write(whole, top=9)
    assert find_named("cifar10") == whole
    write(tmp_path / "two" / "cifar10_5k.npz", top=9)
    assert find_named("cifar10") == whole  # a part only where there is no whole
    sets = open_classification("cifar10")
    assert str(whole) in sets.source
    assert len(sets.classes) == 10


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("cifar10", {}, "data=cifar10: RLGEN_DATA is not set; put cifar10.npz"),
        (
            "cifar11",
            {},
            "data=cifar11 is no known set and no file or folder; did you mean 'cifar10",
        ),
        ("synthetic:shape", {}, "unknown drawn pictures synthetic:shape; did you mean 'shapes'"),
        ("synthetic:shapes", {"size": 2}, "size=2 is too small"),
        ("set.npz", {"size": 9}, "size=9: set.npz has pictures of 4x4"),
    ],
)
def test_a_mistake_is_told(cwd, monkeypatch, source, options, message):
    monkeypatch.delenv("RLGEN_DATA", raising=False)
    write(cwd / "set.npz")
    with pytest.raises(UserError, match=message):
        open_classification(source, **options)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_test": np.array([0, 1, 4])}, "labels go from 0 to 4, of 3 classes"),
        ({"y_train": np.array([-1, 1, 2])}, "labels go from -1 to 2"),
        ({"y_train": np.zeros(3, int), "y_test": np.zeros(3, int)}, "has one class"),
        ({"x_test": np.zeros((3, 5, 4, 3), np.uint8)}, "to test on \\(5, 4, 3\\)"),
        (
            {"x_test": np.zeros((0, 4, 4, 3), np.uint8), "y_test": np.zeros(0, int)},
            "has no pictures",
        ),
    ],
)
def test_a_set_that_cannot_be_is_told(cwd, changes, message):
    x = np.zeros((3, 4, 4, 3), np.uint8)
    arrays = {"x_train": x, "y_train": np.arange(3), "x_test": x, "y_test": np.arange(3)}
    np.savez("a.npz", **{**arrays, **changes})
    with pytest.raises(UserError, match=message):
        open_classification("a.npz")


def whole(sets, **options):
    plain = {"padding": 0, "flip": False}
    return LabelledBatches(sets, 4, seed=1, **{**plain, **options})


def pixels_of(batches, images):
    """Undoes the normalisation."""
    return (images * batches._deviation + batches._mean).mul(255).round().to(torch.uint8)


def test_a_batch_holds_pictures_with_their_own_classes(sets):
    batches = whole(sets)
    images, labels = batches.at(2)
    assert images.shape == (4, 3, 4, 4)
    assert images.dtype == torch.float32
    back = pixels_of(batches, images).permute(0, 2, 3, 1).numpy()
    for image, label in zip(back, labels.tolist(), strict=True):
        (index,) = (k for k in range(10) if (sets.train.pixels[k] == image).all())
        assert sets.train.labels[index] == label


def test_batches_are_normalised(sets):
    images = torch.cat([images for images, _ in LabelledBatches(sets, 4, 0).tests()])
    scaled = sets.test.pixels / 255
    mean, deviation = sets.statistics()
    expected = (scaled - np.array(mean)) / np.array(deviation)
    assert torch.allclose(images.permute(0, 2, 3, 1).double(), torch.tensor(expected), atol=1e-5)
    other = whole(sets, statistics=([0.5] * 3, [0.25] * 3))
    assert torch.allclose(
        next(iter(other.tests()))[0].permute(0, 2, 3, 1).double(),
        torch.tensor(4 * scaled - 2),
        atol=1e-5,
    )


def test_an_epoch_visits_every_picture_once(sets):
    batches = LabelledBatches(sets, 5, seed=0)
    assert batches.steps_per_epoch == 2
    for epoch in range(2):
        seen = torch.cat([batches.at(2 * epoch + k)[1] for k in range(2)])
        assert sorted(seen.tolist()) == sorted(sets.train.labels.tolist())
    assert len(list(batches.first_epoch())) == 2


@pytest.mark.parametrize("step", [0, 7])
def test_a_batch_depends_on_seed_step_and_rank_alone(sets, step):
    one = LabelledBatches(sets, 4, seed=1, padding=2)
    one.at(3)
    images, labels = one.at(step)
    again, classes = LabelledBatches(sets, 4, seed=1, padding=2).at(step)
    assert torch.equal(images, again)
    assert torch.equal(labels, classes)
    for other in ({"seed": 2}, {"seed": 1, "rank": 1, "world": 2}):
        assert not torch.equal(LabelledBatches(sets, 4, padding=2, **other).at(step)[0], images)


def test_processes_share_out_an_epoch(sets):
    ranks = [LabelledBatches(sets, 5, seed=0, rank=r, world=2) for r in range(2)]
    seen = torch.cat([batches.at(0)[1] for batches in ranks])
    assert sorted(seen.tolist()) == sorted(sets.train.labels.tolist())
    assert ranks[0].steps_per_epoch == 1


def test_tests_come_in_order_and_unchanged(sets):
    batches = LabelledBatches(sets, 4, seed=0)
    parts = list(batches.tests(batch_size=4))
    assert [len(labels) for _, labels in parts] == [4, 2]
    assert torch.cat([labels for _, labels in parts]).tolist() == sets.test.labels.tolist()
    back = torch.cat([pixels_of(batches, images) for images, _ in parts])
    assert (back.permute(0, 2, 3, 1).numpy() == sets.test.pixels).all()


def test_training_pictures_are_moved_and_mirrored(sets):
    plain, moved = whole(sets), LabelledBatches(sets, 4, seed=1, padding=1)
    (images, labels), (other, classes) = plain.at(0), moved.at(0)
    assert torch.equal(labels, classes)
    assert not torch.equal(images, other)
