"""What a run of distillation asks of its task."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from rlgen.core.registry import Registry
from rlgen.distill.distiller import Distiller
from rlgen.distill.updates import Batch, Objective


class TrainBatches(Protocol):
    """Batches as a pure function of the step."""

    steps_per_epoch: int

    def at(self, step: int) -> Batch:
        """Returns inputs and targets of a step, on the device."""

    def first_epoch(self) -> Iterator[Batch]:
        """Yields the batches of the first epoch."""


class Task(ABC):
    """Data, networks and measures of a run.

    Args:
        config: As the train command composes it.
        accelerator: Device and precision.
        sets: What :meth:`open` gave.

    Attributes:
        name: As typed: ``task=NAME``.
        networks: The names that ``student``, ``teacher`` and ``peers`` may have.
        noun: What such a network is called in messages.
        examples: Names of a teacher and of a student, for messages.
        teaching: Arguments of a run that such a network teaches.
        measured: What :meth:`evaluate` measures.
        pictures: Names of what :meth:`draw` draws.
        shown: Columns of ``progress.csv`` that stand beside the bar.
        inputs: Shape (C, H, W) of a sample, for the dry run.
        criterion: Compares an output with the target; None: cross-entropy.
    """

    name: ClassVar[str]
    networks: ClassVar[Registry[Any]]
    noun: ClassVar[str]
    examples: ClassVar[tuple[str, str]]
    teaching: ClassVar[str]
    measured: ClassVar[str]
    pictures: ClassVar[tuple[str, ...]] = ()
    shown: tuple[str, ...] = ()
    inputs: tuple[int, int, int]
    criterion: Callable[[Tensor, Tensor], Tensor] | None = None

    def __init__(self, config: dict[str, Any], accelerator: Accelerator, sets: Any) -> None:
        self.config, self.accelerator, self.sets = config, accelerator, sets

    @classmethod
    @abstractmethod
    def check(cls, config: dict[str, Any]) -> None:
        """Checks what can be told from the options alone.

        Raises:
            UserError: If the method is not for this task, or an option is wrong.
        """

    @classmethod
    @abstractmethod
    def open(cls, config: dict[str, Any]) -> Any:
        """Opens the data to train and to test on.

        Raises:
            UserError: If there is none, or it is damaged.
        """

    @abstractmethod
    def make_network(self, name: str) -> nn.Module:
        """Builds a network by its name, from torch's global generator."""

    @abstractmethod
    def load_network(self, source: str) -> nn.Module:
        """Builds a trained network from a run or file and checks that it fits the data.

        Raises:
            UserError: If it does not.
        """

    @abstractmethod
    def save_network(self, folder: Path, name: str, network: nn.Module) -> None:
        """Saves a plain network and what is to be known of it."""

    @abstractmethod
    def batches(self, seed: int, rank: int = 0, world: int = 1) -> TrainBatches:
        """Returns the batches of one training."""

    def objective(self, distiller: Distiller) -> Objective:
        """Returns what is minimised, and its terms, for a batch."""
        return distiller

    @abstractmethod
    def evaluate(self, distiller: Distiller) -> dict[str, float]:
        """Returns the columns that tell how good the networks are, in evaluation mode."""

    @abstractmethod
    def told(self, figures: Mapping[str, float]) -> str:
        """Returns what :meth:`evaluate` gave as words."""

    @abstractmethod
    def measure(self, network: nn.Module) -> str:
        """Returns how good one fixed network is, in words."""

    @abstractmethod
    def describe(self) -> list[str]:
        """Returns lines on the data for the run's card."""

    def draw(self, folder: Path, distiller: Distiller) -> None:
        """Draws :attr:`pictures`; none here."""
        return


def nested(figures: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Returns ``{"accuracy/student": x}`` as ``{"accuracy": {"student": x}}``."""
    result: dict[str, dict[str, float]] = {}
    for column, value in figures.items():
        kind, _, name = column.partition("/")
        result.setdefault(kind, {})[name] = value
    return result


def count(network: nn.Module) -> int:
    """Returns how many numbers a network learns."""
    return sum(parameter.numel() for parameter in network.parameters())


@torch.no_grad()
def evaluated(task: Task, distiller: Distiller) -> dict[str, float]:
    """Returns a task's figures; the networks are in evaluation meanwhile and in training then."""
    distiller.eval()
    try:
        return task.evaluate(distiller)
    finally:
        distiller.train()
