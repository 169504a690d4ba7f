"""Bits per latent dimension."""

import math

import pytest
import torch

from rlgen.core.errors import UserError
from rlgen.generative.latent_density.density import FullGaussian
from rlgen.generative.metrics import bits_per_dimension


def test_bits_by_hand():
    # log p = -D log 2 * bits.
    scores = torch.tensor([-4.0, -8.0]) * math.log(2)
    found = bits_per_dimension(scores, 4)
    assert found.mean == pytest.approx(1.5)
    assert found.deviation == pytest.approx(math.sqrt(0.5))
    assert found.standard_error == pytest.approx(0.5)
    assert found.vectors == 2


def test_of_a_gaussian_it_is_its_entropy():
    latents = 2 * torch.randn(20_000, 3, generator=torch.Generator().manual_seed(0))
    density = FullGaussian(dim=3)
    density.fit(latents)
    found = bits_per_dimension(density.log_prob(latents), 3)
    assert found.mean == pytest.approx(0.5 * math.log2(2 * math.pi * math.e * 4), abs=0.02)


@pytest.mark.parametrize(
    ("scores", "told"),
    [
        (torch.zeros(2, 2), "log_prob of shape (2, 2)"),
        (torch.zeros(1), "log_prob of shape (1,)"),
        (torch.tensor([0.0, -torch.inf]), "not finite"),
    ],
)
def test_mistakes_are_told_in_one_line(scores: torch.Tensor, told: str):
    with pytest.raises(UserError) as caught:
        bits_per_dimension(scores, 2)
    assert told in str(caught.value)
