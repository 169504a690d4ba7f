"""Distributions as rows: divergences by hand and by torch, mixtures, draws, refusals."""

import math

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import kl_divergence, make_proba_distribution

from rlgen.core.errors import UserError
from rlgen.policy_distillation.distributions import distribution_of

SPACES = {
    "discrete": spaces.Discrete(3),
    "multi_discrete": spaces.MultiDiscrete([2, 3]),
    "multi_binary": spaces.MultiBinary(2),
    "box": spaces.Box(-1, 1, (2, 2), np.float32),
}
OUTPUTS = {"discrete": 3, "multi_discrete": 5, "multi_binary": 2, "box": 4}
every_space = pytest.mark.parametrize("name", list(SPACES))


def drawn(name, seed, *shape):
    """Returns outputs of an action head, log deviations (or None) and their rows."""
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.randn(*shape, OUTPUTS[name], generator=generator)
    log_std = 0.3 * torch.randn(4, generator=generator) if name == "box" else None
    return outputs, log_std, distribution_of(SPACES[name]).rows(outputs, log_std)


def log(*probabilities):
    return torch.tensor([probabilities]).log()


def test_divergences_by_hand():
    one = distribution_of(spaces.Discrete(2)).kl(log(0.5, 0.5), log(0.25, 0.75))
    expected = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    assert one.item() == pytest.approx(expected)
    two = distribution_of(spaces.MultiDiscrete([2, 2]))
    twice = two.kl(log(0.5, 0.5, 0.5, 0.5), log(0.25, 0.75, 0.75, 0.25))
    assert twice.item() == pytest.approx(2 * expected)
    switches = distribution_of(spaces.MultiBinary(1))
    assert switches.kl(torch.zeros(1, 1), torch.tensor([[math.log(3)]])).item() == pytest.approx(
        expected
    )
    # N(0, 1) and N(1, 2^2): ln 2 + (1 + 1) / 8 - 1 / 2
    gaussians = distribution_of(spaces.Box(-1, 1, (1,)))
    rows = torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, math.log(2)]])
    assert gaussians.kl(*rows).item() == pytest.approx(math.log(2) + 0.25 - 0.5)


@every_space
def test_divergences_are_those_of_sb3_distributions(name):
    def sb3(outputs, log_std):
        dist = make_proba_distribution(SPACES[name])
        if log_std is not None:
            return dist.proba_distribution(outputs, log_std)
        return dist.proba_distribution(action_logits=outputs)

    (p, p_std, p_rows), (q, q_std, q_rows) = drawn(name, 0, 5), drawn(name, 1, 5)
    expected = kl_divergence(sb3(p, p_std), sb3(q, q_std))
    expected = expected.reshape(5, -1).sum(1)
    distribution = distribution_of(SPACES[name])
    assert p_rows.shape == (5, distribution.width)
    torch.testing.assert_close(distribution.kl(p_rows, q_rows), expected)
    assert distribution.kl(p_rows, p_rows).abs().max() < 1e-6


@every_space
def test_the_mixture_has_the_least_mean_divergence_of_the_members(name):
    distribution = distribution_of(SPACES[name])
    _, _, members = drawn(name, 2, 1, 4)
    weights = torch.tensor([[0.1, 0.2, 0.3, 0.4]])
    mixture = distribution.mixture(members, weights)

    def divergence(rows):
        if name.endswith("discrete"):
            rows = distribution.rows(rows)  # normalised
        return sum(w * distribution.kl(members[:, m], rows).sum() for m, w in enumerate(weights[0]))

    best = mixture.clone().requires_grad_()
    divergence(best).backward()
    assert best.grad.abs().max() < 1e-6
    for seed in range(5):
        other = mixture + 0.1 * torch.randn(
            mixture.shape, generator=torch.Generator().manual_seed(seed)
        )
        assert divergence(other) > divergence(mixture)


def test_mixtures_by_hand():
    discrete = distribution_of(spaces.Discrete(2))
    members = torch.stack([log(0.2, 0.8), log(0.6, 0.4)], dim=1)
    mixed = discrete.mixture(members, torch.tensor([[0.25, 0.75]])).exp()
    assert mixed.tolist()[0] == pytest.approx([0.5, 0.5])
    gaussians = distribution_of(spaces.Box(-1, 1, (1,)))
    members = torch.tensor([[[-1.0, 0.0], [1.0, 0.0]]])  # variance 1 within, 1 between
    mixed = gaussians.mixture(members, torch.tensor([[0.5, 0.5]]))
    assert mixed.tolist()[0] == pytest.approx([0.0, 0.5 * math.log(2)])


def test_a_member_without_weight_says_nothing():
    for name in SPACES:
        _, _, members = drawn(name, 3, 1, 2)
        mixed = distribution_of(SPACES[name]).mixture(members, torch.tensor([[1.0, 0.0]]))
        torch.testing.assert_close(mixed, members[:, 0])


def test_a_temperature_sharpens_or_flattens():
    discrete, switches = (distribution_of(s) for s in (spaces.Discrete(2), spaces.MultiBinary(1)))
    sharp = discrete.soften(log(0.8, 0.2), 0.5).exp()  # squares, normalised
    assert sharp.tolist()[0] == pytest.approx([0.64 / 0.68, 0.04 / 0.68])
    assert switches.soften(torch.tensor([[math.log(4)]]), 0.5).sigmoid().item() == pytest.approx(
        0.64 / 0.68
    )
    assert not distribution_of(SPACES["box"]).tempered


@every_space
def test_draws_follow_the_distribution_and_lie_in_the_space(name):
    distribution = distribution_of(SPACES[name])
    outputs, _, rows = drawn(name, 4, 1)
    actions = distribution.sample(rows.expand(20_000, -1), np.random.default_rng(0))
    assert all(SPACES[name].contains(action) for action in actions[:50])
    if name == "box":
        inside = (np.abs(actions) < 1).mean()
        assert 0.2 < inside < 1
        clipped = torch.distributions.Normal(
            *(part.reshape(2, 2) for part in (rows[0, :4], rows[0, 4:].exp()))
        )
        expected = clipped.cdf(torch.tensor(0.0)).numpy()
        np.testing.assert_allclose((actions < 0).mean(0), expected, atol=0.02)
    elif name == "discrete":
        shares = np.bincount(actions, minlength=3) / len(actions)
        np.testing.assert_allclose(shares, outputs[0].softmax(0), atol=0.02)
    elif name == "multi_discrete":
        np.testing.assert_allclose(
            (actions[:, 1] == 2).mean(), outputs[0, 2:].softmax(0)[2], atol=0.02
        )
    else:
        np.testing.assert_allclose(actions.mean(0), outputs[0].sigmoid(), atol=0.02)


def test_agreement():
    two = distribution_of(spaces.MultiDiscrete([2, 2]))
    p, q = log(0.6, 0.4, 0.6, 0.4), log(0.9, 0.1, 0.4, 0.6)
    assert two.agreement(p, q).item() == 0.5
    gaussians = distribution_of(spaces.Box(-1, 1, (2,)))
    p = torch.tensor([[0.0, 0.0, 0.0, math.log(3)]])
    q = torch.tensor([[2.0, 2.0, 9.0, 9.0]])  # two deviations away; two thirds of one
    assert gaussians.agreement(p, q).item() == 0.5
    switches = distribution_of(spaces.MultiBinary(2))
    assert switches.agreement(torch.tensor([[1.0, -1.0]]), torch.tensor([[2.0, 1.0]])).item() == 0.5


@pytest.mark.parametrize(
    "space", [spaces.Discrete(3, start=1), spaces.Dict(), spaces.MultiDiscrete([[2, 2]])]
)
def test_actions_that_no_plain_policy_has_are_refused(space):
    with pytest.raises(UserError, match="allowed: Box, Discrete, MultiDiscrete, MultiBinary"):
        distribution_of(space)
