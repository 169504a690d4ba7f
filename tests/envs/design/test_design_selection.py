import numpy as np
import pytest
from gallery_items import box

from rlgen.core.errors import UserError
from rlgen.envs.design.exhibit import selection
from rlgen.envs.design.exhibit.selection import (
    descriptor,
    distances,
    diverse,
    fronts,
    non_dominated,
    similar_to,
)
from rlgen.envs.design.mesh import EMPTY_MESH


def beaten(values: np.ndarray, i: int) -> bool:
    return any((row >= values[i]).all() and (row > values[i]).any() for row in values)


@pytest.mark.parametrize("block", [1, 7, 1024])
def test_non_dominated_is_what_nobody_beats(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "_BLOCK", block)
    values = np.random.default_rng(3).integers(0, 4, (60, 3)).astype(float)  # many equal ones
    expected = [not beaten(values, i) for i in range(60)]
    assert 0 < sum(expected) < 60
    np.testing.assert_array_equal(non_dominated(values), expected)
    np.testing.assert_array_equal(non_dominated(values * [1, -1, 1], [True, False, True]), expected)


def test_equal_designs_do_not_beat_each_other() -> None:
    assert non_dominated([[1.0, 2.0], [1.0, 2.0], [0.0, 2.0]]).tolist() == [True, True, False]
    assert non_dominated(np.zeros((4, 0))).all()
    assert len(non_dominated(np.zeros((0, 3)))) == 0


def test_fronts_are_peeled_one_by_one() -> None:
    values = [[3.0, 3.0], [1.0, 1.0], [2.0, 2.0], [0.0, 2.5], [3.0, 3.0]]
    assert fronts(values).tolist() == [0, 2, 1, 1, 0]


def test_diverse_takes_the_farthest_point_each_time() -> None:
    """On a line with places 0, 1, 10, 4: first 0 (all equally good), then 10, 4, 1."""
    place = np.array([0.0, 1.0, 10.0, 4.0])
    values = np.stack([place, -place], 1)
    chosen = diverse(values, np.zeros((4, 0)), 4, shape_weight=0.0)
    assert chosen.tolist() == [0, 2, 3, 1]


def test_diverse_starts_with_the_best_and_looks_at_forms() -> None:
    """Equal in what they can do, 1 and 2 differ from 0 by form alone: 2 has nothing in common."""
    values = np.array([[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
    forms = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 1]], float)
    assert diverse(values, forms, 2).tolist() == [0, 2]


def test_dominated_never_come_before_non_dominated() -> None:
    rng = np.random.default_rng(5)
    values, forms = rng.normal(size=(80, 2)), rng.random((80, 27))
    chosen = diverse(values, forms, 80)
    ranks = fronts(values)[chosen]
    assert sorted(chosen.tolist()) == list(range(80))
    assert (np.diff(ranks) >= 0).all()
    assert (ranks == 0).sum() < 80


def test_selection_is_deterministic_and_a_prefix_of_a_larger_one() -> None:
    rng = np.random.default_rng(6)
    values, forms = rng.integers(0, 3, (40, 3)), rng.integers(0, 2, (40, 8))
    first = diverse(values, forms, 12)
    np.testing.assert_array_equal(first, diverse(values, forms, 12))
    np.testing.assert_array_equal(first, diverse(values, forms, 30)[:12])
    assert len(diverse(values, forms, 0)) == 0
    assert len(diverse(np.zeros((0, 3)), np.zeros((0, 8)), 5)) == 0


def test_distances_follow_the_formula() -> None:
    """Metrics differ by 1 and 1/2 of their ranges, forms share 1 of 3 cells."""
    values = np.array([[0.0, 10.0, 7.0], [4.0, 20.0, 7.0], [2.0, 30.0, 7.0]])
    forms = np.array([[1, 1, 0], [0, 1, 1], [1, 1, 1]], float)
    found = distances(values, forms, 0.25)
    metric, form = (1.0**2 + 0.5**2 + 0.0) / 3, 1 - 1 / 3
    assert found[0, 1] == pytest.approx(np.sqrt(0.75 * metric + 0.25 * form**2))
    np.testing.assert_allclose(found, found.T)
    assert not found.diagonal().any()
    assert (found <= 1).all()


def test_distances_of_designs_without_substance_are_zero() -> None:
    assert not distances(np.ones((3, 2)), np.zeros((3, 5))).any()
    assert distances(np.zeros((0, 2)), np.zeros((0, 5))).shape == (0, 0)


def test_similar_designs_come_first() -> None:
    values = np.array([[0.0], [10.0], [1.0], [8.0], [5.0], [10.0]])
    forms = np.zeros((6, 4))
    assert similar_to(values, forms, [0]).tolist() == [0, 2, 4, 3, 1, 5]
    assert similar_to(values, forms, [1]).tolist() == [1, 5, 3, 4, 2, 0]
    assert similar_to(values, forms, [0, 1]).tolist() == [0, 1, 5, 2, 3, 4]


def test_descriptor_is_the_solid_share_of_each_cell() -> None:
    """Eight cells of 10 mm along each side of a box of 80 mm; a half cell above them."""
    full = descriptor(box(80, 80, 85))
    assert full.shape == (16, 16, 16)
    assert full.dtype == np.float32
    expected = np.zeros((16, 16, 16))
    expected[4:12, 4:12, :8] = 1.0
    expected[4:12, 4:12, 8] = 0.5
    np.testing.assert_allclose(full, expected, atol=1e-5)


def test_descriptor_does_not_depend_on_the_place() -> None:
    np.testing.assert_allclose(
        descriptor(box(43, 27, 61)), descriptor(box(43, 27, 61, (35.5, -20.25))), atol=1e-5
    )
    assert not descriptor(EMPTY_MESH).any()


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: non_dominated([1.0, 2.0]), "table"),
        (lambda: non_dominated([[np.nan]]), "finite"),
        (lambda: non_dominated([[1.0, 2.0]], [True]), "larger_is_better"),
        (lambda: diverse([[1.0]], [[1.0]], -1), "count=-1"),
        (lambda: distances([[1.0]], [[1.0], [0.0]]), "2 descriptors"),
        (lambda: distances([[1.0]], [[1.0]], 1.5), "shape_weight=1.5"),
        (lambda: similar_to([[1.0]], [[1.0]], []), "no design is liked"),
        (lambda: similar_to([[1.0]], [[1.0]], [3]), "liked design 3"),
        (lambda: descriptor(box(1, 1, 1), 0), "count=0"),
    ],
)
def test_mistakes_are_told_in_one_line(call, told: str) -> None:
    with pytest.raises(UserError, match=told) as caught:
        call()
    assert "\n" not in str(caught.value)
