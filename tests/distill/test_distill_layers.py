"""Dry runs: shapes, norms behind taps, modes; batch statistics."""

import copy

import pytest
import torch
from distill_nets import Net, hooks, images
from torch import nn

from rlgen.distill.layers import batch_statistics, call, describe_layers, dry, norms_before
from rlgen.nets.classifiers import make_classifier


def test_rows_tell_shapes_parameters_and_what_works_in_place() -> None:
    net = Net(inplace=True)
    rows = {row.name: row for row in describe_layers(net, images(2))}
    assert list(rows) == ["conv", "bn", "relu", "stage", "stage.0", "stage.1", "drop", "fc"]
    assert rows["conv"].taken == (3, 4, 4)
    assert rows["conv"].given == (4, 4, 4)
    assert rows["fc"].taken == (4,)
    assert rows["fc"].parameters == 25
    assert rows["stage"].parameters == 20
    assert (rows["relu"].kind, rows["relu"].inplace, rows["drop"].inplace) == ("ReLU", True, False)
    assert hooks(net) == 0
    assert describe_layers(net)[0].given is None


def test_a_dry_run_leaves_modes_and_statistics() -> None:
    net = Net()
    net.bn.eval()
    state = copy.deepcopy(net.state_dict())
    with dry(net):
        assert not net.training
        assert not net(images()).requires_grad
    assert net.training
    assert not net.bn.training
    assert all(torch.equal(state[key], value) for key, value in net.state_dict().items())
    with pytest.raises(RuntimeError), dry(net):
        net(torch.zeros(1, 1, 1, 1))
    assert net.training


def test_norms_before_taps() -> None:
    net = make_classifier("resnet14", 10)
    names = ["layer1.1.relu2:input", "layer2", "layer2.0.bn1", "conv1", "classifier"]
    found = norms_before(net, names, torch.zeros(1, 3, 8, 8))
    # The last norm of the residual branch, also where the shortcut has one.
    assert found == (net.layer1[1].bn2, net.layer2[1].bn2, net.layer2[0].bn1, None, None)
    short = make_classifier("resnet8", 10)
    (last,) = norms_before(short, ["layer2"], torch.zeros(1, 3, 8, 8))
    assert last is short.layer2[0].bn2
    wide = make_classifier("wrn-16-1", 10)
    (norm,) = norms_before(wide, ["bn"], torch.zeros(1, 3, 8, 8))
    assert norm is wide.bn
    assert hooks(net) == 0


def test_batch_statistics_normalise_by_the_batch_and_change_nothing() -> None:
    net = Net().eval()
    with torch.no_grad():
        net.bn.running_mean += 3
    state = copy.deepcopy(net.state_dict())
    x = net.conv(images())
    with batch_statistics(net):
        normed = net.bn(x)
    expected = nn.functional.batch_norm(x, None, None, training=True)
    torch.testing.assert_close(normed, expected)
    assert all(torch.equal(state[key], value) for key, value in net.state_dict().items())
    torch.testing.assert_close(net.bn(x), (x - 3) / (1 + 1e-5) ** 0.5)  # running ones again


def test_calls_with_tensors_keywords_and_several_arguments() -> None:
    class Sum(nn.Module):
        def forward(self, a: torch.Tensor, b: int = 1) -> torch.Tensor:
            return a + b

    one = torch.tensor(1)
    assert [int(call(Sum(), x)) for x in (one, {"a": one, "b": 2}, [one, 3])] == [2, 3, 4]
