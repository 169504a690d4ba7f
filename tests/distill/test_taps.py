"""Taps: names, sides, clones, unhooking."""

from collections.abc import Iterator

import pytest
import torch
from distill_nets import Net, hooks, images
from torch import Tensor, nn

from rlgen.core.errors import UserError
from rlgen.distill import tap
from rlgen.distill.taps import find_layer, first_tensor, layer_names, unwrap


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


def test_inputs_and_outputs_are_those_of_the_layer(net: Net) -> None:
    x = images()
    with tap(net, ["conv", "relu:input", "relu:output", "stage.1", "fc:input"]) as taps:
        logits = net(x)
    before = net.bn(net.conv(x))
    torch.testing.assert_close(taps["conv"], net.conv(x))
    torch.testing.assert_close(taps["relu:input"], before)
    torch.testing.assert_close(taps["relu:output"], before.relu())
    assert torch.equal(net.fc(taps["fc:input"]), logits)
    assert list(taps) == ["conv", "relu:input", "relu:output", "stage.1", "fc:input"]
    assert len(taps) == 5
    assert all(a is taps[name] for a, name in zip(taps.read(), taps, strict=True))


def test_gradients_flow_through_a_tap(net: Net) -> None:
    with tap(net, ["relu"]) as taps:
        net(images())
    taps["relu"].sum().backward()
    assert net.conv.weight.grad is not None
    assert net.fc.weight.grad is None


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize(("inplace", "adds"), [(True, False), (False, True), (True, True)])
def test_what_runs_later_in_place_does_not_change_a_tap(mode, inplace, adds) -> None:
    torch.manual_seed(0)
    net = Net(inplace=inplace, adds=adds).train(mode)
    before = net.bn(net.conv(images())).detach()
    taps = tap(net, ["bn", "relu:input", "relu", "conv"])
    for _ in range(3):  # the first forward finds out, the others use what it found
        with taps:
            net(images())
        torch.testing.assert_close(taps["bn"], before)
        torch.testing.assert_close(taps["relu:input"], before + adds)
        torch.testing.assert_close(taps["relu"], (before + adds).relu())


def test_tensors_are_cloned_only_where_needed() -> None:
    net = Net(inplace=True).eval()
    taps = tap(net, ["relu:input", "relu"])
    kept: list[Tensor] = []
    handle = net.relu.register_forward_hook(lambda module, args, out: kept.append(out))
    for _ in range(2):
        with taps:
            net(images())
    handle.remove()
    # Nothing behind it works in place.
    assert taps["relu"].data_ptr() == kept[-1].data_ptr()
    assert taps["relu:input"].data_ptr() != kept[-1].data_ptr()


class Moody(nn.Module):
    """Works in place in training only."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.second(x.relu_() if self.training else x.relu())


def test_modes_learn_apart_whether_to_clone() -> None:
    net = Moody().eval()
    taps = tap(net, ["first"])
    for mode in (False, True, True):
        with taps:
            net.train(mode)(torch.ones(1, 2))
        torch.testing.assert_close(taps["first"], net.first(torch.ones(1, 2)))


def test_a_tap_that_was_told_not_to_clone_notices_the_change() -> None:
    net = Net(inplace=True)
    with tap(net, ["relu:input"], clone=False) as taps:
        net(images())
    with pytest.raises(UserError, match=r"'relu:input'.* in place; type tap\(\.\.\., clone=True\)"):
        taps["relu:input"]


def test_hooks_are_gone_after_the_block_and_after_an_exception(net: Net) -> None:
    taps = tap(net, ["conv", "relu:input"])
    assert hooks(net) == 0
    with taps:
        assert hooks(net) == 2
    assert hooks(net) == 0
    with pytest.raises(RuntimeError, match="expected input"), taps:
        net(torch.ones(1, 7, 4, 4))
    assert hooks(net) == 0
    with taps:
        net(images())
    assert taps["conv"].shape == (6, 4, 4, 4)  # they work again


def test_taps_cannot_be_entered_twice_at_once(net: Net) -> None:
    taps = tap(net, ["conv"])
    with taps, pytest.raises(RuntimeError, match="in use"), taps:
        pass
    assert hooks(net) == 0


def test_several_taps_and_models_at_once(net: Net) -> None:
    other = Net(width=2)
    with tap(net, ["conv"]) as one, tap(net, ["conv", "conv"]) as two, tap(other, ["conv"]) as far:
        net(images())
        other(images())
    assert one["conv"] is not far["conv"]
    torch.testing.assert_close(one["conv"], two.read()[1])
    assert far["conv"].shape[1] == 2


def test_clear_lets_go_and_entering_forgets(net: Net) -> None:
    taps = tap(net, ["conv"])
    with taps:
        net(images())
    taps.clear()
    with pytest.raises(UserError, match="gave no tensor"):
        taps.read()
    with taps:
        net(images())
    with taps, pytest.raises(UserError, match="gave no tensor"):
        taps.read()


class Pair(nn.Module):
    def forward(self, x: Tensor, *, scale: Tensor) -> tuple[None, dict[str, Tensor]]:
        return None, {"hidden": x * scale, "other": x}


class Caller(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair()
        self.unused = nn.Linear(1, 1)
        self.twice = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.pair(x=x, scale=torch.tensor(2.0))[1]["hidden"]
        return self.twice(self.twice(hidden) - 1)


def test_first_tensor_of_tuples_mappings_and_keywords_and_the_last_call() -> None:
    with tap(Caller(), ["pair", "pair:input", "twice:input"]) as taps:
        Caller()(torch.ones(1))
        taps.model(torch.ones(1))
    assert taps["pair"] == 2
    assert taps["pair:input"] == 1
    assert taps["twice:input"] == 1  # 2 in the first call, 2 - 1 in the last
    assert first_tensor((None, [])) is None


def test_a_layer_that_did_not_run_is_told() -> None:
    net = Caller()
    with tap(net, ["unused"]) as taps:
        net(torch.ones(1))
    with pytest.raises(UserError, match="'unused': that layer gave no tensor"):
        taps.read()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rleu", "unknown layer 'rleu' of Net; did you mean 'relu'"),
        ("stage.2:input", r"unknown layer 'stage.2' of Net; did you mean 'stage"),
        ("relu:inptu", r"'relu:inptu': a layer has :input and :output; type 'relu:input'"),
        ("", "unknown layer '' of Net"),
    ],
)
def test_unknown_names(net: Net, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        tap(net, [name])


def test_a_single_string_and_an_untapped_name(net: Net) -> None:
    with pytest.raises(UserError, match=r"type \['relu'\]"):
        tap(net, "relu")
    with pytest.raises(UserError, match="'rel' is not tapped; did you mean 'relu'"):
        tap(net, ["relu"])["rel"]


class Wrapped(nn.Module):
    """As DDP names its network."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x)


@pytest.mark.parametrize("name", ["stage.0", "module.stage.0", "module._orig_mod.stage.0"])
def test_prefixes_of_wrappers_may_stay_or_go(net: Net, name: str) -> None:
    wrapped = Wrapped(net)
    assert find_layer(wrapped, name) == (net.stage[0], "output")
    assert find_layer(net, name) == (net.stage[0], "output")
    assert unwrap(Wrapped(wrapped)) is net
    with tap(wrapped, [name]) as taps:
        wrapped(images())
    assert taps[name].shape == (6, 4, 4, 4)
    assert "stage.0" in layer_names(wrapped)


def test_a_layer_that_is_called_module() -> None:
    net = nn.Sequential(Wrapped(nn.Linear(2, 3)), nn.Linear(3, 4))
    assert find_layer(net, "0.module")[0] is net[0].module
    assert unwrap(net) is net


def test_autocast_gives_features_in_its_type(net: Net) -> None:
    with torch.autocast("cpu", torch.bfloat16), tap(net, ["conv"]) as taps:
        net(images())
    assert taps["conv"].dtype == torch.bfloat16
    taps["conv"].float().sum().backward()
    assert net.conv.weight.grad is not None


def test_inference_mode(net: Net) -> None:
    with torch.inference_mode(), tap(net, ["relu:input"]) as taps:
        Net(inplace=True)(images())
        net(images())
    torch.testing.assert_close(taps["relu:input"], net.bn(net.conv(images())))


@pytest.fixture
def alone(tmp_path) -> Iterator[None]:
    """A process group of this process."""
    store = f"file://{tmp_path}/store"
    torch.distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("alone")
def test_distributed_data_parallel(net: Net) -> None:
    ddp = nn.parallel.DistributedDataParallel(net)
    with tap(ddp, ["stage.0"]) as taps:
        logits = ddp(images())
    (logits.sum() + taps["stage.0"].sum()).backward()
    assert taps["stage.0"].shape == (6, 4, 4, 4)
    assert hooks(net) == 0
