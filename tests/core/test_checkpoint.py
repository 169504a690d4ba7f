"""Checkpoints: exact, complete or absent, and never believed when damaged."""

import contextlib
import errno
import json
import os
import pickle
from hashlib import sha256
from pathlib import Path

import pytest
import torch

from rlgen.core import checkpoint
from rlgen.core.checkpoint import (
    CheckpointError,
    drop_after,
    list_checkpoints,
    load_checkpoint,
    newest_readable,
    save_checkpoint,
)

FILES = ["policy.safetensors", "random.safetensors", "state.json", "manifest.json"]
STATE = {"step": 5, "rate": 0.1, "name": "é", "big": 2**127 + 1, "list": [1, None, True]}


def tensors() -> dict[str, dict[str, torch.Tensor]]:
    return {
        "policy": {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.tensor([0.5, -0.5])},
        "random": {"state": torch.arange(8, dtype=torch.uint8)},
    }


def save(folder: Path, step: int = 5, keep: int = 2) -> Path:
    return save_checkpoint(folder, step, tensors(), STATE, keep=keep)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def sign(folder: Path) -> None:
    """Writes a manifest that vouches for whatever the files hold."""
    files = {
        path.name: {"size": path.stat().st_size, "sha256": sha256(path.read_bytes()).hexdigest()}
        for path in folder.iterdir()
        if path.name != "manifest.json"
    }
    manifest = {"format": 1, "step": 5, "files": files}
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "value",
    [
        torch.randn(3, 4),
        torch.randn(3, 4).to(torch.bfloat16),
        torch.tensor([float("nan"), float("inf"), -0.0, 1e-45]),
        torch.tensor(3.5, dtype=torch.float64),
        torch.arange(5, dtype=torch.int64),
        torch.tensor([True, False]),
        torch.zeros(0, 3),
        torch.arange(12.0).reshape(3, 4).T,  # not contiguous
        torch.nn.Parameter(torch.ones(2)),
    ],
    ids=["fp32", "bf16", "special", "scalar", "int", "bool", "empty", "transposed", "parameter"],
)
def test_a_tensor_comes_back_bit_for_bit(tmp_path, value):
    path = save_checkpoint(tmp_path, 1, {"policy": {"x": value}}, {})
    back = load_checkpoint(path)[0]["policy"]["x"]
    assert (back.dtype, back.shape) == (value.dtype, value.shape)
    before, after = (t.detach().contiguous().reshape(-1).view(torch.uint8) for t in (value, back))
    assert torch.equal(before, after)


def test_tensors_that_share_memory_are_saved_each(tmp_path):
    shared = torch.arange(4.0)
    path = save_checkpoint(tmp_path, 1, {"policy": {"a": shared, "b": shared, "c": shared[1:]}}, {})
    back = load_checkpoint(path)[0]["policy"]
    assert [back[name].tolist() for name in "abc"] == [[0, 1, 2, 3], [0, 1, 2, 3], [1, 2, 3]]


def test_plain_values_come_back_exactly(tmp_path):
    assert load_checkpoint(save(tmp_path))[1] == STATE


def test_a_group_without_tensors_is_kept(tmp_path):
    path = save_checkpoint(tmp_path, 1, {"optimizer": {}}, {})
    assert load_checkpoint(path)[0] == {"optimizer": {}}


def test_nan_among_plain_values_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_checkpoint(tmp_path, 1, tensors(), {"loss": float("nan")})
    assert names(tmp_path) == []


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_newest_ones_stay(tmp_path, keep):
    for step in (256, 1024, 512_000, 1_000_000):
        save(tmp_path, step, keep)
    steps = [256, 1024, 512_000, 1_000_000][-keep:]
    assert [path.name for path in list_checkpoints(tmp_path)] == [f"step-{s:012d}" for s in steps]


def test_a_save_leaves_no_temporary_folder(tmp_path):
    save(tmp_path)
    assert names(tmp_path) == ["step-000000000005"]
    assert names(tmp_path / "step-000000000005") == sorted(FILES)


def test_the_same_step_again_keeps_a_readable_one(tmp_path):
    first = save(tmp_path)
    before = load_checkpoint(first)[1]
    path = save_checkpoint(tmp_path, 5, tensors(), {"second": True})
    assert list_checkpoints(tmp_path) == [path]
    assert load_checkpoint(path)[1] == before


def test_the_same_step_again_replaces_a_damaged_one(tmp_path):
    save(tmp_path)
    damaged = list_checkpoints(tmp_path)[0]
    (damaged / "state.json").write_text("{}")
    path = save_checkpoint(tmp_path, 5, tensors(), {"second": True})
    assert list_checkpoints(tmp_path) == [path]
    assert load_checkpoint(path)[1] == {"second": True}


def test_there_is_none_where_there_is_no_folder(tmp_path):
    assert list_checkpoints(tmp_path / "nowhere") == []


def test_what_a_killed_process_left_is_ignored_and_cleaned(tmp_path):
    leftover = tmp_path / ".tmp-step-000000000256-999"
    leftover.mkdir()
    (leftover / "policy.safetensors").write_bytes(b"half")
    assert list_checkpoints(tmp_path) == []
    save(tmp_path)
    assert names(tmp_path) == ["step-000000000005"]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_file_is_one_clear_line(tmp_path, file, share):
    path = save(tmp_path)
    data = (path / file).read_bytes()
    (path / file).write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CheckpointError, match="step-000000000005") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_one_clear_line(tmp_path, file):
    path = save(tmp_path)
    (path / file).unlink()
    with pytest.raises(CheckpointError, match=r"missing|no readable manifest") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", FILES[:3])
def test_a_flipped_byte_is_found_wherever_it_is(tmp_path, file):
    path = save(tmp_path)
    data = (path / file).read_bytes()
    for position in range(len(data)):
        (path / file).write_bytes(_flipped(data, position, 0x01))
        with pytest.raises(CheckpointError, match=f"{file} is damaged: its checksum is wrong"):
            load_checkpoint(path)


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_a_flipped_byte_in_the_manifest_never_changes_what_is_read(tmp_path, mask):
    path = save(tmp_path)
    data = (path / "manifest.json").read_bytes()
    believed = []
    for position in range(len(data)):
        (path / "manifest.json").write_bytes(_flipped(data, position, mask))
        with contextlib.suppress(CheckpointError):
            believed.append(load_checkpoint(path))
    assert len(believed) < 0.1 * len(data)  # white space, and the number of the step
    for read, state in believed:
        assert state == STATE
        assert torch.equal(read["policy"]["weight"], tensors()["policy"]["weight"])


def _flipped(data: bytes, position: int, mask: int) -> bytes:
    return data[:position] + bytes([data[position] ^ mask]) + data[position + 1 :]


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff\xfe", b'"text"', b'{"format": 1}'])
def test_a_manifest_that_is_none_is_one_clear_line(tmp_path, content):
    path = save(tmp_path)
    (path / "manifest.json").write_bytes(content)
    with pytest.raises(CheckpointError, match="no readable manifest") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_another_format_is_named(tmp_path):
    path = save(tmp_path)
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"format": 2}))
    with pytest.raises(CheckpointError, match="has format 2; this version reads 1"):
        load_checkpoint(path)


@pytest.mark.parametrize("name", ["../secret.safetensors", "/etc/hostname", "a/b", ".", ".."])
def test_a_manifest_cannot_reach_outside(tmp_path, name):
    path = save(tmp_path)
    (tmp_path / "secret.safetensors").write_bytes((path / "policy.safetensors").read_bytes())
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"][name] = manifest["files"]["policy.safetensors"]
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"outside itself|missing"):
        load_checkpoint(path)


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("file", FILES[:3])
def test_pickled_code_never_runs(tmp_path, file, signed):
    path = save(tmp_path / "checkpoints")
    target = tmp_path / "executed"
    (path / file).write_bytes(pickle.dumps(Bomb(target)))
    if signed:
        sign(path)
    with pytest.raises(CheckpointError):
        load_checkpoint(path)
    assert not target.exists()


def test_the_bomb_would_have_worked(tmp_path):
    pickle.loads(pickle.dumps(Bomb(tmp_path / "executed")))
    assert (tmp_path / "executed").is_dir()


def _full_at(call: int, real):
    calls = []

    def function(*args):
        calls.append(args)
        if len(calls) == call:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*args)

    return function


@pytest.mark.parametrize(
    ("module", "function", "call"),
    [
        (checkpoint, "save_file", 1),
        (checkpoint, "save_file", 2),
        (os, "fsync", 1),
        (os, "fsync", 4),
        (os, "fsync", 5),
    ],
)
def test_a_full_disk_leaves_the_older_checkpoint_and_no_rest(
    tmp_path, monkeypatch, module, function, call
):
    older = save(tmp_path, 5)
    monkeypatch.setattr(module, function, _full_at(call, getattr(module, function)))
    with pytest.raises(OSError, match="No space left"):
        save(tmp_path, 6)
    assert list(tmp_path.iterdir()) == [older]
    assert load_checkpoint(older)[1] == STATE


def test_a_real_write_error_is_an_os_error(tmp_path):
    resource = pytest.importorskip("resource")
    older = save(tmp_path, 5)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            save_checkpoint(tmp_path, 6, {"policy": {"x": torch.zeros(1 << 20)}}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == [older]


def test_an_interrupt_leaves_no_rest(tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save_file", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path)
    assert names(tmp_path) == []


def test_the_manifest_is_written_after_everything_else(tmp_path, monkeypatch):
    seen = []
    real = Path.write_text

    def write_text(self, *args, **kwargs):
        seen.append((self.name, names(self.parent)))
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "write_text", write_text)
    save(tmp_path)
    assert seen[-1] == ("manifest.json", sorted(FILES[:3]))


def test_a_save_after_a_fallback_never_deletes_itself(tmp_path):
    save(tmp_path, 1000, keep=1)
    path = save(tmp_path, 500, keep=1)
    assert load_checkpoint(path)[1] == load_checkpoint(path)[1]
    assert list_checkpoints(tmp_path) == [path]


def test_what_lies_beyond_the_resumed_step_is_dropped(tmp_path):
    for step in (256, 512, 768):
        save(tmp_path, step, keep=3)
    drop_after(tmp_path, 512)
    assert names(tmp_path) == ["step-000000000256", "step-000000000512"]


def test_the_newest_readable_one_is_found(tmp_path):
    kept, damaged = save(tmp_path, 1), save(tmp_path, 2)
    (damaged / "manifest.json").unlink()
    assert newest_readable(tmp_path) == kept
    assert newest_readable(tmp_path / "nowhere") is None


@pytest.mark.parametrize("files", [[1], "abc", 3, None, {"a\0b": {}}])
def test_a_manifest_of_strange_files_is_one_line(tmp_path, files):
    path = save(tmp_path)
    (path / "manifest.json").write_text(json.dumps({"format": 1, "step": 5, "files": files}))
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)
