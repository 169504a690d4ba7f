"""Kernel distance: by hand, unbiased, a peer's figures."""

import warnings

import pytest
import torch

from rlgen.core.errors import UserError
from rlgen.generative.metrics import kernel_distance, squared_discrepancy


def rows(count: int, dim: int, seed: int) -> torch.Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)).double()


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_rows_by_hand():
    # F = 1. real 0, 1: k = 1 for the pair. generated 1, 2: (1 * 2 + 1)^3 = 27.
    # across: 0-1, 0-2: 1 each; 1-1: 8; 1-2: 27; mean 37 / 4.
    assert squared_discrepancy([[0.0], [1.0]], [[1.0], [2.0]]) == pytest.approx(28 - 2 * 37 / 4)


def test_features_are_divided_by_their_number():
    # The kernel of repeated features is that of one.
    one, two = rows(20, 1, 1), rows(30, 1, 2) + 1
    wide = squared_discrepancy(one.repeat(1, 7), two.repeat(1, 7))
    assert wide == pytest.approx(squared_discrepancy(one, two), rel=1e-10)


def test_two_sets_of_one_distribution_are_zero_on_average():
    values = torch.tensor(
        [squared_discrepancy(rows(40, 3, k), rows(40, 3, 999 + k)) for k in range(150)]
    )
    assert values.min() < 0 < values.max()
    assert abs(float(values.mean())) < 3 * float(values.std()) / 150**0.5


def test_subsets_agree_with_the_whole_and_tell_their_size():
    one, two = rows(300, 4, 1), 1.2 * rows(400, 4, 2) + 0.3
    whole = squared_discrepancy(one, two)
    found = kernel_distance(one, two, generator=seeded(), subsets=60, subset_size=100)
    assert found.mean == pytest.approx(whole, abs=4 * found.deviation / 60**0.5)
    assert found.deviation > 0
    assert (found.subsets, found.subset_size) == (60, 100)
    again = kernel_distance(one, two, generator=seeded(), subsets=60, subset_size=100)
    assert again == found
    other = kernel_distance(one, two, generator=seeded(1), subsets=60, subset_size=100)
    assert other != found


def test_a_subset_is_at_most_the_smaller_set():
    one, two = rows(12, 4, 1), rows(12, 4, 2)
    found = kernel_distance(one, two, generator=seeded(), subsets=3)
    assert found.subset_size == 12
    assert found.mean == pytest.approx(squared_discrepancy(one, two), rel=1e-10)
    assert found.deviation == pytest.approx(0, abs=1e-10)


def test_it_is_torchmetrics_figure():
    kid = pytest.importorskip("torchmetrics.image.kid")
    # Subsets of all rows: every choice is the same set, so both must agree exactly.
    one, two = rows(25, 6, 1), 0.5 * rows(25, 6, 2) + 0.2

    class Flat(torch.nn.Module):
        num_features = 6

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it keeps all features, and says so
        peer = kid.KernelInceptionDistance(Flat(), subsets=2, subset_size=25, normalize=False)
    peer.real_features, peer.fake_features = [one], [two]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nothing went through update
        mean, _ = peer.compute()
    ours = kernel_distance(one, two, generator=seeded(), subsets=2, subset_size=25)
    assert ours.mean == pytest.approx(float(mean), rel=1e-6)


@pytest.mark.parametrize("option", [{"subsets": 0}, {"subset_size": 1}])
def test_mistakes_are_told_in_one_line(option: dict[str, int]):
    with pytest.raises(UserError, match="is too small"):
        kernel_distance(rows(5, 2, 1), rows(5, 2, 2), generator=seeded(), **option)
