import math

import pytest
import torch

from rlgen.core.errors import UserError
from rlgen.distill.base import Features, Layout
from rlgen.distill.losses.dml import DML, mutual_loss
from rlgen.distill.losses.kd import kd_loss


def peers(count: int, seed: int = 0) -> list[Features]:
    torch.manual_seed(seed)
    return [Features(torch.randn(3, 5, requires_grad=True)) for _ in range(count)]


def test_golden_number() -> None:
    z, other = torch.tensor([[math.log(3), 0.0]]), torch.zeros(1, 2)
    assert mutual_loss(z, [other]).item() == pytest.approx(0.5 * math.log(4 / 3))
    assert mutual_loss(z, [other, z]).item() == pytest.approx(0.25 * math.log(4 / 3))


def test_identical_networks_have_nothing_to_teach() -> None:
    same = peers(1) * 3
    loss = DML(Layout(5), [Layout(5)] * 2)
    assert loss.forward_peers(same).item() == pytest.approx(0.0, abs=1e-6)


def test_two_networks_have_factor_one_and_may_swap() -> None:
    a, b = peers(2)
    loss = DML(Layout(5), [Layout(5)], temperature=3.0)
    torch.testing.assert_close(loss(a, [b]), kd_loss(a.logits, b.logits, 3.0))
    torch.testing.assert_close(loss(b, [a]), kd_loss(b.logits, a.logits, 3.0))
    torch.testing.assert_close(loss.forward_peers([a, b]), loss(a, [b]) + loss(b, [a]))


def test_partners_are_constants() -> None:
    group = peers(3)
    loss = DML(Layout(5), [Layout(5)] * 2)
    loss(group[0], group[1:]).backward()
    assert group[1].logits.grad is None
    assert group[2].logits.grad is None
    own = group[0].logits.grad.clone()
    group[0].logits.grad = None
    loss.forward_peers(group).backward()
    torch.testing.assert_close(group[0].logits.grad, own)


def test_one_network_alone() -> None:
    with pytest.raises(UserError, match="dml trains two networks or more"):
        DML(Layout(5), [])
