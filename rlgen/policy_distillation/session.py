"""A run of policy distillation, from its folder to its card.

Layout beside that of every run::

    model.zip      the student as SB3 saves it
    result.json    returns of student and teacher, sizes of both
    teacher/       a short teacher, where the run made its own
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from rlgen.agents.scoring import Score
from rlgen.core.cli import tell
from rlgen.core.curves import draw_losses
from rlgen.core.loop import Every
from rlgen.core.run import CARD, write_text
from rlgen.core.step_session import StepSession
from rlgen.policy_distillation.sizes import TeacherSize
from rlgen.policy_distillation.student import PREFIX
from rlgen.policy_distillation.training import PolicyTrainer


class PolicySession(StepSession):
    """Records, checkpoints, evaluations and final artefacts of a student.

    Args:
        folder: The run folder.
        config: The resolved configuration.
        trainer: What is trained.
        accelerator: The process.
        size: Of the teacher.
        parameters: The student's acting ones.
        source: The teacher's run folder.
    """

    shown = ("loss", "return/student")
    restored = "weights, optimiser, states, generator"

    def __init__(
        self,
        folder: Path,
        config: dict[str, Any],
        trainer: PolicyTrainer,
        accelerator: Accelerator,
        size: TeacherSize,
        parameters: int,
        source: Path,
    ) -> None:
        every = (config["total_steps"], config["log_every"], config["checkpoint_every"])
        super().__init__(folder, config, trainer, accelerator, *every)
        self.trainer = trainer
        self.size, self.parameters, self.source = size, parameters, source
        self._score: tuple[int, Score] | None = None  # of the student, and at which step

    def score(self) -> Score:
        """Returns the student's score at this step."""
        if self._score is None or self._score[0] != self.step:
            self._score = self.step, self.trainer.score()
        return self._score[1]

    def events(self) -> list[Every]:
        """Returns the rows with returns."""
        return [Every(self.config["eval_every"], self.log)]

    def measure(self) -> Mapping[str, float]:
        """Returns the student's mean return where it is due."""
        every = self.config["eval_every"]
        if self.step < self.total_steps and not (every and self.step % every == 0):
            return {}
        return {"return/student": self.score().mean}

    def draw(self) -> None:
        """Draws ``learning_curve.png``."""
        draw_losses(self.folder)

    def finish(self, command: str, seconds: float) -> None:
        """Saves the final state, the student, both scores, the picture and the card.

        Args:
            command: The command as typed, for the card.
            seconds: Wall-clock time of the training.
        """
        self.save()
        self.draw()
        trainer, config, run = self.trainer, self.config, self.folder
        trainer.student.save(run / "model.zip")
        student, teacher = self.score(), trainer.score(teacher=True)
        result = {
            "steps": self.step,
            "returns": student.returns.tolist(),
            "teacher_returns": teacher.returns.tolist(),
            "parameters": {"student": self.parameters, "teacher": self.size.as_dict()},
        }
        write_text(run / "result.json", json.dumps(result, indent=1) + "\n")
        steps = self.step - (self.resumed_at or 0)
        kind = config["agent"]["name"].removeprefix(PREFIX).upper()
        sampled = "most probable" if config["eval_deterministic"] else "sampled"
        card = [
            f"# policy distillation on {config['env']}",
            "",
            f"Command: `{command}`",
            "",
            f"- student: return {student}, {sampled} actions",
            f"- teacher: return {teacher}, as {trainer.loaded.config['agent']['name']} of "
            f"`{self.source}` after {trainer.loaded.step:,} steps",
            *(f"- {line}" for line in self._sizes()),
            *(f"- {line}" for line in trainer.describe()),
            f"- {self.step:,} steps, seed {config['seed']}, "
            f"{steps / max(seconds, 1e-9):,.0f} steps/s, {seconds / 60:.1f} min for the last "
            f"{steps:,} steps, torch {torch.__version__}",
            "- last terms: " + ", ".join(f"{n} {v:.4g}" for n, v in self.last.items()),
            "- all settings: `config.yaml`; terms and returns: `progress.csv`, "
            "`learning_curve.png`, `result.json`",
            f"- go on: `python -m rlgen.train resume={run} total_steps=...`",
            f"- score: `python -m rlgen.evaluate {run}`",
            f"- in a script: `rlgen.policy_distillation.load_student({str(run)!r})`, or plain SB3: "
            f'`stable_baselines3.{kind}.load("model.zip")`; the value head is untrained',
        ]
        write_text(run / CARD, "\n".join(card) + "\n")
        tell(f"done: student {student.mean:.2f}, teacher {teacher.mean:.2f}; see {run}/{CARD}")

    def _sizes(self) -> list[str]:
        size, widths = self.size, self.config["agent"]["widths"]
        lines = [
            f"parameters that act: student {self.parameters:,} (hidden layers {widths}), "
            f"{self.parameters / size.acting:.1%} of the teacher's {size.acting:,}"
        ]
        if size.members > 1:
            lines += [
                f"the elite without the units that its gates close: {size.open:,}, of which the "
                f"student has {self.parameters / size.open:.1%}",
                f"the whole population of {size.members}, genes included: {size.population:,}",
            ]
        return lines
