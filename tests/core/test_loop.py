"""The step loop, means of terms, the accelerator's device and precision, one process for all."""

from types import SimpleNamespace

import pytest
import torch

from rlgen.core import device, loop
from rlgen.core.errors import NonFiniteLossError, UserError
from rlgen.core.interrupt import StopSignal
from rlgen.core.loop import Every, Means, for_all, make_accelerator, run_steps


def run(first, total, *every, stop=None, steps=None):
    """Returns the steps reached, the steps taken, and (which event, after how many steps)."""
    taken = [] if steps is None else steps
    fired = []
    events = [
        Every(n, lambda n=n, k=k: fired.append((k, first + len(taken))))
        for k, n in enumerate(every)
    ]
    reached = run_steps(taken.append, first, total, stop or StopSignal(), events)
    return reached, taken, fired


@pytest.mark.parametrize(
    ("first", "total", "taken"), [(0, 3, [0, 1, 2]), (4, 6, [4, 5]), (6, 6, []), (7, 6, [])]
)
def test_a_run_takes_the_steps_that_are_left(first, total, taken):
    assert run(first, total)[:2] == (max(first, total), taken)


@pytest.mark.parametrize(("first", "when"), [(0, [2, 4, 6]), (3, [4, 6]), (4, [6])])
def test_events_count_from_the_start_of_the_run(first, when):
    assert run(first, 7, 2)[2] == [(0, step) for step in when]


def test_events_of_one_step_follow_their_order():
    assert run(0, 4, 2, 0, 4)[2] == [(0, 2), (0, 4), (2, 4)]


def test_a_stop_ends_the_run_after_the_current_step_and_its_events():
    stop, steps = StopSignal(), []

    def step(number):
        steps.append(number)
        stop.stopped = number == 2

    fired = []
    assert run_steps(step, 0, 9, stop, [Every(3, lambda: fired.append(len(steps)))]) == 3
    assert steps == [0, 1, 2]
    assert fired == [3]


def test_a_stop_before_the_first_step_takes_none():
    stop = StopSignal()
    stop.stopped = True
    assert run(5, 9, 1, stop=stop) == (5, [], [])


def test_means_are_of_what_came_since_they_were_read():
    means = Means()
    means.add({"a": torch.tensor(1.0), "b": torch.tensor(4.0)})
    means.add({"a": torch.tensor(2.0)})
    assert means
    assert means.read(2) == {"a": 1.5, "b": 4.0}
    assert not means
    means.add({"a": torch.tensor(8.0)})
    assert means.read(3) == {"a": 8.0}


def test_means_leave_the_terms_and_their_graphs_alone():
    term = torch.tensor(1.0, requires_grad=True)
    means = Means()
    means.add({"a": 2 * term})
    means.add({"a": term})
    assert not means._sums["a"].requires_grad
    assert means.read(2) == {"a": 1.5}
    assert term == 1


def test_means_of_half_precision_add_up_in_single():
    means = Means()
    for _ in range(512):  # in bfloat16 a sum of ones stays at 256
        means.add({"a": torch.ones((), dtype=torch.bfloat16)})
    assert means.read(512) == {"a": 1.0}


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_term_that_is_not_finite_is_named_with_its_step(bad):
    means = Means()
    means.add({"good": torch.tensor(1.0), "night/style": torch.tensor(bad)})
    means.add({"good": torch.tensor(1.0), "night/style": torch.tensor(1.0)})
    with pytest.raises(
        NonFiniteLossError, match=r"^night/style is not finite at step 12$"
    ) as caught:
        means.read(12)
    assert (caught.value.term, caught.value.step) == ("night/style", 12)


def product_dtype(accelerator):
    with accelerator.autocast():
        return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype


def test_one_process_may_change_precision_between_runs():
    seen = [product_dtype(make_accelerator("cpu", p)) for p in ("fp32", "bf16", "fp32", "bf16")]
    assert seen == 2 * [torch.float32, torch.bfloat16]


@pytest.mark.parametrize(("pays", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_is_bf16_where_it_pays(monkeypatch, pays, dtype):
    monkeypatch.setattr(device, "bf16_pays", lambda: pays)
    assert product_dtype(make_accelerator("cpu", "auto")) is dtype


@pytest.mark.parametrize(("where", "cpu"), [("cpu", True), ("auto", False)])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_cpu_is_asked_for_where_it_is_named(monkeypatch, where, cpu, precision):
    asked = []

    def accelerator(cpu, mixed_precision=None):
        asked.append(cpu)
        return SimpleNamespace(device=torch.device("cpu"))

    monkeypatch.setattr(loop, "Accelerator", accelerator)
    make_accelerator(where, precision)
    assert set(asked) == {cpu}


@pytest.mark.parametrize(
    ("where", "precision", "part"),
    [
        ("tpu", "fp32", "device='tpu' is unknown; allowed: auto, cpu, cuda, mps"),
        ("cuda", "fp32", "device='cuda' is not there; type device=cpu or device=auto"),
        ("cuda:1", "fp32", "device='cuda:1' is unknown"),
        ("cpu", "fp17", "precision='fp17' is unknown; allowed: auto, fp32, bf16"),
    ],
)
def test_wrong_devices_and_precisions_are_told(monkeypatch, where, precision, part):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError) as caught:
        make_accelerator(where, precision)
    assert part in str(caught.value)


@pytest.fixture
def wire(monkeypatch):
    """Two processes in turn: what the first one broadcasts is what the second one receives."""
    sent = []
    make_accelerator("cpu", "fp32")

    def broadcast(outcome):
        sent.append(outcome)
        return sent[0]

    monkeypatch.setattr(loop, "broadcast_object_list", broadcast)
    return [SimpleNamespace(is_main_process=first) for first in (True, False)]


def test_the_first_process_works_and_all_have_the_result(wire):
    calls = []

    def work():
        calls.append("work")
        return {"folder": "runs/1"}

    assert [for_all(process, work) for process in wire] == 2 * [{"folder": "runs/1"}]
    assert calls == ["work"]


def test_a_mistake_is_told_in_all_processes(wire):
    def work():
        raise UserError("no such folder")

    for process in wire:
        with pytest.raises(UserError, match=r"^no such folder$"):
            for_all(process, work)


@pytest.mark.parametrize("result", [None, 0, "runs/1"])
def test_a_process_alone_works_for_itself(result):
    assert for_all(make_accelerator("cpu", "fp32"), lambda: result) == result


def test_other_errors_rise_as_they_are():
    def work():
        raise KeyError("defect")

    with pytest.raises(KeyError, match="defect"):
        for_all(make_accelerator("cpu", "fp32"), work)
