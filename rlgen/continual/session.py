"""A run of continual learning, from its folder to its card.

Layout beside that of every run::

    learner/             what was learned up to the last whole task (load_learner)
    tasks/NAME/          each task of a C-net as a plain smaller network
    matrix.png           accuracies on each task after each task
    growth.png           parameters and memory after each task, time of each task
    tasks.csv            the same as numbers
    result.json          all scores
"""

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console

from rlgen.continual.cnet_learner import CNetLearner
from rlgen.continual.export import export_task
from rlgen.continual.figures import (
    GROWTH,
    MATRIX,
    draw_growth,
    draw_matrix,
    ledger_lines,
    matrix_lines,
    matrix_table,
)
from rlgen.continual.runs import LEARNED
from rlgen.continual.training import StreamTrainer
from rlgen.core.cli import tell
from rlgen.core.curves import draw_losses
from rlgen.core.loop import Every
from rlgen.core.run import CARD, write_text
from rlgen.core.step_session import StepSession

EXPORTED = "tasks"


class StreamSession(StepSession):
    """The tasks of a stream, with a checkpoint and a row of accuracies after each of them.

    How many steps a task takes is known when it begins, so ``total_steps`` is an estimate before
    the last task has begun.

    Args:
        folder: The run folder.
        config: The resolved configuration.
        trainer: What learns.
        accelerator: The process's device.
    """

    steps_option = "stream"
    further = "stream=[...,ANOTHER] to learn more tasks (learner.grow=true where there is no room)"
    shown = ("loss", "task")
    restored = "learner, optimisers, scores"

    def __init__(
        self,
        folder: Path,
        config: dict[str, Any],
        trainer: StreamTrainer,
        accelerator: Accelerator,
    ) -> None:
        super().__init__(
            folder,
            config,
            trainer,
            accelerator,
            trainer.steps_ahead(),
            config["log_every"],
            config["checkpoint_every"],
        )
        self.trainer = trainer

    def restore(self) -> None:
        """See :meth:`StepSession.restore`; counts again how many steps there are.

        What a kill kept from being written after the last whole task is written now.
        """
        super().restore()
        self.total_steps = self.step + self.trainer.steps_ahead()
        if self.writes and self.trainer.number:
            if self.trainer.learner.training is None:
                self.write()
            else:
                self._export()

    def milestone(self) -> int:
        """Begins the next task, unless one is under way, and returns the step at which it ends."""
        trainer = self.trainer
        trainer.begin()
        self.total_steps = self._bar.total = self.step + trainer.steps_ahead()
        left = trainer.learner.steps_left
        if left:
            place = f"task {trainer.number + 1} of {len(trainer.stream)}"
            tell(f"{place}, {trainer.name}: {left:,} steps")
        return self.step + left

    def events(self) -> list[Every]:
        """Returns what is done after the last step of a task."""
        return [Every(1, self._end_task)]

    def measure(self) -> Mapping[str, float]:
        """Returns the number of the task, from 1, and the accuracies where a task was ended."""
        trainer, ended = self.trainer, self.trainer.ended
        row: dict[str, float] = {"task": trainer.number + (not ended)}
        if ended:
            last = trainer.number - 1
            for kind in ("given", "estimated", "routed"):
                values = getattr(trainer.scores, kind)[last, : last + 1]
                names = zip(trainer.scores.names, values, strict=False)
                row |= {f"{kind}/{name}": float(value) for name, value in names}
        return row

    def _end_task(self) -> None:
        trainer = self.trainer
        if not trainer.ended:
            return
        self.log()
        self.total_steps = self.step + trainer.steps_ahead()
        entry, summary = trainer.ledger[-1], trainer.scores.summary()
        tell(
            f"learned {entry['task']}: {entry['given']:.2f} % with the task given, "
            f"{entry['estimated']:.2f} % without; all tasks so far {told(summary)}"
        )
        self.save()
        if self.writes:
            self.write()

    def write(self) -> None:
        """Writes what stands between two tasks: learner, exported task, figures, tables."""
        self.trainer.learner.save(self.folder / LEARNED)
        self._export()
        write_text(self.folder / "tasks.csv", self._csv())
        self.draw_scores()

    def _export(self) -> None:
        """Exports the tasks of a C-net that have no folder yet; what was learned never changes."""
        learner = self.trainer.learner
        if not self.config["export"] or not isinstance(learner, CNetLearner):
            return
        for task, record in enumerate(learner.records):
            folder = self.folder / EXPORTED / record.name
            if not folder.exists():
                export_task(learner.cnet, task, record, folder)

    def _csv(self) -> str:
        text = io.StringIO()
        ledger = self.trainer.ledger
        columns = list(dict.fromkeys(key for entry in ledger for key in entry))
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(ledger)
        return text.getvalue()

    def draw_scores(self) -> None:
        """Draws accuracies and growth, once a task is learned."""
        if self.trainer.ledger:
            draw_matrix(self.trainer.scores, self.folder / MATRIX)
            draw_growth(self.trainer.ledger, self.folder / GROWTH)

    def draw(self) -> None:
        """Draws ``learning_curve.png``; accuracies and growth are drawn after each task."""
        if self.writes:
            draw_losses(self.folder)

    def finish(self, command: str, seconds: float) -> None:
        """Leaves the tables, the pictures and the card.

        Args:
            command: The command as typed, for the card.
            seconds: Wall-clock time of the training.
        """
        if not self.writes:
            return
        self.save()
        if not self.trainer.ended:  # the run was killed after its last task, perhaps before this
            self.write()
        self.draw()
        trainer, scores = self.trainer, self.trainer.scores
        summary = scores.summary()
        result = {"steps": self.step, **summary, **scores.values(), "ledger": trainer.ledger}
        write_text(self.folder / "result.json", json.dumps(result, indent=1) + "\n")
        write_text(self.folder / CARD, "\n".join(self._card(command, seconds)) + "\n")
        console = Console(stderr=True)
        console.print(matrix_table(scores, "given"))
        console.print(matrix_table(scores, "estimated"))
        tell(f"done: {told(summary)}; see {self.folder}/{CARD}")

    def _card(self, command: str, seconds: float) -> list[str]:
        trainer, scores, run = self.trainer, self.trainer.scores, self.folder
        steps = self.step - (self.resumed_at or 0)
        growing = isinstance(trainer.learner, CNetLearner)
        return [
            f"# {trainer.learner.name}: {', '.join(scores.names)}",
            "",
            f"Command: `{command}`",
            "",
            f"- after the last task: {told(scores.summary())}",
            f"- {self.step:,} steps, seed {self.config['seed']}, "
            f"{steps / max(seconds, 1e-9):.2f} steps/s, {seconds / 60:.1f} min for the last "
            f"{steps:,} steps with tests, torch {torch.__version__}",
            *(f"- {line}" for line in trainer.describe()),
            "- all settings: `config.yaml`; terms and accuracies: `progress.csv`, `tasks.csv`, "
            f"`result.json`, `{MATRIX}`, `{GROWTH}`, `learning_curve.png`",
            f"- from Python: `load_learner('{run}').predict(images)`",
            *([f"- each task alone: `{EXPORTED}/NAME/`"] if growing else []),
            f"- more tasks: `python -m rlgen.train resume={run} stream=[...,ANOTHER]"
            f"{' learner.grow=true' if growing else ''}`",
            "",
            "Accuracy in %, rows after each task:",
            "",
            *matrix_lines(scores, "given"),
            "",
            *matrix_lines(scores, "estimated"),
            "",
            *ledger_lines(trainer.ledger, scores.routed),
        ]


def told(summary: Mapping[str, float | None]) -> str:
    """Returns the scores in words.

    Args:
        summary: See :meth:`StreamScores.summary`.
    """
    names = {
        "acc": "ACC {:.2f} %",
        "bwt": "BWT {:+.2f}",
        "fwt": "FWT {:+.2f}",
        "acc_estimated": "without the task ACC {:.2f} %",
        "bwt_estimated": "BWT {:+.2f}",
        "index": "index accuracy {:.2f} %",
    }
    values = ((form, summary.get(name)) for name, form in names.items())
    return ", ".join(form.format(value) for form, value in values if value is not None)
