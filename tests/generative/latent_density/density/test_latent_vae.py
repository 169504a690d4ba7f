"""The second-stage VAE: its bound, what it learns, its options."""

import math

import pytest
import torch

from rlgen.core.errors import UserError
from rlgen.generative.latent_density.density import LatentVAE


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def linear(dim: int) -> LatentVAE:
    """Encoder and decoder that are the identity and say nothing of the code's spread."""
    density = LatentVAE(dim=dim, depth=1, hidden=2 * dim).double()
    for name, network in (("encoder", density.encoder), ("decoder", density.decoder)):
        eye = torch.eye(dim, dtype=torch.float64)
        network[0].weight.data = torch.cat([eye, -eye])
        out = torch.cat([eye, -eye], dim=1)
        network[2].weight.data = torch.cat([out, 0 * out]) if name == "encoder" else out
        network[0].bias.data.zero_()
        network[2].bias.data.zero_()
    return density


def test_bound_by_hand():
    # Code = u + e, decoded as it is, so per coordinate: e^2 / 2 + log(2 pi) / 2 + KL(N(u, 1), N)
    density, rows = linear(3), torch.randn(4, 3, generator=seeded(0), dtype=torch.float64)
    noise = torch.randn(4, 3, generator=seeded(1), dtype=torch.float64)
    expected = 0.5 * noise.square() + 0.5 * math.log(2 * math.pi) + 0.5 * rows.square()
    torch.testing.assert_close(density.loss(rows, seeded(1)), expected.mean())


def test_gamma_scales_error_and_noise():
    density, rows = linear(2), torch.zeros(1000, 2, dtype=torch.float64)
    density.log_gamma.data.fill_(math.log(0.1))
    noise = torch.randn(1000, 2, generator=seeded(1), dtype=torch.float64)
    expected = 50 * noise.square() + math.log(0.1) + 0.5 * math.log(2 * math.pi)
    torch.testing.assert_close(density.loss(rows, seeded(1)), expected.mean())
    drawn = density.sample(20_000, generator=seeded(0))
    assert drawn.var().item() == pytest.approx(1 + 0.01, rel=0.02)


def test_learns_moments(tilted):
    density, data = LatentVAE(dim=3, hidden=32, depth=1), tilted(2000, 0)
    losses = density.fit(data, steps=250, learning_rate=1e-2)
    assert losses[-1] < losses[0] - 0.2
    drawn = density.sample(10_000, generator=seeded(0))
    spread = data.std(0)
    assert ((drawn.mean(0) - data.mean(0)).abs() < 0.15 * spread).all()
    torch.testing.assert_close(drawn.std(0), spread, atol=0, rtol=0.15)
    torch.testing.assert_close(torch.corrcoef(drawn.T), torch.corrcoef(data.T), atol=0.2, rtol=0)


def test_sizes():
    density = LatentVAE(dim=5, code=2, hidden=7, depth=2)
    assert density.encoder[-1].out_features == 4
    assert density.decoder[0].in_features == 2
    assert density.sample(3, generator=seeded(0)).shape == (3, 5)


@pytest.mark.parametrize("option", ["code", "hidden", "depth"])
def test_wrong_options(option):
    with pytest.raises(UserError, match=f"{option}=0 is too small"):
        LatentVAE(dim=2, **{option: 0})
