"""One phase of one run: a network, perhaps with a teacher, on labelled pictures.

Everything random is drawn from generators made of (seed, step), so that runs of one seed see the
same batches, and runs that are the same thing are equal to the last bit.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from rlgen.core.cli import RunFailed
from rlgen.data.classification import LabelledBatches, LabelledSets
from rlgen.distill.distiller import Distiller
from rlgen.distill.study.methods import Method
from rlgen.distill.study.options import StudyOptions
from rlgen.distill.study.techniques import Identity, Technique
from rlgen.distill.updates import make_updates, needs_preparation

TEACHER, STUDENT = 0, 1  # who is trained, in the seeds
MIXING = 2  # stream of a technique's draws; 1 is that of crops and flips

Tick = Callable[[str, Tensor], None]


@dataclass(frozen=True)
class Phase:
    """Consecutive steps under one schedule.

    Attributes:
        first: Number of the first step; batches are numbered through both phases.
        steps: How many.
        rate: Learning rate at the start.
        milestones: Shares of the phase at which it falls.
    """

    first: int
    steps: int
    rate: float
    milestones: tuple[float, ...]

    def factor(self, done: int, gamma: float) -> float:
        """Returns the rate after some steps of the phase by that at its start."""
        return float(gamma ** sum(done >= share * self.steps for share in self.milestones))


class GivenInputs(nn.Module):
    """A teacher that is shown other pictures than the student.

    Args:
        network: The teacher.

    Attributes:
        inputs: What it sees in place of what it is called with; None for the latter.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.inputs: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Returns the logits (B, classes) for :attr:`inputs`."""
        logits: Tensor = self.network(x if self.inputs is None else self.inputs)
        return logits


class Trainer:
    """Trains and tests the networks of a study.

    Args:
        options: Of the study.
        sets: Its pictures.
        accelerator: Device and precision.
        tick: Is called after each step with the run's name and the loss, detached; may raise.
    """

    def __init__(
        self, options: StudyOptions, sets: LabelledSets, accelerator: Accelerator, tick: Tick
    ) -> None:
        self.options, self.sets, self.accelerator, self.tick = options, sets, accelerator, tick
        self.statistics = sets.statistics()
        epoch = max(round(len(sets.train) / options.batch_size), 1)
        self.main = Phase(0, options.epochs * epoch, options.lr, tuple(options.milestones))
        self.finetuning = Phase(
            self.main.steps,
            options.finetune_epochs * epoch,
            options.finetune_lr,
            tuple(options.finetune_milestones),
        )
        teaching = (options.teacher_epochs or options.epochs) * epoch
        self.teaching = Phase(0, teaching, options.lr, tuple(options.milestones))

    def place(self, network: nn.Module) -> nn.Module:
        """Moves a network to the device, channels last, as convolutions there want it."""
        moved: Any = network  # torch's signature knows no memory format
        moved.to(device=self.accelerator.device, memory_format=torch.channels_last)
        return network

    def build(self, technique: Technique, name: str, seed: int, who: int) -> nn.Module:
        """Builds a network whose weights depend on its seed alone.

        Args:
            technique: May build another one than is named.
            name: Of a classifier.
            seed: Of the run.
            who: ``TEACHER`` or ``STUDENT``.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_mixed(seed, who))
            network = technique.build(name, len(self.sets.classes), self.sets.shape[0])
        return self.place(network)

    def batches(
        self, seed: int, sets: LabelledSets | None = None, *, plain: bool = False
    ) -> LabelledBatches:
        """Returns the batches of a seed.

        Args:
            seed: Of the run.
            sets: Other pictures than the study's, normalised alike.
            plain: Leave out crops and flips; order and pictures stay the same.
        """
        return LabelledBatches(
            self.sets if sets is None else sets,
            self.options.batch_size,
            seed,
            self.accelerator.device,
            padding=0 if plain else self.options.padding,
            flip=self.options.flip and not plain,
            statistics=self.statistics,
        )

    def train(
        self,
        title: str,
        network: nn.Module,
        phase: Phase,
        seed: int,
        *,
        method: Method,
        technique: Technique | None = None,
        teacher: nn.Module | None = None,
        sets: LabelledSets | None = None,
    ) -> None:
        """Trains a network through one phase.

        Args:
            title: Of the run, for messages.
            network: Is changed.
            phase: Which steps.
            seed: Of the batches.
            method: How the teacher teaches.
            technique: Changes the batches; None for the identity.
            teacher: Of the method; a :class:`GivenInputs` sees pictures without crops and flips.
            sets: Other pictures than the study's.

        Raises:
            RunFailed: If the loss is not finite at the end.
        """
        technique = Identity() if technique is None else technique
        batches = self.batches(seed, sets)
        clean = self.batches(seed, sets, plain=True) if isinstance(teacher, GivenInputs) else None
        distiller = self.distiller(network, method, teacher, seed)
        if needs_preparation(distiller):
            distiller.prepare(_FirstEpoch(batches))
        updates = make_updates(
            distiller,
            self.accelerator,
            lr=phase.rate,
            momentum=self.options.momentum,
            nesterov=True,
            weight_decay=self.options.weight_decay,
        )
        distiller.train()
        loss = torch.zeros(())
        for done in range(phase.steps):
            step = phase.first + done
            images, labels = batches.at(step)
            if clean is not None and isinstance(teacher, GivenInputs):
                teacher.inputs = clean.at(step)[0]
            generator = np.random.default_rng([seed, step, 0, MIXING])
            batch = technique.change(images, labels, len(self.sets.classes), generator)
            updates.scale_rates(phase.factor(done, self.options.gamma))
            distiller.set_epoch(step / batches.steps_per_epoch)
            loss = updates.step(batch)["loss"]
            self.tick(title, loss)
        network.eval()
        if not torch.isfinite(loss):
            raise RunFailed(f"{title}: the loss is not finite; type a smaller lr= or weight")

    def distiller(
        self, network: nn.Module, method: Method, teacher: nn.Module | None, seed: int
    ) -> Distiller:
        """Returns the objective of a phase; without a weight there is no loss and no teacher."""
        losses = {method.name: method.weight} if method.weight else {}
        own = {"temperature": self.options.temperature} if method.name == "kd" else {}
        distiller = Distiller(
            network,
            [teacher] if losses and teacher is not None else [],
            losses,
            example=self.sets.shape,
            options={method.name: own} if losses else None,
            task_weight=method.task_weight,
            seed=_mixed(seed, STUDENT),
        )
        self.place(distiller)
        return distiller

    @torch.no_grad()
    def logits(self, network: nn.Module) -> Tensor:
        """Returns the logits (N, classes) of the test pictures in fp32, on the CPU."""
        network.eval()
        return torch.cat([network(images).cpu() for images, _ in self.batches(0).tests()])

    def right(self, logits: Tensor) -> int:
        """Returns how many test pictures have their class as the largest logit."""
        return int((logits.argmax(dim=1) == torch.from_numpy(self.sets.test.labels)).sum())


class _FirstEpoch:
    """The first epoch's batches; may be iterated several times, and holds none of them."""

    def __init__(self, batches: LabelledBatches) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self.batches.first_epoch()


def _mixed(seed: int, who: int) -> int:
    return int(np.random.SeedSequence([seed, who]).generate_state(1)[0])
