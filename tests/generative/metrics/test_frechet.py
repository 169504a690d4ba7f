"""Frechet distance: closed forms, a peer's figures, singular covariances, mistakes."""

import math

import numpy as np
import pytest
import torch

from rlgen.core.errors import UserError
from rlgen.generative.metrics import frechet_distance, gaussian_distance
from rlgen.generative.metrics.frechet import trace_of_root


def rows(count: int, dim: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)).double()


def spread(dim: int, rank: int, seed: int) -> torch.Tensor:
    factor = rows(dim, rank, seed)
    return factor @ factor.t() / rank


def test_rows_by_hand():
    # Means 1 and 3, variances 2 and 8: (1 - 3)^2 + (sqrt 2 - sqrt 8)^2 = 4 + 2.
    found = frechet_distance([[0.0], [2.0]], [[1.0], [5.0]])
    assert found.mean_part == pytest.approx(4)
    assert found.spread_part == pytest.approx(2)
    assert found.distance == pytest.approx(6)
    assert (found.real, found.generated, found.features) == (2, 2, 1)


def test_covariances_that_commute():
    # tr(A + B - 2 sqrt(AB)) = sum (sqrt a - sqrt b)^2 in their common basis.
    basis = torch.linalg.qr(rows(3, 3))[0]
    a, b = torch.tensor([1.0, 4.0, 9.0]).double(), torch.tensor([4.0, 4.0, 1.0]).double()
    first, second = ((basis * values) @ basis.t() for values in (a, b))
    zero = torch.zeros(3).double()
    parts = gaussian_distance(zero, first, zero + 2, second)
    assert parts == pytest.approx((12.0, 1.0 + 0.0 + 4.0))


def test_covariances_of_two_dimensions_that_do_not_commute():
    # For 2 x 2: tr sqrt(M) = sqrt(tr M + 2 sqrt(det M)).
    first, second = spread(2, 2, 1), spread(2, 2, 2)
    product = first @ second
    expected = math.sqrt(torch.trace(product) + 2 * math.sqrt(torch.linalg.det(product)))
    assert float(trace_of_root(first, second)) == pytest.approx(expected, rel=1e-12)


def test_a_set_has_no_distance_to_itself_and_the_order_does_not_matter():
    one, two = rows(200, 6, 1), 1.5 * rows(300, 6, 2) + 0.5
    assert frechet_distance(one, one).distance == pytest.approx(0, abs=1e-12)
    there, back = frechet_distance(one, two).distance, frechet_distance(two, one).distance
    assert there == pytest.approx(back, rel=1e-12)
    assert there > 1


def test_turning_both_sets_changes_nothing_and_scaling_multiplies_by_its_square():
    one, two = rows(100, 5, 1), rows(100, 5, 2) * torch.arange(1, 6)
    turn = torch.linalg.qr(rows(5, 5, 3))[0]
    plain = frechet_distance(one, two).distance
    assert frechet_distance(one @ turn, two @ turn).distance == pytest.approx(plain, rel=1e-10)
    assert frechet_distance(3 * one, 3 * two).distance == pytest.approx(9 * plain, rel=1e-10)


def test_singular_covariances_are_exact():
    # Fewer rows than features; a set to itself would be off by 1e-8 with roots of eigenvalues.
    few = 1e3 * rows(10, 64)
    assert frechet_distance(few, few).distance / 1e6 == pytest.approx(0, abs=1e-10)
    constant = torch.ones(4, 3)
    assert frechet_distance(constant, constant + 2).distance == pytest.approx(12)


@pytest.mark.parametrize("counts", [(4, 9), (9, 4), (3, 5)])
def test_few_rows_of_many_features_have_the_same_distance(counts):
    one, two = rows(counts[0], 7, 1), rows(counts[1], 7, 2) * torch.arange(7) + 1
    means = one.mean(0), two.mean(0)
    covariances = torch.cov(one.t()), torch.cov(two.t())
    found = frechet_distance(one, two)
    expected = gaussian_distance(means[0], covariances[0], means[1], covariances[1])
    assert (found.mean_part, found.spread_part) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(one, one).distance == pytest.approx(0, abs=1e-12)


def test_more_rows_less_bias():
    # Two sets of one Gaussian: the distance is all bias.
    found = [frechet_distance(rows(n, 8, 1), rows(n, 8, 2)).distance for n in (50, 500, 5000)]
    assert found[0] > 4 * found[1] > 16 * found[2]


def test_it_is_torchmetrics_figure():
    fid = pytest.importorskip("torchmetrics.image.fid")

    class First(torch.nn.Module):
        num_features = 8

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1)

    one, two = (torch.from_numpy(np.random.default_rng(s).random((60, 2, 2, 2))) for s in (1, 2))
    peer = fid.FrechetInceptionDistance(
        First(), normalize=True, input_img_size=(2, 2, 2), antialias=False
    ).set_dtype(torch.float64)
    peer.update(one.double(), real=True)
    peer.update(two.double() ** 2, real=False)
    ours = frechet_distance(one.flatten(1), two.flatten(1) ** 2)
    assert ours.distance == pytest.approx(float(peer.compute()), rel=1e-6)


@pytest.mark.parametrize(
    ("real", "generated", "told"),
    [
        (torch.zeros(3), torch.zeros(3, 1), "real of shape (3,); (count, features) is needed"),
        (torch.zeros(1, 2), torch.zeros(3, 2), "real has 1 rows; 2 or more are needed"),
        (torch.zeros(3, 2), torch.zeros(3, 4), "real rows have 2 features, generated ones 4"),
        (torch.zeros(3, 2), torch.full((3, 2), torch.nan), "generated has numbers that are not"),
    ],
)
def test_mistakes_are_told_in_one_line(real: torch.Tensor, generated: torch.Tensor, told: str):
    with pytest.raises(UserError) as caught:
        frechet_distance(real, generated)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
