"""Rules that edit the mean coordinates of a disentangled agent while it acts.

Paper: Yang, Lee, Chang, Kwak, "Towards Governing Agent's Efficacy: Action-Conditional beta-VAE for
Deep Transparent Reinforcement Learning" (ACML 2019). The paper overwrites chosen coordinates of
the mean with chosen values over time and lets the policy head act on h = [mu' ; sigma] [S]; it
shows it for values in [-5, 5] [S]. Overwriting over time is :class:`Overwrite` and
:class:`Schedule` here; :class:`Clamp` and :class:`Scale` are further edits of the same kind, and
the text form of all of them is ours.

Coordinates count from 0, so 0 to m-1 are those to which the action is added. Steps count from 0 at
the start of each episode.
"""

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from rlgen.core.errors import UserError, closest


@dataclass(frozen=True)
class Rule(ABC):
    """An edit of one coordinate; it sees that coordinate alone.

    Args:
        coordinate: Which one, from 0.
    """

    coordinate: int

    def __post_init__(self) -> None:
        if self.coordinate < 0:
            raise UserError(f"coordinate {self.coordinate} does not exist; they count from 0")

    @abstractmethod
    def apply(self, values: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """Returns the edited values of the coordinate.

        Args:
            values: (batch,).
            steps: Steps since the start of each row's episode, int64 (batch,).
        """


@dataclass(frozen=True)
class Overwrite(Rule):
    """Puts a value in the coordinate's place.

    Args:
        coordinate: Which one, from 0.
        value: The new value, in prior standard deviations.
        start: First step on which it holds.
        steps: How many steps it holds; None: to the end of the episode.

    Raises:
        UserError: If a number is not finite, negative where it counts steps, or 0 steps are asked.
    """

    value: float
    start: int = 0
    steps: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_finite(self, self.value)
        if self.start < 0:
            raise UserError(f"{self} starts before the episode; type a start of 0 or more")
        if self.steps is not None and self.steps < 1:
            raise UserError(f"{self} holds for {self.steps} steps; type 1 or more")

    def apply(self, values: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """Returns the value where the rule holds, and the coordinate elsewhere."""
        held = steps >= self.start
        if self.steps is not None:
            held &= steps < self.start + self.steps
        return torch.where(held, self.value, values)

    def __str__(self) -> str:
        if self.steps is None:
            return _text("set", self.coordinate, self.value, *([self.start] if self.start else []))
        start = [self.start] if self.start else []
        return _text("hold", self.coordinate, self.value, self.steps, *start)


@dataclass(frozen=True)
class Clamp(Rule):
    """Keeps the coordinate within bounds: ``Clamp(2, -math.inf, 1.5)`` never lets 2 exceed 1.5.

    Args:
        coordinate: Which one, from 0.
        low: Lower bound, may be -inf.
        high: Upper bound, may be inf.

    Raises:
        UserError: If the bounds are not in order.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.low <= self.high:  # also true of NaN
            raise UserError(f"{self} has its bounds in the wrong order; type the lower one first")

    def apply(self, values: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """Returns the values within the bounds."""
        return values.clamp(self.low, self.high)

    def __str__(self) -> str:
        return _text("clamp", self.coordinate, self.low, self.high)


@dataclass(frozen=True)
class Scale(Rule):
    """Multiplies the coordinate: 0 switches it off, -1 mirrors it.

    Args:
        coordinate: Which one, from 0.
        factor: By which it is multiplied.

    Raises:
        UserError: If the factor is not finite.
    """

    factor: float

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_finite(self, self.factor)

    def apply(self, values: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """Returns the multiplied values."""
        return self.factor * values

    def __str__(self) -> str:
        return _text("scale", self.coordinate, self.factor)


@dataclass(frozen=True)
class Schedule(Rule):
    """Puts values in the coordinate's place that change over the episode.

    Between two points the value is interpolated linearly; before the first point the coordinate
    is left alone, after the last one that point's value stays.

    Args:
        coordinate: Which one, from 0.
        points: Pairs of step and value, the steps in increasing order.

    Raises:
        UserError: If there is no point, or the steps are not in order.
    """

    points: Sequence[tuple[int, float]]

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "points", tuple((int(s), float(v)) for s, v in self.points))
        at = [step for step, _ in self.points]
        if not at or at[0] < 0 or any(a >= b for a, b in pairwise(at)):
            raise UserError(f"{self} needs points at increasing steps, from 0 on")
        _check_finite(self, *(value for _, value in self.points))

    def apply(self, values: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """Returns the interpolated values, from the first point on."""
        at = torch.tensor([step for step, _ in self.points], device=values.device)
        targets = torch.tensor([v for _, v in self.points], device=values.device)
        after = torch.searchsorted(at, steps, right=True)  # points that have been reached
        left, right = (after - 1).clamp(min=0), after.clamp(max=len(at) - 1)
        share = (steps - at[left]) / (at[right] - at[left]).clamp(min=1)
        between = torch.lerp(targets[left], targets[right], share.to(targets.dtype))
        return torch.where(after > 0, between.to(values.dtype), values)

    def __str__(self) -> str:
        return _text("schedule", self.coordinate, *(x for point in self.points for x in point))


def apply_rules(rules: Sequence[Rule], mu: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """Returns means edited by rules, one after the other; the argument stays as it is.

    Args:
        rules: In this order; a later one sees what an earlier one made of the same coordinate.
        mu: (batch, n).
        steps: Steps since the start of each row's episode, int64 (batch,).
    """
    edited = mu.clone()
    for rule in rules:
        edited[:, rule.coordinate] = rule.apply(edited[:, rule.coordinate], steps)
    return edited


def parse_rules(text: str) -> tuple[Rule, ...]:
    """Reads rules from text.

    ``set=2:3.0`` overwrites coordinate 2, ``set=2:3.0:50`` from step 50 on, ``hold=2:3.0:20`` for
    20 steps, ``hold=2:3.0:20:50`` for 20 steps from step 50 on, ``clamp=2:-1:1.5`` bounds it (-inf
    and inf are allowed), ``scale=1:0.5`` multiplies it, and ``schedule=2:0:-3:100:3`` moves it from
    -3 at step 0 to 3 at step 100. Several are separated by ``+``; one without a name has the name
    of the one before it: ``set=2:3.0+4:-1``.

    Raises:
        UserError: If a part is no rule.
    """
    rules: list[Rule] = []
    name = ""
    for part in re.split(r"(?<![eE])\+", text.strip()):
        given, _, fields = part.rpartition("=")
        name = given.strip() or name
        if name not in _FORMS:
            hint = closest(name, _FORMS) if name else f"type {_EXAMPLES['set']}"
            raise UserError(f"{part!r} is no rule; {hint}")
        form, make = _FORMS[name]
        try:
            numbers = [float(field) for field in fields.split(":")]
            rules.append(make(numbers))
        except (ValueError, IndexError, OverflowError):
            raise UserError(
                f"cannot read the rule {name}={fields}; type {name}={form}, such as "
                f"{_EXAMPLES[name]}"
            ) from None
    return tuple(rules)


def _whole(number: float) -> int:
    if not number.is_integer():
        raise ValueError(number)
    return int(number)


def _set(numbers: list[float]) -> Rule:
    coordinate, value, *start = numbers
    if len(start) > 1:
        raise ValueError(numbers)
    return Overwrite(_whole(coordinate), value, *map(_whole, start))


def _hold(numbers: list[float]) -> Rule:
    coordinate, value, steps, *start = numbers
    if len(start) > 1:
        raise ValueError(numbers)
    return Overwrite(_whole(coordinate), value, _whole((start or [0.0])[0]), _whole(steps))


def _clamp(numbers: list[float]) -> Rule:
    coordinate, low, high = numbers
    return Clamp(_whole(coordinate), low, high)


def _scale(numbers: list[float]) -> Rule:
    coordinate, factor = numbers
    return Scale(_whole(coordinate), factor)


def _schedule(numbers: list[float]) -> Rule:
    coordinate, *flat = numbers
    pairs = zip(map(_whole, flat[::2]), flat[1::2], strict=True)
    return Schedule(_whole(coordinate), tuple(pairs))


_FORMS: dict[str, tuple[str, Callable[[list[float]], Rule]]] = {
    "set": ("COORDINATE:VALUE[:START]", _set),
    "hold": ("COORDINATE:VALUE:STEPS[:START]", _hold),
    "clamp": ("COORDINATE:LOW:HIGH", _clamp),
    "scale": ("COORDINATE:FACTOR", _scale),
    "schedule": ("COORDINATE:STEP:VALUE[:STEP:VALUE ...]", _schedule),
}
_EXAMPLES = {
    "set": "set=2:3.0",
    "hold": "hold=2:3.0:20",
    "clamp": "clamp=2:-1:1.5",
    "scale": "scale=1:0.5",
    "schedule": "schedule=2:0:-3:100:3",
}
RULE_NAMES = tuple(_FORMS)


def _check_finite(rule: Rule, *numbers: float) -> None:
    if not all(math.isfinite(number) for number in numbers):
        raise UserError(f"{rule} has a number that is not finite; type plain numbers")


def _text(name: str, *numbers: float) -> str:
    return f"{name}=" + ":".join(f"{number:.10g}" for number in numbers)
