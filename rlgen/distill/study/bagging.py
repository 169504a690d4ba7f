"""The spec's test of the analysis: is distillation like bagging?

Spec kd_orthogonality, section (b), ours: M students are trained on bootstrap resamples of the
pictures, with and without distillation, from the same first weights and the same teacher. The
claim predicts that distillation lowers the variance over members of the logits at test points, and
with it the gain of the ensemble over a member. Since distillation also changes the scale of the
logits, the variance of the probabilities is given beside it.

Implicit augmentation: KD on cropped and flipped pictures x + delta, where the teacher's labels are
those of the same tensor, p_T(x + delta), or those of the picture as it is, p_T(x). The claim
predicts the former to be better.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from rlgen.core.errors import UserError
from rlgen.distill.study.crossing import teacher_key, trained_teacher
from rlgen.distill.study.methods import Method, parse_method
from rlgen.distill.study.options import StudyOptions
from rlgen.distill.study.pictures import take
from rlgen.distill.study.store import Row, Store
from rlgen.distill.study.techniques import Identity
from rlgen.distill.study.training import STUDENT, GivenInputs, Trainer

RESAMPLING = 3  # stream of the resamples' draws
CONSISTENT, FROZEN = "consistent", "frozen"  # teacher's labels


@dataclass(frozen=True)
class Spread:
    """How far members lie apart.

    Attributes:
        logit_variance: Over members (M - 1 in the denominator), the mean over points and classes.
        probability_variance: The same of probabilities.
        member: Mean accuracy of a member, per cent.
        ensemble: Accuracy of the members' mean probabilities, per cent.
    """

    logit_variance: float
    probability_variance: float
    member: float
    ensemble: float

    @property
    def gain(self) -> float:
        """Of the ensemble over a member."""
        return self.ensemble - self.member


def measure_spread(logits: Tensor, labels: Tensor) -> Spread:
    """Measures members at test points; of identical members, variances and gain are 0.

    Args:
        logits: (M, N, classes), M of 2 or more.
        labels: (N,).
    """
    logits = logits.double()
    chances = logits.softmax(dim=2)
    members = (logits.argmax(dim=2) == labels).double().mean(dim=1)
    # Differences from the first member: exact zeros where members are equal.
    mean = chances[0] + (chances - chances[0]).mean(dim=0)
    ensemble = (mean.argmax(dim=1) == labels).double().mean()
    return Spread(
        _variance(logits),
        _variance(chances),
        100 * float(members[0] + (members - members[0]).mean()),
        100 * float(ensemble),
    )


def _variance(values: Tensor) -> float:
    return float((values - values[0]).var(dim=0).mean())


@dataclass(frozen=True)
class Member:
    """One training: a member of an ensemble, or one of the two ways to label."""

    method: Method
    part: str
    number: int
    seed: int

    @property
    def key(self) -> str:
        """Name of its result."""
        number = f"-{self.number}" if self.number >= 0 else ""
        return f"bagging/{self.method.label}-{self.part}{number}-seed{self.seed}"

    @property
    def title(self) -> str:
        """Name for people."""
        number = f" {self.number}" if self.number >= 0 else ""
        return f"{self.method.label}, {self.part}{number}, seed {self.seed}"


class Bagging:
    """Trains what is not in the store yet.

    Args:
        options: Of the study; techniques have no part in it.
        trainer: Trains the networks.
        store: Where results are.

    Raises:
        UserError: If a method is unknown, or there is none but labels alone.
    """

    def __init__(self, options: StudyOptions, trainer: Trainer, store: Store) -> None:
        self.options, self.trainer, self.store = options, trainer, store
        self.methods = [parse_method(text) for text in options.method]
        if len(self.methods) < 2:
            raise UserError("protocol=bagging compares with a method; type method=kd")
        if not (options.padding or options.flip):
            raise UserError("protocol=bagging asks for crops or flips; type padding=4 or flip=true")

    def runs(self) -> Iterator[Member]:
        """Yields all trainings, seed by seed."""
        kd = parse_method("kd")
        for seed in range(self.options.seeds):
            for method, number in product(self.methods, range(self.options.members)):
                yield Member(method, "member", number, seed)
            for part in (CONSISTENT, FROZEN):
                yield Member(kd, part, -1, seed)

    def rows(self) -> list[Row]:
        """Returns the results that are there, in the order of :meth:`runs`."""
        found = (self.store.row(run.key) for run in self.runs())
        return [row for row in found if row is not None]

    def steps(self) -> int:
        """Returns how many steps are left to train."""
        left = [run for run in self.runs() if self.store.row(run.key) is None]
        seeds = {run.seed for run in left if run.method.weight}
        absent = sum(self.store.row(teacher_key(seed)) is None for seed in seeds)
        return len(left) * self.trainer.main.steps + self.trainer.teaching.steps * absent

    def work(self) -> Iterator[Member]:
        """Trains the members that are missing, and yields each when its result is kept."""
        for run in self.runs():
            if self.store.row(run.key) is None:
                self._train(run)
                yield run

    def spreads(self) -> dict[str, list[Spread]]:
        """Returns the spread of each method at each seed whose members are all there."""
        labels = torch.from_numpy(self.trainer.sets.test.labels)
        found: dict[str, list[Spread]] = {method.label: [] for method in self.methods}
        for seed, method in product(range(self.options.seeds), self.methods):
            keys = [
                Member(method, "member", number, seed).key for number in range(self.options.members)
            ]
            if all(self.store.row(key) is not None for key in keys):
                logits = torch.stack([self.store.tensors(key)["logits"] for key in keys])
                found[method.label].append(measure_spread(logits, labels))
        return found

    def _train(self, run: Member) -> None:
        start = time.monotonic()
        trainer, sets = self.trainer, self.trainer.sets
        if run.part == "member":
            index = resample(len(sets.train), run.seed, run.number)
            sets = sets._replace(train=take(sets.train, index))
        teacher = None
        if run.method.weight:
            teacher = trained_teacher(trainer, self.store, self.options.teacher, run.seed)
            teacher = GivenInputs(teacher) if run.part == FROZEN else teacher
        network = trainer.build(Identity(), self.options.student, run.seed, STUDENT)
        trainer.train(
            run.title,
            network,
            trainer.main,
            run.seed,
            method=run.method,
            teacher=teacher,
            sets=sets,
        )
        logits = trainer.logits(network)
        right = trainer.right(logits)
        row = {
            "method": run.method.label,
            "part": run.part,
            "member": run.number if run.number >= 0 else "",
            "seed": run.seed,
            "accuracy": 100 * right / len(logits),
            "seconds": round(time.monotonic() - start, 2),
        }
        self.store.save(run.key, trainer.main.steps, {"logits": logits}, row)


def resample(count: int, seed: int, member: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    """Draws a bootstrap resample: ``count`` positions out of ``count``, with repetition.

    Args:
        count: Pictures.
        seed: Of the run.
        member: Which resample; the same for all methods.
    """
    drawn = np.random.default_rng([seed, member, 0, RESAMPLING]).integers(count, size=count)
    return drawn.astype(np.int64)
