"""A training run of an image model, from its folder to its card."""

import contextlib
import shutil
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console
from stable_baselines3.common.logger import KVWriter, Logger, TensorBoardOutputFormat

from rlgen.core.checkpoint import drop_after, save_checkpoint
from rlgen.core.cli import tell
from rlgen.core.curves import draw_losses
from rlgen.core.device import torch_threads
from rlgen.core.interrupt import StopSignal
from rlgen.core.job import newest_checkpoint, restore_newest
from rlgen.core.loop import Every, Means, run_steps
from rlgen.core.progress import StepBar
from rlgen.core.record import CSVWriter
from rlgen.core.run import write_text
from rlgen.generative.registry import ImageTrainer, Tensors

_SHOWN = ("loss/generator", "loss")  # beside the bar


class ImageSession:
    """Holds together what a run needs: records, checkpoints, samples, final artefacts.

    Args:
        folder: The run folder.
        config: The resolved configuration.
        trainer: What is trained.
        accelerator: The process's device and peers; the first process alone writes.
    """

    steps_option = "total_steps"

    def __init__(
        self,
        folder: Path,
        config: dict[str, Any],
        trainer: ImageTrainer,
        accelerator: Accelerator,
    ) -> None:
        self.folder = folder
        self.config = config
        self.trainer = trainer
        self.total_steps: int = config["total_steps"]
        self.writes = accelerator.is_main_process
        self.resumed_at: int | None = None
        self._step = 0
        self._means = Means()
        self._last: dict[str, float] = {}

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
            tell(f"resumed at step {self._step:,}: weights, averages, optimisers, history as saved")
        self.resumed_at = self._step

    def _put(self, tensors: Tensors, state: dict[str, Any]) -> None:
        self.trainer.restore(tensors, state)
        self._step = int(state["step"])

    def learn(self, stop: StopSignal) -> None:
        """Trains until the configured number of steps, or until ``stop`` says so."""
        config = self.config
        with contextlib.ExitStack() as closing:
            closing.enter_context(torch_threads(config["threads"]))
            self._logger = self._open_logger()
            closing.callback(self._logger.close)
            console = Console(stderr=True, quiet=not self.writes)
            self._bar = closing.enter_context(StepBar(self.total_steps, self._step, console))
            if self._step == 0:
                self.save()
            events = [
                Every(config["log_every"], self._log),
                Every(config["sample_every"], self._draw_samples),
                Every(config["checkpoint_every"], self.save),
            ]
            run_steps(self._train_step, self._step, self.total_steps, stop, events)
            if self._means:
                self._log()

    def _train_step(self, step: int) -> None:
        self._means.add(self.trainer.train_step(step))
        self._step = step + 1
        self._bar.update(self._step, {n: v for n, v in self._last.items() if n in _SHOWN})

    def _open_logger(self) -> Logger:
        if not self.writes:
            return Logger(None, [])
        csv = CSVWriter(self.folder / "progress.csv", self.resumed_at, "step")
        writers: list[KVWriter] = [csv, TensorBoardOutputFormat(str(self.folder))]
        return Logger(str(self.folder), writers)

    def _log(self) -> None:
        means = self._means.read(self._step)
        for name, value in {"step": float(self._step), **means}.items():
            self._logger.record(name, int(value) if name == "step" else value)
        self._logger.dump(self._step)
        self._last = means

    def save(self) -> bool:
        """Saves a checkpoint now; returns whether it succeeded. A failing disk stops no run."""
        if not self.writes:
            return True
        tensors, state = self.trainer.state()
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

    def _draw_samples(self) -> None:
        if self.writes:
            folder = self.folder / "samples"
            folder.mkdir(exist_ok=True)
            self.trainer.draw_samples(folder / f"step-{self._step:07d}.png")

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
        steps = self._step - (self.resumed_at or 0)
        config = self.config
        card = [
            f"# {config['model']['name']}: {', '.join(config['domains'])}",
            "",
            f"Command: `{command}`",
            "",
            f"- {self._step:,} steps of {config['batch_size']} photos at {config['size']} px, "
            f"seed {config['seed']}, {steps / max(seconds, 1e-9):.2f} steps/s, "
            f"{seconds / 60:.1f} min for the last {steps:,} steps, "
            f"torch {torch.__version__}",
            *(f"- {line}" for line in self.trainer.describe()),
            "- last losses: " + ", ".join(f"{n} {v:.4g}" for n, v in self._last.items()),
            "- all settings: `config.yaml`; losses: `progress.csv`, `learning_curve.png`; "
            "samples: `samples.png`, `samples/`",
            f"- go on: `python -m rlgen.train resume={self.folder} total_steps=...`",
            f"- use: `python -m rlgen.generate model={self.folder} image=PHOTO mix=...`",
        ]
        write_text(self.folder / "card.md", "\n".join(card) + "\n")
        tell(f"done: see {self.folder}/card.md and {self.folder}/samples.png")
