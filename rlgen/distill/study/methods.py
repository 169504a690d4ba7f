"""The first factor of the study: which loss distils, and with which weight."""

from dataclasses import dataclass

from rlgen.core.errors import UserError, closest
from rlgen.distill.losses import LOSSES, USUAL_WEIGHTS
from rlgen.distill.study.options import NONE


@dataclass(frozen=True)
class Method:
    """A distillation loss beside cross-entropy.

    Attributes:
        label: As it is typed, in tables and file names.
        name: Of the loss; none for labels alone.
        weight: Of the loss; 0 leaves it out to the last bit.
        task_weight: Of cross-entropy: 1 - weight beside KD (spec, section b), else 1.
    """

    label: str
    name: str
    weight: float = 0.0
    task_weight: float = 1.0


def parse_method(text: str) -> Method:
    """Reads a method as it is typed: ``kd``, or ``kd:0.5`` with a weight.

    Args:
        text: Name of an offline loss of :data:`rlgen.distill.losses.LOSSES`, or none.

    Raises:
        UserError: If there is no such loss, it trains peers, or the weight is out of range.
    """
    name, colon, number = text.partition(":")
    if name == NONE and not colon:
        return Method(NONE, NONE)
    if name == NONE:
        raise UserError(f"method {text!r}: labels alone have no weight; type {NONE}")
    if name not in _offline():
        raise UserError(f"method {text!r} is no loss with a teacher; {closest(name, _offline())}")
    weight = USUAL_WEIGHTS.get(name, 1.0)
    largest = 1.0 if name == "kd" else 1e9
    if colon:
        try:
            weight = float(number)
        except ValueError:
            raise UserError(f"method {text!r}: a weight is wanted, such as {name}:0.5") from None
    if not 0 <= weight <= largest:
        raise UserError(f"method {text!r}: the weight is from 0 to {largest:g}")
    return Method(text, name, weight, 1.0 - weight if name == "kd" else 1.0)


def _offline() -> list[str]:
    return [NONE, *(name for name in LOSSES if not LOSSES[name].online)]
