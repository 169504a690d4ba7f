"""Action distributions of the fast path beside SB3's."""

import math

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import (
    CategoricalDistribution,
    DiagGaussianDistribution,
)
from stable_baselines3.common.policies import ActorCriticPolicy
from torch.distributions import kl_divergence

from rlgen.agents.heads import CategoricalHead, GaussianHead, head_of

BATCH = 64


def logits(seed: int, actions: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(BATCH, actions, generator=generator)


def gaussian() -> tuple[GaussianHead, torch.Tensor]:
    log_std = torch.nn.Parameter(torch.tensor([-0.5, 0.0, 0.7]))
    return GaussianHead(log_std), log_std


def test_categorical_evaluates_as_sb3() -> None:
    parameters = logits(0)
    actions = torch.arange(BATCH) % 5
    theirs = CategoricalDistribution(5).proba_distribution(parameters)
    log_prob, entropy = CategoricalHead().evaluate(parameters, actions)
    torch.testing.assert_close(log_prob, theirs.log_prob(actions))
    torch.testing.assert_close(entropy, theirs.entropy())


def test_categorical_gradient_is_torchs() -> None:
    parameters = logits(0).requires_grad_()
    actions, weights = torch.arange(BATCH) % 5, torch.linspace(-1, 1, BATCH)
    theirs = CategoricalDistribution(5).proba_distribution(parameters)
    grads = []
    for log_prob, entropy in (
        CategoricalHead().evaluate(parameters, actions),
        (theirs.log_prob(actions), theirs.entropy()),
    ):
        loss = (weights * log_prob.exp()).sum() + (weights.square() * entropy.tanh()).sum()
        grads.append(torch.autograd.grad(loss, parameters)[0])
    torch.testing.assert_close(*grads, rtol=1e-5, atol=1e-6)


def test_categorical_kl() -> None:
    p, q = logits(0), logits(1)
    expected = kl_divergence(
        torch.distributions.Categorical(logits=p), torch.distributions.Categorical(logits=q)
    )
    torch.testing.assert_close(CategoricalHead().kl(p, q), expected)
    torch.testing.assert_close(CategoricalHead().kl(p, p), torch.zeros(BATCH))


def test_gaussian_evaluates_as_sb3() -> None:
    head, log_std = gaussian()
    means, actions = logits(0, 3), logits(1, 3)
    theirs = DiagGaussianDistribution(3).proba_distribution(means, log_std)
    log_prob, entropy = head.evaluate(means, actions)
    torch.testing.assert_close(log_prob, theirs.log_prob(actions))
    torch.testing.assert_close(entropy, theirs.entropy())


def test_gaussian_gradient_reaches_the_deviation() -> None:
    head, log_std = gaussian()
    means, actions = logits(0, 3), logits(1, 3)
    log_prob, entropy = head.evaluate(means, actions)
    ours = torch.autograd.grad(log_prob.sum() + entropy.mean(), log_std)[0]
    theirs = DiagGaussianDistribution(3).proba_distribution(means, log_std)
    loss = theirs.log_prob(actions).sum() + theirs.entropy().mean()
    torch.testing.assert_close(ours, torch.autograd.grad(loss, log_std)[0])


def test_gaussian_kl() -> None:
    head, log_std = gaussian()
    p, q = logits(0, 3), logits(1, 3)
    std = log_std.exp().expand_as(p)
    expected = kl_divergence(torch.distributions.Normal(p, std), torch.distributions.Normal(q, std))
    torch.testing.assert_close(head.kl(p, q), expected.sum(1))


def test_categorical_samples_with_the_right_frequencies() -> None:
    probabilities = np.array([0.5, 0.25, 0.2, 0.05])
    count = 20_000
    parameters = np.tile(np.log(probabilities), (count, 1)).astype(np.float32)
    actions, _ = CategoricalHead().sample(parameters, np.random.default_rng(0))
    expected = count * probabilities
    chi_square = ((np.bincount(actions, minlength=4) - expected) ** 2 / expected).sum()
    assert chi_square < 16.27  # 99.9 % quantile at 3 degrees of freedom


def test_categorical_samples_carry_their_log_probability() -> None:
    parameters = logits(2)
    actions, log_prob = CategoricalHead().sample(parameters.numpy(), np.random.default_rng(0))
    expected, _ = CategoricalHead().evaluate(parameters, torch.from_numpy(actions))
    np.testing.assert_allclose(log_prob, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("certain", [0, 3])
def test_categorical_with_one_possible_action(certain: int) -> None:
    parameters = np.full((1000, 4), -1e4, dtype=np.float32)
    parameters[:, certain] = 1e4
    actions, log_prob = CategoricalHead().sample(parameters, np.random.default_rng(0))
    assert (actions == certain).all()
    assert (log_prob == 0).all()


def test_gaussian_samples_have_the_right_moments() -> None:
    head, log_std = gaussian()
    count, means = 40_000, np.array([1.0, -2.0, 0.5], dtype=np.float32)
    actions, _ = head.sample(np.tile(means, (count, 1)), np.random.default_rng(0))
    std = np.exp(log_std.detach().numpy())
    z = (actions - means) / std
    # Four standard errors of the mean, the variance and the fourth moment of a normal.
    assert np.abs(z.mean(0)).max() < 4 / math.sqrt(count)
    assert np.abs(z.var(0) - 1).max() < 4 * math.sqrt(2 / count)
    assert np.abs((z**4).mean(0) - 3).max() < 4 * math.sqrt(96 / count)
    assert np.abs(np.corrcoef(z.T) - np.eye(3)).max() < 4 / math.sqrt(count)


def test_gaussian_samples_carry_their_log_probability() -> None:
    head, _ = gaussian()
    means = logits(3, 3)
    actions, log_prob = head.sample(means.numpy(), np.random.default_rng(0))
    expected, _ = head.evaluate(means, torch.from_numpy(actions))
    np.testing.assert_allclose(log_prob, expected.detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("space", "head"),
    [
        (spaces.Discrete(3), CategoricalHead),
        (spaces.Box(-1, 1, (2,)), GaussianHead),
        (spaces.MultiDiscrete([2, 2]), type(None)),
        (spaces.MultiBinary(2), type(None)),
    ],
)
def test_head_of_a_policy(space: spaces.Space, head: type) -> None:
    policy = ActorCriticPolicy(spaces.Box(-1, 1, (2,)), space, lambda _: 1e-3)
    assert type(head_of(policy)) is head
