"""The 2x2 comparison: gains, interaction, and the rule behind a verdict.

Spec kd_orthogonality, section (b), with A the accuracy over seeds and SE its standard error:

    gain_KD   = A(KD) - A(base)
    gain_X    = A(X) - A(base)
    gain_KD|X = A(KD+X) - A(X)
    I         = A(KD+X) - A(KD) - A(X) + A(base)
    SE(I)     = sqrt(SE(base)^2 + SE(KD)^2 + SE(X)^2 + SE(KD+X)^2)

The rule is the spec's and ours, not the paper's: "orthogonal" where the 95 % interval of gain_KD|X
lies above 0 and |I| <= 2 SE(I); "compatible" where only the first holds; "conflicting" otherwise.
The intervals are Student's over seeds, of differences within a seed (ours: the four runs of a seed
share batches and start). One seed has no interval, and so no verdict.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import t as student_t

UNDECIDED = "undecided"
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        mean: The mean.
        error: Its standard error; NaN of one value.
        low: Lower end of the 95 % interval; NaN of one value.
        high: Upper end.
    """

    mean: float
    error: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """Half of the interval's length."""
        return (self.high - self.low) / 2


def estimate(values: Sequence[float]) -> Estimate:
    """Returns the mean of values with Student's interval.

    Args:
        values: One of each seed.
    """
    count = len(values)
    mean = math.fsum(values) / count
    if count < 2:
        return Estimate(mean, math.nan, math.nan, math.nan)
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    error = math.sqrt(variance / count)
    half = float(student_t.ppf((1 + CONFIDENCE) / 2, count - 1)) * error
    return Estimate(mean, error, mean - half, mean + half)


@dataclass(frozen=True)
class Interaction:
    """What a 2x2 comparison gives, in the unit of the accuracies.

    Attributes:
        seeds: How many.
        gain_kd: Of distillation alone.
        gain_x: Of the technique alone.
        gain_kd_given_x: Of distillation beside the technique.
        interaction: I, with its interval over seeds.
        error: SE(I) of the spec, which takes the four cells as independent.
        verdict: orthogonal, compatible, conflicting; undecided of one seed.
    """

    seeds: int
    gain_kd: Estimate
    gain_x: Estimate
    gain_kd_given_x: Estimate
    interaction: Estimate
    error: float
    verdict: str


def compare(
    base: Sequence[float], kd: Sequence[float], x: Sequence[float], both: Sequence[float]
) -> Interaction:
    """Compares the four cells.

    Args:
        base: Accuracies of plain training, one of each seed.
        kd: With distillation.
        x: With the technique.
        both: With both.

    Raises:
        ValueError: If the cells do not have the same seeds.
    """
    cells = (base, kd, x, both)
    if len({len(cell) for cell in cells}) > 1 or not base:
        raise ValueError("the four cells need the same seeds, one or more")
    # fsum is exact, so equal cells cancel and the two factors may change roles.
    each = [math.fsum((d, -c, -b, a)) for a, b, c, d in zip(*cells, strict=True)]
    given = estimate(_differences(both, x))
    interaction = estimate(each)
    error = math.sqrt(math.fsum(estimate(cell).error ** 2 for cell in cells))
    return Interaction(
        len(base),
        estimate(_differences(kd, base)),
        estimate(_differences(x, base)),
        given,
        interaction,
        error,
        judge(given, interaction.mean, error),
    )


def judge(given: Estimate, interaction: float, error: float) -> str:
    """Returns the verdict by the rule above.

    Args:
        given: gain_KD|X.
        interaction: I.
        error: SE(I).
    """
    if math.isnan(given.low):
        return UNDECIDED
    if given.low <= 0:
        return "conflicting"
    return "orthogonal" if abs(interaction) <= 2 * error else "compatible"


def _differences(first: Sequence[float], second: Sequence[float]) -> list[float]:
    return [a - b for a, b in zip(first, second, strict=True)]
