import pytest
import torch
from torch import nn

from rlgen.distill.base import Features, Layout
from rlgen.distill.losses.afd import (
    AFD,
    discriminator_loss,
    generator_loss,
    previous,
    separate_steps,
)
from rlgen.distill.losses.dml import DML


@pytest.mark.parametrize(
    ("real", "fake", "judge", "network"),
    [(0.5, 0.5, 0.5, 0.25), (1.0, 0.0, 0.0, 1.0), (1.0, 1.0, 1.0, 0.0), (0.0, 1.0, 2.0, 0.0)],
    ids=["undecided", "perfect", "fooled", "wrong"],
)
def test_values_at_equilibria(real, fake, judge, network) -> None:
    scores = [torch.full((4, 1), value) for value in (real, fake)]
    assert discriminator_loss(*scores).item() == judge
    assert generator_loss(scores[1]).item() == network


def peers_of(network, *shapes, **options):
    layouts, peers = zip(
        *[network(shape, seed=i, **options) for i, shape in enumerate(shapes)], strict=True
    )
    return AFD(layouts[0], layouts[1:]), list(peers)


def test_equal_distributions_cannot_be_told_apart(network) -> None:
    torch.manual_seed(0)
    layout, peer = network((4, 4, 4), batch=16)
    loss = AFD(layout, [layout])
    optimizer = torch.optim.Adam(loss.own_parameters(), lr=0.05)
    values = []
    for _ in range(30):
        terms = loss.terms([peer, peer])
        optimizer.zero_grad()
        terms.discriminator.backward()
        optimizer.step()
        values.append(terms.discriminator.item() / 2)
    assert values[0] > 0.505
    assert values[-1] == pytest.approx(0.5, abs=1e-3)
    assert min(values) >= 0.5 - 1e-6
    assert terms.real_score.item() == pytest.approx(0.5, abs=0.02)


def test_different_distributions_are_told_apart(network) -> None:
    torch.manual_seed(0)
    layout, a = network((4, 4, 4), batch=16)
    b = Features(a.logits, (a.taps[0].detach() + 2.0 * torch.linspace(-1, 1, 4),))
    loss = AFD(layout, [layout])
    optimizer = torch.optim.Adam(loss.own_parameters(), lr=0.05)
    for _ in range(20):
        optimizer.zero_grad()
        terms = loss.terms([a, b])
        terms.discriminator.backward()
        optimizer.step()
    assert terms.discriminator / 2 < 0.2
    assert terms.real_score > 0.7 > 0.3 > terms.fake_score


def test_who_learns_from_what(network) -> None:
    loss, peers = peers_of(network, (4, 4, 4), (6, 4, 4), (6, 4, 4))
    terms = loss.terms(peers)
    maps, logits = [p.taps[0] for p in peers], [p.logits for p in peers]
    judges = list(loss.discriminators.parameters())
    transfers = list(loss.transfers.parameters())

    def touched(term: torch.Tensor, leaves: list[torch.Tensor]) -> list[bool]:
        grads = torch.autograd.grad(term, leaves, retain_graph=True, allow_unused=True)
        return [grad is not None and bool(grad.any()) for grad in grads]

    assert all(touched(terms.generator, maps + transfers))
    assert not any(touched(terms.generator, judges + logits))
    assert not any(touched(terms.discriminator, maps + logits + transfers))
    assert touched(terms.discriminator, judges).count(True) >= len(judges) - 3  # biases under norms
    assert all(touched(terms.logit, logits))
    assert not any(touched(terms.logit, maps + judges + transfers))


def test_one_backward_gives_both_sides_their_own_gradients(network) -> None:
    torch.manual_seed(0)
    loss, peers = peers_of(network, (4, 4, 4), (4, 4, 4))
    loss.forward_peers(peers).backward()
    together = [p.grad.clone() for p in loss.parameters()]
    maps = [p.taps[0].grad.clone() for p in peers]
    terms = loss.terms(peers)
    alone = torch.autograd.grad(terms.discriminator, list(loss.parameters()))
    for got, expected in zip(together, alone, strict=True):
        torch.testing.assert_close(got, expected)
    fooling = torch.autograd.grad(terms.generator, [p.taps[0] for p in peers])
    for got, expected in zip(maps, fooling, strict=True):
        torch.testing.assert_close(got, expected)


def test_the_network_is_judged_without_a_trace(network) -> None:
    # Only real and fake of the judge's own step may move its running statistics.
    loss, peers = peers_of(network, (4, 4, 4), (4, 4, 4))
    loss.terms(peers)
    counts = [m.num_batches_tracked.item() for m in loss.modules() if hasattr(m, "running_mean")]
    assert counts == [2, 2]


class Spy(nn.Module):
    """A judge that says which network's map it saw: maps are filled by their network's number."""

    def __init__(self, log: list[int]) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.log = log

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        self.log.append(int(maps.mean().item()))
        return self.scale * torch.full((len(maps), 1), 0.5)


def test_circle_of_three() -> None:
    layout = Layout(3, ((2, 4, 4),))
    loss = AFD(layout, [layout] * 2)
    assert len(loss.discriminators) == 3
    logs: list[list[int]] = [[], [], []]
    loss.discriminators = nn.ModuleList(Spy(log) for log in logs)
    maps = [torch.full((2, 2, 4, 4), float(k)) for k in (1, 2, 3)]
    loss.terms([Features(torch.randn(2, 3), (m,)) for m in maps])
    # [network's own step, real, fake] of D_1, D_2, D_3, as in the paper's figure.
    assert logs == [[1, 3, 1], [2, 1, 2], [3, 2, 3]]
    assert [previous(k, 3) for k in range(3)] == [2, 0, 1]


def test_logits_follow_the_previous_network(network) -> None:
    loss, peers = peers_of(network, (4, 4, 4), (4, 4, 4), (4, 4, 4))
    before = loss.terms(peers).logit
    target = [peers[k - 1].logits.detach() for k in range(3)]
    follow = [Features(target[k], peers[k].taps) for k in range(3)]
    assert before > 0.1
    same = [Features(peers[0].logits, p.taps) for p in follow]
    assert loss.terms(same).logit.item() == pytest.approx(0.0, abs=1e-6)
    expected = sum(
        DML(Layout(5), [Layout(5)], temperature=3.0)(peers[k], [peers[k - 1]]) for k in range(3)
    )
    torch.testing.assert_close(before, expected)


def test_without_the_adversary_two_networks_are_mutual_learning(network) -> None:
    layout, a = network((4, 4, 4))
    _, b = network((4, 4, 4), seed=1)
    loss = AFD(layout, [layout], adversarial=0.0)
    loss.forward_peers([a, b]).backward()
    got = [p.logits.grad.clone() for p in (a, b)]
    assert not a.taps[0].grad.any()
    dml = DML(layout, [layout], temperature=3.0).forward_peers([a, b])
    for grad, p in zip(got, (a, b), strict=True):
        assert torch.equal(grad, torch.autograd.grad(dml, p.logits, retain_graph=True)[0])


def test_unlike_networks_meet_in_the_transfer_layers(network) -> None:
    loss, peers = peers_of(network, (3, 8, 8), (6, 4, 4), (7,))
    assert loss.forward_peers(peers).isfinite()
    assert loss.discriminators[0][0].in_channels == 7


def test_separate_steps_do_not_mix_gradients() -> None:
    a, b = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(2.0))
    first, second = 3.0 * a * b, 5.0 * a
    pairs = [
        (first, torch.optim.SGD([a, b], lr=0.1)),
        (second, torch.optim.SGD([a], lr=0.01)),
    ]
    separate_steps(pairs)
    # All gradients are of the weights before any step: d first / d a = 6, d first / d b = 3.
    assert a.item() == pytest.approx(1.0 - 0.1 * 6 - 0.01 * 5)
    assert b.item() == pytest.approx(2.0 - 0.1 * 3)
    assert a.grad is None


def test_only_the_discriminators_want_their_own_optimiser(network) -> None:
    loss, _ = peers_of(network, (3, 4, 4), (6, 4, 4))
    own = {id(p) for p in loss.own_parameters()}
    assert own == {id(p) for p in loss.discriminators.parameters()}
    assert not own & {id(p) for p in loss.transfers.parameters()}
