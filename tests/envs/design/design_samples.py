"""Designs for the tests of files and scripts."""

import numpy as np

from rlgen.envs.design.shape.history import Design
from rlgen.envs.design.shape.masks import operation_mask
from rlgen.envs.design.shape.operations import FINISH, UNDO, Action
from rlgen.envs.design.shape.space import DesignSpace
from rlgen.envs.design.task.experts import expert


def expert_design(task: str) -> Design:
    return Design.from_actions(expert(task).actions)


def random_design(seed: int, steps: int | None = None, space: DesignSpace | None = None) -> Design:
    """Up to ``steps`` accepted operations, drawn under the mask; 2 to 6 where left out."""
    rng = np.random.default_rng(seed)
    design = Design(space)
    for _ in range(60):
        if len(design) == (steps or 2 + seed % 5):
            break
        mask = operation_mask(design.solid, 0, False, design.space)
        mask[[UNDO, FINISH]] = False
        op, mode = divmod(int(rng.choice(np.flatnonzero(mask))), 3)
        design.apply(Action(op, mode, tuple(rng.integers(-512, 513, 6).tolist())))
    return design


def built(
    *steps: tuple[str, str | None, dict[str, float]], space: DesignSpace | None = None
) -> Design:
    """A design from operations with physical values."""
    design = Design(space)
    for op, mode, values in steps:
        refused = design.apply(Action.named(op, mode, design.solid.bounds, **values))
        assert refused is None, (op, refused)
    return design
