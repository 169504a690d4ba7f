"""Streams: tasks in an order, from sets by name, split or permuted sets, folders, drawn pictures.

The streams of the spec hc_net (section e) begin with MNIST and go on with sets of other kinds; each
set is one task with classes of its own. All pictures of a stream are brought to one size and number
of channels, since one network learns them all. Split and permuted sets are those of the field
(J. Kirkpatrick et al., PNAS 2017; F. Zenke et al., ICML 2017).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from rlgen.continual.experience import Experience
from rlgen.core.errors import UserError
from rlgen.core.ranges import check_range
from rlgen.data.classification import (
    HUB,
    NAMED,
    LabelledImages,
    LabelledSets,
    find_named,
    open_classification,
)
from rlgen.data.drawn_shapes import SHAPES, draw_shapes
from rlgen.data.pixels import fit_pixels
from rlgen.data.synthetic import PREFIX

DRAWN = "drawn"
INKS = ("red", "green", "blue")  # the drawn tasks: the same shapes in one channel each
SPLIT, PERMUTED = "split_", "permuted_"
DRAWN_COUNTS = (768, 192)


@dataclass(frozen=True)
class Fit:
    """To what the pictures of a stream are brought.

    Attributes:
        size: Side in pixels.
        channels: 1 or 3.
        train: Pictures to learn from in each task, as evenly over its classes as they go; None:
            all.
        test: Pictures to be judged by in each task; None: all.
        seed: Of which ones, and of permutations.
        root: Folder of named sets instead of those of ``RLGEN_DATA``.

    Raises:
        UserError: If a number is out of range.
    """

    size: int = 32
    channels: int = 3
    train: int | None = None
    test: int | None = None
    seed: int = 0
    root: str | Path | None = None

    def __post_init__(self) -> None:
        check_range("size", self.size, 4, 4096)
        if self.channels not in (1, 3):
            raise UserError(f"channels={self.channels}; allowed: 1 for grey, 3 for colours")
        check_range("train", self.train, 1, 10**9, optional=True)
        check_range("test", self.test, 1, 10**9, optional=True)

    def experience(self, name: str, sets: LabelledSets) -> Experience:
        """Makes a task of a set.

        Args:
            name: Of the task.
            sets: Pictures of any size.
        """
        train, test = self._part(sets.train, 0, self.train), self._part(sets.test, 1, self.test)
        return Experience(name, train, test, tuple(sets.classes))

    def _part(self, part: LabelledImages, number: int, wanted: int | None) -> LabelledImages:
        rows = chosen(part.labels, wanted, self.seed * 2 + number)
        pixels = torch.from_numpy(np.ascontiguousarray(part.pixels[rows])).permute(0, 3, 1, 2)
        fitted = fit_pixels(pixels, self.size, self.channels).permute(0, 2, 3, 1).numpy()
        return LabelledImages(np.ascontiguousarray(fitted), part.labels[rows])


def open_stream(
    names: Sequence[str] | str,
    *,
    size: int = 32,
    channels: int = 3,
    train: int | None = None,
    test: int | None = None,
    seed: int = 0,
    root: str | Path | None = None,
    tasks: int = 5,
) -> list[Experience]:
    """Opens a stream of tasks.

    Args:
        names: Of sets, one task each: ``mnist``, ``usps``, ``fashion_mnist``, ``cifar10``,
            ``cifar100``, a path, ``hub:NAME``, ``synthetic:shapes`` (see
            :func:`rlgen.data.classification.open_classification`). ``split_NAME`` and
            ``permuted_NAME`` stand for ``tasks`` tasks of one set, ``drawn`` for three drawn ones.
        size: Side of all pictures, in pixels.
        channels: 1 or 3.
        train: Pictures to learn from in each task, chosen by ``seed``; None: all.
        test: Pictures to be judged by in each task; None: all.
        seed: Of choices and permutations.
        root: Folder of named sets instead of those of ``RLGEN_DATA``.
        tasks: Into how many tasks a set is split or permuted.

    Raises:
        UserError: If there is one task only, a name is repeated or unknown, or a set cannot be
            split.
    """
    fit = Fit(size, channels, train, test, seed, root)
    listed = [names] if isinstance(names, str) else [str(name) for name in names]
    repeated = sorted({name for name in listed if listed.count(name) > 1})
    if repeated:
        raise UserError(
            f"stream={_typed(listed)}: {', '.join(repeated)} is given twice; name each task once"
        )
    if len(listed) == 1 and not listed[0].startswith((SPLIT, PERMUTED)) and listed[0] != DRAWN:
        raise UserError(
            f"stream={_typed(listed)} has one task; two or more are needed, such as "
            "stream=[mnist,fashion_mnist] or stream=split_mnist"
        )
    if not listed:
        raise UserError("stream is empty; type stream=[mnist,fashion_mnist,cifar10]")
    opened = [task for name in listed for task in _open(name, tasks, fit)]
    names_of_tasks = [task.name for task in opened]
    double = sorted({name for name in names_of_tasks if names_of_tasks.count(name) > 1})
    if double:
        raise UserError(
            f"stream={_typed(listed)}: two tasks would be called {', '.join(double)}; rename one "
            "of their folders"
        )
    return opened


def _open(name: str, tasks: int, fit: Fit) -> list[Experience]:
    if name == DRAWN:
        return drawn_stream(fit)
    if name.startswith(SPLIT):
        return split_stream(name.removeprefix(SPLIT), tasks, fit)
    if name.startswith(PERMUTED):
        return permuted_stream(name.removeprefix(PERMUTED), tasks, fit)
    return [fit.experience(task_name(name), open_set(name, fit))]


def open_set(source: str, fit: Fit) -> LabelledSets:
    """Opens one set; pictures of folders and parquet come in the size wanted, others in their own.

    Args:
        source: As :func:`open_stream` takes it.
        fit: The size wanted, and where named sets are.

    Raises:
        UserError: If there is none, or it is damaged.
    """
    root = None if fit.root is None else str(fit.root)
    try:
        path = find_named(source, root) if source in NAMED else Path(source).expanduser()
        files = ("*.bin", "*-ubyte*") if path.is_dir() else ()
        of_one_size = path.suffix == ".npz" or any(any(path.glob(name)) for name in files)
        return open_classification(source, None if of_one_size else fit.size, root)
    except UserError as error:
        raise UserError(str(error).replace("data=", "stream=")) from None


def split_stream(source: str, tasks: int = 5, fit: Fit | None = None) -> list[Experience]:
    """Splits a set's classes into tasks, in their order: 0-1, 2-3, ...

    Args:
        source: A set.
        tasks: How many; each has the same number of classes.
        fit: To what its pictures are brought.

    Raises:
        UserError: If the classes cannot be shared out evenly, two or more to each task.
    """
    fit = fit or Fit()
    _check_tasks(source, SPLIT, tasks)
    sets = open_set(source, fit)
    count, rest = divmod(len(sets.classes), tasks)
    if rest or count < 2:
        fitting = [n for n in range(2, len(sets.classes) // 2 + 1) if not len(sets.classes) % n]
        allowed = " or ".join(f"tasks={n}" for n in fitting)
        raise UserError(
            f"tasks={tasks}: {source} has {len(sets.classes)} classes, which do not make {tasks} "
            f"tasks of equally many, two or more; "
            + (f"type {allowed}" if allowed else "take another set")
        )
    firsts = range(0, len(sets.classes), count)
    return [
        fit.experience(
            f"{task_name(source)}_{first}-{first + count - 1}", _classes(sets, first, count)
        )
        for first in firsts
    ]


def permuted_stream(source: str, tasks: int = 5, fit: Fit | None = None) -> list[Experience]:
    """Makes tasks of one set by a fixed permutation of the pixels for each; the first is plain.

    All channels of a pixel move together. Permutations act on pictures of the size wanted.

    Args:
        source: A set.
        tasks: How many.
        fit: To what its pictures are brought.

    Raises:
        UserError: If fewer than two tasks are asked for.
    """
    fit = fit or Fit()
    _check_tasks(source, PERMUTED, tasks)
    plain = fit.experience(f"{task_name(source)}_0", open_set(source, fit))
    made = [plain]
    for task in range(1, tasks):
        order = np.random.default_rng([fit.seed, task]).permutation(fit.size**2)
        train, test = (_permuted(part, order) for part in (plain.train, plain.test))
        made.append(Experience(f"{task_name(source)}_{task}", train, test, plain.classes))
    return made


def drawn_stream(fit: Fit | None = None) -> list[Experience]:
    """Draws three tasks, where there is no data: six shapes in red, in green and in blue.

    A small network learns each of them in seconds, and their colour tells which task a picture is
    of. With one channel the tasks differ in brightness alone.

    Args:
        fit: Size and number of pictures.
    """
    fit = fit or Fit()
    made = []
    for channel, ink in enumerate(INKS):
        parts = []
        for part, (most, wanted) in enumerate(
            zip(DRAWN_COUNTS, (fit.train, fit.test), strict=True)
        ):
            seed = (fit.seed * len(INKS) + channel) * 2 + part
            pixels, labels = draw_shapes(wanted or most, fit.size, seed)
            others = [c for c in range(3) if c != channel]
            pixels[..., others] //= 4
            parts.append(LabelledImages(pixels, labels))
        sets = LabelledSets(f"{PREFIX}{ink}", tuple(SHAPES), *parts)
        made.append(fit.experience(f"{ink}_shapes", sets))
    return made


def task_name(source: str) -> str:
    """Returns the name of a set's task: the last part of a path or of a hub's name."""
    bare = source.rstrip("/").rpartition("/")[2]
    if bare in (".", ".."):
        return Path(source).resolve().name
    for prefix in (HUB, PREFIX):
        bare = bare.removeprefix(prefix)
    return bare.removesuffix(".npz").removesuffix(".tar") or source


def chosen(labels: np.ndarray, wanted: int | None, seed: int) -> np.ndarray:
    """Returns rows of pictures drawn as evenly over the classes as they go, in rising order.

    Args:
        labels: (N,).
        wanted: How many; None, or more than there are: all.
        seed: The same seed gives the same rows.
    """
    if wanted is None or wanted >= len(labels):
        return np.arange(len(labels))
    order = np.random.default_rng([seed, 3]).permutation(len(labels))
    mixed = labels[order]
    turn = np.empty(len(labels), np.int64)  # how many of its class come before it
    for label in np.unique(mixed):
        turn[mixed == label] = np.arange(np.count_nonzero(mixed == label))
    return np.sort(order[np.argsort(turn, kind="stable")[:wanted]])


def _classes(sets: LabelledSets, first: int, count: int) -> LabelledSets:
    parts = []
    for part in (sets.train, sets.test):
        rows = (part.labels >= first) & (part.labels < first + count)
        parts.append(LabelledImages(part.pixels[rows], part.labels[rows] - first))
    return LabelledSets(sets.source, tuple(sets.classes[first : first + count]), *parts)


def _permuted(part: LabelledImages, order: np.ndarray) -> LabelledImages:
    count, height, width, channels = part.pixels.shape
    flat = part.pixels.reshape(count, height * width, channels)[:, order]
    return LabelledImages(flat.reshape(part.pixels.shape), part.labels)


def _check_tasks(source: str, kind: str, tasks: int) -> None:
    if tasks < 2:
        raise UserError(
            f"stream={kind}{source} with tasks={tasks} has one task; two or more are needed, such "
            "as tasks=5"
        )


def _typed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"[{','.join(names)}]"
