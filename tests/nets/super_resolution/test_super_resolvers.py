"""Networks that enlarge: sizes, stages, places to tap, the shift by the mean picture."""

import pytest
import torch
from torch import nn

from rlgen.core.errors import UserError
from rlgen.distill import tap
from rlgen.nets.super_resolution import (
    EDSR,
    SCALES,
    SUPER_RESOLVERS,
    SRResNet,
    make_super_resolver,
)
from rlgen.nets.super_resolution.staged import MEAN

SMALL = ["edsr_tiny", "srresnet_small", "srresnet_small_nobn"]


def count(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize(
    ("name", "scale", "millions"),
    [  # EDSR: of its official code's table
        ("edsr", 2, 40.73),
        ("edsr_baseline", 2, 1.370),
        ("edsr_baseline", 3, 1.554),
        ("edsr_baseline", 4, 1.518),
        ("srresnet", 4, 1.549),  # by hand, layer by layer
    ],
)
def test_sizes_of_the_literature(name: str, scale: int, millions: float) -> None:
    with torch.device("meta"):  # no memory
        assert count(make_super_resolver(name, scale)) / 1e6 == pytest.approx(millions, rel=0.001)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_grow_and_stages_do_not(name: str, scale: int, channels: int) -> None:
    net = make_super_resolver(name, scale, channels).eval()
    stages = tap(net, net.tap_names("stages"))
    with stages, torch.no_grad():
        out = net(torch.rand(2, channels, 6, 5))
    assert out.shape == (2, channels, 6 * scale, 5 * scale)
    shapes = {tuple(feature.shape[2:]) for feature in stages.read()}
    assert shapes == {(6, 5)}
    assert net.tap_names("last") == net.tap_names("stages")[-1:]


def test_the_last_tap_holds_the_long_shortcut() -> None:
    net = make_super_resolver("edsr_tiny").eval()
    with torch.no_grad():
        for parameter in net.fuse.parameters():
            parameter.zero_()
        with tap(net, ["head", "upsampler:input"]) as taps:
            net(torch.rand(1, 3, 4, 4))
    assert torch.equal(taps["head"], taps["upsampler:input"])


def test_the_mean_picture_is_added_back_and_not_saved() -> None:
    net = make_super_resolver("edsr_tiny").eval()
    assert "mean" not in net.state_dict()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
        out = net(torch.rand(1, 3, 2, 2))
    assert out.mean((0, 2, 3)).tolist() == pytest.approx(MEAN)


@pytest.mark.parametrize(("blocks", "sizes"), [(3, [1, 1, 1]), (4, [1, 2, 1]), (8, [3, 2, 3])])
def test_stages_are_thirds_of_the_blocks(blocks: int, sizes: list[int]) -> None:
    net = EDSR(blocks, 4)
    assert [len(stage) for stage in (net.stage1, net.stage2, net.stage3)] == sizes


def test_residuals_are_scaled() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 4, 3, 3)
    whole, tenth = EDSR(3, 4), EDSR(3, 4, res_scale=0.1)
    tenth.load_state_dict(whole.state_dict())
    one, two = (net.stage1[0](x) - x for net in (whole, tenth))
    torch.testing.assert_close(two, 0.1 * one)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_batch_norm_is_an_option(batch_norm: bool) -> None:
    norms = [m for m in SRResNet(3, 4, batch_norm=batch_norm).modules() if "Norm" in str(type(m))]
    assert len(norms) == (7 if batch_norm else 0)  # two a block, one behind them


@pytest.mark.parametrize("name", ["edsr", "edsr_small", "srresnet_nobn"])
def test_names_are_registered(name: str) -> None:
    assert name in SUPER_RESOLVERS


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_super_resolver("edsr_smal"), "unknown .* 'edsr_smal'; did you mean 'edsr_sm"),
        (lambda: make_super_resolver("edsr", 5), "scale=5 is unknown; allowed: 2, 3, 4"),
        (lambda: make_super_resolver("edsr_tiny", 2, 2), "channels=2: pictures have 3"),
        (lambda: EDSR(2, 4), "blocks=2: three stages need 3"),
        (lambda: EDSR(3, 4).tap_names("stage"), "unknown place 'stage' to tap; did you mean"),
    ],
)
def test_a_mistake_is_told(call, message: str) -> None:
    with pytest.raises(UserError, match=message):
        call()
