"""Names of generative models, as ``model=`` takes them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch

from rlgen.core.registry import Registry

Tensors = dict[str, dict[str, torch.Tensor]]


class ImageTrainer(Protocol):
    """What a training session asks of a model's trainer."""

    def train_step(self, step: int) -> dict[str, torch.Tensor]:
        """Takes step number ``step`` and returns its named loss terms, scalars on the device."""

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """Returns all that training changes: named tensors by file, and JSON values."""

    def restore(self, tensors: Tensors, state: dict[str, Any]) -> None:
        """Puts a state from :meth:`state` back."""

    def draw_samples(self, path: Path) -> None:
        """Draws a sheet of samples of the present model as a PNG."""

    def export(self, folder: Path) -> None:
        """Saves the trained pipeline."""

    def title(self) -> str:
        """Returns what the card's title says beside the model's name."""

    def usage(self, folder: Path) -> str:
        """Returns a command that uses the finished run in a folder."""

    def describe(self) -> list[str]:
        """Returns lines for the run's card."""


MODELS: Registry[Callable[[dict[str, Any], Any], ImageTrainer]] = Registry("model")
