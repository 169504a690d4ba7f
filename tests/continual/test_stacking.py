"""Channel groups of networks, and what cannot be shared out."""

import pytest
import torch
from continual_toys import SHAPE, network
from torch import nn

from rlgen.continual.heads import HeadedNetwork, find_head
from rlgen.continual.stacking import check_resizable, resized, trace_layout
from rlgen.core.errors import UserError
from rlgen.nets.classifiers import make_classifier


class Made(nn.Module):
    """A convolution, something in the middle, a head."""

    def __init__(self, middle, *layers, features=6):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.other = nn.Conv2d(3, 6, 3, padding=1)
        self.layers = nn.ModuleList(layers)
        self.free = nn.Parameter(torch.ones(1, 6, 1, 1))
        self.middle = middle
        self.head = nn.Linear(features, 4)

    def forward(self, x):
        return self.head(self.middle(self, x))


def pooled(maps):
    return maps.mean((2, 3))


def test_groups_of_a_flattened_map():
    layout = trace_layout(network("plain"), SHAPE)
    assert layout.widths == {"conv1": 8, "conv2": 8, "hidden": 12}
    hidden = layout.layers[-1]
    assert (hidden.name, hidden.reads, hidden.per_channel) == ("hidden", "conv2", 16)
    assert layout.head.name == "head"
    assert hidden.columns({"conv2": 3}) == 48


def test_shortcuts_join_groups_of_a_resnet():
    layout = trace_layout(make_classifier("resnet8"), SHAPE)
    writes = {layer.name: layer.writes for layer in layout.layers}
    assert writes["conv1"] == writes["layer1.0.conv2"]
    assert writes["layer2.0.conv2"] == writes["layer2.0.shortcut.0"]
    assert writes["layer2.0.conv1"] != writes["layer2.0.conv2"]
    assert len(layout.norms) == 9


@pytest.mark.parametrize("name", ["vgg8", "mobilenetv2-half", "wrn-10-1"])
def test_the_classifiers_here_can_be_cut(name):
    given = make_classifier(name)
    layout = trace_layout(given, (3, 16, 16))
    small = resized(given, layout, {group: 3 for group in layout.widths}, 5)
    assert small.eval()(torch.zeros(2, 3, 16, 16)).shape == (2, 5)
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in given.parameters())


@pytest.mark.parametrize(
    ("middle", "layers"),
    [
        (lambda m, x: pooled(m.conv(x)).view(len(x), -1), []),
        (lambda m, x: nn.functional.adaptive_avg_pool2d(m.conv(x), 1).reshape(x.size(0), -1), []),
        (lambda m, x: pooled(m.layers[0](m.conv(x) * m.other(x))), [nn.GELU()]),
        (lambda m, x: pooled(m.conv(x) / 2 + 1), []),
    ],
)
def test_what_keeps_channels_apart_is_taken(middle, layers):
    given = Made(middle, *layers)
    if "len" in middle.__code__.co_names:
        with pytest.raises(UserError, match="cannot be traced"):
            trace_layout(given, SHAPE)
        return
    check_resizable(given, trace_layout(given, SHAPE), SHAPE)


@pytest.mark.parametrize(
    ("middle", "layers", "message"),
    [
        (lambda m, x: pooled(m.layers[0](m.conv(x))), [nn.GroupNorm(2, 6)], "layers.0.*GroupNorm"),
        (lambda m, x: pooled(m.layers[0](m.conv(x))), [nn.PReLU(6)], "PReLU.*is unknown"),
        (
            lambda m, x: pooled(m.layers[0](m.conv(x))),
            [nn.Conv2d(6, 6, 1, groups=2)],
            "2 groups; a convolution to be shared out has 1",
        ),
        (lambda m, x: pooled(m.conv(x)).softmax(1), [], r"softmax\(\) in forward\(\)"),
        (lambda m, x: pooled(m.conv(x) * m.free), [], "parameter free belongs to no conv"),
        (lambda m, x: pooled(m.conv(x)).view(-1, 6), [], r"view\(\) in forward"),
        (lambda m, x: pooled(torch.cat([m.conv(x)[:, :3], m.other(x)[:, :3]], 1)), [], "getitem"),
        (
            lambda m, x: pooled(m.layers[0](x) + x),
            [nn.Conv2d(3, 3, 1)],
            "joins a layer's channels to those of the pictures",
        ),
        (lambda m, x: m.conv(x).mean(1).flatten(1)[:, :6], [], r"mean\(\) in forward"),
    ],
)
def test_what_mixes_channels_is_refused_by_name(middle, layers, message):
    given = Made(middle, *layers)
    if given.layers and isinstance(given.layers[0], nn.Conv2d) and given.layers[0].groups == 1:
        given.head = nn.Linear(3, 4)
    with pytest.raises(UserError, match=message):
        trace_layout(given, SHAPE)


def test_a_network_without_a_linear_end_is_refused():
    ends = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(256, 4), nn.Softmax(1))
    with pytest.raises(UserError, match="does not end in a linear layer"):
        find_head(ends, SHAPE)
    with pytest.raises(UserError, match=r"does not run on pictures of \(1, 8, 8\)"):
        find_head(network(), (1, 8, 8))


def test_finding_the_head_leaves_a_network_as_it_was():
    given = network("residual").train()
    given.drop.eval()
    before = {name: value.clone() for name, value in given.state_dict().items()}
    assert find_head(given, SHAPE) == "head"
    trace_layout(given, SHAPE)
    assert given.training
    assert not given.drop.training
    assert all(torch.equal(before[name], value) for name, value in given.state_dict().items())
    assert not given.head._forward_hooks


def test_a_headed_network_has_one_body():
    headed = HeadedNetwork(network("plain"), SHAPE)
    headed.add_head(3)
    headed.add_head(5)
    images = torch.rand(2, *SHAPE)
    headed.eval()
    assert [headed(images, task).shape for task in (0, 1)] == [(2, 3), (2, 5)]
    assert torch.equal(headed(images, 1), headed.heads[1](headed.body(images)))


def test_a_layer_whose_weight_is_computed_is_refused():
    given = network("plain")
    nn.utils.parametrizations.weight_norm(given.conv2)
    with pytest.raises(UserError, match="conv2 has a parametrisation or a hook"):
        trace_layout(given, SHAPE)


def test_layers_that_share_a_weight_are_refused():
    given = Made(lambda self, x: pooled(self.conv(x) + self.other(x)))
    given.other.weight = given.conv.weight
    with pytest.raises(UserError, match="other and conv share one weight"):
        trace_layout(given, SHAPE)
