"""Mixtures of one variable against torch's own, by hand, and where naive sums underflow."""

import math

import pytest
import torch
from scipy import stats

from rlgen.generative.latent_density.density.mixture import (
    mixture_cdf,
    mixture_log_prob,
    mixture_sample,
    pick,
)


def parameters(*shape: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits, means, log_scales = torch.randn(3, *shape, generator=generator, dtype=torch.float64)
    return logits, 2 * means, log_scales


def reference(logits, means, log_scales) -> torch.distributions.Distribution:
    return torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=logits),
        torch.distributions.Normal(means, log_scales.exp()),
    )


def test_log_density_and_cdf_are_torchs():
    given, x = parameters(4, 3, 7), torch.linspace(-3, 3, 12, dtype=torch.float64).view(4, 3)
    torch.testing.assert_close(mixture_log_prob(x, *given), reference(*given).log_prob(x))
    torch.testing.assert_close(mixture_cdf(x, *given), reference(*given).cdf(x))


def test_by_hand():
    one = torch.zeros(1)
    # log N(2; 0, 1) = -2 - log(2 pi) / 2
    value = mixture_log_prob(torch.tensor(2.0), one, one, one)
    assert value.item() == pytest.approx(-2 - 0.5 * math.log(2 * math.pi))
    assert mixture_cdf(torch.tensor(0.0), one, one, one).item() == pytest.approx(0.5)


def test_far_away_nothing_underflows():
    logits, means, log_scales = parameters(5)
    x = torch.tensor(1e4, dtype=torch.float64, requires_grad=True)
    far = mixture_log_prob(x, logits, means, log_scales)
    assert far < -1e6
    (slope,) = torch.autograd.grad(far, x)
    assert slope.isfinite()
    assert slope < 0


@pytest.mark.parametrize("seed", range(3))
def test_density_integrates_to_one_and_the_cdf_is_its_integral(seed):
    given = parameters(6, seed=seed)
    x = torch.linspace(-60, 60, 100_001, dtype=torch.float64)
    density = mixture_log_prob(x, *given).exp()
    mass = torch.cumulative_trapezoid(density, x)
    assert mass[-1].item() == pytest.approx(1, abs=1e-9)
    torch.testing.assert_close(mixture_cdf(x, *given)[1:], mass, atol=1e-6, rtol=0)


def test_pick_lays_the_weights_end_to_end():
    logits = torch.tensor([0.25, 0.5, 0.25]).log()
    uniforms = torch.tensor([0.0, 0.2, 0.3, 0.7, 0.8, 0.99999994])
    assert pick(logits, uniforms).tolist() == [0, 0, 1, 1, 2, 2]
    heavy_last = torch.tensor([0.0, -200.0])
    assert pick(heavy_last, torch.tensor([0.99999994])).item() == 0


@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
def test_samples_follow_the_density_with_tempered_weights(temperature):
    logits, means, log_scales = parameters(4, seed=3)
    generator = torch.Generator().manual_seed(0)
    uniforms = torch.rand(20_000, generator=generator, dtype=torch.float64)
    normals = torch.randn(20_000, generator=generator, dtype=torch.float64)
    wide = [p.expand(20_000, -1) for p in (logits, means, log_scales)]
    drawn = mixture_sample(*wide, uniforms, normals, temperature)

    def cdf(x):
        return mixture_cdf(torch.from_numpy(x), logits / temperature, means, log_scales).numpy()

    assert stats.kstest(drawn.numpy(), cdf).pvalue > 0.01
    if temperature != 1:
        plain = mixture_cdf(drawn, logits, means, log_scales).numpy()
        assert stats.kstest(plain, "uniform").pvalue < 1e-6
