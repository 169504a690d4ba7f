"""Short ways to build designs and to check meshes, shared by the tests of the geometry."""

import numpy as np

from rlgen.envs.design.mesh import Mesh
from rlgen.envs.design.shape.history import Design
from rlgen.envs.design.shape.masks import operation_mask
from rlgen.envs.design.shape.operations import BINS, FINISH, OPERATIONS, UNDO, Action, lookup
from rlgen.envs.design.shape.space import DesignSpace


def lattice(op: str, mode: str | None = None, *k: int) -> Action:
    """An action from lattice points; those left out are 0."""
    modes = OPERATIONS[lookup(op)].modes
    index = modes.index(mode) if mode else 0
    return Action(lookup(op), index, (*k, *([0] * (6 - len(k)))))


def build(*steps: tuple, space: DesignSpace | None = None) -> Design:
    """Applies (op, mode, physical values) in turn; every step must be accepted."""
    design = Design(space)
    for op, mode, values in steps:
        assert attempt(design, op, mode, **values) is None
    return design


def attempt(design: Design, op: str, mode: str | None = None, **values: float) -> str | None:
    """Applies one action given by physical values."""
    bounds = None if design.solid.is_empty else design.solid.bounds
    return design.apply(Action.named(op, mode, bounds, **values))


def random_action(design: Design, rng: np.random.Generator, last_was_undo: bool) -> Action:
    """A masked random action; parameters are floats or bins."""
    mask = operation_mask(design.solid, design.undoable, last_was_undo, design.space)
    assert mask.any()
    op = int(rng.choice(np.flatnonzero(mask.any(1))))
    mode = int(rng.choice(np.flatnonzero(mask[op])))
    if rng.random() < 0.5:
        return Action.from_bins(op, mode, rng.integers(0, BINS, 6).tolist())
    return Action.from_floats(op, mode, rng.uniform(-1, 1, 6))


def random_design(seed: int, steps: int = 8, space: DesignSpace | None = None) -> Design:
    """A design made by masked random actions."""
    rng, design, last = np.random.default_rng(seed), Design(space), False
    for _ in range(steps):
        action = random_action(design, rng, last)
        if action.op == FINISH:
            break
        last = action.op == UNDO
        if last:
            design.undo()
        else:
            design.apply(action)
    return design


def assert_closed(mesh: Mesh) -> None:
    """Every directed edge occurs once and its opposite once."""
    start, end = mesh.triangles.ravel(), mesh.triangles[:, [1, 2, 0]].ravel()
    count = len(mesh.vertices)
    edges, twins = np.sort(start * count + end), np.sort(end * count + start)
    assert len(np.unique(edges)) == len(edges)
    assert (edges == twins).all()


def volume(mesh: Mesh) -> float:
    """mm3 by signed tetrahedra."""
    a, b, c = mesh.corners.transpose(1, 0, 2)
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)
