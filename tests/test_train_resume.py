"""Going on with a run: after its end, Ctrl-C, damage, and exactly as it was saved."""

import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from rlgen.agents.build import build_agent, build_env
from rlgen.agents.state import restore_training_state, training_state
from rlgen.core.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from rlgen.core.record import CSVRecord, read_rows
from rlgen.core.run import read_config
from rlgen.train import main

QUIET = ["preset=smoke", "eval_every=0", "video=false", "checkpoint_every=256"]
KINDS = {
    "g2n": ["agent=g2n", "env=CartPole-v1"],
    "g2ac": ["agent=g2ac", "env=CartPole-v1", "log_every=10"],
    "ppo": ["agent=ppo", "env=CartPole-v1"],
    "a2c": ["agent=a2c", "env=CartPole-v1", "log_every=10"],
    "normalised": ["agent=g2n", "env=Pendulum-v1", "agent.normalize=true"],
    "ppoc": ["agent=ppoc", "env=Pendulum-v1"],
    "a2oc": ["agent=a2oc", "env=FourRooms", "log_every=10"],
    "option_critic": ["agent=option_critic", "env=CartPole-v1", "agent.learning_starts=0"],
    "tables": ["agent=option_critic", "env=FourRooms", "log_every=1"],
    "slow road": ["agent=g2n", "env=CartPole-v1", "agent.fast=false"],
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with one run of each kind, 1024 steps long; copy what you change."""
    folder = tmp_path_factory.mktemp("resume")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, arguments in KINDS.items():
            where = ["total_timesteps=1024", f"run_dir={shlex.quote(name)}"]
            assert main([*arguments, *QUIET, *where]) == 0
        yield folder


@pytest.fixture
def run(trained: Path, cwd: Path, request: pytest.FixtureRequest) -> Path:
    """A copy of a run, ``run`` in the current folder; g2n's if the test names no kind."""
    shutil.copytree(trained / getattr(request, "param", "g2n"), cwd / "run")
    return Path("run")


def every_kind():
    return pytest.mark.parametrize("run", list(KINDS), indirect=True)


def steps(path: Path, column: str = "time/total_timesteps") -> list[int]:
    return [int(row[column]) for row in read_rows(path) if row[column]]


def newest(run: Path) -> Path:
    return list_checkpoints(run / "checkpoints")[-1]


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))


def damage(checkpoint: Path) -> None:
    path = checkpoint / "policy.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


@every_kind()
def test_a_restored_state_is_the_saved_one_bit_for_bit(run, tmp_path):
    tensors, state = load_checkpoint(newest(run))
    config = read_config(run)
    env = build_env(config)
    model = build_agent({**config, "seed": 99}, env)  # everything random differs before
    assert not torch.equal(training_state(model)[0]["random"]["torch"], tensors["random"]["torch"])
    restore_training_state(model, tensors, state)
    again = load_checkpoint(save_checkpoint(tmp_path / "again", 1, *training_state(model)))
    env.close()
    assert again[1] == {key: value for key, value in state.items() if key != "run"}
    assert again[0].keys() == tensors.keys()
    for group, values in tensors.items():
        assert again[0][group].keys() == values.keys()
        for name, value in values.items():
            back = again[0][group][name]
            assert back.dtype == value.dtype, f"{group} {name}"
            assert torch.equal(back, value), f"{group} {name}"


@every_kind()
def test_a_run_goes_on_to_more_steps(run, capsys):
    before = steps(run / "progress.csv")
    start, first = step_of(newest(run)), load_checkpoint(newest(run))[1]
    assert main(["resume=run", "total_timesteps=2048"]) == 0
    assert f"resumed at step {start:,}: " in capsys.readouterr().err
    assert 2048 <= step_of(newest(run)) < 2048 + 64
    after = steps(run / "progress.csv")
    assert after[: len(before)] == before
    assert after == sorted(set(after))  # rising, each once
    # Updates and generations go on too.
    second = load_checkpoint(newest(run))[1]
    ratio = second["counters"]["_n_updates"] / first["counters"]["_n_updates"]
    assert ratio == pytest.approx(2, abs=0.1)
    if "evolution" in first:
        assert second["evolution"]["generation"] >= first["evolution"]["generation"]
        assert second["evolution"]["elite_steps"] > first["evolution"]["elite_steps"]


def test_episodes_are_appended(run):
    before = (run / "episodes.csv").read_text()
    assert main(["resume=run", "total_timesteps=1536"]) == 0
    after = (run / "episodes.csv").read_text()
    assert after.startswith(before)
    recorded = steps(run / "episodes.csv", "step")
    assert recorded == sorted(recorded)
    assert recorded[-1] > 1024


def test_latest_is_found_by_agent_and_environment(trained, cwd, capsys):
    for name, folder in (("g2n", "g2ppo-CartPole"), ("a2c", "a2c-CartPole")):
        shutil.copytree(trained / name, cwd / "runs" / folder / "run")
    chosen = ["agent=g2n", "env=CartPole-v1", "resume=latest", "total_timesteps=1280"]
    assert main(chosen) == 0
    assert "run folder: runs/g2ppo-CartPole/run\n" in capsys.readouterr().err


def test_a_finished_run_tells_how_to_train_it_further(run, capsys):
    before = sorted((path, path.stat().st_mtime_ns) for path in run.rglob("*"))
    assert main(["resume=run"]) == 0
    line = "run has its 1,024 steps already; type total_timesteps=2048 to train it further"
    assert line in capsys.readouterr().err
    assert sorted((path, path.stat().st_mtime_ns) for path in run.rglob("*")) == before


def test_a_damaged_checkpoint_is_told_in_one_line_and_skipped(run, capsys):
    previous = step_of(list_checkpoints(run / "checkpoints")[0])
    damage(newest(run))
    assert main(["resume=run", "total_timesteps=1536"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if "damaged" in line] == [
        "skipped a checkpoint: step-000000001024/policy.safetensors is damaged: "
        "its checksum is wrong"
    ]
    assert any(line.startswith(f"resumed at step {previous:,}: ") for line in lines)
    assert step_of(newest(run)) == 1536


@pytest.mark.parametrize(
    ("file", "column"), [("progress.csv", "time/total_timesteps"), ("episodes.csv", "step")]
)
def test_rows_after_the_checkpoint_are_recorded_anew(run, file, column):
    previous = step_of(list_checkpoints(run / "checkpoints")[0])
    shutil.rmtree(newest(run))
    before = steps(run / file, column)
    kept = [step for step in before if step <= previous]
    assert len(kept) < len(before)
    assert main(["resume=run", "total_timesteps=1536"]) == 0
    after = steps(run / file, column)
    assert after[: len(kept)] == kept
    assert after[len(kept)] > previous
    assert after == sorted(after)


def test_a_run_without_a_readable_checkpoint_is_refused(run, capsys):
    for checkpoint in list_checkpoints(run / "checkpoints"):
        damage(checkpoint)
    assert main(["resume=run", "total_timesteps=1536"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: none of the 2 checkpoints in run/checkpoints can be read")


def test_a_run_stopped_before_its_first_checkpoint_starts_anew(run, capsys):
    shutil.rmtree(run / "checkpoints")
    assert main(["resume=run"]) == 0
    assert "it starts from step 0" in capsys.readouterr().err
    assert step_of(newest(run)) == 1024
    recorded = steps(run / "progress.csv")
    assert recorded == sorted(set(recorded))


def test_what_a_killed_save_left_does_not_matter(run):
    (run / "checkpoints" / ".tmp-step-000000009999-1").mkdir()
    assert main(["resume=run", "total_timesteps=1280"]) == 0
    names = [path.name for path in (run / "checkpoints").iterdir()]
    assert sorted(names) == ["step-000000001024", "step-000000001280"]


def _signals_at_row(monkeypatch: pytest.MonkeyPatch, count: int, number: int, row: int) -> None:
    """Sends this process a signal so many times when so many episodes have been recorded."""
    real, rows = CSVRecord.add, []

    def add(self, values):
        real(self, values)
        rows.append(values)
        if len(rows) == row:
            for _ in range(count):
                signal.raise_signal(number)

    monkeypatch.setattr(CSVRecord, "add", add)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_tells_how_to_go_on(cwd, monkeypatch, capsys, number):
    handler = signal.getsignal(number)
    _signals_at_row(monkeypatch, 1, number, row=20)
    assert main([*KINDS["g2n"], *QUIET, "total_timesteps=100000", "run_dir=run"]) == 130
    assert signal.getsignal(number) is handler
    step = step_of(newest(cwd / "run"))
    assert 0 < step < 2000
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"interrupted, saved at step {step:,}; go on with: python -m rlgen.train resume=run"
    )
    assert (cwd / "run" / "learning_curve.png").exists()


def test_a_second_signal_stops_at_once_with_the_last_checkpoint(cwd, monkeypatch, capsys):
    _signals_at_row(monkeypatch, 2, signal.SIGINT, row=40)
    assert main([*KINDS["g2n"], *QUIET, "total_timesteps=100000", "run_dir=run"]) == 130
    load_checkpoint(newest(cwd / "run"))
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"interrupted; go on from run/checkpoints/{newest(cwd / 'run').name} with: "
        "python -m rlgen.train resume=run"
    )


def test_ctrl_c_in_a_terminal_and_the_command_it_prints(cwd, capsys):
    command = [sys.executable, "-m", "rlgen.train", *KINDS["g2n"], *QUIET]
    process = subprocess.Popen(
        [*command, "total_timesteps=100_000_000"], cwd=cwd, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not list(cwd.glob("runs/*/*/checkpoints/step-*[1-9]*")):  # beyond step 0
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "Traceback" not in error
    found = re.search(r"^interrupted, saved at step ([\d,]+); go on with: (.*)$", error, re.M)
    assert found is not None
    step = int(found[1].replace(",", ""))
    words = shlex.split(found[2])
    assert words[:3] == ["python", "-m", "rlgen.train"]
    assert main([*words[3:], f"total_timesteps={step + 500}"]) == 0
    assert f"resumed at step {step:,}: " in capsys.readouterr().err


def test_evaluations_keep_their_turn_over_a_resume(cwd, capsys):
    """Two runs of 512 steps reach the evaluation that is due every 1,024."""
    arguments = ["agent=ppo", "env=CartPole-v1", "preset=smoke", "video=false", "run_dir=turn"]
    assert main([*arguments, "eval_every=1024", "total_timesteps=768"]) == 0
    assert not list(Path("turn/best").glob("step-*"))
    assert main(["resume=turn", "total_timesteps=1280"]) == 0
    assert [path.name for path in Path("turn/best").glob("step-*")] == ["step-000000001024"]
