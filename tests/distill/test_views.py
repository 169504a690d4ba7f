"""Which taps each loss gets of each network, and how a network's output is read."""

from types import SimpleNamespace

import pytest
import torch
from distill_nets import Net, hooks, images
from torch import nn

from rlgen.distill import LOSSES, Layout
from rlgen.distill.views import View, choose_taps, output_tensor
from rlgen.nets.classifiers import make_classifier

AT, KD, OFD = LOSSES["at"], LOSSES["kd"], LOSSES["ofd"]


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        (["a", "b"], [["a", "b"]] * 3),
        ({"student": ["s"], "teacher": ["t"]}, [["s"], ["t"], ["t"]]),
        ({"student": ["s"], "teachers": ["t"]}, [["s"], ["t"], ["t"]]),
        ({"student": [["s"]], "teachers": [["t", "u"], ["v"]]}, [["s"], ["t", "u"], ["v"]]),
        ({"at": ["a"]}, [["a"]] * 3),
        ({"at": {"student": ["s"], "teacher": ["t"]}}, [["s"], ["t"], ["t"]]),
    ],
)
def test_taps_by_role_and_by_loss(option, expected) -> None:
    plan = choose_taps({"at": AT, "kd": KD}, [Net()], [Net(), Net()], option)
    assert [list(wanted["at"]) for wanted in plan] == expected
    assert [wanted["kd"] for wanted in plan] == [()] * 3  # it reads outputs only


def test_losses_may_differ_and_fall_back_on_the_networks_own_places() -> None:
    net = make_classifier("vgg8")
    plan = choose_taps({"at": AT, "ofd": OFD}, [net], [net], {"at": ["stage1"]})
    assert plan[0] == {"at": ("stage1",), "ofd": net.tap_names("preactivation")}


def test_peers_have_taps_of_their_own() -> None:
    option = {"peers": [["a"], ["b"]]}
    plan = choose_taps({"ffl": LOSSES["ffl"]}, [Net(), Net()], [], option)
    assert [wanted["ffl"] for wanted in plan] == [("a",), ("b",)]


def test_one_forward_serves_all_losses() -> None:
    net = Net().eval()
    view = View(net, {"one": ("conv", "stage"), "two": ("stage",), "three": ()})
    assert view.names == ("conv", "stage")
    snapshot = view.run(images())
    one, two = view.features("one", snapshot), view.features("two", snapshot)
    assert two.taps[0] is one.taps[1]
    assert view.features("three", snapshot).taps == ()
    assert torch.equal(one.logits, net(images()))
    assert hooks(net) == 0
    layouts = view.layouts(images(2))
    assert layouts["one"] == Layout(5, ((4, 4, 4), (4, 4, 4)))
    assert layouts["three"] == Layout(5)


def test_no_graph_is_kept_after_a_run() -> None:
    view = View(Net(), {"one": ("conv",)})
    view.run(images())
    assert all(slot.tensor is None and slot.original is None for slot in view.taps._slots)


def test_outputs_of_other_libraries() -> None:
    x = torch.zeros(1)
    assert output_tensor(SimpleNamespace(loss=torch.ones(1), logits=x)) is x
    assert output_tensor(SimpleNamespace(sample=x)) is x
    assert output_tensor((None, x)) is x
    assert output_tensor(x) is x
    assert output_tensor(SimpleNamespace()) is None


def test_a_woken_part_of_a_fixed_network_falls_asleep() -> None:
    net = nn.Sequential(Net()).eval()
    view = View(net, {})
    net[0].bn.train()
    view.fall_asleep()
    assert not any(module.training for module in net.modules())
