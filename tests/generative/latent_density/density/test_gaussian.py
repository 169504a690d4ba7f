"""Gaussians: torch's densities, the data's moments, conditionals by the textbook formula."""

import math

import pytest
import torch

from rlgen.generative.latent_density.density import FullGaussian, StandardNormal
from rlgen.generative.latent_density.density.gaussian import component_log_prob, whiten


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def factors(count: int, dim: int) -> torch.Tensor:
    lower = torch.randn(count, dim, dim, generator=seeded(0), dtype=torch.float64).tril()
    lower.diagonal(dim1=1, dim2=2).abs_().add_(0.5)
    return lower


@pytest.mark.parametrize("k", [0, 1, 3, 4])
def test_components_are_torchs_marginals(k):
    lower, means = factors(2, 4), torch.randn(2, 4, generator=seeded(1), dtype=torch.float64)
    x = torch.randn(5, k, generator=seeded(2), dtype=torch.float64)
    scores = component_log_prob(x, means, lower)
    assert scores.shape == (5, 2)
    for j in range(2):
        covariance = (lower[j] @ lower[j].T)[:k, :k]
        expected = torch.zeros(5, dtype=torch.float64)
        if k:
            reference = torch.distributions.MultivariateNormal(means[j, :k], covariance)
            expected = reference.log_prob(x)
        torch.testing.assert_close(scores[:, j], expected)
        moved = whiten(x, means, lower)[:, j] @ lower[j, :k, :k].T + means[j, :k]
        torch.testing.assert_close(moved, x)


def test_recovers_mean_and_covariance(tilted):
    density, data = FullGaussian(dim=3, ridge=1e-6), tilted(4000, 0)
    (loss,) = density.fit(data)
    covariance = density.scale[:, None] * (density.factor @ density.factor.T) * density.scale
    torch.testing.assert_close(covariance, torch.cov(data.T), atol=1e-3, rtol=1e-3)
    reference = torch.distributions.MultivariateNormal(data.mean(0), torch.cov(data.T))
    score = density.log_prob(data)
    torch.testing.assert_close(score, reference.log_prob(data), atol=2e-3, rtol=1e-3)
    assert loss * 3 + density.scale.log().sum() == pytest.approx(-score.mean().item(), abs=1e-4)
    drawn = density.sample(50_000, generator=seeded(0))
    torch.testing.assert_close(torch.cov(drawn.T), torch.cov(data.T), atol=0.1, rtol=0.05)


def test_temperature_scales_the_deviation(tilted):
    density = FullGaussian(dim=3)
    density.fit(tilted(1000, 0))
    plain = density.sample(9, generator=seeded(0)) - density.shift
    cold = density.sample(9, generator=seeded(0), temperature=0.25) - density.shift
    torch.testing.assert_close(cold, 0.25 * plain, atol=1e-4, rtol=1e-4)


def test_completion_by_the_textbook(tilted):
    density = FullGaussian(dim=3, ridge=1e-6)
    density.fit(tilted(4000, 0))
    factor = density.scale[:, None] * density.factor
    covariance = factor @ factor.T
    prefix = torch.tensor([[2.0, -3.0]])
    drawn = density.complete(prefix.expand(40_000, -1), generator=seeded(0))
    assert torch.equal(drawn[:, :2], prefix.expand(40_000, -1))
    gain = torch.linalg.solve(covariance[:2, :2], covariance[:2, 2])
    mean = density.shift[2] + gain @ (prefix[0] - density.shift[:2])
    variance = covariance[2, 2] - gain @ covariance[:2, 2]
    assert drawn[:, 2].mean().item() == pytest.approx(mean.item(), abs=0.05)
    assert drawn[:, 2].var().item() == pytest.approx(variance.item(), rel=0.05)


def test_ridge_shrinks_correlations_and_saves_singular_covariances():
    row = torch.randn(50, 1, generator=seeded(0))
    twins = torch.cat([row, row], dim=1)
    correlations = []
    for ridge in (1e-4, 0.1, 1.0):
        density = FullGaussian(dim=2, ridge=ridge)
        density.fit(twins)
        covariance = density.factor @ density.factor.T
        correlations.append((covariance[0, 1] / covariance[0, 0]).item())
    assert correlations == pytest.approx([1 / (1 + r) for r in (1e-4, 0.1, 1.0)], rel=1e-3)
    few = FullGaussian(dim=2)
    few.fit(torch.ones(3, 2))
    assert few.log_prob(torch.ones(1, 2)).isfinite().all()


def test_the_prior_is_standard_and_learns_nothing(tilted):
    density = StandardNormal(dim=3)
    (loss,) = density.fit(tilted(500, 0))
    by_hand = 0.5 * tilted(500, 0).square().sum(1).mean().item() + 1.5 * math.log(2 * math.pi)
    assert loss * 3 == pytest.approx(by_hand, rel=1e-5)
    origin = density.log_prob(torch.zeros(1, 3)).item()
    assert origin == pytest.approx(-1.5 * math.log(2 * math.pi))
    drawn = density.sample(20_000, generator=seeded(0), temperature=2.0)
    torch.testing.assert_close(torch.cov(drawn.T), 4 * torch.eye(3), atol=0.15, rtol=0)
    kept = density.complete(torch.tensor([[7.0]]), generator=seeded(0))
    assert kept[0, 0] == 7
