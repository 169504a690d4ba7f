"""kill -9 at any moment: the last complete checkpoint stays, and the run goes on from it.

``RLGEN_KILLS=200 pytest -m slow tests/test_kill.py`` kills more often.
"""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from rlgen.core.checkpoint import CheckpointError, list_checkpoints, load_checkpoint
from rlgen.core.curves import read_episodes
from rlgen.core.record import read_rows

KILLS = int(os.environ.get("RLGEN_KILLS", "20"))
AGENT = ["agent=g2n", "env=CartPole-v1", "preset=smoke", "eval_every=0", "video=false"]
CLASSIFIER = ["distiller=none", "preset=smoke"]
LEARNER = ["learner=replay", "learner.memory=60", "preset=smoke"]
MODEL = ["model=sgn", "preset=smoke", "size=24", "sample_every=0"]
LATENTS = ["model=latent_density", "preset=smoke", "model.density_steps=4", "sample_every=0"]
# Trains a short teacher first, which may be killed too.
POLICY = ["distiller=policy", "preset=smoke", "eval_every=0", "eval_episodes=1"]
POLICY += ["collect_every=8", "collect_states=32"]


@dataclass(frozen=True)
class Job:
    """A run to be killed: how it starts, how its steps are counted and named."""

    start: list[str]
    endless: list[str]
    total: str
    column: str
    kills: int
    more: int  # steps to go on for at the end
    left: str  # what a finished run holds beside its card


JOBS = {
    "agent": Job(
        AGENT,
        ["total_timesteps=100_000_000", "checkpoint_every=256"],
        "total_timesteps",
        "time/total_timesteps",
        KILLS,
        512,
        "model.zip",
    ),
    "model": Job(
        MODEL,
        ["total_steps=100_000_000", "checkpoint_every=2", "log_every=3"],
        "total_steps",
        "step",
        KILLS // 2,
        6,
        "samples.png",
    ),
    "latents": Job(
        LATENTS,
        ["total_steps=100_000_000", "checkpoint_every=2", "log_every=3"],
        "total_steps",
        "step",
        KILLS // 4,
        6,
        "pipeline/model_index.json",
    ),
    "distiller": Job(
        CLASSIFIER,
        ["total_steps=100_000_000", "checkpoint_every=2", "log_every=3"],
        "total_steps",
        "step",
        KILLS // 4,
        6,
        "student/model.safetensors",
    ),
    "learner": Job(  # killed in the first of its tasks; the two others follow at the end
        LEARNER,
        ["steps_per_task=100_000_000", "checkpoint_every=2", "log_every=3"],
        "steps_per_task",
        "step",
        KILLS // 4,
        6,
        "matrix.png",
    ),
    "policy": Job(
        POLICY,
        ["total_steps=100_000_000", "checkpoint_every=2", "log_every=3"],
        "total_steps",
        "step",
        KILLS // 4,
        6,
        "model.zip",
    ),
}


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
            # Policies have both; their steps are those of the distillation.
            taken = state["step"] if "step" in state else state["counters"]["num_timesteps"]
            newest = max(newest, taken)
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
@pytest.mark.timeout(300 + 20 * KILLS)
@pytest.mark.parametrize("kind", JOBS)
def test_no_kill_loses_a_complete_checkpoint(tmp_path, kind):
    job = JOBS[kind]
    moments = random.Random(0)
    arguments, newest, grown = [*job.start, *job.endless], -1, 0
    for kill in range(job.kills):
        process = start(tmp_path, arguments)
        # Two at any time, while it starts or later; two while it saves; and so on. By pairs: where
        # starting is slow the first kill leaves no run, and the next start says so.
        if kill // 2 % 2:
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
        arguments = [*job.start, *job.endless] if code == 2 else ["resume=latest"]
    assert grown >= job.kills // 4

    (run,) = tmp_path.glob("runs/*/*")
    target = newest + job.more
    assert start(tmp_path, ["resume=latest", f"{job.total}={target}"]).wait(120) == 0
    assert newest_step(tmp_path) >= target
    assert not list((run / "checkpoints").glob(".*"))
    assert (run / "card.md").exists()
    rows = read_rows(run / "progress.csv")
    steps = [int(row[job.column]) for row in rows if row[job.column]]
    assert steps == sorted(set(steps))
    if kind == "agent":
        episodes, _ = read_episodes(run)
        assert (episodes[1:] >= episodes[:-1]).all()
    assert (run / job.left).exists()
