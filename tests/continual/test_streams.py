"""Streams: sizes, choices, split and permuted sets, names, mistakes."""

import numpy as np
import pytest

from rlgen.continual.streams import (
    Fit,
    chosen,
    drawn_stream,
    open_stream,
    permuted_stream,
    split_stream,
    task_name,
)
from rlgen.core.errors import UserError


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with a grey set of 10 classes, 12x12, and a coloured one of 4, 6x6."""
    folder = tmp_path_factory.mktemp("sets")
    generator = np.random.default_rng(0)
    for name, classes, shape in (("mnist", 10, (12, 12)), ("birds", 4, (6, 6, 3))):
        arrays = {}
        for part, count in (("train", 60), ("test", 20)):
            labels = np.sort(np.arange(count) % classes)
            pixels = generator.integers(0, 256, (count, *shape), dtype=np.uint8)
            arrays |= {f"x_{part}": pixels, f"y_{part}": labels}
        np.savez(folder / f"{name}.npz", **arrays)
    return folder


def test_all_tasks_come_in_one_size_with_classes_of_their_own(root):
    stream = open_stream(["mnist", str(root / "birds.npz")], size=8, root=root)
    assert [task.name for task in stream] == ["mnist", "birds"]
    assert [task.shape for task in stream] == [(3, 8, 8)] * 2
    assert [len(task.classes) for task in stream] == [10, 4]
    assert [(len(task.train), len(task.test)) for task in stream] == [(60, 20)] * 2
    grey = stream[0].train.pixels
    assert (grey == grey[..., :1]).all()
    (one, _) = open_stream(["mnist", str(root / "birds.npz")], size=12, channels=1, root=root)
    with np.load(root / "mnist.npz") as file:
        assert (one.train.pixels[..., 0] == file["x_train"]).all()  # nothing to be done


def test_pictures_are_chosen_evenly_over_the_classes_and_by_the_seed(root):
    labels = np.array([0] * 50 + [1] * 5 + [2] * 3)
    rows = chosen(labels, 12, 0)
    assert np.bincount(labels[rows]).tolist() in ([5, 4, 3], [4, 5, 3])
    assert (np.diff(rows) > 0).all()
    assert rows.tolist() == chosen(labels, 12, 0).tolist() != chosen(labels, 12, 1).tolist()
    assert len(chosen(labels, 100, 0)) == len(chosen(labels, None, 0)) == 58
    stream = open_stream("split_mnist", size=8, train=8, test=2, root=root)
    assert [np.bincount(task.train.labels).tolist() for task in stream] == [[4, 4]] * 5
    assert {len(task.test) for task in stream} == {2}


def test_a_set_is_split_by_its_classes(root):
    stream = split_stream("mnist", 5, Fit(size=12, channels=1, root=root))
    names = [f"mnist_{a}-{a + 1}" for a in range(0, 10, 2)]
    assert [task.name for task in stream] == names
    assert stream[2].classes == ("4", "5")
    with np.load(root / "mnist.npz") as file:
        rows = (file["y_train"] == 4) | (file["y_train"] == 5)
        assert (stream[2].train.pixels[..., 0] == file["x_train"][rows]).all()
        assert (stream[2].train.labels == file["y_train"][rows] - 4).all()
    assert sum(len(task.test) for task in stream) == 20


def test_each_task_of_a_permuted_set_moves_pixels_in_its_own_way(root):
    source = str(root / "birds.npz")
    stream = permuted_stream(source, 3, Fit(size=6, seed=1))
    plain, one, two = stream
    with np.load(source) as file:
        assert (plain.train.pixels == file["x_train"]).all()
    assert [task.name for task in stream] == ["birds_0", "birds_1", "birds_2"]
    for task in (one, two):
        assert task.classes == plain.classes
        assert (task.test.labels == plain.test.labels).all()
    orders = []
    for task in (one, two):
        # Where each pixel of the first picture, whose colours are all different, has gone.
        before, after = (t.train.pixels[0].reshape(36, 3).tolist() for t in (plain, task))
        order = [before.index(pixel) for pixel in after]
        assert sorted(order) == list(range(36))
        for part in ("train", "test"):
            flat = getattr(plain, part).pixels.reshape(-1, 36, 3)[:, order]
            assert (getattr(task, part).pixels.reshape(-1, 36, 3) == flat).all()
        orders.append(order)
    assert orders[0] != orders[1]
    again = permuted_stream(source, 2, Fit(size=6, seed=1))[1]
    assert (again.train.pixels == one.train.pixels).all()


def test_drawn_tasks_differ_in_colour_and_not_in_classes():
    stream = drawn_stream(Fit(size=8, train=60, test=12))
    assert [task.name for task in stream] == ["red_shapes", "green_shapes", "blue_shapes"]
    assert len({task.classes for task in stream}) == 1
    for channel, task in enumerate(stream):
        assert (len(task.train), len(task.test)) == (60, 12)
        assert task.train.pixels.mean((0, 1, 2)).argmax() == channel
    other = drawn_stream(Fit(size=8, train=60, test=12, seed=1))
    assert not any(
        (a.train.pixels == b.train.pixels).all() for a in stream for b in other if a.name == b.name
    )


@pytest.mark.parametrize(
    ("source", "name"),
    [("mnist", "mnist"), ("a/birds.npz", "birds"), ("hub:me/cats", "cats"), ("sets/x/", "x")],
)
def test_a_task_is_called_like_its_set(source, name):
    assert task_name(source) == name


MISTAKES = {
    "one task": (["mnist"], {}, "stream=mnist has one task; two or more are needed"),
    "none": ([], {}, "stream is empty; type stream=[mnist,"),
    "twice": (["mnist", "mnist"], {}, "mnist is given twice; name each task once"),
    "unknown": (["mnist", "mnst"], {}, "stream=mnst is no known set and no file or folder; did"),
    "absent": (["mnist", "usps"], {}, "stream=usps: not in root="),
    "no share": ("split_mnist", {"tasks": 3}, "do not make 3 tasks of equally many, two or more"),
    "classes of one": ("split_mnist", {"tasks": 10}, "type tasks=2 or tasks=5"),
    "split of one": ("split_mnist", {"tasks": 1}, "tasks=1 has one task; two or more"),
    "permuted once": ("permuted_mnist", {"tasks": 1}, "tasks=1 has one task; two or more"),
    "size": ("split_mnist", {"size": 2}, "size=2 is too small"),
    "channels": ("split_mnist", {"channels": 2}, "channels=2; allowed: 1 for grey, 3"),
    "same name": (["{root}/mnist.npz", "mnist"], {}, "two tasks would be called mnist"),
}


@pytest.mark.parametrize(("names", "options", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_in_one_line(root, names, options, message):
    if isinstance(names, list):
        names = [name.format(root=root) for name in names]
    with pytest.raises(UserError) as raised:
        open_stream(names, **{"size": 8, "root": root, **options})
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
