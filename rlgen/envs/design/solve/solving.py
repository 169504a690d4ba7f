"""From a brief to a small set of designs that are good and unlike each other.

A search finds, a pool keeps the best few of every form, a local search polishes a choice of them,
and the final choice is made front by front, the farthest first (see
:mod:`rlgen.envs.design.exhibit.selection`). A form is the sequence of operations and modes: without
it, thousands of near copies of the first good design would crowd out the second idea. A proposal of
this project.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rlgen.envs.design.exhibit.selection import descriptor, diverse
from rlgen.envs.design.shape.history import Design
from rlgen.envs.design.solve.brief import Brief
from rlgen.envs.design.solve.evaluation import Evaluation, evaluate_design
from rlgen.envs.design.solve.search import Appraiser, Trial, limited, local_search
from rlgen.envs.design.task.tasks import satisfactions

POLISH = 0.2  # share of the budget for the local search
_PER_FORM, _FORMS = 4, 150
_GOOD = 0.6  # designs below this share of the best score are no candidates


@dataclass(frozen=True)
class Kept:
    """A design in the pool, and after how many evaluations it was found."""

    design: Design
    score: float
    found: int


class Pool:
    """Keeps the best designs of every form.

    Attributes:
        evaluations: How many trials were seen.
    """

    def __init__(self) -> None:
        self.evaluations = 0
        self._forms: dict[tuple[tuple[int, int], ...], list[Kept]] = {}

    @property
    def best(self) -> float:
        """The highest score so far, 0 without designs."""
        return max((kept[0].score for kept in self._forms.values()), default=0.0)

    def __len__(self) -> int:
        return sum(map(len, self._forms.values()))

    @property
    def n_forms(self) -> int:
        """How many forms are kept."""
        return len(self._forms)

    def add(self, trial: Trial) -> None:
        """Counts a trial, and keeps its design if it is among the best of its form."""
        self.evaluations += 1
        if trial.score <= 0.0:
            return
        form = tuple((action.op, action.mode) for action in trial.design.actions)
        group = self._forms.setdefault(form, [])
        if len(group) >= _PER_FORM and trial.score <= group[-1].score:
            return
        sha = trial.design.solid.sha256
        if any(kept.design.solid.sha256 == sha for kept in group):
            return
        group.append(Kept(trial.design, trial.score, self.evaluations))
        group.sort(key=lambda kept: (-kept.score, kept.found))
        del group[_PER_FORM:]
        if len(self._forms) > 2 * _FORMS:
            ranked = sorted(self._forms, key=lambda key: -self._forms[key][0].score)
            self._forms = {key: self._forms[key] for key in ranked[:_FORMS]}

    def candidates(self) -> list[Kept]:
        """Returns the designs worth choosing from, best first."""
        least = _GOOD * self.best
        kept = [one for group in self._forms.values() for one in group if one.score >= least]
        return sorted(kept, key=lambda one: (-one.score, one.found))

    def _of_many_forms(self, count: int) -> list[Kept]:
        """Returns candidates, of each form only as many as are needed for ``count``."""
        least = _GOOD * self.best
        groups = [group for group in self._forms.values() if group[0].score >= least]
        each = math.ceil(count / max(len(groups), 1))
        kept = [one for group in groups for one in group[:each] if one.score >= least]
        return sorted(kept, key=lambda one: (-one.score, one.found))

    def choice(self, brief: Brief, count: int, appraiser: Appraiser) -> list[Kept]:
        """Returns up to ``count`` designs that are good and unlike each other, best first."""
        kept = self._of_many_forms(count)
        if not kept:
            return []
        rows = []
        for one in kept:
            metrics = appraiser.cache.metrics(one.design.solid, brief.task, precise=False)
            rows.append([*satisfactions(metrics, brief.task), one.score])
        forms = np.stack([descriptor(one.design.mesh) for one in kept])
        chosen = [kept[index] for index in diverse(rows, forms, count)]
        return sorted(chosen, key=lambda one: (-one.score, one.found))


@dataclass(frozen=True)
class Budget:
    """How long to search: evaluations, minutes, or whichever is first.

    Attributes:
        evaluations: Most designs evaluated; None for no limit.
        minutes: Longest time; None for no limit.
    """

    evaluations: int | None = None
    minutes: float | None = None

    def share(self, share: float) -> "Budget":
        """Returns a part of the budget."""
        evaluations = None if self.evaluations is None else round(share * self.evaluations)
        return Budget(evaluations, None if self.minutes is None else share * self.minutes)

    def less(self, spent: "Budget") -> "Budget":
        """Returns what is left of the budget; nothing left is 0 evaluations."""
        evaluations, minutes = self.evaluations, self.minutes
        if evaluations is not None:
            evaluations -= spent.evaluations or 0
        if minutes is not None:
            minutes -= spent.minutes or 0.0
            evaluations = 0 if minutes <= 0.0 else evaluations
        return Budget(evaluations, minutes)


def solve(
    brief: Brief,
    trials: Iterator[Trial],
    appraiser: Appraiser,
    budget: Budget,
    count: int,
    seed: int = 0,
    watch: Callable[[Pool], bool] = lambda pool: True,
) -> Pool:
    """Searches, polishes, and returns all that was kept.

    Args:
        brief: What is wanted.
        trials: Of a search.
        appraiser: The search's.
        budget: How long.
        count: How many designs are wanted in the end.
        seed: Of the local search.
        watch: Called after every trial; False ends the search at once, with what was found.
    """
    pool, start = Pool(), time.monotonic()
    for trial in limited(trials, *_limits(budget.share(1.0 - POLISH))):
        pool.add(trial)
        if not watch(pool):
            return pool
    chosen = [kept.design for kept in pool.choice(brief, count, appraiser)]
    nearby = local_search(brief, chosen, seed + 1, appraiser=appraiser)
    for trial in limited(nearby, *_limits(budget.share(POLISH))):
        pool.add(trial)
        if not watch(pool):
            return pool
    # Designs that cannot get any better leave time to look for others.
    spent = Budget(pool.evaluations, (time.monotonic() - start) / 60.0)
    for trial in limited(trials, *_limits(budget.less(spent))):
        pool.add(trial)
        if not watch(pool):
            return pool
    return pool


def _limits(budget: Budget) -> tuple[int | None, float | None]:
    return budget.evaluations, budget.minutes


def ranked(brief: Brief, kept: Sequence[Kept]) -> list[tuple[Kept, Evaluation]]:
    """Returns designs with their final evaluation, best first."""
    pairs = [(one, evaluate_design(one.design, brief)) for one in kept]
    return sorted(pairs, key=lambda pair: (-pair[1].score, pair[0].found))


def short_name(number: int, design: Design) -> str:
    """Returns a name such as ``03 cylinder hollow``: a number and what it is made of."""
    words = dict.fromkeys(action.name.replace("_", " ") for action in design.actions)
    return f"{number:02d} {' '.join(words)}"[:36].rstrip()
