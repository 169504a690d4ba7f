"""Checkpoints that are complete or absent, and that never execute code.

A checkpoint is a folder: ``*.safetensors`` (named tensors), ``state.json`` (plain values) and
``manifest.json``, which is written last and holds the size and SHA-256 of every other file. It is
built under a temporary name and renamed when everything is on the disk; only then is an older one
deleted. Whatever kills the process, the last complete checkpoint stays.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file

MANIFEST = "manifest.json"
FORMAT = 1
_PREFIX = "step-"


class CheckpointError(Exception):
    """A checkpoint is incomplete, damaged or of an unknown format; the message is one line."""


def save_checkpoint(
    folder: Path,
    step: int,
    tensors: dict[str, dict[str, torch.Tensor]],
    state: dict[str, Any],
    *,
    keep: int = 2,
) -> Path:
    """Writes a checkpoint and then deletes all but the newest ones.

    Args:
        folder: Folder of the run's checkpoints.
        step: Environment steps taken; names the checkpoint.
        tensors: One file per key, each a dictionary of named tensors.
        state: Plain JSON values; NaN is refused.
        keep: How many complete checkpoints stay.

    Returns:
        The folder of the new checkpoint.

    Raises:
        OSError: If the disk is full or fails; nothing incomplete is left and no older checkpoint
            is touched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"{_PREFIX}{step:012d}"
    temporary = folder / f".tmp-{final.name}-{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        for name, group in tensors.items():
            _save_tensors(group, temporary / f"{name}.safetensors")
        (temporary / "state.json").write_text(json.dumps(state, allow_nan=False), encoding="utf-8")
        files = {path.name: _fingerprint(path) for path in sorted(temporary.iterdir())}
        manifest = {"format": FORMAT, "step": step, "files": files}
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        for path in [*temporary.iterdir(), temporary]:
            _flush(path)
        if final.exists():
            # The same step again, after a resume. A readable one is the same state, and replacing
            # it would leave a moment without it; a damaged one makes room.
            if _is_readable(final):
                shutil.rmtree(temporary)
                return final
            shutil.rmtree(final)
        temporary.rename(final)
        _flush(folder)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, SafetensorError):
            raise OSError(str(error)) from error
        raise
    others = [path for path in list_checkpoints(folder) if path != final]
    for old in others[: max(len(others) - (keep - 1), 0)]:
        shutil.rmtree(old, ignore_errors=True)
    for leftover in folder.glob(".tmp-*"):  # of a process that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    return final


def list_checkpoints(folder: Path) -> list[Path]:
    """Returns the checkpoints of a run, the oldest first; none where there is no folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.glob(f"{_PREFIX}*") if path.is_dir())


def next_step(folder: Path) -> int:
    """Returns the number after a folder's newest checkpoint, for what counts saves, not steps."""
    found = list_checkpoints(folder)
    return int(found[-1].name.removeprefix(_PREFIX)) + 1 if found else 0


def newest_readable(folder: Path) -> Path | None:
    """Returns the newest checkpoint whose files pass their check, or None."""
    return next((path for path in reversed(list_checkpoints(folder)) if _is_readable(path)), None)


def drop_after(folder: Path, step: int) -> None:
    """Deletes the checkpoints beyond a step: a run goes on from that step, they are no longer its.

    Args:
        folder: Folder of the run's checkpoints; it need not exist.
        step: Environment steps from which the run goes on.
    """
    for path in list_checkpoints(folder):
        if path.name > f"{_PREFIX}{step:012d}":
            shutil.rmtree(path, ignore_errors=True)


def load_checkpoint(path: Path) -> tuple[dict[str, dict[str, torch.Tensor]], dict[str, Any]]:
    """Reads a checkpoint after checking every file against its manifest.

    Returns:
        Tensors by file and name, on the CPU, and the plain values.

    Raises:
        CheckpointError: If a file is missing, short, changed, or not what it should be.
    """
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        listed: dict[str, Any] = dict(manifest["files"])
        version = manifest["format"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path.name} has no readable manifest ({_short(error)})") from None
    if version != FORMAT:
        raise CheckpointError(f"{path.name} has format {version}; this version reads {FORMAT}")
    contents: dict[str, bytes] = {}
    for name, expected in listed.items():
        if Path(name).name != name:
            raise CheckpointError(f"{path.name} lists a file outside itself: {name!r}")
        try:
            contents[name] = (path / name).read_bytes()
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path.name}/{name} is missing ({_short(error)})") from None
        if _digest(contents[name]) != expected:
            raise CheckpointError(f"{path.name}/{name} is damaged: its checksum is wrong")
    try:
        state = json.loads(contents.pop("state.json"))
        tensors = {name.removesuffix(".safetensors"): load(data) for name, data in contents.items()}
    except (KeyError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{path.name} is damaged ({_short(error)})") from None
    return tensors, state


def readable(
    paths: Sequence[Path], tell: Callable[[str], None]
) -> Iterator[tuple[dict[str, dict[str, torch.Tensor]], dict[str, Any]]]:
    """Reads checkpoints from the last to the first; damaged ones are told and skipped."""
    for path in reversed(paths):
        try:
            yield load_checkpoint(path)
        except CheckpointError as error:
            tell(f"skipped a checkpoint: {error}")


def _is_readable(path: Path) -> bool:
    try:
        load_checkpoint(path)
    except CheckpointError:
        return False
    return True


def _save_tensors(group: dict[str, torch.Tensor], path: Path) -> None:
    # Clones, because safetensors refuses tensors that share memory.
    ready = {name: t.detach().to("cpu", copy=True).contiguous() for name, t in group.items()}
    save_file(ready, path)


def _digest(data: bytes) -> dict[str, Any]:
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _fingerprint(path: Path) -> dict[str, Any]:
    return _digest(path.read_bytes())


def _flush(path: Path) -> None:
    """Waits until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _short(error: Exception) -> str:
    return str(error).split("\n")[0][:120] or type(error).__name__
