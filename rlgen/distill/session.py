"""A run of distillation, from its folder to its card: teachers first, then the student.

Layout beside that of every run::

    teachers/0/          a training of its own: progress.csv, checkpoints/, student/
    stages/1/            likewise, where students follow each other
    student/             model.safetensors, config.json: the plain network
    peers/1/             the other networks of an online method
    result.json          the task's figures at the end
"""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from rlgen.core.checkpoint import list_checkpoints
from rlgen.core.cli import tell
from rlgen.core.curves import draw_losses
from rlgen.core.errors import UserError
from rlgen.core.interrupt import StopSignal
from rlgen.core.job import newest_checkpoint
from rlgen.core.loop import Every
from rlgen.core.run import CARD, write_text
from rlgen.core.step_session import StepSession
from rlgen.distill.chain import Stage
from rlgen.distill.exported import STUDENT, WEIGHTS
from rlgen.distill.tasks.base import nested
from rlgen.distill.training import DistillTrainer, TrainerMaker


class DistillSession(StepSession):
    """One stage: its records, checkpoints, figures and exported networks.

    Args:
        folder: The stage's folder.
        config: The resolved configuration.
        trainer: What is trained.
        accelerator: The process's device and peers; the first process alone writes.
    """

    restored = "weights, connectors, optimisers"

    def __init__(
        self,
        folder: Path,
        config: dict[str, Any],
        trainer: DistillTrainer,
        accelerator: Accelerator,
    ) -> None:
        epoch = trainer.steps_per_epoch
        log_every, checkpoint_every = config["log_every"], config["checkpoint_every"]
        super().__init__(
            folder,
            config,
            trainer,
            accelerator,
            trainer.total_steps,
            log_every or epoch,
            checkpoint_every or epoch,
        )
        self.trainer = trainer
        self.shown = ("loss", *trainer.task.shown)
        self.eval_every: int = config["eval_every"] * epoch
        self.figures: dict[str, float] = {}

    def events(self) -> list[Every]:
        """Returns the rows with the task's figures."""
        return [Every(self.eval_every, self.log)]

    def measure(self) -> Mapping[str, float]:
        """Returns the task's figures where they are due."""
        due = self.eval_every and self.step % self.eval_every == 0
        if not due and self.step < self.total_steps:
            return {}
        self.figures = self.trainer.evaluate()
        return self.figures

    def draw(self) -> None:
        """Draws ``learning_curve.png``, and the task's own pictures."""
        if self.writes:
            draw_losses(self.folder)
            self.trainer.draw(self.folder)

    def leave(self) -> None:
        """Saves the final state, the plain networks, their figures and the pictures."""
        if not self.writes:
            return
        self.save()
        self.figures = self.figures or self.trainer.evaluate()
        result = {"steps": self.step, **nested(self.figures)}
        write_text(self.folder / "result.json", json.dumps(result, indent=1) + "\n")
        self.draw()
        self.trainer.export(self.folder)  # last: a stage that has it is done

    def finish(self, command: str, seconds: float) -> None:
        """Leaves what :meth:`leave` does, and the card.

        Args:
            command: The command as typed, for the card.
            seconds: Wall-clock time of the training.
        """
        if not self.writes:
            return
        self.leave()
        config, run = self.config, self.folder
        steps = self.step - (self.resumed_at or 0)
        task = self.trainer.task
        told = task.told(self.figures)
        pictures = "".join(f", `{name}`" for name in task.pictures)
        card = [
            f"# {config['distiller']['name']}: {self.trainer.stage.title}",
            "",
            f"Command: `{command}`",
            "",
            f"- {task.measured} after the last step: {told}",
            f"- {self.step:,} steps of {config['batch_size']} pictures, "
            f"{self.step / self.trainer.steps_per_epoch:.4g} epochs, seed {config['seed']}, "
            f"{steps / max(seconds, 1e-9):.2f} steps/s, {seconds / 60:.1f} min for the last "
            f"{steps:,} steps, torch {torch.__version__}",
            *(f"- {line}" for line in self.trainer.describe()),
            "- last terms: " + ", ".join(f"{n} {v:.4g}" for n, v in self.last.items()),
            "- all settings: `config.yaml`; terms and figures: `progress.csv`, "
            f"`learning_curve.png`, `result.json`{pictures}",
            f"- the student alone, without connectors: `{STUDENT}/{WEIGHTS}`, "
            f"`{STUDENT}/config.json`",
            f"- go on: `python -m rlgen.train resume={run} total_steps=...`",
            f"- as a teacher: `python -m rlgen.train {task.teaching} teacher={run} "
            f"student={task.examples[1]}`",
        ]
        write_text(run / CARD, "\n".join(card) + "\n")
        tell(f"done: {told}; see {run}/{CARD}")


class ChainSession:
    """The stages of a run, one after another; steps are those of the last one, the student's.

    Args:
        folder: The run folder.
        config: The resolved configuration.
        stages: In their order.
        make: Makes their trainers.
        accelerator: The process's device and peers.
        total_steps: Of the last stage.
    """

    steps_option = "total_steps"

    def __init__(
        self,
        folder: Path,
        config: dict[str, Any],
        stages: list[Stage],
        make: TrainerMaker,
        accelerator: Accelerator,
        total_steps: int,
    ) -> None:
        self.folder, self.config, self.stages = folder, config, stages
        self.make, self.accelerator = make, accelerator
        self.seconds = 0.0
        self._active: DistillSession | None = None
        self._last: DistillSession | None = None
        self.total_steps = total_steps

    @property
    def step(self) -> int:
        """Steps that the student has taken."""
        return 0 if self._last is None else self._last.step

    def last_checkpoint(self) -> str:
        """Returns the path of the newest checkpoint, for messages."""
        return newest_checkpoint(self.folder if self._active is None else self._active.folder)

    def restore(self) -> None:
        """Puts the student's newest checkpoint back, if all earlier stages are done.

        Raises:
            UserError: If checkpoints exist and none can be read, or one fits other networks.
        """
        waiting = next((s for s in self.stages[:-1] if not self._is_done(s)), None)
        if waiting is not None:
            if list_checkpoints(self.folder / "checkpoints"):
                raise UserError(
                    f"{self.folder / waiting.folder}/{STUDENT} is missing, which taught the "
                    "student; start anew without resume="
                )
            tell(f"the run was stopped in {waiting.title}; it goes on there")
            return
        self._open_last().restore()

    def learn(self, stop: StopSignal) -> None:
        """Trains what is not trained yet, until the end or until ``stop`` says so."""
        for stage in self.stages[:-1]:
            if not self._is_done(stage):
                self._learn_stage(stage, stop)
                if stop.stopped:
                    return
        session = self._open_last()
        session.trainer.prepare()
        tell(f"training {session.trainer.stage.title}: {self.total_steps:,} steps")
        start = time.monotonic()
        session.learn(stop)
        self.seconds = time.monotonic() - start

    def _learn_stage(self, stage: Stage, stop: StopSignal) -> None:
        folder = self.folder / stage.folder
        if self.accelerator.is_main_process:
            folder.mkdir(parents=True, exist_ok=True)
        session = self._active = self._session(stage)
        tell(f"training {stage.title}: {session.total_steps:,} steps")
        if list_checkpoints(folder / "checkpoints"):
            session.restore()
        session.trainer.prepare()
        session.learn(stop)
        if session.step >= session.total_steps:
            session.leave()
        self.accelerator.wait_for_everyone()

    def _session(self, stage: Stage) -> DistillSession:
        trainer = self.make(stage, self.folder)
        return DistillSession(self.folder / stage.folder, self.config, trainer, self.accelerator)

    def _open_last(self) -> DistillSession:
        if self._last is None:
            self._last = self._active = self._session(self.stages[-1])
        return self._last

    def _is_done(self, stage: Stage) -> bool:
        return (self.folder / stage.folder / STUDENT / WEIGHTS).exists()

    def save(self) -> bool:
        """Saves a checkpoint of the stage that is trained; returns whether it succeeded."""
        if self._active is None:
            return False
        if self._active is not self._last:
            tell(f"{self._active.trainer.stage.title} stands at step {self._active.step:,}")
        return self._active.save()

    def draw(self) -> None:
        """Draws the curve of the stage that is trained."""
        if self._active is not None:
            self._active.draw()

    def finish(self, command: str, seconds: float) -> None:
        """Makes the student's final artefacts and the card.

        Args:
            command: The command as typed, for the card.
            seconds: Wall-clock time of the run; the card tells the student's own.
        """
        session = self._open_last()
        session.trainer.prepare()
        session.finish(command, self.seconds)
