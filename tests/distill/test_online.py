"""Peers: shared stems, one run of them per batch, online training in one distiller."""

import copy

import pytest
import torch
from distill_nets import Net, hooks, images, labels
from torch import Tensor, nn
from torch.nn import functional as F

from rlgen.core.errors import UserError
from rlgen.distill import LOSSES, Distiller, branch
from rlgen.distill.online import computed_once, share_below, shared_modules
from rlgen.nets.classifiers import make_classifier

ONLINE = [name for name in LOSSES if LOSSES[name].online]


def resnets(count: int = 3) -> list[nn.Module]:
    torch.manual_seed(0)
    return branch(lambda: make_classifier("resnet8", 5), "layer3", count)


def test_branches_share_what_is_below_and_nothing_else() -> None:
    one, two, three = resnets()
    for peer in (two, three):
        for name in ("conv1", "bn1", "relu1", "layer1", "layer2"):
            assert peer.get_submodule(name) is one.get_submodule(name)
        assert peer.layer3 is not one.layer3
        assert not torch.equal(peer.layer3[0].conv1.weight, one.layer3[0].conv1.weight)
        assert peer.classifier is not one.classifier
    assert two.state_dict().keys() == make_classifier("resnet8", 5).state_dict().keys()


def test_a_split_inside_a_stage() -> None:
    nets = [Net(), Net()]
    shared = share_below(nets, "stage.1")
    assert shared == ["conv", "bn", "relu", "stage.0"]
    assert nets[0].stage[0] is nets[1].stage[0]
    assert nets[0].stage[1] is not nets[1].stage[1]
    assert shared_modules(nets) == [nets[0].conv, nets[0].bn, nets[0].relu, nets[0].stage[0]]


def test_only_the_outermost_shared_modules_are_named() -> None:
    peers = resnets()
    names = ("conv1", "bn1", "relu1", "layer1", "layer2")
    assert shared_modules(peers) == [peers[0].get_submodule(name) for name in names]
    assert shared_modules([Net(), Net()]) == []


@pytest.mark.parametrize(
    ("at", "message"),
    [("layr3", "unknown layer 'layr3' of ResNet"), ("conv1", "'conv1' is the first layer")],
)
def test_splits_that_cannot_be(at: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        branch(lambda: make_classifier("resnet8"), at, 2)


def test_too_few_branches_and_a_peer_given_twice() -> None:
    with pytest.raises(UserError, match="count=1: branches are 2 or more"):
        branch(Net, "stage", 1)
    net = Net()
    with pytest.raises(UserError, match="among the peers twice"):
        Distiller(peers=[net, Net(), net], losses={"dml": 1.0}, example=(3, 4, 4))


class Counted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        self.calls += 1
        return x * scale


def test_computed_once_for_the_same_tensor_and_arguments() -> None:
    module, x = Counted(), torch.ones(2)
    with computed_once([module]):
        first = module(x, scale=2.0)
        assert module(x, scale=2.0) is first
        assert module.calls == 1
        assert module(x, scale=3.0).sum() == 6
        assert module(torch.ones(2), scale=2.0) is not first  # equal, but another tensor
        assert module.calls == 3
    assert "forward" not in vars(module)
    module(x, scale=2.0)
    assert module.calls == 4


def test_computed_once_ends_with_an_exception() -> None:
    module = Counted()
    with pytest.raises(ZeroDivisionError), computed_once([module]):
        _ = 1 / 0
    assert "forward" not in vars(module)


def test_a_shared_stem_counts_a_batch_once_and_gives_the_same_outputs() -> None:
    peers = resnets()
    apart = copy.deepcopy(peers[1]).eval()
    distiller = Distiller(peers=peers, losses={"dml": 1.0}, example=(3, 4, 4)).train()
    norm = peers[0].bn1
    distiller((images(), labels()))
    assert norm.num_batches_tracked == 1
    assert peers[2].layer3[0].bn1.num_batches_tracked == 1
    fresh = resnets()
    distiller = Distiller(peers=fresh, losses={"dml": 1.0}, example=(3, 4, 4)).eval()
    seen = distiller.observe((images(), labels()))
    torch.testing.assert_close(seen.networks[1].logits, apart(images()))


def test_a_stem_learns_from_every_branch() -> None:
    peers = resnets()
    distiller = Distiller(peers=peers, losses={}).eval()
    loss, _ = distiller((images(), labels()))
    expected = sum(F.cross_entropy(peer(images()), labels()) for peer in peers)
    torch.testing.assert_close(loss, expected)
    weight = peers[0].conv1.weight
    torch.testing.assert_close(
        torch.autograd.grad(loss, weight), torch.autograd.grad(expected, weight)
    )


@pytest.mark.parametrize("name", ONLINE)
@pytest.mark.parametrize("shared", [True, False])
def test_online_losses_train_every_peer_and_every_connector(name: str, shared: bool) -> None:
    torch.manual_seed(0)
    unlike = [make_classifier("resnet8", 5), make_classifier("wrn-10-1", 5)]
    peers = resnets() if shared else unlike
    distiller = Distiller(peers=peers, losses={name: 1.0}, example=(3, 8, 8))
    x = torch.randn(6, 3, 8, 8)
    for _ in range(2):
        loss, parts = distiller((x, labels()))
        distiller.zero_grad()
        loss.backward()
    assert list(parts) == ["task", name]
    ids = [id(p) for p in distiller.parameters()]
    assert len(ids) == len(set(ids))
    assert all(p.grad is not None for p in distiller.parameters())
    assert all(hooks(peer) == 0 for peer in peers)
    fresh = make_classifier("resnet8", 5)
    assert peers[0].state_dict().keys() == fresh.state_dict().keys()
    fresh.load_state_dict(peers[0].state_dict())
    assert torch.equal(fresh.eval()(x), peers[0].eval()(x))


def test_groups_of_losses_that_want_their_own() -> None:
    distiller = Distiller(
        peers=[make_classifier("resnet8", 5) for _ in range(2)],
        losses={"afd": 1.0, "dml": 1.0},
        example=(3, 8, 8),
    )
    common, own = distiller.parameter_groups(afd={"lr": 1e-4})
    assert own["name"] == "afd"
    assert own["lr"] == 1e-4
    ids = [id(p) for group in (common, own) for p in group["params"]]
    assert sorted(ids) == sorted(id(p) for p in distiller.parameters())
    assert {id(p) for p in own["params"]} == {
        id(p) for p in distiller.losses["afd"].own_parameters()
    }
    torch.optim.SGD(distiller.parameter_groups(), 0.1)


def test_peers_are_saved_under_their_number() -> None:
    distiller = Distiller(peers=[Net(), Net()], losses={"dml": 1.0}, example=(3, 4, 4))
    assert {key.split(".")[1] for key in distiller.state_dict()} == {"0", "1"}
    assert len(distiller.networks) == 2
    assert distiller.teachers == ()
