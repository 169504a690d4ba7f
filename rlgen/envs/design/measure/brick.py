"""The finite element of a box-shaped cell: stiffness and stresses.

Scope: eight corners, linear elasticity, with Wilson's incompatible modes (condensed away), which
let one cell bend without the false stiffness of the plain trilinear element.
"""

import functools
import itertools

import numpy as np

from rlgen.envs.design.mesh import Floats

CORNERS = np.array(list(itertools.product((0, 1), repeat=3)))
"""int (8, 3): corners of a cell in units of its size, in the order of the degrees of freedom."""


def elasticity(poisson: float) -> Floats:
    """Returns (6, 6): stress from strain for a Young's modulus of 1; order xx yy zz xy yz zx."""
    matrix = np.zeros((6, 6))
    matrix[:3, :3] = poisson + (1.0 - 2.0 * poisson) * np.eye(3)
    matrix[:3, :3] /= (1.0 + poisson) * (1.0 - 2.0 * poisson)
    matrix[3:, 3:] = np.eye(3) / (2.0 * (1.0 + poisson))
    return matrix


@functools.lru_cache(maxsize=64)
def brick(size: tuple[float, float, float], poisson: float) -> tuple[Floats, Floats]:
    """Computes the matrices of one cell for a Young's modulus of 1 MPa.

    Args:
        size: Sides of the cell, mm.
        poisson: Poisson's ratio.

    Returns:
        Stiffness, float64 (24, 24), N/mm, for displacements ordered by ``CORNERS``, then axis;
        and stresses, float64 (8, 6, 24), MPa at each corner per mm of displacement.
    """
    sides = np.array(size)
    law = elasticity(poisson)
    places = (2 * CORNERS - 1) / np.sqrt(3.0)
    strains = np.stack([_strain(_gradients(place, sides)) for place in places])
    bubbles = np.stack([_strain(_bubble_gradients(place, sides)) for place in places])
    both = np.concatenate([strains, bubbles], axis=2)  # (8, 6, 33)
    full = np.einsum("gai,ab,gbj->ij", both, law, both) * sides.prod() / 8.0
    condense = np.linalg.solve(full[24:, 24:], full[24:, :24])
    stiffness = full[:24, :24] - full[:24, 24:] @ condense
    at_corners = np.stack(
        [
            _strain(_gradients(place, sides)) - _strain(_bubble_gradients(place, sides)) @ condense
            for place in 2.0 * CORNERS - 1.0
        ]
    )
    return (stiffness + stiffness.T) / 2.0, law @ at_corners


def _gradients(place: Floats, sides: Floats) -> Floats:
    """Returns (8, 3): gradients of the trilinear shape functions at a place in -1..1."""
    factor = (1.0 + (2 * CORNERS - 1) * place) / 2.0
    slope = (2 * CORNERS - 1) / sides
    x, y, z = factor.T
    return slope * np.stack([y * z, x * z, x * y], axis=1)


def _bubble_gradients(place: Floats, sides: Floats) -> Floats:
    """Returns (3, 3): gradients of 1 - x^2, 1 - y^2 and 1 - z^2 at a place in -1..1."""
    return np.diag(-4.0 * place / sides)


def _strain(gradients: Floats) -> Floats:
    """Returns (6, 3 n): strain from the displacements of n shape functions."""
    x, y, z = gradients.T
    matrix = np.zeros((6, len(gradients), 3))
    matrix[0, :, 0] = matrix[3, :, 1] = matrix[5, :, 2] = x
    matrix[1, :, 1] = matrix[3, :, 0] = matrix[4, :, 2] = y
    matrix[2, :, 2] = matrix[4, :, 1] = matrix[5, :, 0] = z
    return matrix.reshape(6, -1)
