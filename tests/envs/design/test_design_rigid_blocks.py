import itertools

import numpy as np
import pytest

from rlgen.envs.design.measure.rigid_blocks import BLOCK, RIDGE, RigidBlocks
from rlgen.envs.design.mesh import Floats


def springs(index: np.ndarray) -> Floats:
    """A stiffness between all pairs of nodes that share a cell, and a weak hold on each."""
    n = len(index)
    matrix = np.eye(3 * n) * 0.1
    for i, j in itertools.combinations(range(n), 2):
        along = (index[j] - index[i]).astype(float)
        if np.abs(along).max() <= 1:
            spring = np.outer(along, along) / (along @ along) ** 1.5
            for a, b, sign in ((i, i, 1), (j, j, 1), (i, j, -1), (j, i, -1)):
                matrix[3 * a : 3 * a + 3, 3 * b : 3 * b + 3] += sign * spring
    return matrix


@pytest.fixture
def index() -> np.ndarray:
    """A bent bar of nodes, four blocks long, one of them of a single node."""
    bar = list(itertools.product(range(2), range(2), range(2 * BLOCK + 1)))
    arm = list(itertools.product(range(2, BLOCK + 2), range(2), range(2)))
    return np.array(sorted({*bar, *arm, (0, 2, 0), (0, 3, 0), (0, 4, 0), (0, 5, 0)}))


def motions(index: np.ndarray) -> Floats:
    """Every block's shift and turn, one column each, built without the class."""
    blocks = index // BLOCK
    columns = []
    for block in np.unique(blocks, axis=0):
        inside = (blocks == block).all(1)
        lever = index - index[inside].mean(0)
        for axis in np.eye(3):
            columns.append((inside[:, None] * axis).ravel())
            columns.append((inside[:, None] * np.cross(axis, lever)).ravel())
    return np.array(columns).T


def test_answers_with_the_best_rigid_motion_of_the_blocks(index: np.ndarray) -> None:
    """P (P^T K P)^-1 P^T r, with P assembled by hand."""
    matrix, p = springs(index), motions(index)
    residual = np.random.default_rng(0).normal(size=len(matrix))
    expected = p @ np.linalg.pinv(p.T @ matrix @ p, rcond=1e-11) @ p.T @ residual
    blocks = RigidBlocks(index.astype(float), index, lambda moves: matrix @ moves)
    assert blocks.count == len(np.unique(index // BLOCK, axis=0)) >= 4
    found = blocks.correct(residual)
    assert np.linalg.norm(found - expected) < 1e4 * RIDGE * np.linalg.norm(expected)


def test_is_symmetric_as_the_solver_needs(index: np.ndarray) -> None:
    matrix = springs(index)
    blocks = RigidBlocks(index.astype(float), index, lambda moves: matrix @ moves)
    one, two = np.random.default_rng(1).normal(size=(2, len(matrix)))
    assert one @ blocks.correct(two) == pytest.approx(two @ blocks.correct(one), rel=1e-6)
