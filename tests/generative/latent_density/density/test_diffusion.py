"""The latent diffusion: an exact denoiser gives exact samples, and it learns one."""

import pytest
import torch

from rlgen.core.errors import UserError
from rlgen.generative.latent_density.density import LatentDiffusion


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_with_the_exact_denoiser_a_gaussian_comes_out(monkeypatch):
    density = LatentDiffusion(dim=2, hidden=8, depth=1, sampling_steps=100)
    alphas = density._noising.alphas_cumprod
    spread = torch.tensor([0.5, 2.0])

    def exact(noisy, times):
        # Of u ~ N(0, s^2): E[noise | x] = sqrt(1-a) x / v, E[u | x] = sqrt(a) s^2 x / v,
        # v = a s^2 + 1 - a
        a = alphas[times][:, None]
        variance = a * spread**2 + 1 - a
        return (a * (1 - a)).sqrt() * (1 - spread**2) * noisy / variance

    monkeypatch.setattr(density, "forward", exact)
    drawn = density.sample(4000, generator=seeded(0))
    torch.testing.assert_close(drawn.std(0), spread, atol=0, rtol=0.06)
    assert torch.corrcoef(drawn.T)[0, 1].abs() < 0.06
    rows = spread * torch.randn(5000, 2, generator=seeded(1))
    best = density.loss(rows, seeded(2))
    monkeypatch.setattr(density, "forward", lambda noisy, times: 1.1 * exact(noisy, times) + 0.1)
    assert best < density.loss(rows, seeded(2))


def test_learns_two_clusters(clusters):
    density, data = LatentDiffusion(dim=2, hidden=48, depth=2), clusters(4000, 0)
    losses = density.fit(data, steps=300, learning_rate=5e-3)
    assert sum(losses[-50:]) < 0.95 * sum(losses[:50])
    drawn = density.sample(2000, generator=seeded(0))
    spread = data.std(0)
    assert ((drawn.mean(0) - data.mean(0)).abs() < 0.15 * spread).all()
    torch.testing.assert_close(drawn.std(0), spread, atol=0, rtol=0.15)
    between = ((drawn[:, 0] > 2.5) & (drawn[:, 0] < 7.5)).float().mean()
    assert between < 0.1  # of the data 0.04 %, of a Gaussian with its moments 31 %


def test_time_is_heard():
    torch.manual_seed(0)
    density = LatentDiffusion(dim=2, hidden=8, depth=1)
    noisy = torch.ones(2, 2)
    with torch.no_grad():
        early, late = density(noisy, torch.tensor([0, 900]))
    assert (early - late).abs().min() > 1e-4


def test_temperature_scales_the_first_noise():
    torch.manual_seed(0)
    density = LatentDiffusion(dim=2, hidden=8, depth=1, sampling_steps=5)
    plain = density.sample(500, generator=seeded(0))
    cold = density.sample(500, generator=seeded(0), temperature=0.1)
    assert cold.std() < 0.5 * plain.std()


@pytest.mark.parametrize("value", [0, 1001])
def test_wrong_sampling_steps(value):
    with pytest.raises(UserError, match=f"sampling_steps={value}"):
        LatentDiffusion(dim=2, sampling_steps=value)
