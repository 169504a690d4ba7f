"""Improves a sequence of actions by small changes of single parameters.

It brings an expert's script to the 17 bins of the discrete encoding, and polishes what a search
has found. A plain hill climber, kept simple on purpose.
"""

from collections.abc import Callable, Sequence

import numpy as np

from rlgen.envs.design.shape.geometry import EMPTY, Solid, apply
from rlgen.envs.design.shape.operations import BIN_STEP, LATTICE, OPERATIONS, Action
from rlgen.envs.design.shape.space import DesignSpace
from rlgen.envs.design.task.experts import DEFAULT_SPACE


def replay(actions: Sequence[Action], space: DesignSpace = DEFAULT_SPACE) -> Solid:
    """Returns the solid after modelling operations; refused ones change nothing."""
    solid = EMPTY
    for action in actions:
        solid = apply(solid, action, space).solid
    return solid


def improved(
    actions: Sequence[Action],
    value: Callable[[Solid], float],
    rng: np.random.Generator,
    moves: int = 400,
    enough: float = 1.0,
    step: int = BIN_STEP,
    space: DesignSpace = DEFAULT_SPACE,
) -> tuple[tuple[Action, ...], float]:
    """Climbs from a sequence of actions to a better one.

    A move changes one or two parameters that matter by one or two steps each; it is kept when the
    value does not fall.

    Args:
        actions: Modelling operations to start from.
        value: What to maximise, a function of the resulting solid.
        rng: Where the randomness comes from.
        moves: How many moves to try at most.
        enough: Value at which to stop.
        step: Step on the lattice; with 64 parameters that are bins stay bins.
        space: Where the design may be.

    Returns:
        The best actions and their value.
    """
    best, reached = tuple(actions), value(replay(actions, space))
    places = [
        (number, position)
        for number, action in enumerate(best)
        for position, _ in OPERATIONS[action.op].used(action.mode)
    ]
    for _ in range(moves if places else 0):
        if reached >= enough:
            break
        moved = best
        for _ in range(int(rng.integers(1, 3))):
            number, position = places[rng.integers(len(places))]
            change = step * int(rng.choice([-2, -1, 1, 2]))
            moved = _changed(moved, number, position, change)
        found = value(replay(moved, space)) if moved != best else reached
        if found >= reached:
            best, reached = moved, found
    return best, reached


def _changed(
    actions: tuple[Action, ...], number: int, position: int, change: int
) -> tuple[Action, ...]:
    """Returns the actions with one parameter of one of them moved, within the lattice."""
    action = actions[number]
    k = list(action.k)
    k[position] = min(max(k[position] + change, -LATTICE), LATTICE)
    new = Action(action.op, action.mode, (k[0], k[1], k[2], k[3], k[4], k[5]))
    return (*actions[:number], new, *actions[number + 1 :])
