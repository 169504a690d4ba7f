"""The masked autoregressive flow: masks, inverse, Jacobian, learning."""

import math

import pytest
import torch

from rlgen.core.errors import UserError
from rlgen.generative.latent_density.density import MAF
from rlgen.generative.latent_density.density.flow import LIMIT, MADE


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def lively(dim: int) -> MAF:
    torch.manual_seed(dim)
    density = MAF(dim=dim, n_layers=3, hidden=16)
    for flow in density.flows:
        torch.nn.init.normal_(flow.layers[-1].weight, std=0.3)
        torch.nn.init.normal_(flow.layers[-1].bias, std=0.3)
    density.shift.normal_()
    density.scale.uniform_(0.5, 2)
    return density.double().eval()


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_outputs_depend_on_the_inputs_before_alone(dim):
    torch.manual_seed(0)
    made = MADE(dim, hidden=32, depth=2).double()
    x = torch.randn(dim, dtype=torch.float64)
    for part in range(2):
        heard = torch.autograd.functional.jacobian(lambda v, p=part: made(v[None])[p][0], x) != 0
        assert torch.equal(heard, torch.ones(dim, dim).tril(-1).bool())
    assert made(1000 * x[None])[1].abs().max() <= LIMIT


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_samples_are_the_noise_sent_backwards(dim):
    density = lively(dim)
    drawn = density.sample(6, generator=seeded(0))
    u = (drawn - density.shift) / density.scale
    with torch.no_grad():
        for flow in density.flows:
            mu, alpha = flow(u)
            u = ((u - mu) * torch.exp(-alpha)).flip(1)
    noise = torch.randn(6, dim, generator=seeded(0), dtype=torch.float64)
    torch.testing.assert_close(u, noise)


def test_log_density_has_the_jacobian_of_the_flow():
    density = lively(3)

    def to_noise(z):
        u = (z[None] - density.shift) / density.scale
        for flow in density.flows:
            mu, alpha = flow(u)
            u = ((u - mu) * torch.exp(-alpha)).flip(1)
        return u[0]

    z = torch.randn(3, generator=seeded(1), dtype=torch.float64)
    slope = torch.autograd.functional.jacobian(to_noise, z)
    noise = to_noise(z)
    expected = -0.5 * noise.square().sum() - 1.5 * math.log(2 * math.pi) + slope.det().abs().log()
    torch.testing.assert_close(density.log_prob(z[None])[0], expected)


def test_it_starts_as_a_standard_normal():
    u = torch.randn(4, 3, generator=seeded(0))
    expected = torch.distributions.Normal(0, 1).log_prob(u).sum(1)
    torch.testing.assert_close(MAF(dim=3, hidden=8).log_prob(u), expected)


def test_learns_a_tilted_gaussian(tilted):
    density, data = MAF(dim=3, n_layers=2, hidden=32), tilted(2000, 0)
    losses = density.fit(data, steps=150, learning_rate=1e-2)
    assert losses[-1] < losses[0] - 0.2
    entropy = 1.5 * math.log(2 * math.pi * math.e) + math.log(1 * 0.6 * 2)
    with torch.no_grad():
        score = -density.log_prob(tilted(2000, 1)).mean().item()
    assert score == pytest.approx(entropy, abs=0.08)
    drawn = density.sample(10_000, generator=seeded(0))
    torch.testing.assert_close(torch.corrcoef(drawn.T), torch.corrcoef(data.T), atol=0.06, rtol=0)


@pytest.mark.parametrize("option", ["n_layers", "hidden", "depth"])
def test_wrong_options(option):
    with pytest.raises(UserError, match=f"{option}=0 is too small"):
        MAF(dim=2, **{option: 0})
