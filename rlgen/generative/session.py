"""A training run of an image model, from its folder to its card."""

import shutil
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from rlgen.core.cli import tell
from rlgen.core.curves import draw_losses
from rlgen.core.loop import Every
from rlgen.core.run import write_text
from rlgen.core.step_session import StepSession
from rlgen.generative.registry import ImageTrainer


class ImageSession(StepSession):
    """Adds to the records and checkpoints of a run its samples and final artefacts.

    Args:
        folder: The run folder.
        config: The resolved configuration.
        trainer: What is trained.
        accelerator: The process's device and peers; the first process alone writes.
    """

    shown = ("loss/generator", "loss/autoencoder", "loss/density", "loss")
    restored = "weights, averages, optimisers, history"

    def __init__(
        self,
        folder: Path,
        config: dict[str, Any],
        trainer: ImageTrainer,
        accelerator: Accelerator,
    ) -> None:
        rhythm = (config[name] for name in ("total_steps", "log_every", "checkpoint_every"))
        super().__init__(folder, config, trainer, accelerator, *rhythm)
        self.trainer = trainer

    def events(self) -> list[Every]:
        """Returns the sheets of samples."""
        return [Every(self.config["sample_every"], self._draw_samples)]

    def _draw_samples(self) -> None:
        if self.writes:
            folder = self.folder / "samples"
            folder.mkdir(exist_ok=True)
            self.trainer.draw_samples(folder / f"step-{self.step:07d}.png")

    def draw(self) -> None:
        """Draws ``samples.png`` and ``learning_curve.png``."""
        if self.writes:
            self.trainer.draw_samples(self.folder / "samples.png")
            draw_losses(self.folder)

    def _export(self) -> None:
        """Saves the pipeline beside the old one, which it then replaces."""
        final, fresh = self.folder / "pipeline", self.folder / ".pipeline.tmp"
        shutil.rmtree(fresh, ignore_errors=True)
        self.trainer.export(fresh)
        shutil.rmtree(final, ignore_errors=True)
        fresh.rename(final)

    def finish(self, command: str, seconds: float) -> None:
        """Saves the final state and makes the pictures, the pipeline and the card.

        Args:
            command: The command as typed, for the card.
            seconds: Wall-clock time of the training.
        """
        if not self.writes:
            return
        self.save()
        self._export()
        self.draw()
        steps = self.step - (self.resumed_at or 0)
        config = self.config
        size = "" if config["size"] is None else f" at {config['size']} px"
        card = [
            f"# {config['model']['name']}: {self.trainer.title()}",
            "",
            f"Command: `{command}`",
            "",
            f"- {self.step:,} steps of {config['batch_size']} photos{size}, "
            f"seed {config['seed']}, {steps / max(seconds, 1e-9):.2f} steps/s, "
            f"{seconds / 60:.1f} min for the last {steps:,} steps, "
            f"torch {torch.__version__}",
            *(f"- {line}" for line in self.trainer.describe()),
            "- last losses: " + ", ".join(f"{n} {v:.4g}" for n, v in self.last.items()),
            "- all settings: `config.yaml`; losses: `progress.csv`, `learning_curve.png`; "
            "samples: `samples.png`, `samples/`",
            f"- go on: `python -m rlgen.train resume={self.folder} total_steps=...`",
            f"- use: `{self.trainer.usage(self.folder)}`",
        ]
        write_text(self.folder / "card.md", "\n".join(card) + "\n")
        tell(f"done: see {self.folder}/card.md and {self.folder}/samples.png")
