"""Searches for designs without a trained agent, and with one that is handed over.

* ``random_search``: random allowed operations, as the random baseline of the tasks;
* ``cem_search``: the cross-entropy method over sequences of a few operations: which operation and
  mode comes at each place is a table of probabilities, its parameters are a Gaussian on the
  lattice; both move towards the best of every generation;
* ``local_search``: small changes of the parameters of designs that were found;
* ``policy_search``: episodes of a policy.

Every search is an endless generator of :class:`Trial`, the same for the same seed; ``limited``
stops one after so many evaluations or minutes. Scores are those of training resolution; what is
shown to people is measured again, finer. Operations and settings are this project's own.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rlgen.core.errors import UserError
from rlgen.envs.design.appraisal import Cache
from rlgen.envs.design.mesh import Floats
from rlgen.envs.design.shape.geometry import Solid, covered_share
from rlgen.envs.design.shape.history import Design
from rlgen.envs.design.shape.masks import operation_mask
from rlgen.envs.design.shape.operations import LATTICE, OPERATIONS, UNDO, Action
from rlgen.envs.design.shape.table import MODELLING, N_PARAMETERS
from rlgen.envs.design.solve.brief import Brief
from rlgen.envs.design.task.tasks import score

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Trial:
    """One evaluated design.

    Attributes:
        design: The design, possibly empty.
        score: At training resolution, 0..``task.best``.
    """

    design: Design
    score: float


@dataclass(eq=False)
class Appraiser:
    """Scores solids for a brief; what was measured once costs nothing again.

    Attributes:
        brief: What is wanted.
        cache: Known designs.
    """

    brief: Brief
    cache: Cache = field(default_factory=Cache)

    def score(self, solid: Solid) -> float:
        """Returns the score at training resolution, times the covered keep-in share."""
        if solid.is_empty:
            return 0.0
        task, space = self.brief.task, self.brief.space
        found = score(self.cache.metrics(solid, task, precise=False), task, empty=False)
        return found * covered_share(solid, space) if space.keep_in else found

    def trial(self, design: Design) -> Trial:
        """Returns a design with its score."""
        return Trial(design, self.score(design.solid))


def limited(
    trials: Iterable[Trial], evaluations: int | None = None, minutes: float | None = None
) -> Iterator[Trial]:
    """Passes trials on until a limit is reached.

    Args:
        trials: Of any search.
        evaluations: Most trials; None for no limit.
        minutes: Longest time; None for no limit. Looked at between two trials.
    """
    end = math.inf if minutes is None else time.monotonic() + 60.0 * minutes
    most = math.inf if evaluations is None else evaluations
    if most <= 0:
        return
    for number, trial in enumerate(trials, 1):
        yield trial
        if number >= most or time.monotonic() >= end:
            return


# Random ---------------------------------------------------------------------------------------


def random_search(
    brief: Brief, seed: int = 0, length: int = 10, appraiser: Appraiser | None = None
) -> Iterator[Trial]:
    """Yields designs of random operations that the masks allow.

    Args:
        brief: What is wanted.
        seed: Of the randomness.
        length: Operations tried per design, refused ones included.
        appraiser: Shared with another search.
    """
    appraiser = appraiser or Appraiser(brief)
    rng = np.random.default_rng(seed)
    while True:
        design = brief.start()
        for _ in range(min(length, brief.horizon)):
            mask = _mask(design, brief)
            if not mask.any():
                break
            op = int(rng.choice(np.flatnonzero(mask.any(1))))
            mode = int(rng.choice(np.flatnonzero(mask[op])))
            k = rng.integers(-LATTICE, LATTICE + 1, N_PARAMETERS)
            design.apply(Action(op, mode, tuple(k.tolist())))
        yield appraiser.trial(design)


def _mask(design: Design, brief: Brief) -> Mask:
    """Returns which modelling operations and modes may come next, bool (14, 3)."""
    return operation_mask(design.solid, 0, False, brief.space, brief.allowed)[:UNDO]


# Cross-entropy --------------------------------------------------------------------------------


@dataclass(frozen=True)
class CemOptions:
    """Settings of the cross-entropy search.

    Attributes:
        length: Operations of a sequence; refused ones are left out of the design.
        population: Sequences per generation.
        elites: How many of the best ones the next generation is drawn around.
        generations: After so many the search begins anew, with another random start.
        keep: Share of the old probabilities and Gaussians in the new ones, 0..1.
        explore: Share of the even distribution mixed into the probabilities.
        spread: Least standard deviation of a parameter, in shares of half its range.
    """

    length: int = 4
    population: int = 100
    elites: int = 12
    generations: int = 20
    keep: float = 0.3
    explore: float = 0.05
    spread: float = 0.03


DEFAULTS = CemOptions()
_CHOICES = [(op, mode) for op in range(UNDO) for mode in range(max(1, len(OPERATIONS[op].modes)))]
"""Every (operation, mode) there is; operations without modes count once."""


class _Distribution:
    """What the next generation is drawn from.

    Attributes:
        chances: (length, choices) probability of each operation and mode at each place.
        mean: (length, operations, 6) of the parameters, in -1..1.
        deviation: The same shape.
    """

    def __init__(self, length: int, weights: Floats) -> None:
        self.even = np.tile(weights / weights.sum(), (length, 1))
        self.chances = self.even.copy()
        shape = (length, len(MODELLING), N_PARAMETERS)
        self.mean = np.zeros(shape)
        self.deviation = np.full(shape, 0.6)

    def draw(self, place: int, mask: Mask, rng: np.random.Generator) -> Action | None:
        """Draws an action that the mask (14, 3) allows; None where none is."""
        chances = self.chances[place] * [mask[choice] for choice in _CHOICES]
        total = chances.sum()
        if total <= 0.0:
            return None
        op, mode = _CHOICES[int(rng.choice(len(_CHOICES), p=chances / total))]
        params = rng.normal(self.mean[place, op], self.deviation[place, op])
        return Action.from_floats(op, mode, params)

    def move(self, elites: Sequence[Sequence[Action]], options: CemOptions) -> None:
        """Moves towards the best sequences of a generation."""
        for place in range(len(self.chances)):
            actions = [sequence[place] for sequence in elites if place < len(sequence)]
            if not actions:
                continue
            counts = np.array([sum((a.op, a.mode) == c for a in actions) for c in _CHOICES])
            new = (1 - options.explore) * counts / counts.sum() + options.explore * self.even[place]
            self.chances[place] = options.keep * self.chances[place] + (1 - options.keep) * new
            for op in sorted({action.op for action in actions}):
                params = np.stack([action.params for action in actions if action.op == op])
                fit = (params.mean(0), np.maximum(params.std(0), options.spread))
                if len(params) == 1:  # one example says where, not how far
                    fit = (params[0], self.deviation[place, op])
                for now, seen in zip((self.mean, self.deviation), fit, strict=True):
                    now[place, op] = options.keep * now[place, op] + (1 - options.keep) * seen


def cem_search(
    brief: Brief,
    seed: int = 0,
    options: CemOptions = DEFAULTS,
    appraiser: Appraiser | None = None,
) -> Iterator[Trial]:
    """Yields the designs of a cross-entropy search, generation after generation.

    Args:
        brief: What is wanted.
        seed: Of the randomness.
        options: Settings.
        appraiser: Shared with another search.
    """
    if not 1 <= options.elites <= options.population:
        raise UserError(f"elites={options.elites}; give 1 to the population {options.population}")
    appraiser = appraiser or Appraiser(brief)
    rng = np.random.default_rng(seed)
    length = min(options.length, brief.horizon)
    weights = np.array([1.0 / max(1, len(OPERATIONS[op].modes)) for op, _ in _CHOICES])
    while True:
        distribution = _Distribution(length, weights)
        best: list[tuple[float, list[Action]]] = []
        for _ in range(options.generations):
            found = []
            for _ in range(options.population):
                design, taken = _drawn(brief, distribution, rng)
                trial = appraiser.trial(design)
                found.append((trial.score, taken))
                yield trial
            # Sorting is stable: of equals, those met first stay first.
            best = sorted([*best, *found], key=lambda pair: -pair[0])[: options.elites]
            distribution.move([taken for _, taken in best], options)


def _drawn(
    brief: Brief, distribution: _Distribution, rng: np.random.Generator
) -> tuple[Design, list[Action]]:
    """Builds one design; returns it with the action tried at each place."""
    design, taken = brief.start(), []
    for place in range(len(distribution.chances)):
        action = distribution.draw(place, _mask(design, brief), rng)
        if action is None:
            break
        design.apply(action)
        taken.append(action)
    return design, taken


# Local changes --------------------------------------------------------------------------------

_STEPS = (64, 16, 4)  # on the lattice: a bin of the discrete encoding, and finer


def local_search(
    brief: Brief,
    designs: Sequence[Design],
    seed: int = 0,
    patience: int = 150,
    appraiser: Appraiser | None = None,
) -> Iterator[Trial]:
    """Yields designs that are near to some designs and at least as good.

    A move changes one or two parameters of operations that are not locked; as in
    :mod:`rlgen.envs.design.task.local_moves` it is kept when the score does not fall. The designs
    take turns; one that no move improves any more is given up, and the search ends with the last
    one.

    Args:
        brief: What is wanted.
        designs: Where to start, built in the brief's space.
        seed: Of the randomness.
        patience: Moves without improvement after which a design is given up.
        appraiser: Shared with another search.
    """
    appraiser = appraiser or Appraiser(brief)
    rng = np.random.default_rng(seed)
    climbers = [_Climber(design, appraiser.score(design.solid)) for design in designs]
    while climbers:
        for climber in climbers:
            yield climber.move(appraiser, rng)
        enough = brief.task.best
        climbers = [c for c in climbers if c.idle < patience and c.score < enough]


class _Climber:
    """A design on its way up."""

    def __init__(self, design: Design, value: float) -> None:
        self.design, self.score, self.idle = design, value, 0
        self.places = [
            (number, position)
            for number, action in enumerate(design.actions)
            if number >= design.locked
            for position, _ in OPERATIONS[action.op].used(action.mode)
        ]

    def move(self, appraiser: Appraiser, rng: np.random.Generator) -> Trial:
        """Tries one move, and returns what it led to."""
        self.idle += 1
        if not self.places:
            self.idle = 1 << 30
            return Trial(self.design, self.score)
        actions = list(self.design.actions)
        step, first = int(rng.choice(_STEPS)), len(actions)
        for _ in range(int(rng.integers(1, 3))):
            number, position = self.places[rng.integers(len(self.places))]
            change = step * int(rng.choice([-2, -1, 1, 2]))
            actions[number] = moved(actions[number], position, change)
            first = min(first, number)
        design = self.design.first(first)
        # A refusal leaves a shorter design; the climb goes on from complete ones only.
        complete = all(design.apply(action) is None for action in actions[first:])
        trial = appraiser.trial(design)
        if complete and trial.score >= self.score:
            if trial.score > self.score + 1e-9:
                self.idle = 0
            self.design, self.score = design, trial.score
        return trial


def moved(action: Action, position: int, change: int) -> Action:
    """Returns an action with one parameter moved on the lattice, within its ends."""
    k = list(action.k)
    k[position] = min(max(k[position] + change, -LATTICE), LATTICE)
    return Action(action.op, action.mode, tuple(k))


# Policies -------------------------------------------------------------------------------------


class Policy(Protocol):
    """What chooses actions; a trained agent is handed over as one."""

    def __call__(self, observation: Any, mask: Mask, first: bool, /) -> Any:
        """Returns an action for an observation.

        Args:
            observation: Of the environment.
            mask: bool (16, 3): allowed operations and modes.
            first: Whether an episode begins.
        """


def policy_search(
    brief: Brief,
    policy: Policy,
    seed: int = 0,
    env_kwargs: dict[str, Any] | None = None,
    appraiser: Appraiser | None = None,
    on_episode: Callable[[int], None] = lambda number: None,
) -> Iterator[Trial]:
    """Yields the designs of a policy's episodes.

    Args:
        brief: What is wanted.
        policy: Chooses the actions.
        seed: Of goals and surface points, should the observation hold some.
        env_kwargs: How the policy observes and acts: arguments of ``DesignEnv`` that are not the
            brief's.
        appraiser: Shared with another search.
        on_episode: Called before each episode with its number, e.g. to seed the policy.

    Raises:
        UserError: The arguments do not fit.
    """
    from rlgen.envs.design.env import DesignEnv

    appraiser = appraiser or Appraiser(brief)
    env = DesignEnv(**brief.env_kwargs(), **(env_kwargs or {}), cache=appraiser.cache)
    number = 0
    while True:
        on_episode(number)
        observation, info = env.reset(seed=seed if number == 0 else None)
        first, ended = True, False
        while not ended:
            action = policy(observation, info["action_mask"], first)
            observation, _, terminated, truncated, info = env.step(action)
            first, ended = False, terminated or truncated
        number += 1
        yield appraiser.trial(env.design.copy())


SEARCHES: dict[str, Callable[..., Iterator[Trial]]] = {"cem": cem_search, "random": random_search}
