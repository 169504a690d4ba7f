"""A coarse grid of rigid blocks that makes the elastic solver converge in a third of the steps.

Scope: the second level of a two-level preconditioner (aggregation with rigid-body modes). Nodes
are gathered into cubes; a residual is first answered by moving and turning whole cubes, which
takes care of slow bending, and then node by node.
"""

from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_array

from rlgen.envs.design.mesh import Floats, Ints

BLOCK = 5
"""Nodes per block along each axis."""
RIDGE = 1e-9
"""Share of the mean stiffness that keeps blocks of too few nodes from being singular."""


class RigidBlocks:
    """The coarse problem of one system.

    Args:
        places: float64 (n, 3): the free nodes, mm.
        index: int64 (n, 3): the same in the grid.
        multiply: Applies the stiffness matrix to displacements (3 n,).
    """

    def __init__(self, places: Floats, index: Ints, multiply: Callable[[Floats], Floats]) -> None:
        cubes, block = np.unique(index // BLOCK, axis=0, return_inverse=True)
        block = block.ravel()
        self.count = len(cubes)
        modes = self._modes(places, block)
        rows = np.repeat(np.arange(3 * len(places)), 6)
        columns = np.repeat(6 * block, 18) + np.tile(np.arange(6), 3 * len(places))
        shape = (3 * len(places), 6 * self.count)
        self._spread = csr_array((modes.ravel(), (rows, columns)), shape=shape)
        self._gather = csr_array(self._spread.T)
        coarse = self._project(cubes, block, modes, multiply)
        ridge = RIDGE * np.trace(coarse) / len(coarse)
        self._inverse = np.linalg.inv(coarse + ridge * np.eye(len(coarse)))

    def _modes(self, places: Floats, block: Ints) -> Floats:
        """Returns (n, 3, 6): how a node moves with each of its block's motions."""
        share = np.bincount(block, minlength=self.count)
        middle = np.stack([np.bincount(block, axis) / share for axis in places.T], axis=1)
        x, y, z = (places - middle[block]).T
        modes = np.zeros((len(places), 3, 6))
        modes[:, [0, 1, 2], [0, 1, 2]] = 1.0
        modes[:, 1, 3], modes[:, 2, 3] = -z, y
        modes[:, 0, 4], modes[:, 2, 4] = z, -x
        modes[:, 0, 5], modes[:, 1, 5] = -y, x
        return modes

    def _project(
        self, cubes: Ints, block: Ints, modes: Floats, multiply: Callable[[Floats], Floats]
    ) -> Floats:
        """Returns (6 b, 6 b): the stiffness between the motions of the blocks.

        Only neighbours act on each other, so blocks three apart can be moved at once: of what a
        block feels then, exactly one of them is the cause.
        """
        number = np.full(cubes.max(0) + 3, -1)
        number[tuple((cubes + 1).T)] = np.arange(self.count)
        colour = cubes % 3 @ [9, 3, 1]
        result = np.zeros((6 * self.count, 6 * self.count))
        for which in np.unique(colour):
            moved = (colour == which)[block]
            offset = (np.array([which // 9, which // 3 % 3, which % 3]) - cubes + 1) % 3
            cause = number[tuple((cubes + offset).T)]  # of each block, -1 where there is none
            felt = np.flatnonzero(cause >= 0)
            for mode in range(6):
                forces = multiply((modes[:, :, mode] * moved[:, None]).ravel())
                answer = (self._gather @ forces).reshape(self.count, 6)
                rows = 6 * felt[:, None] + np.arange(6)
                result[rows, 6 * cause[felt, None] + mode] = answer[felt]
        return result

    def correct(self, residual: Floats) -> Floats:
        """Returns the displacements (3 n,) of the rigid blocks that answer forces (3 n,)."""
        moves: Floats = self._spread @ (self._inverse @ (self._gather @ residual))
        return moves
