"""kill -9 at any moment: the last complete checkpoint stays, and the run goes on from it."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rlgen.core.checkpoint import CheckpointError, list_checkpoints, load_checkpoint
from rlgen.core.curves import read_episodes
from rlgen.core.record import read_rows

KILLS = 20
START = ["agent=g2n", "env=CartPole-v1", "preset=smoke", "eval_every=0", "video=false"]
LONG = ["total_timesteps=100_000_000", "checkpoint_every=256"]


def start(folder: Path, arguments: list[str]) -> subprocess.Popen[str]:
    with (folder / "stderr.txt").open("w") as file:
        command = [sys.executable, "-m", "rlgen.train", *arguments]
        return subprocess.Popen(command, cwd=folder, stderr=file, text=True)


def newest_step(folder: Path) -> int:
    """Returns the step of the newest checkpoint that can be read; -1: there is none."""
    newest = -1
    for checkpoints in folder.glob("runs/*/*/checkpoints"):
        for path in list_checkpoints(checkpoints):
            try:
                _, state = load_checkpoint(path)
            except CheckpointError:
                continue
            newest = max(newest, state["counters"]["num_timesteps"])
    return newest


def kill_after(process: subprocess.Popen[str], seconds: float) -> int:
    """Kills a process after a while, unless it ends by itself; returns how it ended."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        return process.wait(30)


def wait_for_a_save(process: subprocess.Popen[str], folder: Path) -> None:
    """Waits until the process has saved a checkpoint beyond those that are there."""
    before = set(folder.glob("runs/*/*/checkpoints/step-*"))
    deadline = time.monotonic() + 120
    while process.poll() is None:
        if set(folder.glob("runs/*/*/checkpoints/step-*[1-9]*")) - before:
            return
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_kill_loses_a_complete_checkpoint(tmp_path):
    moments = random.Random(0)
    arguments, newest, grown = [*START, *LONG], -1, 0
    for kill in range(KILLS):
        process = start(tmp_path, arguments)
        if kill % 2:  # half of them any time, while it starts or later; half while it saves
            wait_for_a_save(process, tmp_path)
            code = kill_after(process, moments.uniform(0.0, 0.5))
        else:
            code = kill_after(process, moments.uniform(0.5, 6.0))
        error = (tmp_path / "stderr.txt").read_text()
        context = f"kill {kill}, newest {newest}:\n{error}"
        assert "Traceback" not in error, context
        if code == 2:  # the one before was killed before it had a run folder
            assert newest == -1, context
            assert error.startswith("error: there is no run"), context
            assert error.count("\n") == 1, context
        else:
            assert code == -signal.SIGKILL, context
        now = newest_step(tmp_path)
        assert now >= newest, context
        grown += now > newest
        newest = now
        arguments = [*START, *LONG] if code == 2 else ["resume=latest"]
    assert grown >= KILLS // 4

    (run,) = tmp_path.glob("runs/*/*")
    target = newest + 512
    assert start(tmp_path, ["resume=latest", f"total_timesteps={target}"]).wait(120) == 0
    assert newest_step(tmp_path) >= target
    assert not list((run / "checkpoints").glob(".*"))
    assert (run / "card.md").exists()
    column = "time/total_timesteps"
    steps = [int(row[column]) for row in read_rows(run / "progress.csv") if row[column]]
    assert steps == sorted(set(steps))
    episodes, _ = read_episodes(run)
    assert (episodes[1:] >= episodes[:-1]).all()
