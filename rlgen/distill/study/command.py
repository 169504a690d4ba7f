"""A study from its options to its folder.

Layout::

    study/
        config.yaml        everything that was set
        runs.csv           one row per run: accuracy, sizes, seconds
        table.md           accuracies, gains, interactions, verdicts
        interaction.png    of the interaction protocol
        networks/          each trained network with its result, complete or absent

A run whose result is there is not trained again, whatever ended the process before.
"""

import csv
import io
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from rlgen.core.cli import EXIT_INTERRUPTED, RunFailed, tell
from rlgen.core.compose import load_yaml, to_yaml
from rlgen.core.device import torch_threads
from rlgen.core.errors import UserError, closest
from rlgen.core.interrupt import StopSignal
from rlgen.core.loop import make_accelerator
from rlgen.core.progress import StepBar
from rlgen.core.run import CONFIG, write_text
from rlgen.distill.study.bagging import Bagging
from rlgen.distill.study.crossing import Crossing, read_factors, teacher_key
from rlgen.distill.study.options import StudyOptions, difference
from rlgen.distill.study.pictures import open_pictures
from rlgen.distill.study.report import (
    bagging_table,
    compare_all,
    draw_interactions,
    interaction_table,
    read_cells,
)
from rlgen.distill.study.store import Row, Store
from rlgen.distill.study.training import Trainer
from rlgen.nets.classifiers import CLASSIFIERS

RUNS, TABLE, PICTURE, NETWORKS = "runs.csv", "table.md", "interaction.png", "networks"
SHOWN_EVERY = 10  # steps between looks at the loss


class _Stopped(Exception):
    """A signal came; what was being trained is given up."""


class _Progress:
    """Counts steps on a bar and listens for a signal."""

    def __init__(self, bar: StepBar, stop: StopSignal) -> None:
        self.bar, self.stop = bar, stop
        self.done = 0

    def __call__(self, title: str, loss: Tensor) -> None:
        self.done += 1
        if self.stop.stopped:
            raise _Stopped
        if self.done % SHOWN_EVERY == 0:
            self.bar.update(self.done, {"run": title, "loss": float(loss)})


def run_study(options: StudyOptions) -> int:
    """Runs a study, or goes on with it, and returns the exit code.

    Raises:
        UserError: If an option names nothing, or the folder has another study.
        RunFailed: If a loss is not finite, or the disk is full.
    """
    _check_names(options)
    sets = open_pictures(options)
    accelerator = make_accelerator(options.device, options.precision)
    folder = _open_folder(options)
    with torch_threads(options.threads), StopSignal() as stop:
        store = Store(folder / NETWORKS)
        counted: list[_Progress] = []
        trainer = Trainer(options, sets, accelerator, lambda *seen: counted[0](*seen))
        kind = Crossing if options.protocol == "interaction" else Bagging
        study: Crossing | Bagging = kind(options, trainer, store)
        report = _Report(folder, options, study, trainer)
        tell(f"study folder: {folder}")
        start = time.monotonic()
        try:
            with StepBar(study.steps()) as bar:
                counted.append(_Progress(bar, stop))
                for _ in study.work():
                    report.write()  # after each run: whatever comes next, this much is told
        except _Stopped:
            report.write()
            tell(f"interrupted; {report.count()} are kept, type the same command to go on")
            return EXIT_INTERRUPTED
        except OSError as error:  # such as a full disk: what is there is whole
            reason = error.strerror or error
            raise RunFailed(
                f"cannot write into {folder}: {reason}; type the same command to go on"
            ) from None
        report.write(drawn=True)
        print(f"\n{report.text}")
        tell(f"done: {report.count()} in {time.monotonic() - start:.0f} s; see {folder}/{TABLE}")
    return 0


class _Report:
    """Writes the tables of what is there."""

    def __init__(
        self, folder: Path, options: StudyOptions, study: Crossing | Bagging, trainer: Trainer
    ) -> None:
        self.folder, self.options, self.study, self.trainer = folder, options, study, trainer
        self.text = ""

    def count(self) -> str:
        """Returns how many runs there are."""
        return f"{len(self.study.rows())} of {sum(1 for _ in self.study.runs())} runs"

    def write(self, drawn: bool = False) -> None:
        """Writes ``runs.csv`` and ``table.md``, and the picture where it is asked for."""
        rows = self.study.rows()
        write_text(self.folder / RUNS, _csv(rows))
        title = self._title()
        if isinstance(self.study, Bagging):
            self.text = bagging_table(title, rows, self.study.spreads())
        else:
            methods = [method.label for method in self.study.methods]
            techniques = [technique.label for technique in self.study.techniques]
            found = compare_all(read_cells(rows), methods, techniques)
            self.text = interaction_table(title, rows, methods, techniques, found)
            if drawn and found:
                draw_interactions(found, self.folder / PICTURE)
        write_text(self.folder / TABLE, self.text)

    def _title(self) -> str:
        sets, options, trainer = self.trainer.sets, self.options, self.trainer
        channels, height, width = sets.shape
        lines = [
            f"{options.data}: {len(sets.train):,} pictures to train on, {len(sets.test):,} to test "
            f"on, {channels}x{height}x{width}; student {options.student}, teacher "
            f"{options.teacher}{self._teachers()}; {trainer.main.steps:,} steps",
        ]
        if options.protocol == "interaction":
            lines.append(
                f"and {trainer.finetuning.steps:,} of fine-tuning, recipe {options.recipe}"
            )
        return f"{' '.join(lines)}. Settings: `{CONFIG}`, single runs: `{RUNS}`."

    def _teachers(self) -> str:
        rows = [self.study.store.row(teacher_key(seed)) for seed in range(self.options.seeds)]
        accuracies = [row["accuracy"] for row in rows if row is not None]
        if not accuracies:
            return ""
        return f" (accuracy {sum(accuracies) / len(accuracies):.2f} % on the mean)"


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _check_names(options: StudyOptions) -> None:
    for key in ("student", "teacher"):
        name = getattr(options, key)
        if name not in CLASSIFIERS:
            raise UserError(f"{key}={name} is no classifier; {closest(name, CLASSIFIERS)}")
    read_factors(options)


def _open_folder(options: StudyOptions) -> Path:
    """Makes the folder, or checks that its runs are of the same settings."""
    folder = Path(options.out)
    config = folder / CONFIG
    if config.exists():
        other = difference(load_yaml(config), options)
        if other is not None:
            raise UserError(
                f"out={options.out} holds a study with {other}; type that too, or another out="
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if folder.exists() and not config.exists() and any(folder.iterdir()):
            raise UserError(f"out={options.out} has files and no study; name another folder")
        write_text(config, to_yaml(asdict(options)))
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"cannot write into {folder}: {reason}; name another out") from None
    return folder
