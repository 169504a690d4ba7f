"""A training run of a job that is not SB3's: records, checkpoints, bar, resume.

Images and distillation share it. A subclass says what is done besides (:meth:`StepSession.events`,
:meth:`StepSession.measure`), which pictures the run leaves and how it ends; all else is final.
"""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from accelerate import Accelerator
from rich.console import Console
from stable_baselines3.common.logger import KVWriter, Logger, TensorBoardOutputFormat

from rlgen.core.checkpoint import drop_after, save_checkpoint
from rlgen.core.cli import tell
from rlgen.core.device import torch_threads
from rlgen.core.interrupt import StopSignal
from rlgen.core.job import Tensors, newest_checkpoint, restore_newest
from rlgen.core.loop import Every, Means, run_steps
from rlgen.core.progress import StepBar
from rlgen.core.record import CSVWriter


class StepTrainer(Protocol):
    """What a session asks of whatever is trained."""

    def train_step(self, step: int) -> dict[str, torch.Tensor]:
        """Takes step number ``step`` and returns its named loss terms, scalars on the device."""

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """Returns all that training changes: named tensors by file, and JSON values."""

    def restore(self, tensors: Tensors, state: dict[str, Any]) -> None:
        """Puts a state from :meth:`state` back."""

    def describe(self) -> list[str]:
        """Returns lines for the run's card."""


class StepSession(ABC):
    """Holds together what a run needs while it learns.

    Args:
        folder: The run folder.
        config: The resolved configuration, of which ``threads`` is read here.
        trainer: What is trained.
        accelerator: The process's device and peers; the first process alone writes.
        total_steps: Steps of the whole run.
        log_every: Steps between rows of ``progress.csv``.
        checkpoint_every: Steps between checkpoints.

    Attributes:
        shown: Terms that stand beside the bar.
        restored: What the message of a resumed run says is as saved.
    """

    steps_option = "total_steps"
    shown: tuple[str, ...] = ("loss",)
    restored: ClassVar[str] = "weights, optimisers"

    def __init__(
        self,
        folder: Path,
        config: dict[str, Any],
        trainer: StepTrainer,
        accelerator: Accelerator,
        total_steps: int,
        log_every: int,
        checkpoint_every: int,
    ) -> None:
        self.folder = folder
        self.config = config
        self._trainer = trainer
        self.total_steps = total_steps
        self.log_every, self.checkpoint_every = log_every, checkpoint_every
        self.writes: bool = accelerator.is_main_process
        self.resumed_at: int | None = None
        self._step = 0
        self._means = Means()
        self.last: dict[str, float] = {}

    @abstractmethod
    def events(self) -> Sequence[Every]:
        """Returns what is done at some steps, after a row was due and before a checkpoint is."""

    @abstractmethod
    def draw(self) -> None:
        """Draws the pictures of the state reached."""

    @abstractmethod
    def finish(self, command: str, seconds: float) -> None:
        """Makes the final artefacts and the card.

        Args:
            command: The command as typed, for the card.
            seconds: Wall-clock time of the training.
        """

    def measure(self) -> Mapping[str, float]:
        """Returns what is measured at this step, for the row that is written at it; nothing here.

        It is asked in the first process only, and once for each row.
        """
        return {}

    def milestone(self) -> int:
        """Returns the step up to which the loop runs before it asks again; here the last one.

        A run whose ``total_steps`` is known part after part corrects it here.
        """
        return self.total_steps

    @property
    def step(self) -> int:
        """Steps taken so far."""
        return self._step

    def last_checkpoint(self) -> str:
        """Returns the path of the newest checkpoint, for messages."""
        return newest_checkpoint(self.folder)

    def restore(self) -> None:
        """Puts the newest readable checkpoint back; a damaged one is told and skipped.

        Raises:
            UserError: If checkpoints exist and none can be read, or one fits another model.
        """
        if restore_newest(self.folder, self._put):
            if self.writes:
                drop_after(self.folder / "checkpoints", self._step)
            tell(f"resumed at step {self._step:,}: {self.restored} as saved")
        self.resumed_at = self._step

    def _put(self, tensors: Tensors, state: dict[str, Any]) -> None:
        self._trainer.restore(tensors, state)
        self._step = int(state["step"])

    def learn(self, stop: StopSignal) -> None:
        """Trains until there are ``total_steps``, or until ``stop`` says so."""
        with contextlib.ExitStack() as closing:
            closing.enter_context(torch_threads(self.config["threads"]))
            self._logger = self._open_logger()
            closing.callback(self._logger.close)
            console = Console(stderr=True, quiet=not self.writes)
            self._bar = closing.enter_context(StepBar(self.total_steps, self._step, console))
            if self._step == 0:
                self.save()
            events = [
                Every(self.log_every, self.log),
                *self.events(),
                Every(self.checkpoint_every, self.save),
            ]
            while self._step < self.total_steps and not stop.stopped:
                run_steps(self._train_step, self._step, self.milestone(), stop, events)
            self.log()

    def _train_step(self, step: int) -> None:
        self._means.add(self._trainer.train_step(step))
        self._step = step + 1
        self._bar.update(self._step, {n: v for n, v in self.last.items() if n in self.shown})

    def _open_logger(self) -> Logger:
        if not self.writes:
            return Logger(None, [])
        csv = CSVWriter(self.folder / "progress.csv", self.resumed_at, "step")
        writers: list[KVWriter] = [csv, TensorBoardOutputFormat(str(self.folder))]
        return Logger(str(self.folder), writers)

    def log(self) -> None:
        """Writes a row, unless there is one of this step: means since the last, what is measured.

        Raises:
            NonFiniteLossError: If a mean is NaN or infinite.
        """
        if not self._means:
            return
        row = dict(self._means.read(self._step))
        if self.writes:
            row |= self.measure()
        for name, value in {"step": float(self._step), **row}.items():
            self._logger.record(name, int(value) if name == "step" else value)
        self._logger.dump(self._step)
        self.last = row

    def save(self) -> bool:
        """Saves a checkpoint now; returns whether it succeeded. A failing disk stops no run."""
        if not self.writes:
            return True
        tensors, state = self._trainer.state()
        for group in tensors.values():
            if not all(bool(t.isfinite().all()) for t in group.values()):
                tell(f"no checkpoint at step {self._step}: weights are not finite")
                return False
        try:
            save_checkpoint(
                self.folder / "checkpoints", self._step, tensors, {**state, "step": self._step}
            )
        except OSError as error:
            tell(f"checkpoint at step {self._step} failed ({error}); the last complete one is kept")
            return False
        return True
