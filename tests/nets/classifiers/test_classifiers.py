"""The classifiers: sizes seen in the literature, stages, places to tap, the start."""

import math

import pytest
import torch
from torch import nn

from rlgen.core.errors import UserError
from rlgen.distill import tap
from rlgen.distill.layers import describe_layers
from rlgen.nets.classifiers import (
    CLASSIFIERS,
    VGG,
    MobileNetV2,
    ResNet,
    WideResNet,
    make_classifier,
)

SMALL = ["resnet8", "resnet8x4", "wrn-10-1", "mobilenetv2-half", "vgg8"]


def count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize(
    ("name", "classes", "millions"),
    [  # of spec ofd, section e, and of the papers
        ("wrn-28-4", 100, 5.87),
        ("wrn-16-4", 100, 2.77),
        ("wrn-16-2", 100, 0.70),
        ("wrn-28-2", 10, 1.47),
        ("wrn-28-10", 10, 36.48),
        ("resnet56", 100, 0.86),
        ("resnet20", 10, 0.27),
    ],
)
def test_sizes_of_the_literature(name: str, classes: int, millions: float) -> None:
    with torch.device("meta"):  # no memory
        assert count(make_classifier(name, classes)) / 1e6 == pytest.approx(millions, abs=0.005)


def test_the_size_of_mobilenet_v2_is_the_papers_with_another_head() -> None:
    # 3,504,872 with the usual head of 1000 classes on 1280 features.
    assert count(make_classifier("mobilenetv2", 1000)) == 3_504_872


@pytest.mark.parametrize(("depth", "layers"), [(8, 5), (11, 8), (13, 10), (16, 13), (19, 16)])
def test_convolutions_of_vgg(depth: int, layers: int) -> None:
    with torch.device("meta"):
        net = make_classifier(f"vgg{depth}")
    assert sum(isinstance(module, nn.Conv2d) for module in net.modules()) == layers


@pytest.mark.parametrize("depth", [8, 14, 20])
def test_depth_counts_convolutions_and_the_classifier(depth: int) -> None:
    resnet = make_classifier(f"resnet{depth}")
    threes = [m for m in resnet.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(threes) + 1 == depth


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize(("channels", "size"), [(3, 32), (1, 28)])
def test_outputs_and_places(name: str, channels: int, size: int) -> None:
    torch.manual_seed(0)
    net = make_classifier(name, 7, channels).eval()
    x = torch.randn(2, channels, size, size)
    places = [tap(net, net.tap_names(place)) for place in ("stages", "preactivation", "last")]
    with places[0] as stages, places[1] as raw, places[2] as last:
        logits = net(x)
    assert logits.shape == (2, 7)
    pooled = last.read()[0].mean((2, 3))
    assert last.read()[0].min() >= 0  # behind the last ReLU
    assert pooled.shape[1] == net.width
    torch.testing.assert_close(net.classifier(pooled), logits)
    sizes = [feature.shape[-1] for feature in stages.read()]
    assert sizes == sorted(sizes, reverse=True)
    assert [f.shape for f in raw.read()] == [f.shape for f in stages.read()]
    assert all((feature < 0).any() for feature in raw.read())


@pytest.mark.parametrize("name", ["resnet8", "vgg8"])
def test_stages_are_the_relu_of_their_preactivations(name: str) -> None:
    net = make_classifier(name).eval()
    with tap(net, net.tap_names("stages")) as after, tap(net, net.tap_names("preactivation")) as b:
        net(torch.randn(1, 3, 16, 16))
    for stage, before in zip(after.read(), b.read(), strict=True):
        torch.testing.assert_close(stage, before.relu())


def test_a_wrn_is_tapped_at_the_norm_behind_each_stage() -> None:
    net = make_classifier("wrn-10-2").eval()
    with tap(net, net.tap_names("stages")) as after, tap(net, net.tap_names("preactivation")) as b:
        net(torch.randn(1, 3, 16, 16))
    norms = [net.layer2[0].bn1, net.layer3[0].bn1, net.bn]
    for stage, before, norm in zip(after.read(), b.read(), norms, strict=True):
        torch.testing.assert_close(norm(stage), before)


def test_an_identity_shortcut_of_a_wrn_takes_the_raw_value() -> None:
    block = make_classifier("wrn-16-1").layer1[1]
    nn.init.zeros_(block.conv2.weight)
    x = -torch.ones(1, 16, 4, 4)
    assert torch.equal(block.eval()(x), x)


def test_a_zero_branch_of_a_resnet_leaves_the_relu_of_its_input() -> None:
    block = make_classifier("resnet14").layer1[1].eval()
    nn.init.zeros_(block.bn2.weight)
    x = torch.randn(1, 16, 4, 4)
    assert torch.equal(block(x), x.relu())


def test_a_linear_bottleneck_with_a_zero_branch_is_the_identity() -> None:
    block = make_classifier("mobilenetv2-half").stage2[1].eval()
    nn.init.zeros_(block.bn.weight)
    x = torch.randn(1, 16, 4, 4)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize(("name", "smallest"), [("resnet8", 8), ("mobilenetv2-half", 4)])
def test_resolution_of_the_last_map(name: str, smallest: int) -> None:
    net = make_classifier(name)
    rows = {row.name: row for row in describe_layers(net, torch.zeros(1, 3, 32, 32))}
    assert rows[net.tap_names("last")[0]].given == (net.width, smallest, smallest)


def test_the_start_of_the_weights() -> None:
    torch.manual_seed(0)
    net = make_classifier("wrn-10-8")
    weight = net.layer3[0].conv2.weight  # 512 channels, 3x3
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 512)), rel=0.01)
    assert all(
        module.weight.eq(1).all() for module in net.modules() if isinstance(module, nn.BatchNorm2d)
    )


@pytest.mark.parametrize("name", SMALL)
def test_nothing_works_in_place_and_every_weight_learns(name: str) -> None:
    net = make_classifier(name)
    assert not any(getattr(module, "inplace", False) for module in net.modules())
    net(torch.randn(4, 3, 16, 16)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: make_classifier("resnet21"), "unknown classifier 'resnet21'; did you mean"),
        (lambda: make_classifier("resnet20", 1), "classes=1: a classifier needs 2 or more"),
        (lambda: make_classifier("resnet20", 10, 0), "channels=0: pictures have 1 or more"),
        (lambda: ResNet(21), r"depth=21: a CIFAR ResNet has 6n \+ 2 layers"),
        (lambda: WideResNet(20, 2), r"depth=20: a WRN has 6n \+ 4 layers"),
        (lambda: WideResNet(10, 0), "widen=0"),
        (lambda: MobileNetV2(widen=0.0), "widen=0.0"),
        (lambda: VGG(12), "depth=12: there is no such VGG; allowed: 8, 11, 13, 16, 19"),
        (lambda: make_classifier("vgg8").tap_names("stage"), "unknown place 'stage' to tap"),
    ],
)
def test_mistakes(build, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build()


@pytest.mark.parametrize(
    ("name", "kind", "width"),
    [
        ("resnet14", ResNet, 64),
        ("resnet14x4", ResNet, 256),
        ("wrn-16-4", WideResNet, 256),
        ("mobilenetv2", MobileNetV2, 1280),
        ("vgg13", VGG, 512),
    ],
)
def test_names_build_what_they_say(name: str, kind: type, width: int) -> None:
    with torch.device("meta"):
        net = make_classifier(name)
    assert type(net) is kind
    assert net.width == width


def test_the_literatures_names_are_there() -> None:
    names = {f"resnet{d}" for d in (20, 32, 44, 56, 110)} | {"wrn-16-2", "wrn-40-2", "vgg16"}
    assert names <= set(CLASSIFIERS)
