"""The three ways an agent may write a design action, and their spaces.

* ``multidiscrete`` (default): ``MultiDiscrete([16, 3] + [17] * 6)``: operation, mode and six bins,
  every one of which is a lattice point. It is what masked PPO takes.
* ``hybrid``: ``Dict(op=Discrete(16), mode=Discrete(3), params=Box(-1, 1, (6,)))``, for algorithms
  with parameterised actions.
* ``box``: ``Box(-1, 1, (25,))``: 16 preferences among operations, 3 among modes, six parameters;
  the highest preference that the mask allows is taken. For SAC, TD3 and CMA-ES.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlgen.core.errors import UserError, closest
from rlgen.envs.design.shape.operations import (
    BIN_STEP,
    BINS,
    LATTICE,
    N_MODES,
    N_PARAMETERS,
    OPERATIONS,
    Action,
)

ENCODINGS = ("multidiscrete", "hybrid", "box")
N_OPERATIONS = len(OPERATIONS)
FEATURES = N_OPERATIONS + N_MODES + N_PARAMETERS
Mask = NDArray[np.bool_]


def action_space(encoding: str) -> spaces.Space:
    """Returns the space of an encoding.

    Raises:
        UserError: If the encoding is unknown.
    """
    if encoding == "multidiscrete":
        return spaces.MultiDiscrete([N_OPERATIONS, N_MODES] + [BINS] * N_PARAMETERS)
    if encoding == "hybrid":
        parts = {"op": spaces.Discrete(N_OPERATIONS), "mode": spaces.Discrete(N_MODES)}
        return spaces.Dict({**parts, "params": _box(N_PARAMETERS)})
    if encoding == "box":
        return _box(FEATURES)
    raise UserError(f"encoding={encoding!r} is unknown; {closest(encoding, ENCODINGS)}")


def _box(size: int) -> spaces.Box:
    return spaces.Box(-1.0, 1.0, (size,), dtype=np.float32)


def decode(raw: Any, space: spaces.Space, mask: Mask) -> Action:
    """Returns the lattice action that an agent wrote.

    Args:
        raw: What the agent gave.
        space: One of :func:`action_space`.
        mask: bool (16, 3), read by the ``box`` encoding only.

    Raises:
        UserError: If it is outside of the space.
    """
    if isinstance(space, spaces.MultiDiscrete):
        numbers = _numbers(raw, space)
        if not np.all((numbers >= 0) & (numbers < space.nvec) & (numbers == np.floor(numbers))):
            raise _outside(raw, space)
        op, mode, *bins = numbers.astype(int).tolist()
        return Action.from_bins(op, mode, bins)
    if isinstance(space, spaces.Dict):
        return _from_parts(raw, space)
    numbers = _numbers(raw, space)
    # Rounding to float32 may leave the edge of the space by a hair.
    if np.abs(numbers).max() > 1 + 1e-6:
        raise _outside(raw, space)
    allowed = np.where(mask.any(1), numbers[:N_OPERATIONS], -np.inf)
    op = int(allowed.argmax())
    modes = np.where(mask[op], numbers[N_OPERATIONS : N_OPERATIONS + N_MODES], -np.inf)
    return Action.from_floats(op, int(modes.argmax()), numbers[N_OPERATIONS + N_MODES :])


def _from_parts(raw: Any, space: spaces.Dict) -> Action:
    """Decodes the ``hybrid`` encoding."""
    try:
        op, mode = int(raw["op"]), int(raw["mode"])
        params = np.asarray(raw["params"], dtype=np.float64)
    except (KeyError, TypeError, ValueError, IndexError):
        raise _outside(raw, space) from None
    inside = 0 <= op < N_OPERATIONS and 0 <= mode < N_MODES and params.shape == (N_PARAMETERS,)
    if not inside or not np.isfinite(params).all() or np.abs(params).max() > 1 + 1e-6:
        raise _outside(raw, space)
    return Action.from_floats(op, mode, params)


def _numbers(raw: Any, space: spaces.Space) -> NDArray[np.float64]:
    try:
        numbers = np.asarray(raw, dtype=np.float64)
    except (TypeError, ValueError):
        raise _outside(raw, space) from None
    if numbers.shape != space.shape or not np.isfinite(numbers).all():
        raise _outside(raw, space)
    return numbers


def _outside(raw: Any, space: spaces.Space) -> UserError:
    given = " ".join(str(raw).split())
    shown = " ".join(str(space).split())
    return UserError(
        f"action {given[:80]} is outside of {shown}; draw one by action_space.sample()"
    )


def encode(action: Action, encoding: str) -> Any:
    """Returns a lattice action as an agent would write it; the reverse of :func:`decode`.

    ``multidiscrete`` takes the nearest bins; the others are exact.
    """
    params = np.array(action.k, dtype=np.float64) / LATTICE
    if encoding == "multidiscrete":
        bins = np.floor((np.array(action.k) + LATTICE) / BIN_STEP + 0.5)
        return np.array([action.op, action.mode, *bins], dtype=np.int64)
    if encoding == "hybrid":
        return {"op": action.op, "mode": action.mode, "params": params.astype(np.float32)}
    return np.concatenate([2.0 * one_hot(action)[:-N_PARAMETERS] - 1.0, params]).astype(np.float32)


@lru_cache(maxsize=4096)
def one_hot(action: Action) -> NDArray[np.float32]:
    """Returns an action as features: one-hot operation and mode, parameters.

    float32 (25,), read-only.
    """
    row = np.zeros(FEATURES, dtype=np.float32)
    row[action.op] = row[N_OPERATIONS + action.mode] = 1.0
    row[-N_PARAMETERS:] = np.array(action.k, dtype=np.float32) / LATTICE
    row.setflags(write=False)
    return row


def sample(space: spaces.Space, mask: Mask, rng: np.random.Generator) -> Any:
    """Draws an action whose operation and mode the mask allows: operations equally often.

    Args:
        space: One of :func:`action_space`.
        mask: bool (16, 3).
        rng: Where the randomness comes from.
    """
    op = int(rng.choice(np.flatnonzero(mask.any(1))))
    mode = int(rng.choice(np.flatnonzero(mask[op])))
    if isinstance(space, spaces.MultiDiscrete):
        return np.array([op, mode, *rng.integers(0, BINS, N_PARAMETERS)], dtype=np.int64)
    k = [int(number) for number in rng.integers(-LATTICE, LATTICE + 1, N_PARAMETERS)]
    action = Action(op, mode, (k[0], k[1], k[2], k[3], k[4], k[5]))
    return encode(action, "hybrid" if isinstance(space, spaces.Dict) else "box")
