import numpy as np
import pytest

from rlgen.envs.design.measure.brick import CORNERS, brick, elasticity

SIZE = (2.0, 3.0, 5.0)


def test_a_rigid_motion_costs_nothing() -> None:
    stiffness, stress = brick(SIZE, 0.3)
    places = CORNERS * SIZE
    for axis in np.eye(3):
        for moves in (np.tile(axis, (8, 1)), np.cross(axis, places)):
            np.testing.assert_allclose(stiffness @ moves.ravel(), 0, atol=1e-12)
            np.testing.assert_allclose(stress @ moves.ravel(), 0, atol=1e-12)
    assert (np.linalg.eigvalsh(stiffness) > 1e-6).sum() == 24 - 6
    np.testing.assert_array_equal(stiffness, stiffness.T)


def test_a_uniform_strain_gives_its_stress_and_energy() -> None:
    """The patch test, with a strain that has all six components."""
    stiffness, stress = brick(SIZE, 0.3)
    gradient = np.array([[1.0, 0.2, -0.4], [0.1, -0.7, 0.3], [0.6, 0.5, 0.9]])
    moves = (CORNERS * SIZE @ gradient.T).ravel()
    e = (gradient + gradient.T) / 2
    strain = np.array([e[0, 0], e[1, 1], e[2, 2], 2 * e[0, 1], 2 * e[1, 2], 2 * e[2, 0]])
    expected = elasticity(0.3) @ strain
    np.testing.assert_allclose(stress @ moves, np.tile(expected, (8, 1)), rtol=1e-12)
    assert moves @ stiffness @ moves == pytest.approx(strain @ expected * np.prod(SIZE))


def test_one_cell_bends_like_a_beam() -> None:
    """Pure bending u = x z, w = -x^2 / 2: energy E I k^2 L / 2, which plain cells overrate."""
    length, width, depth = SIZE
    stiffness, stress = brick(SIZE, 0.0)
    x, _, z = (CORNERS * SIZE - [0, width / 2, depth / 2]).T
    moves = np.stack([x * z, np.zeros(8), -x * x / 2], axis=1).ravel()
    second = width * depth**3 / 12
    assert moves @ stiffness @ moves == pytest.approx(second * length)
    np.testing.assert_allclose((stress @ moves)[:, 0], z, atol=1e-12)  # E times strain z


def test_the_law_of_hooke() -> None:
    law = elasticity(0.25)
    pulled = law @ [1.0, -0.25, -0.25, 0, 0, 0]  # free to shrink sideways
    np.testing.assert_allclose(pulled, [1, 0, 0, 0, 0, 0], atol=1e-12)
    assert law[3, 3] == pytest.approx(1 / 2.5)
