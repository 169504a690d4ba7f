"""Precision, threads and the allocator."""

import ctypes
import sys
from types import SimpleNamespace

import pytest
import torch

from rlgen.core import device as device_module
from rlgen.core.device import bf16_pays, keep_large_blocks, resolve_precision, torch_threads
from rlgen.core.errors import UserError

CPU, CUDA, META = (torch.device(name) for name in ("cpu", "cuda", "meta"))


@pytest.mark.parametrize("device", [CPU, CUDA])
@pytest.mark.parametrize(("name", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_a_named_precision_is_taken(name, dtype, device):
    assert resolve_precision(name, device) is dtype


@pytest.mark.parametrize(("pays", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_takes_the_faster_one_on_the_cpu(monkeypatch, pays, dtype):
    monkeypatch.setattr(device_module, "bf16_pays", lambda: pays)
    assert resolve_precision("auto", CPU) is dtype


@pytest.mark.parametrize(("has", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_asks_the_accelerator(monkeypatch, has, dtype):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: has)
    assert resolve_precision("auto", CUDA) is dtype


def test_auto_is_fp32_on_other_devices():
    assert resolve_precision("auto", META) is torch.float32


def test_an_unknown_precision_lists_the_known():
    with pytest.raises(UserError, match="precision='fp16' is unknown; allowed: auto, fp32, bf16"):
        resolve_precision("fp16", CPU)


@pytest.mark.parametrize(("margin", "pays"), [(0.0, True), (float("inf"), False)])
def test_bf16_pays_only_beyond_the_margin(margin, pays):
    assert bf16_pays(margin) is pays


def test_threads_are_set_inside_the_block_only():
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_threads_are_restored_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="stop"), torch_threads(before + 1):
        raise RuntimeError("stop")
    assert torch.get_num_threads() == before


def test_none_leaves_the_threads_alone():
    before = torch.get_num_threads()
    with torch_threads(None):
        assert torch.get_num_threads() == before


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_the_allocator_may_be_tuned_on_any_platform(monkeypatch, platform):
    asked = []
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=_note(asked)))
    keep_large_blocks.__wrapped__()
    assert [option for option, _ in asked] == ([-3, -1] if platform == "linux" else [])


def _note(asked):
    return lambda option, value: asked.append((option, value))
