"""Which operations make sense now.

The mask is a product of a mask over operations and a mask over modes, so learners that choose the
two independently (the factored masks of maskable PPO) lose nothing. A mode that an operation does
not have counts as its first one, as in ``operations.canonical``, and is masked like it.
"""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from rlgen.core.errors import UserError, closest
from rlgen.envs.design.shape.solids import Solid
from rlgen.envs.design.shape.space import DesignSpace
from rlgen.envs.design.shape.table import (
    FINISH,
    INDEX,
    MODELLING,
    N_MODES,
    NAMES,
    OPERATIONS,
    PARTS,
    PATTERNS,
    UNDO,
)

LEAST_HOLLOW = OPERATIONS[INDEX["hollow"]].parameters[1].low + 1.0  # mm: the least floor + 1
_ALWAYS = ("undo", "finish")


def check_allowed(allowed: Collection[str] | None, *, seeded: bool = False) -> None:
    """Checks a designer's list of allowed operations.

    Args:
        allowed: Names of operations, or None for all. ``undo`` and ``finish`` are always allowed
            and may be listed or not.
        seeded: Whether episodes start from a design, so that no part is needed to begin with.

    Raises:
        UserError: A name is unknown, or nothing could ever be built.
    """
    if allowed is None:
        return
    for name in allowed:
        if name not in INDEX:
            raise UserError(f"no operation {name!r} to allow; {closest(name, NAMES)}")
    if not seeded and not set(allowed) & set(PARTS):
        raise UserError(
            f"allowed operations {', '.join(sorted(allowed)) or '(none)'} cannot begin a design; "
            f"add one of {', '.join(PARTS)}"
        )


def operation_mask(
    solid: Solid,
    n_history: int,
    last_was_undo: bool,
    space: DesignSpace,
    allowed: Collection[str] | None = None,
) -> NDArray[np.bool_]:
    """Returns what may be tried next.

    On an empty solid only parts can be added. Patterns are off when even two copies have too many
    triangles, ``hollow`` when the solid is lower than the least floor and 1 mm, ``undo`` without
    history and right after an undo, ``finish`` on an empty solid, and everything that the
    designer's list leaves out.

    Args:
        solid: The present solid.
        n_history: Operations that can be undone (locked ones cannot).
        last_was_undo: Whether the last step was an undo.
        space: Where the design may be.
        allowed: Names of allowed operations, or None for all; see ``check_allowed``.

    Returns:
        bool (16, 3) over (operation, mode), never empty.

    Raises:
        UserError: The list of allowed operations leaves nothing to do.
    """
    listed = set(MODELLING if allowed is None else allowed) | set(_ALWAYS)
    operations = np.array([name in listed for name in NAMES])
    modes = np.ones(N_MODES, dtype=bool)
    if solid.is_empty:
        operations &= np.array([name in PARTS for name in NAMES])
        modes[1:] = False
    else:
        if 2 * solid.n_triangles > space.max_pattern_triangles:
            operations[[INDEX[name] for name in PATTERNS]] = False
        if solid.bounds[1, 2] < LEAST_HOLLOW:
            operations[INDEX["hollow"]] = False
    operations[UNDO] = n_history > 0 and not last_was_undo
    operations[FINISH] = not solid.is_empty
    if not operations.any():
        check_allowed(allowed)
    return operations[:, None] & modes
