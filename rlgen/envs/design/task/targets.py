"""What is wanted of one metric, and how well a value meets it.

The satisfactions and the score are this project's own design, inspired by arXiv 1903.05271:

* at least t: ``clip(x / t, 0, 1)``
* at most t: 1 up to t, falling to 0 at 2 t
* about t: ``1 - |x - t| / width``

For t <= 0 a ratio means nothing: the first two are then 1 where the target is met and else 0.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from rlgen.envs.design.measure.conditions import (
    METRIC_INFO,
    checked_choice,
    checked_number,
    known_keys,
    metric_index,
)

KINDS = ("at_least", "at_most", "about")
BEST_RATIO = 10.0  # beyond ten times better than wanted, an open score no longer grows


@dataclass(frozen=True)
class Target:
    """A wish for one metric; wrong values are a UserError.

    Attributes:
        metric: Name, see :data:`~rlgen.envs.design.measure.conditions.METRIC_INFO`.
        kind: ``"at_least"``, ``"at_most"`` or ``"about"``.
        value: The wanted value in the metric's unit.
        weight: Importance beside the other targets, above 0.
        width: For ``"about"``: the deviation at which nothing is left, above 0; else 0.
    """

    metric: str
    kind: str
    value: float
    weight: float = 1.0
    width: float = 0.0

    def __post_init__(self) -> None:
        metric_index(self.metric)
        checked_choice("kind", self.kind, KINDS)
        name = f"{self.metric}: "
        object.__setattr__(self, "value", checked_number(f"{name}value", self.value, -1e9, 1e9))
        weight = checked_number(f"{name}weight", self.weight, 1e-6, 1e6)
        object.__setattr__(self, "weight", weight)
        if self.kind == "about":
            width = checked_number(f"{name}width", self.width, 1e-9, 1e9)
        object.__setattr__(self, "width", width if self.kind == "about" else 0.0)

    def satisfaction(self, value: float) -> float:
        """Returns how well a value of the metric meets the wish, 0..1, by the module's formulas."""
        wanted = self.value
        if self.kind == "about":
            return max(0.0, 1.0 - abs(value - wanted) / self.width)
        met = value >= wanted if self.kind == "at_least" else value <= wanted
        if met or wanted <= 0:
            return float(met)
        ratio = value / wanted
        return max(0.0, ratio if self.kind == "at_least" else 2.0 - ratio)

    def improvement(self, value: float) -> float:
        """Returns by how much a value exceeds the wish, 0..log(10).

        It is ``log(x / t)`` for at least, ``log(t / x)`` for at most, at most that of
        :data:`BEST_RATIO`, and 0 for ``about``, for unmet targets and for t <= 0.
        """
        if self.kind == "about" or self.value <= 0:
            return 0.0
        if self.kind == "at_least":
            ratio = value / self.value
        else:
            ratio = self.value / value if value > self.value / BEST_RATIO else BEST_RATIO
        return math.log(min(max(ratio, 1.0), BEST_RATIO))

    def __str__(self) -> str:
        unit = METRIC_INFO[self.metric].unit
        sign = {"at_least": ">=", "at_most": "<=", "about": "="}[self.kind]
        spread = f" +- {self.width:g}" if self.kind == "about" else ""
        return f"{self.metric} {sign} {self.value:g}{spread} {unit}".rstrip()

    def to_dict(self) -> dict[str, Any]:
        """Returns metric, kind and value, and weight and width where they matter."""
        data: dict[str, Any] = {"metric": self.metric, "kind": self.kind, "value": self.value}
        if self.weight != 1.0:
            data["weight"] = self.weight
        if self.kind == "about":
            data["width"] = self.width
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Returns a target from named values; missing or unknown names: a UserError."""
        return cls(**known_keys(data, cls, "a target", ("metric", "kind", "value")))
