"""Precision and recall: by hand on a line, modes that are missed or made up, blocks."""

import pytest
import torch

from rlgen.core.errors import UserError
from rlgen.generative.metrics import precision_recall
from rlgen.generative.metrics import rows as rows_module


def rows(count: int, dim: int, seed: int) -> torch.Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed))


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values)[:, None]


def test_rows_by_hand():
    # k = 1. Real 0, 1, 3: balls [-1, 1], [0, 2], [1, 5]. Generated 5 (on a border), 6, 2, -2:
    # 2 of 4 inside. Their balls: 5 and 6 reach 1, 2 reaches 3, -2 reaches 4: [4, 6], [5, 7],
    # [-1, 5], [-6, 2]: all three real ones are inside.
    found = precision_recall(column(0, 1, 3), column(5, 6, 2, -2), neighbours=1)
    assert found.precision == 0.5
    assert found.recall == 1
    assert (found.real, found.generated, found.neighbours) == (3, 4, 1)


def test_more_neighbours_reach_further():
    # k = 2: balls of 0, 1, 3 reach 3, 2, 3: [-3, 3], [-1, 3], [0, 6].
    assert precision_recall(column(0, 1, 3), column(-2, 6, 7), neighbours=2).precision == 2 / 3


def test_a_set_against_itself_is_perfect_even_with_doubled_rows_far_from_zero():
    same = 1e4 + rows(50, 8, 1)
    same = torch.cat([same, same[:10], same[:10], same[:10]])  # radius 0 for those
    found = precision_recall(same, same.clone())
    assert (found.precision, found.recall) == (1, 1)


def test_a_missed_mode_costs_recall_and_a_made_up_one_precision():
    left, right = rows(200, 4, 1), rows(200, 4, 2) + 20
    missed = precision_recall(torch.cat([left, right]), rows(400, 4, 3))
    assert missed.precision > 0.9
    assert missed.recall == pytest.approx(0.5, abs=0.05)
    made_up = precision_recall(rows(400, 4, 3), torch.cat([left, right]))
    assert (made_up.precision, made_up.recall) == (missed.recall, missed.precision)
    apart = precision_recall(left, right)
    assert (apart.precision, apart.recall) == (0, 0)


def test_narrow_samples_are_precise_and_cover_little():
    found = precision_recall(rows(500, 6, 1), 0.5 * rows(500, 6, 2))
    assert found.precision > 0.95
    assert found.recall < 0.5


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch):
    real, generated = rows(120, 5, 1), 1.5 * rows(90, 5, 2)
    whole = precision_recall(real, generated)
    assert 0.2 < whole.precision < 1
    monkeypatch.setattr(rows_module, "BLOCK", 700)  # a few rows at a time
    assert precision_recall(real, generated) == whole


def test_mistakes_are_told_in_one_line():
    with pytest.raises(UserError, match="neighbours=3 of 3 rows; give more rows or type neighb"):
        precision_recall(rows(3, 2, 1), rows(9, 2, 2))
    with pytest.raises(UserError, match="neighbours=0 is too small"):
        precision_recall(rows(9, 2, 1), rows(9, 2, 2), neighbours=0)
