"""Taps of networks under ``torch.compile``."""

import logging

import pytest
import torch
from distill_nets import Net, hooks, images
from torch._dynamo.utils import counters

from rlgen.distill import Distiller, tap


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    counters.clear()
    # pytest listens to all loggers, and then Dynamo writes down everything it does.
    logging.getLogger("torch.__trace").setLevel(logging.WARNING)
    before = torch._dynamo.config.skip_nnmodule_hook_guards
    torch._dynamo.config.skip_nnmodule_hook_guards = True
    yield
    torch._dynamo.config.skip_nnmodule_hook_guards = before
    torch._dynamo.reset()


def compiled(net: torch.nn.Module) -> torch.nn.Module:
    # "eager" runs Dynamo's graph, and so its guards, without a compiler behind it.
    return torch.compile(net, backend="eager")


@pytest.mark.parametrize(("ran_before", "inplace"), [(True, False), (False, True)])
def test_a_compiled_network_is_tapped_also_where_it_ran_before(ran_before, inplace) -> None:
    torch.manual_seed(0)
    net = Net(inplace=inplace).eval()
    fast = compiled(net)
    if ran_before:
        fast(images())
    names = ["relu:input", "stage.1"]
    with tap(net, names) as plain:
        expected = net(images())
    for _ in range(2):
        with tap(fast, ["relu:input", "_orig_mod.stage.1"]) as taps:
            torch.testing.assert_close(fast(images()), expected)
        for ours, theirs in zip(taps.read(), plain.read(), strict=True):
            torch.testing.assert_close(ours, theirs)
    assert hooks(net) == 0
    torch.testing.assert_close(fast(images()), expected)


def test_gradients_and_no_compilation_per_step() -> None:
    net = Net().eval()
    fast = compiled(net)
    taps = tap(fast, ["relu:input", "stage"])
    for _ in range(2):
        with taps:
            fast(images())
        taps.clear()
    graphs = counters["stats"]["unique_graphs"]
    for step in range(6):
        if step % 2:
            taps.clear()
        with taps:
            fast(images())
    assert counters["stats"]["unique_graphs"] == graphs
    taps["relu:input"].sum().backward()
    assert net.conv.weight.grad is not None


def test_a_distiller_of_compiled_networks_gives_the_same_numbers() -> None:
    torch.manual_seed(0)
    student, teacher = Net().eval(), Net(width=8)
    batch = (images(), torch.arange(6) % 5)
    results = []
    for wrap in (lambda net: net, compiled):
        torch.manual_seed(1)
        distiller = Distiller(
            wrap(student), wrap(teacher), {"kd": 1.0, "at": 10.0}, taps=["stage"], example=batch
        )
        distiller.zero_grad()
        loss, parts = distiller(batch)
        loss.backward()
        results.append([loss, parts["kd"], parts["at"], student.conv.weight.grad.clone()])
        student.conv.weight.grad = None
    for plain, fast in zip(*results, strict=True):
        torch.testing.assert_close(plain, fast)


@pytest.mark.slow
# Dynamo looks at .grad of tensors between two graphs and hides its own warning about it.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
def test_a_distiller_may_be_compiled_as_a_whole() -> None:
    torch.manual_seed(0)
    student, teacher = Net().eval(), Net(width=8)
    batch = (images(), torch.arange(6) % 5)
    distiller = Distiller(student, teacher, {"at": 10.0}, taps=["stage"], example=batch)
    expected, _ = distiller(batch)
    fast = compiled(distiller)
    for _ in range(2):
        loss, parts = fast(batch)
        torch.testing.assert_close(loss, expected)
    assert set(parts) == {"task", "at"}
