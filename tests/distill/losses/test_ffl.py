import math

import pytest
import torch
from torch.nn import functional as F

from rlgen.core.errors import UserError
from rlgen.distill.base import Features
from rlgen.distill.losses.ffl import FFL, ffl_loss
from rlgen.distill.losses.kd import kd_loss
from rlgen.distill.losses.one import ramp_up

LABELS = torch.tensor([0, 1, 2, 3])


@pytest.fixture
def pair(network):
    layout, a = network((3, 4, 4))
    other, b = network((5, 4, 4), seed=1)
    return FFL(layout, [other]), [a, b]


def test_golden_numbers() -> None:
    # z_E is the mean of (ln 9, 0) and (0, 0), (ln 3, 0): 3/4, 1/4. z_F = (0, 0).
    a, b, fused = torch.tensor([[math.log(9), 0.0]]), torch.zeros(1, 2), torch.zeros(1, 2)
    terms = ffl_loss([a, b], fused, torch.tensor([0]), temperature=1.0)
    assert terms.fused_ce.item() == pytest.approx(math.log(2))
    kl = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert terms.ensemble_kd.item() == pytest.approx(kl)
    # z_F teaches a: q = 1/2, p = (.9, .1); b already agrees.
    assert terms.fusion_kd.item() == pytest.approx(0.5 * math.log(0.25 / 0.09))


def test_the_ensemble_averages_logits_not_probabilities() -> None:
    a, b = torch.tensor([[4.0, 0.0, 1.0]]), torch.tensor([[0.0, 1.0, 0.0]])
    terms = ffl_loss([a, b], (a + b) / 2, torch.tensor([0]), temperature=1.0)
    assert terms.ensemble_kd.item() == pytest.approx(0.0, abs=1e-7)
    probabilities = ((a.softmax(1) + b.softmax(1)) / 2).log()
    assert ffl_loss([a, b], probabilities, torch.tensor([0]), 1.0).ensemble_kd > 0.01


@pytest.mark.parametrize("tau", [1.0, 3.0])
def test_targets_are_constants(tau) -> None:
    torch.manual_seed(0)
    logits = [torch.randn(4, 5, requires_grad=True) for _ in range(2)]
    fused = torch.randn(4, 5, requires_grad=True)
    terms = ffl_loss(logits, fused, LABELS, tau)
    terms.ensemble_kd.backward(retain_graph=True)
    assert logits[0].grad is None
    assert logits[1].grad is None
    own = fused.grad.clone()
    fused.grad = None
    terms.fusion_kd.backward()
    assert fused.grad is None
    assert own.abs().sum() > 0
    assert logits[0].grad.abs().sum() > 0


def test_squared_temperature_keeps_gradients_of_one_size() -> None:
    torch.manual_seed(0)
    z, target = 0.1 * torch.randn(8, 5), 0.1 * torch.randn(8, 5)
    z.requires_grad_()
    sizes = [torch.autograd.grad(kd_loss(z, target, tau), z)[0].norm() for tau in (1.0, 3.0, 10.0)]
    assert max(sizes) / min(sizes) < 1.1


def test_the_fused_classifier_trains_every_network(pair) -> None:
    loss, peers = pair
    terms = loss.terms(peers, LABELS)
    for term in (terms.fused_ce, terms.ensemble_kd):
        gradients = torch.autograd.grad(term, [p.taps[0] for p in peers], retain_graph=True)
        assert all(gradient.abs().sum() > 0 for gradient in gradients)
    parameters = list(loss.own_parameters())
    assert len(parameters) == len(list(loss.parameters()))


def test_without_ramp_and_fused_error_the_networks_are_alone(pair) -> None:
    loss, peers = pair
    terms = loss.terms(peers, LABELS)
    ce = sum(F.cross_entropy(p.logits, LABELS) for p in peers)
    (ce + 0.0 * (terms.ensemble_kd + terms.fusion_kd)).backward()
    for peer in peers:
        z = peer.logits.detach().requires_grad_()
        F.cross_entropy(z, LABELS).backward()
        torch.testing.assert_close(peer.logits.grad, z.grad)
        assert not peer.taps[0].grad.any()


def test_ramp_scales_both_distillations_and_not_the_error(pair) -> None:
    loss, peers = pair
    loss.eval()
    terms = loss.terms(peers, LABELS)
    kd = terms.ensemble_kd + terms.fusion_kd
    torch.testing.assert_close(loss.forward_peers(peers, LABELS), terms.fused_ce + kd)
    loss.set_epoch(20)
    expected = terms.fused_ce + ramp_up(20) * kd
    torch.testing.assert_close(loss.forward_peers(peers, LABELS), expected)


def test_unequal_sizes(network) -> None:
    layouts, peers = zip(
        *[network(shape, seed=i) for i, shape in enumerate([(64, 8, 8), (128, 4, 4)])], strict=True
    )
    loss = FFL(layouts[0], layouts[1:], out_channels=128)
    assert loss.fused_logits(peers).shape == (4, 5)
    with pytest.raises(UserError, match="align=off cannot bring a 8x8 map to 4x4"):
        FFL(layouts[0], layouts[1:], align="off")
    with pytest.raises(UserError, match="align='crop' is not allowed; give pool or conv or off"):
        FFL(layouts[0], layouts[1:], align="crop")


def test_mistakes(pair, network) -> None:
    loss, peers = pair
    with pytest.raises(UserError, match="ffl needs labels"):
        loss.forward_peers(peers)
    with pytest.raises(UserError, match="ffl needs logits"):
        loss.forward_peers([Features(None, p.taps) for p in peers], LABELS)
    with pytest.raises(UserError, match="ffl trains two networks or more"):
        FFL(network((3, 4, 4))[0], [])
