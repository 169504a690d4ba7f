import math

import pytest
import torch

from rlgen.core.errors import UserError
from rlgen.distill.losses.kd import kd_loss
from rlgen.distill.losses.one import ONE, Gate, gated_logits, one_loss, ramp_up


@pytest.mark.parametrize(
    ("epoch", "weight"),
    [
        (0, 0.006738),
        (10, 0.02175),
        (20, 0.060055),
        (40, 0.286505),
        (60, 0.731616),
        (79, 0.999219),
        (80, 1.0),
        (300, 1.0),
    ],
)
def test_ramp_of_the_spec(epoch, weight) -> None:
    assert ramp_up(epoch) == pytest.approx(weight, abs=1e-6)


def test_ramp_grows_and_may_be_left_out() -> None:
    values = [ramp_up(e / 2, 10) for e in range(21)]
    assert values == sorted(values)
    assert values[0] == math.exp(-5)
    assert ramp_up(0, 0) == 1.0


def test_gate_sums_to_one() -> None:
    torch.manual_seed(0)
    gate = Gate(7, 3)(torch.randn(6, 7))
    torch.testing.assert_close(gate.sum(1), torch.ones(6))
    assert (gate > 0).all()


def test_ensemble_by_hand() -> None:
    logits = [torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 4.0]])]
    gate = torch.tensor([[0.75, 0.25]])
    assert gated_logits(logits, gate).tolist() == [[0.75, 1.0]]
    terms = one_loss(logits, gate, torch.tensor([1]), temperature=1.0)
    assert terms.ensemble_ce.item() == pytest.approx(math.log(1 + math.exp(-0.25)))
    expected = sum(kd_loss(z, torch.tensor([[0.75, 1.0]]), 1.0) for z in logits)
    torch.testing.assert_close(terms.ensemble_kd, expected)


def test_equal_branches_have_nothing_to_learn() -> None:
    z, y = torch.randn(4, 5), torch.zeros(4, dtype=torch.long)
    terms = one_loss([z] * 3, torch.full((4, 3), 1 / 3), y)
    assert terms.ensemble_kd.item() == pytest.approx(0.0, abs=1e-6)


def test_the_ensemble_is_a_constant_in_the_distillation() -> None:
    torch.manual_seed(0)
    logits = [torch.randn(4, 5, requires_grad=True) for _ in range(2)]
    gate = torch.full((4, 2), 0.5, requires_grad=True)
    one_loss(logits, gate, torch.zeros(4, dtype=torch.long)).ensemble_kd.backward()
    assert gate.grad is None
    target = torch.stack(logits).mean(0).detach()
    own = torch.autograd.grad(kd_loss(logits[0], target, 3.0), logits[0])[0]
    torch.testing.assert_close(logits[0].grad, own)


def test_ramp_scales_the_distillation_alone(network) -> None:
    layout, a = network((3, 4, 4))
    other, b = network((5, 2, 2), seed=1)
    loss, y = ONE(layout, [other]).eval(), torch.tensor([0, 1, 2, 3])
    full = loss.forward_peers([a, b], y)
    ce = torch.nn.functional.cross_entropy(loss.ensemble_logits([a, b]), y)
    loss.set_epoch(40)
    part = loss.forward_peers([a, b], y)
    torch.testing.assert_close(part - ce, ramp_up(40) * (full - ce))
    assert full - ce > 0.01


def test_gate_learns_by_the_ensembles_cross_entropy(network) -> None:
    layout, a = network((3, 4, 4))
    _, b = network((3, 4, 4), seed=1)
    loss = ONE(layout, [layout])
    loss.forward_peers([a, b], torch.tensor([0, 1, 2, 3])).backward()
    assert loss.gate.linear.weight.grad.abs().sum() > 0
    with pytest.raises(UserError, match="one needs labels"):
        loss.forward_peers([a, b])
