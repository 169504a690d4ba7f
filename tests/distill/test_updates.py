"""One step of a distiller's optimisers, against steps written out by hand."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from rlgen.core.errors import UserError
from rlgen.core.loop import make_accelerator
from rlgen.distill.distiller import Distiller
from rlgen.distill.updates import AdversarialUpdates, JointUpdates, make_updates

RECIPE = {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}


class Net(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU())
        self.classifier = nn.Linear(width, 5)

    def forward(self, x):
        return self.classifier(self.features(x).mean(dim=(2, 3)))


@pytest.fixture
def accelerator():
    return make_accelerator("cpu", "fp32")


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(6, 3, 6, 6, generator=generator), torch.arange(6) % 5


def peers_of(loss, **options):
    torch.manual_seed(0)
    losses = {loss: 1.0}
    return Distiller(
        peers=[Net(), Net()], losses=losses, taps=["features"], example=(3, 6, 6), **options
    )


def test_a_step_is_sgd_on_the_objective(accelerator, batch):
    torch.manual_seed(0)
    student, teacher = Net(), Net(6)
    plain = copy.deepcopy(student)
    updates = make_updates(
        Distiller(student, teacher, {"kd": 2.0}, example=batch, task_weight=0.5),
        accelerator,
        **RECIPE,
    )
    assert isinstance(updates, JointUpdates)
    optimizer = torch.optim.SGD(plain.parameters(), **RECIPE)
    for _ in range(3):
        terms = updates.step(batch)
        logits, tau = plain(batch[0]), 4.0
        target = torch.softmax(teacher(batch[0]) / tau, 1).detach()
        log_ratio = target.log() - torch.log_softmax(logits / tau, 1)
        kd = tau**2 * (target * log_ratio).sum(dim=1).mean()
        task = nn.functional.cross_entropy(logits, batch[1])
        optimizer.zero_grad()
        (0.5 * task + 2 * kd).backward()
        optimizer.step()
        assert terms["loss"].item() == pytest.approx((0.5 * task + 2 * kd).item(), rel=1e-5)
        assert terms["loss/kd"].item() == pytest.approx(kd.item(), rel=1e-4)
    assert not any(term.requires_grad for term in terms.values())
    for ours, theirs in zip(student.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("loss", ["dml", "one", "ffl"])
def test_every_parameter_is_in_the_optimiser_once(accelerator, loss):
    distiller = peers_of(loss)
    updates = make_updates(distiller, accelerator, **RECIPE)
    held = [p for g in updates.optimizers["sgd"].param_groups for p in g["params"]]
    assert len(held) == len(set(held))
    assert set(held) == set(distiller.parameters())


def test_a_loss_may_have_settings_of_its_own(accelerator):
    distiller = peers_of("ffl")
    (networks, fusion) = (
        make_updates(distiller, accelerator, **RECIPE).optimizers["sgd"].param_groups
    )
    assert (networks["weight_decay"], fusion["weight_decay"]) == (0.01, 1e-5)
    assert set(fusion["params"]) == set(distiller.losses["ffl"].fusion.parameters())


def test_rates_are_scaled_from_their_first_value(accelerator):
    updates = make_updates(peers_of("afd"), accelerator, **RECIPE)
    for factor in (0.1, 0.5):
        updates.scale_rates(factor)
        rates = {n: o.param_groups[0]["lr"] for n, o in updates.optimizers.items()}
        expected = {"logit": 0.1, "generator": 2e-5, "discriminator": 2e-5}
        assert rates == pytest.approx({name: factor * rate for name, rate in expected.items()})


def gradients(loss, parameters):
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


def test_each_of_afds_optimisers_steps_along_its_own_loss(accelerator, batch):
    distiller = peers_of("afd")
    loss, seen = distiller.losses["afd"], None
    updates = make_updates(distiller, accelerator, **{**RECIPE, "weight_decay": 0.0})
    assert isinstance(updates, AdversarialUpdates)
    for name in ("generator", "discriminator"):  # plain steps, to compare with
        kept = updates.optimizers[name].param_groups[0]["params"]
        updates.optimizers[name] = torch.optim.SGD(kept, 0.5)
    networks = [p for peer in distiller.peers for p in peer.parameters()]
    judges = list(loss.discriminators.parameters())
    seen = distiller.observe(batch)
    terms = loss.terms(distiller.features("afd", seen))
    task = sum(nn.functional.cross_entropy(s.logits, batch[1]) for s in seen.networks)
    logit = gradients(task + terms.logit, networks)
    generator = gradients(terms.generator, networks)
    judged = gradients(terms.discriminator, judges)
    before = [p.detach().clone() for p in (*networks, *judges)]
    named = updates.step(batch)
    # The first step of Nesterov's momentum is 1.9 times the gradient.
    moves = [0.1 * 1.9 * a + 0.5 * b for a, b in zip(logit, generator, strict=True)]
    moves += [0.5 * g for g in judged]
    for old, now, move in zip(before, (*networks, *judges), moves, strict=True):
        assert torch.allclose(old - now, move, atol=1e-6)
    assert named["loss/afd_logit"].item() == pytest.approx(terms.logit.item(), rel=1e-5)
    assert any(g.abs().max() > 0 for g in generator)


def test_the_adversarial_loss_leaves_classifiers_alone(accelerator, batch):
    distiller = peers_of("afd", options={"afd": {"kl": 0.0}}, task_weight=0.0)
    updates = make_updates(distiller, accelerator, **{**RECIPE, "weight_decay": 0.0})
    before = copy.deepcopy(distiller.peers)
    updates.step(batch)
    for old, now in zip(before, distiller.peers, strict=True):
        assert torch.equal(old.classifier.weight, now.classifier.weight)
        assert not torch.equal(old.features[0].weight, now.features[0].weight)


def test_without_an_adversarial_weight_its_optimiser_rests(accelerator, batch):
    updates = make_updates(
        peers_of("afd", options={"afd": {"adversarial": 0.0}}), accelerator, **RECIPE
    )
    updates.step(batch)
    taken = {n: o.state_dict()["state"][0].get("step") for n, o in updates.optimizers.items()}
    assert (taken["generator"].item(), taken["discriminator"].item()) == (0, 1)


@pytest.mark.parametrize("loss", ["ffl", "afd"])
def test_restored_optimisers_go_on_exactly(accelerator, batch, loss):
    distiller = peers_of(loss)
    updates = make_updates(distiller, accelerator, **RECIPE)
    updates.step(batch)
    moments, settings = updates.state()
    copied = {name: {k: v.clone() for k, v in m.items()} for name, m in moments.items()}
    weights = copy.deepcopy(distiller.state_dict())
    updates.step(batch)
    again = peers_of(loss)
    again.load_state_dict(weights)
    other = make_updates(again, accelerator, **RECIPE)
    other.restore(copied, settings)
    other.step(batch)
    for name, value in distiller.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_moments_from_the_start_change_nothing(accelerator, batch):
    """SGD and Adam with zeros as moments step as they do without."""
    for make, options in ((torch.optim.SGD, RECIPE), (torch.optim.Adam, {"lr": 0.1})):
        torch.manual_seed(0)
        one, two = Net(), Net()
        two.load_state_dict(one.state_dict())
        updates = JointUpdates(Distiller(one), accelerator, **RECIPE)
        updates.enter("sgd", make(one.parameters(), fused=True, **options))
        optimizer = make(two.parameters(), fused=True, **options)
        for _ in range(2):
            updates.step(batch)
            optimizer.zero_grad()
            nn.functional.cross_entropy(two(batch[0]), batch[1]).backward()
            optimizer.step()
        for ours, theirs in zip(one.parameters(), two.parameters(), strict=True):
            assert torch.equal(ours, theirs)


def test_processes_average_their_gradients(batch):
    """Of two processes, the other one has twice the gradients of this one."""

    def reduce(flat, how):
        assert how == "mean"
        return (flat + 2 * flat) / 2

    real = make_accelerator("cpu", "fp32")
    two = SimpleNamespace(
        num_processes=2, reduce=reduce, autocast=real.autocast, backward=real.backward
    )
    moved = []
    for accelerator in (real, two):
        torch.manual_seed(0)
        student = Net().to(memory_format=torch.channels_last)
        before = [p.detach().clone() for p in student.parameters()]
        recipe = {"lr": 0.1, "momentum": 0.0}
        make_updates(Distiller(student), accelerator, **recipe).step(batch)
        moved.append([old - p for old, p in zip(before, student.parameters(), strict=True)])
    for alone, both in zip(*moved, strict=True):
        assert torch.allclose(1.5 * alone, both, atol=1e-7)


def test_afd_is_trained_alone(accelerator):
    torch.manual_seed(0)
    distiller = Distiller(
        peers=[Net(), Net()],
        losses={"afd": 1.0, "dml": 1.0},
        taps=["features"],
        example=(3, 6, 6),
    )
    with pytest.raises(UserError, match="afd has optimisers of its own"):
        make_updates(distiller, accelerator, **RECIPE)
