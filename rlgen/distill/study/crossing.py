"""The runs of the interaction protocol: every method with every technique, seed by seed.

A run has two phases. The first trains from random weights, the second fine-tunes at a lower rate,
and both have the same steps in every run: pruning and quantisation change the network between them,
the identity goes on with the same one, so that a fine-tuned network is not compared with one that
was trained for less. Where a technique does not hold in the first phase, that phase is trained once
and shared; the teacher of a seed is trained once too.
"""

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn

from rlgen.core.errors import UserError
from rlgen.distill.study.methods import Method, parse_method
from rlgen.distill.study.options import NONE, StudyOptions
from rlgen.distill.study.store import Row, Store
from rlgen.distill.study.techniques import Identity, Technique, parse_technique, weighted_layers
from rlgen.distill.study.training import STUDENT, TEACHER, Trainer

PLAIN = Method(NONE, NONE)


@dataclass(frozen=True)
class Run:
    """One cell at one seed."""

    method: Method
    technique: Technique
    seed: int

    @property
    def key(self) -> str:
        """Name of its result."""
        return f"runs/{self.method.label}-{self.technique.label}-seed{self.seed}"

    @property
    def title(self) -> str:
        """Name for people."""
        return f"{self.method.label}, {self.technique.label}, seed {self.seed}"


class Crossing:
    """Trains what is not in the store yet.

    Args:
        options: Of the study.
        trainer: Trains the networks.
        store: Where results are.

    Raises:
        UserError: If a method or technique is unknown, or the recipe has no place for it.
    """

    def __init__(self, options: StudyOptions, trainer: Trainer, store: Store) -> None:
        self.options, self.trainer, self.store = options, trainer, store
        self.methods, self.techniques = read_factors(options)

    def runs(self) -> Iterator[Run]:
        """Yields all runs, seed by seed, so that a study that is stopped has whole seeds."""
        every = product(range(self.options.seeds), self.techniques, self.methods)
        for seed, technique, method in every:
            yield Run(method, technique, seed)

    def rows(self) -> list[Row]:
        """Returns the results that are there, in the order of :meth:`runs`."""
        found = (self.store.row(run.key) for run in self.runs())
        return [row for row in found if row is not None]

    def steps(self) -> int:
        """Returns how many steps are left to train."""
        left = [run for run in self.runs() if self.store.row(run.key) is None]
        before = {self._dense_key(run) for run in left}
        total = len(left) * self.trainer.finetuning.steps
        total += self.trainer.main.steps * sum(self.store.row(key) is None for key in before)
        teachers = {run.seed for run in left if self._has_teacher(run)}
        absent = sum(self.store.row(teacher_key(seed)) is None for seed in teachers)
        return total + self.trainer.teaching.steps * absent

    def work(self) -> Iterator[Run]:
        """Trains the runs that are missing, and yields each when its result is kept."""
        for run in self.runs():
            if self.store.row(run.key) is None:
                self._finetune(run)
                yield run

    def teacher(self, seed: int) -> nn.Module:
        """Returns the teacher of a seed, trained from labels alone."""
        return trained_teacher(self.trainer, self.store, self.options.teacher, seed)

    def _finetune(self, run: Run) -> None:
        start = time.monotonic()
        network = self._dense(run)
        teacher = None
        if self._has_teacher(run):
            teacher = self.teacher(run.seed)
        elif run.method.weight:  # the finetune recipe: the network teaches its changed self
            teacher = copy.deepcopy(network)
        run.technique.attach(network)
        self.trainer.train(
            run.title,
            network,
            self.trainer.finetuning,
            run.seed,
            method=run.method,
            technique=run.technique,
            teacher=teacher,
        )
        run.technique.detach(network)
        row = self._measure(run, network) | {"seconds": round(time.monotonic() - start, 2)}
        steps = self.trainer.main.steps + self.trainer.finetuning.steps
        self.store.save(run.key, steps, dict(network.state_dict()), row)

    def _measure(self, run: Run, network: nn.Module) -> Row:
        right = self.trainer.right(self.trainer.logits(network))
        tested = len(self.trainer.sets.test)
        weights = [layer.weight.detach() for layer in weighted_layers(network)]
        return {
            "method": run.method.label,
            "technique": run.technique.label,
            "seed": run.seed,
            "accuracy": 100 * right / tested,
            "right": right,
            "tested": tested,
            "parameters": sum(p.numel() for p in network.parameters()),
            "zero_weights": sum(int((w == 0).sum()) for w in weights),
            "values_per_channel": max(distinct_values(w) for w in weights[1:-1] or weights),
        }

    def _dense(self, run: Run) -> nn.Module:
        """Returns the network after the first phase."""
        technique = run.technique if run.technique.early else Identity()
        method = self._first_method(run)
        network = self.trainer.build(technique, self.options.student, run.seed, STUDENT)
        key = self._dense_key(run)
        if self.store.row(key) is not None:
            network.load_state_dict(self.store.tensors(key))
            return self.trainer.place(network)
        self.trainer.train(
            f"{run.title}, first phase",
            network,
            self.trainer.main,
            run.seed,
            method=method,
            technique=technique,
            teacher=self.teacher(run.seed) if method.weight else None,
        )
        steps = self.trainer.main.steps
        self.store.save(key, steps, dict(network.state_dict()), {"steps": steps})
        return network

    def _first_method(self, run: Run) -> Method:
        return run.method if self.options.recipe == "crossed" else PLAIN

    def _has_teacher(self, run: Run) -> bool:
        return self.options.recipe == "crossed" and run.method.weight > 0

    def _dense_key(self, run: Run) -> str:
        technique = run.technique.label if run.technique.early else NONE
        return f"first/{self._first_method(run).label}-{technique}-seed{run.seed}"


def read_factors(options: StudyOptions) -> tuple[list[Method], list[Technique]]:
    """Reads the names of both factors.

    Raises:
        UserError: If one is unknown, or the recipe has no place for it.
    """
    methods = [parse_method(text) for text in options.method]
    every = [parse_technique(text, options.alpha) for text in options.technique]
    techniques = list({technique.label: technique for technique in every}.values())
    early = [technique.label for technique in techniques if technique.early]
    if options.recipe == "finetune" and early:
        raise UserError(
            f"technique {early[0]} begins with the first phase, and recipe=finetune distils in the "
            "second one only; leave it out, or type recipe=crossed"
        )
    return methods, techniques


def teacher_key(seed: int) -> str:
    """Returns the name of a seed's teacher in the store."""
    return f"teachers/seed{seed}"


def trained_teacher(trainer: Trainer, store: Store, name: str, seed: int) -> nn.Module:
    """Returns a seed's teacher from the store, or trains it on labels alone and keeps it.

    Args:
        trainer: Trains it.
        store: Where it is kept.
        name: Of its classifier.
        seed: Of the study.
    """
    teacher = trainer.build(Identity(), name, seed, TEACHER)
    key = teacher_key(seed)
    if store.row(key) is not None:
        teacher.load_state_dict(store.tensors(key))
        return trainer.place(teacher)
    trainer.train(f"teacher, seed {seed}", teacher, trainer.teaching, seed, method=PLAIN)
    accuracy = 100 * trainer.right(trainer.logits(teacher)) / len(trainer.sets.test)
    count = sum(p.numel() for p in teacher.parameters())
    row = {"accuracy": accuracy, "parameters": count}
    store.save(key, trainer.teaching.steps, dict(teacher.state_dict()), row)
    return teacher


def distinct_values(weight: Tensor) -> int:
    """Returns the largest number of different values in an output channel (C_out, ...)."""
    return max(len(torch.unique(channel)) for channel in weight)
