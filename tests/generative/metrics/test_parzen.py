"""Parzen windows: closed forms, the grid, the choice of sigma (spec invariant 11)."""

import math

import numpy as np
import pytest
import torch

from rlgen.core.errors import UserError
from rlgen.generative.metrics import MNIST_SIGMAS, TFD_SIGMAS, parzen_log_prob, parzen_score
from rlgen.generative.metrics import parzen as parzen_module


def rows(count: int, dim: int, seed: int) -> torch.Tensor:
    return torch.rand(count, dim, generator=torch.Generator().manual_seed(seed)).double()


def test_the_grids_are_those_of_the_release():
    assert len(MNIST_SIGMAS) == 20
    assert (MNIST_SIGMAS[0], MNIST_SIGMAS[1], MNIST_SIGMAS[-1]) == (0.1, 0.11, 0.29)
    assert len(TFD_SIGMAS) == 40
    assert (TFD_SIGMAS[0], TFD_SIGMAS[1], TFD_SIGMAS[-1]) == (0.001, 0.006, 0.196)


def test_two_samples_by_hand():
    # Samples 0 and 2 on a line, sigma 1, point 0: log( (1 + e^-2) / 2 / sqrt(2 pi) ).
    found = parzen_log_prob([[0.0], [2.0]], [[0.0]], [1.0])
    expected = math.log((1 + math.exp(-2)) / 2) - 0.5 * math.log(2 * math.pi)
    assert found.shape == (1, 1)
    assert float(found) == pytest.approx(expected, rel=1e-12)


def test_it_integrates_to_one():
    grid = torch.linspace(-2, 3, 2001).double()
    density = parzen_log_prob(rows(30, 1, 1), grid[:, None], [0.1, 0.3]).exp()
    for one in density:
        assert float(torch.trapezoid(one, grid)) == pytest.approx(1, abs=1e-6)


def test_with_samples_equal_to_test_data_and_a_large_sigma_it_is_the_closed_form():
    # mean_s exp(-d^2 / 2 s^2) = 1 - mean_s d^2 / (2 s^2) + O(s^-4).
    data, sigma = rows(40, 6, 1), 100.0
    centred = data - data.mean(0)
    distances = centred.square().sum(1) + centred.square().sum(1).mean()
    expected = -distances / (2 * sigma**2) - 3 * math.log(2 * math.pi * sigma**2)
    found = parzen_log_prob(data, data, [sigma])[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)
    assert float((found - expected).abs().max()) < 0.01 * float(distances.std()) / (2 * sigma**2)


def test_of_a_broad_gaussian_it_is_the_convolution():
    # Samples of N(0, 1), window sigma: p is N(0, 1 + sigma^2).
    samples = torch.randn(20_000, 1, generator=torch.Generator().manual_seed(1)).double()
    points = torch.linspace(-2, 2, 9).double()[:, None]
    variance = 1 + 0.5**2
    expected = -(points[:, 0] ** 2) / (2 * variance) - 0.5 * math.log(2 * math.pi * variance)
    found = parzen_log_prob(samples, points, [0.5])[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=0.05)


def test_far_points_do_not_underflow():
    found = parzen_log_prob(torch.zeros(2, 784), torch.ones(1, 784), [0.1])
    assert float(found) == pytest.approx(-39200 - 392 * math.log(2 * math.pi * 0.01))


def test_the_likelihood_has_one_peak_in_sigma_and_the_score_takes_it():
    samples, validation, test = rows(400, 5, 1), rows(200, 5, 2), rows(300, 5, 3)
    sigmas = [round(0.02 * k, 2) for k in range(1, 21)]
    score = parzen_score(samples, validation, test, sigmas)
    rises = np.diff(score.validation) > 0
    assert rises[0]
    assert not rises[-1]
    assert (np.diff(rises.astype(int)) != 0).sum() == 1
    assert score.sigma == sigmas[int(np.argmax(score.validation))]
    assert not score.at_edge
    of_test = parzen_log_prob(samples, test, [score.sigma])[0]
    assert score.mean == pytest.approx(float(of_test.mean()))
    assert score.standard_error == pytest.approx(float(of_test.std()) / math.sqrt(300))
    assert (score.samples, score.tested) == (400, 300)
    assert parzen_score(samples, validation, test, sigmas[-5:]).at_edge


def test_the_test_set_has_no_say_in_sigma():
    samples = torch.zeros(5, 1)
    near, far = torch.full((3, 1), 0.2), torch.full((3, 1), 0.9)
    sigmas = [0.2, 0.9]  # the best ones of each, since sigma^2 = d^2
    assert parzen_score(samples, near, far, sigmas).sigma == 0.2
    assert parzen_score(samples, far, near, sigmas).sigma == 0.9


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch):
    samples, points = rows(50, 4, 1), rows(31, 4, 2)
    whole = parzen_log_prob(samples, points, [0.1, 0.2])
    monkeypatch.setattr(parzen_module, "BLOCK", 170)
    torch.testing.assert_close(parzen_log_prob(samples, points, [0.1, 0.2]), whole)


@pytest.mark.parametrize("sigmas", [[], [0.0, 0.1], [0.2, 0.1], [0.1, math.inf]])
def test_a_wrong_grid_is_told_in_one_line(sigmas: list[float]):
    with pytest.raises(UserError, match=r"ascending numbers above 0 are needed"):
        parzen_score(rows(5, 2, 1), rows(5, 2, 2), rows(5, 2, 3), sigmas)
