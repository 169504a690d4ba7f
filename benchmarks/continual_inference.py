"""What does a prediction cost? A task's portion against a plain network, and the task index apart.

    python benchmarks/continual_inference.py
    python benchmarks/continual_inference.py page=docs/methods/continual.md

A C-net has learned ``tasks`` tasks of random pictures for one step each: times do not depend on
what was learned. The last task's portion, of full width, is timed against a plain network of the
same widths with weights of its own, made by the same class, both with the task's normalisation,
argmax included. Then come ``predict`` with the task given and with it found, and the task index
alone. All rows take turns, call by call, so that a busy machine slows all of them; times are
medians of CPU seconds (of the wall clock with more than one thread), ratios medians of the ratios
to the plain network in the same turn.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from continual_plan import INDICES, THIN, make_network
from continual_tables import row
from pages import write_page
from torch import Tensor

import rlgen.density_index  # noqa: F401 - registers the index "density"
from rlgen.continual.experience import Experience
from rlgen.continual.hcnet import HCNet
from rlgen.continual.recipe import Recipe
from rlgen.continual.stacking import INPUT, resized
from rlgen.core.cli import run_command
from rlgen.core.compose import check_options
from rlgen.core.errors import UserError, closest
from rlgen.data.classification import LabelledImages

MARK = "inference"
QUICK: dict[str, dict[str, Any]] = {  # options with which an index is made in moments
    "gan": {"gan_steps": 1, "classifier_steps": 1},
    "autoencoder": {"steps": 1},
    "prototype": {},
    "density": {"steps": 1, "density_steps": 1},
}
PLAIN = "plain network of its widths"


@dataclass
class InferenceOptions:
    """Options of the benchmark."""

    network: str = "resnet20"  # or thin
    width: int = 16  # of thin
    tasks: int = 3
    indices: list[str] = field(default_factory=lambda: [*INDICES])
    batches: list[int] = field(default_factory=lambda: [1, 256])
    size: int = 32
    turns: int = 30
    threads: int = 1
    page: str | None = None


def random_task(number: int, size: int) -> Experience:
    """Returns a task of a few random pictures of ten classes."""
    pixels = np.random.default_rng(number).integers(0, 256, (40, size, size, 3), dtype=np.uint8)
    part = LabelledImages(pixels, np.arange(40) % 10)
    return Experience(f"task{number}", part, part, tuple("0123456789"))


def make_learner(options: InferenceOptions, index: str) -> HCNet:
    """Returns a learner of all tasks."""
    learner = HCNet(
        make_network(options.network, options.width, 0),
        (3, options.size, options.size),
        Recipe(total_steps=1, batch_size=16, lr=0.01),
        tasks=options.tasks,
        index=index,
        index_options=QUICK[index],
    )
    for number in range(options.tasks):
        learner.learn_task(random_task(number, options.size))
    return learner


def plain_twin(learner: HCNet, task: int) -> torch.nn.Module:
    """Returns a network of a portion's widths, made without the C-net's weights."""
    cnet = learner.cnet
    widths = {group: width for group, width in cnet.widths(task).items() if group != INPUT}
    return resized(cnet.network, cnet.layout, widths, 10).eval().requires_grad_(False)


def rows_of(options: InferenceOptions, images: Tensor) -> dict[str, Callable[[], Any]]:
    """Returns what is timed, by name; the first row is what all are compared with."""
    learners = {index: make_learner(options, index) for index in options.indices}
    some, last = next(iter(learners.values())), options.tasks - 1
    record, portion = some.records[last], some.cnet.portion(last)
    twin, whole = plain_twin(some, last), make_network(options.network, options.width, 0).eval()

    def alone(network: torch.nn.Module) -> Callable[[], Tensor]:
        return lambda: network(record.normalized(images)).argmax(1)

    rows: dict[str, Callable[[], Any]] = {
        PLAIN: alone(twin),
        "portion of the last task": alone(portion),
        "`predict`, task given": lambda: some.predict(images, last),
        "network as it was given": alone(whole),
        "portion of the first task": alone(some.cnet.portion(0)),
    }
    for index, learner in learners.items():
        rows[f"`{index}` alone"] = lambda learner=learner: learner.index.route(images)
        rows[f"`predict`, task found by `{index}`"] = lambda learner=learner: learner.predict(
            images
        )
    return rows


@torch.no_grad()
def times_of(rows: dict[str, Callable[[], Any]], turns: int) -> dict[str, np.ndarray]:
    """Times all rows in turn.

    Args:
        rows: By name.
        turns: Calls of each, after two that do not count.

    Returns:
        Seconds of each call, (turns,), by name.
    """
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    found = np.empty((len(rows), turns + 2))
    for turn in range(turns + 2):
        for number, call in enumerate(rows.values()):
            start = clock()
            call()
            found[number, turn] = clock() - start
    return dict(zip(rows, found[:, 2:], strict=True))


def table(options: InferenceOptions) -> list[str]:
    """Returns the lines of a Markdown table."""
    heads = ["row"]
    columns: dict[str, list[str]] = {}
    for count in options.batches:
        images = torch.rand(count, 3, options.size, options.size)
        heads += [f"batch {count}, ms", "of the plain network"]
        found = times_of(rows_of(options, images), options.turns)
        for name, seconds in found.items():
            ratio = np.median(seconds / found[PLAIN])
            columns.setdefault(name, [name]).extend(
                [f"{1e3 * np.median(seconds):.3g}", f"{ratio:.2f}"]
            )
    name = f"{THIN}-{options.width}" if options.network == THIN else options.network
    about = (
        f"{name} shared out to {options.tasks} tasks, pictures of {options.size}x{options.size}, "
        f"{options.threads} thread(s) of the CPU, {options.turns} turns."
    )
    return [about, "", row(heads), row(["---"] * len(heads)), *map(row, columns.values())]


def main(arguments: list[str]) -> int:
    """Times all rows and prints the table."""
    options = check_options(InferenceOptions, arguments)
    for index in options.indices:
        if index not in INDICES:
            raise UserError(f"indices: unknown {index!r}; {closest(index, INDICES)}")
    for key in ("turns", "threads", "tasks"):
        if getattr(options, key) < 1:
            raise UserError(f"{key}={getattr(options, key)} is too small; type {key}=1 or more")
    if not options.indices or not options.batches or min(options.batches) < 1:
        raise UserError("give one of indices and of batches at least, each batch 1 or more")
    torch.set_num_threads(options.threads)
    lines = table(options)
    print("\n".join(lines))
    if options.page is not None:
        write_page(Path(options.page), MARK, "\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, lambda: __doc__, None))
