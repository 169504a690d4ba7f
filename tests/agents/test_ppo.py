"""PPO's clipped objective as one node of the graph."""

import pytest
import torch

from rlgen.agents.ppo import clipped_surrogate


def reference(
    log_prob: torch.Tensor, old: torch.Tensor, advantages: torch.Tensor, eps: float
) -> torch.Tensor:
    ratio = (log_prob - old).exp()
    return -torch.min(advantages * ratio, advantages * ratio.clamp(1 - eps, 1 + eps)).mean()


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),
    [
        (1.0, 2.0, -2.0, -2.0),  # nothing is clipped: d(-A rho) / d log pi = -A rho
        (1.1, 2.0, -2.2, -2.2),
        (1.5, 2.0, -2.4, 0.0),  # clipped at 1.2
        (0.5, 2.0, -1.0, -1.0),  # a good action became rarer: pulled back unclipped
        (0.5, -2.0, 1.6, 0.0),  # clipped at 0.8
        (1.5, -2.0, 3.0, 3.0),  # a bad action became more likely: pulled back unclipped
        (1.5, 0.0, 0.0, 0.0),
    ],
)
def test_one_sample_by_hand(ratio: float, advantage: float, loss: float, slope: float) -> None:
    log_prob = torch.tensor([ratio]).log().requires_grad_()
    value, _, _ = clipped_surrogate(log_prob, torch.zeros(1), torch.tensor([advantage]), 0.2)
    value.backward()
    assert value.item() == pytest.approx(loss, abs=1e-6)
    assert log_prob.grad.item() == pytest.approx(slope, abs=1e-6)


@pytest.mark.parametrize("eps", [0.05, 0.2, 1.0])
def test_batch_as_torch_differentiates_it(eps: float) -> None:
    torch.manual_seed(0)
    log_prob, old, advantages = (torch.randn(100) / 2 for _ in range(3))
    log_prob[:20] = old[:20]
    log_prob.requires_grad_()
    loss, _, _ = clipped_surrogate(log_prob, old, advantages, eps)
    expected = reference(log_prob, old, advantages, eps)
    torch.testing.assert_close(loss, expected)
    ours, theirs = (torch.autograd.grad(3 * value, log_prob)[0] for value in (loss, expected))
    torch.testing.assert_close(ours, theirs)


def test_divergence_and_clipped_share() -> None:
    ratio = torch.tensor([1.0, 1.1, 1.5, 0.5])
    _, kl, share = clipped_surrogate(ratio.log(), torch.zeros(4), torch.ones(4), 0.2)
    assert kl.item() == pytest.approx((ratio - 1 - ratio.log()).mean().item())
    assert share.item() == 0.5
