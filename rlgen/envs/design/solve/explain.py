"""What each operation of a design is worth: step by step, and by leaving it out.

Phi is the final score of the design after so many operations (see
:mod:`rlgen.envs.design.task.tasks`). ``contributions`` gives the differences of Phi along the
construction, which add up to the final score. They depend on the order: the hollow of a cup gets
what the cylinder made possible. ``leave_one_out`` therefore builds the design again without each
operation in turn; what follows is carried out as before, with places relative to the body that is
then there, and may be refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rlgen.core.errors import UserError
from rlgen.envs.design.picture.showing import operation_lines
from rlgen.envs.design.shape.history import Design
from rlgen.envs.design.shape.operations import Action
from rlgen.envs.design.solve.evaluation import Evaluation, Wanted, evaluate_design
from rlgen.envs.design.task.tasks import Task


@dataclass(frozen=True)
class Contribution:
    """What one operation brought.

    Attributes:
        operation: In physical units.
        change: Phi after it less Phi before it.
        score: Phi after it.
        satisfactions: Share 0..1 per wish after it.
        locked: Whether it belongs to the seed.
    """

    operation: str
    change: float
    score: float
    satisfactions: dict[str, float]
    locked: bool


@dataclass(frozen=True)
class Omission:
    """What a design would be without one operation.

    Attributes:
        operation: What is left out, in physical units.
        score: Phi of the rest.
        loss: Phi of the design less that: what the operation is worth; below 0 where the design
            is better without it.
        refused: Later operations that are then refused: their number from 1, name, and why.
        satisfactions: Share 0..1 per wish of the rest.
    """

    operation: str
    score: float
    loss: float
    refused: tuple[str, ...]
    satisfactions: dict[str, float]


def contributions(design: Design, wanted: Task | Wanted) -> tuple[Contribution, ...]:
    """Returns the change of the score by each operation, in their order.

    Args:
        design: At least one operation.
        wanted: A task, or a brief.

    Raises:
        UserError: The design is empty.
    """
    _check(design)
    found, before = [], 0.0
    for number, line in enumerate(operation_lines(design), 1):
        after = _evaluated(design.first(number), wanted)
        change = after.score - before
        locked = number <= design.locked
        found.append(Contribution(line, change, after.score, after.satisfactions, locked))
        before = after.score
    return tuple(found)


def leave_one_out(design: Design, wanted: Task | Wanted) -> tuple[Omission, ...]:
    """Returns, for each operation, what the design would be without it.

    Args:
        design: At least one operation.
        wanted: A task, or a brief.

    Raises:
        UserError: The design is empty.
    """
    _check(design)
    whole = _evaluated(design, wanted).score
    found = []
    for left_out, line in enumerate(operation_lines(design)):
        rest, refused = _without(design, left_out)
        result = _evaluated(rest, wanted)
        loss = whole - result.score
        found.append(Omission(line, result.score, loss, refused, result.satisfactions))
    return tuple(found)


def _check(design: Design) -> None:
    if not len(design):
        raise UserError("the design has no operations, there is nothing to explain")


def _evaluated(design: Design, wanted: Task | Wanted) -> Evaluation:
    return evaluate_design(design, wanted, names=())


def _without(design: Design, left_out: int) -> tuple[Design, tuple[str, ...]]:
    """Builds a design without one operation; returns it and what was refused on the way."""
    rest = design.first(left_out)
    actions: Sequence[Action] = design.actions[left_out + 1 :]
    refused = []
    for number, action in enumerate(actions, left_out + 2):
        code = rest.apply(action)
        if code is not None:
            refused.append(f"{number} {action.name} ({code})")
    return rest, tuple(refused)
