"""Losses against closed forms, hand-computed numbers and each other."""

import math

import pytest
import torch
from torch.distributions import Bernoulli, Normal
from torch.distributions import kl_divergence as torch_kl

from rlgen.agents.disentangled import (
    Objective,
    beta_objective,
    capacity_at,
    capacity_objective,
    kl_divergence,
    reconstruction_nll,
)
from rlgen.core.errors import UserError

MU = torch.tensor([[0.0, 1.0], [2.0, -1.0]])
SIGMA = torch.tensor([[1.0, 0.5], [2.0, 1.5]])
PREDICTION = torch.tensor([[1.0, 2.0], [0.0, -3.0]])
TARGET = torch.tensor([[0.0, 1.0], [1.0, 0.0]])


def test_kl_is_torch_s_closed_form():
    mu, sigma = (
        torch.randn(64, 7, dtype=torch.float64),
        torch.rand(64, 7, dtype=torch.float64) + 0.1,
    )
    one = torch.ones((), dtype=torch.float64)
    expected = torch_kl(Normal(mu, sigma), Normal(0 * one, one))
    torch.testing.assert_close(kl_divergence(mu, sigma), expected, atol=1e-6, rtol=0)
    assert kl_divergence(mu, sigma).min() >= 0


def test_kl_is_zero_at_the_prior_and_only_there():
    zero, one = torch.zeros(1, 1), torch.ones(1, 1)
    assert kl_divergence(zero, one).item() == 0
    for mu, sigma in ((0.1, 1.0), (0.0, 1.1), (0.0, 0.9)):
        assert kl_divergence(zero + mu, one * sigma).item() > 0


def test_kl_by_hand():
    assert kl_divergence(MU, SIGMA)[0].tolist() == pytest.approx([0.0, 0.125 + math.log(2)])


def test_gaussian_nll_sums_half_the_squares():
    nll = reconstruction_nll(PREDICTION[:, :, None], TARGET[:, :, None], "gaussian")
    assert nll.tolist() == [1.0, 5.0]


def test_bernoulli_nll_is_torch_s():
    expected = -Bernoulli(logits=PREDICTION).log_prob(TARGET).sum(dim=1)
    torch.testing.assert_close(reconstruction_nll(PREDICTION, TARGET, "bernoulli"), expected)
    at_half = reconstruction_nll(
        torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), 0.3), "bernoulli"
    )
    assert at_half.item() == pytest.approx(12 * math.log(2))


@pytest.mark.parametrize("beta", [1.0, 6.0])
def test_beta_objective_adds_weighted_means(beta):
    terms = beta_objective(PREDICTION, TARGET, MU, SIGMA, beta=beta, likelihood="gaussian")
    kl = kl_divergence(MU, SIGMA)
    assert terms.nll.item() == pytest.approx(3.0)
    assert terms.kl.item() == pytest.approx(kl.sum().item() / 2)
    torch.testing.assert_close(terms.kl_per_coordinate, kl.mean(dim=0))
    assert terms.loss.item() == pytest.approx(3.0 + beta * kl.sum().item() / 2)


def test_beta_zero_with_no_noise_is_an_autoencoder():
    mu = MU.clone().requires_grad_()
    terms = beta_objective(mu, TARGET, mu, torch.zeros(2, 2), beta=0.0, likelihood="gaussian")
    terms.loss.backward()
    assert terms.loss.item() == terms.nll.item()
    torch.testing.assert_close(mu.grad, (MU - TARGET) / 2)  # of the reconstruction alone


def test_capacity_zero_is_the_beta_objective():
    beta = beta_objective(PREDICTION, TARGET, MU, SIGMA, beta=7.0, likelihood="bernoulli")
    capacity = capacity_objective(
        PREDICTION, TARGET, MU, SIGMA, gamma_c=7.0, capacity=0.0, likelihood="bernoulli"
    )
    torch.testing.assert_close(beta.loss, capacity.loss, rtol=0, atol=1e-5)


@pytest.mark.parametrize("capacity", [1.0, 30.0])
def test_capacity_objective_pulls_the_kl_to_the_capacity(capacity):
    mu = MU.clone().requires_grad_()
    terms = capacity_objective(
        PREDICTION, TARGET, mu, SIGMA, gamma_c=10.0, capacity=capacity, likelihood="gaussian"
    )
    assert terms.loss.item() == pytest.approx(3.0 + 10 * abs(terms.kl.item() - capacity), rel=1e-6)
    terms.loss.backward()
    too_high = terms.kl.item() > capacity
    assert (mu.grad[1, 0].item() > 0) == too_high


@pytest.mark.parametrize(("step", "expected"), [(0, 0.0), (25, 5.0), (100, 20.0), (999, 20.0)])
def test_capacity_rises_linearly_and_stays(step, expected):
    assert capacity_at(step, steps=100, last=20.0) == expected


def test_capacity_at_once():
    assert capacity_at(0, steps=0, last=20.0) == 20.0


def test_objective_chooses():
    beta = Objective(beta=2.0)(PREDICTION, TARGET, MU, SIGMA, likelihood="gaussian", step=9)
    assert beta.loss.item() == pytest.approx((beta.nll + 2 * beta.kl).item())
    goal = Objective("capacity", gamma_c=3.0, capacity=8.0, capacity_steps=10)
    terms = goal(PREDICTION, TARGET, MU, SIGMA, likelihood="gaussian", step=5)
    assert terms.loss.item() == pytest.approx((terms.nll + 3 * (terms.kl - 4).abs()).item())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "betta"}, "did you mean 'beta'"),
        ({"beta": -1.0}, "beta=-1.0 is negative"),
        ({"capacity_steps": -1}, "capacity_steps=-1 is negative"),
    ],
)
def test_mistakes_are_told(options, message):
    with pytest.raises(UserError, match=message):
        Objective(**options)


def test_wrong_reconstructions_are_told():
    with pytest.raises(UserError, match="do not fit each other"):
        reconstruction_nll(PREDICTION, TARGET[:, :1], "gaussian")
    with pytest.raises(UserError, match="allowed: bernoulli, gaussian"):
        reconstruction_nll(PREDICTION, TARGET, "poisson")
