"""Indicators of a trained model, on models whose answer is known, and after a short training."""

import numpy as np
import pytest
import torch
from torch import nn

from rlgen.agents.disentangled.indicators import kl_per_coordinate, next_state_errors
from rlgen.agents.disentangled.loss import beta_objective
from rlgen.agents.disentangled.model import ActionConditionalVAE
from rlgen.core.errors import UserError
from rlgen.envs.sprites import SpritesRules


class Fixed(nn.Module):
    """An encoder head that gives the same mu and logvar to every state."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.values = torch.tensor(values)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.values.repeat(len(features), 1)


@pytest.fixture
def vae() -> ActionConditionalVAE:
    """mu = (0, 2, 0), variances (1, 1, e^2); predicts z_0 + z_1 and z_2."""
    model = ActionConditionalVAE((2,), action_dim=1, latent_dim=3)
    model.encoder_head = Fixed(0, 2, 0, 0, 0, 2)
    model.decoder = nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        model.decoder.weight.copy_(torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))
    return model


def test_kl_of_each_coordinate(vae: ActionConditionalVAE) -> None:
    expected = [0, 2.0, (np.exp(2) - 1 - 2) / 2]
    np.testing.assert_allclose(kl_per_coordinate(vae, torch.randn(700, 2)), expected, atol=1e-5)


def test_errors_by_hand(vae: ActionConditionalVAE) -> None:
    actions = torch.tensor([[1.0], [-1.0]])
    after = torch.tensor([[3.0, 0.0], [1.0, 1.0]])  # 2 + a and 0, but for 1 in one place
    errors = next_state_errors(vae, torch.zeros(2, 2), actions, after)
    assert errors.true == pytest.approx(1 / 4)
    assert errors.shuffled == pytest.approx((4 + 4 + 1) / 4)  # the two actions change places
    assert errors.zero == pytest.approx((1 + 1 + 1) / 4)
    assert errors.gain == pytest.approx(2.0)


def test_no_transition_keeps_its_own_action(vae: ActionConditionalVAE) -> None:
    actions = torch.arange(600.0)[:, None]
    after = torch.cat([2 + actions, 0 * actions], 1)
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        errors = next_state_errors(vae, torch.zeros(600, 2), actions, after, generator)
        assert errors.true == pytest.approx(0, abs=1e-6)
        # Half the mean square difference of two distinct numbers of 0..599, drawn at random.
        assert errors.shuffled == pytest.approx(600 * 601 / 12, rel=0.15)
    again = next_state_errors(vae, torch.zeros(600, 2), actions, after, generator.manual_seed(2))
    assert again == errors


def test_stacked_targets_count_by_their_newest_frame() -> None:
    torch.manual_seed(0)
    vae = ActionConditionalVAE((2, 8, 8), 1, 3, target_shape=(1, 8, 8), network="conv")
    states, actions, after = torch.rand(4, 2, 8, 8), torch.randn(4, 1), torch.rand(4, 2, 8, 8)
    stacked = next_state_errors(vae, states, actions, after)
    assert stacked == next_state_errors(vae, states, actions, after[:, 1:])


def test_mistakes_are_told(vae: ActionConditionalVAE) -> None:
    with pytest.raises(UserError, match="2 observations, 3 actions and 2 next observations"):
        next_state_errors(vae, torch.zeros(2, 2), torch.zeros(3, 1), torch.zeros(2, 2))
    with pytest.raises(UserError, match="give two or more"):
        next_state_errors(vae, torch.zeros(1, 2), torch.zeros(1, 1), torch.zeros(1, 2))
    with pytest.raises(UserError, match="there are no observations"):
        kl_per_coordinate(vae, torch.zeros(0, 2))


@pytest.mark.slow
def test_a_model_that_knows_64_steps_by_heart_heeds_the_actions() -> None:
    rules, rng = SpritesRules(size=16), np.random.default_rng(0)
    before, moves = rules.draw_starts(rng, 64), rng.integers(3, size=(64, 4))
    after = rules.move(before, moves, rng)
    states, targets = (
        torch.from_numpy(rules.draw(f)).permute(0, 3, 1, 2) / 255 for f in (before, after)
    )
    actions = torch.from_numpy(moves - 1).float()
    torch.manual_seed(0)
    vae = ActionConditionalVAE(
        (3, 16, 16), 4, 10, network="mlp", hidden=(256, 128), activation="relu"
    )
    optimizer = torch.optim.Adam(vae.parameters(), lr=1e-3)
    curve = []
    for _ in range(2000):
        out = vae(states, actions)
        terms = beta_objective(
            out.prediction, targets, out.mu, out.sigma, beta=1.0, likelihood="bernoulli"
        )
        optimizer.zero_grad()
        terms.loss.backward()
        optimizer.step()
        curve.append(terms.nll.item())
    # Mixed colours have an entropy that no prediction gets below.
    least = nn.functional.binary_cross_entropy(targets, targets, reduction="sum").item() / 64
    assert np.mean(curve[-20:]) - least < 0.1 * (curve[0] - least)
    errors = next_state_errors(vae, states, actions, targets)
    assert errors.gain > 0
    assert errors.zero > errors.true
