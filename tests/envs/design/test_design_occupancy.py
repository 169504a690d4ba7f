import numpy as np
import pytest
from mechanics_solids import box, mesh_of, mug

from rlgen.envs.design.measure.occupancy import occupancy


def test_a_box_is_full() -> None:
    grid = occupancy(mesh_of(box(20, 30, 50, (3, 4, 5))), 5.2)
    assert grid.fill.shape == (4, 6, 10)
    np.testing.assert_allclose(grid.cell, 5)
    np.testing.assert_allclose(grid.origin, [-7, -11, 5])
    np.testing.assert_allclose(grid.fill, 1)


def test_axes_keep_their_order_and_partial_cells_their_share() -> None:
    """A slab beside the box: 2.5 mm of a 4 mm cell along x, four of five lines along y."""
    solid = box(8, 12, 8) + box(2.5, 12 - 0.8, 4, (4 + 1.25, -0.4, 0))
    solid += box(8, 12, 4, (8, 0, 8))  # spans the grid to x = 12
    fill = occupancy(mesh_of(solid), 4.0).fill
    assert fill.shape == (4, 3, 3)
    np.testing.assert_allclose(fill[:, :, 1], np.repeat([1, 1, 0, 0], 3).reshape(4, 3), atol=1e-9)
    np.testing.assert_allclose(fill[:, :, 2], np.repeat([0, 0, 1, 1], 3).reshape(4, 3), atol=1e-9)
    share = 2.5 / 4
    np.testing.assert_allclose(fill[2, :, 0], [share, share, share * 4 / 5], atol=1e-9)
    np.testing.assert_allclose(fill[3, :, 0], 0, atol=1e-9)


def test_holes_are_empty() -> None:
    solid = box(20, 20, 20) - box(8, 10, 12, (3, 0, 0))
    grid = occupancy(mesh_of(solid), 1.0)
    assert grid.fill.sum() == pytest.approx(8000 - 960)
    assert grid.fill[13, 10, 5] == pytest.approx(0, abs=1e-9)
    assert grid.fill[2, 10, 5] == pytest.approx(1)


def test_the_shares_sum_to_the_volume() -> None:
    """The mug's floor of 3 mm is sampled every 0.4 mm; turned, no face lies along the lines."""
    for turn, tolerance in (((0, 0, 0), 0.04), ((20, 30, 40), 0.002)):
        solid = mug().rotate(turn)
        grid = occupancy(mesh_of(solid), 2.0)
        total = grid.fill.sum() * grid.cell.prod()
        assert total == pytest.approx(solid.volume(), rel=tolerance)
        assert grid.fill.min() >= 0
        assert grid.fill.max() <= 1


def test_a_cell_larger_than_the_body() -> None:
    grid = occupancy(mesh_of(box(3, 4, 5)), 50.0)
    assert grid.fill.shape == (1, 1, 1)
    assert grid.fill[0, 0, 0] == pytest.approx(1)
