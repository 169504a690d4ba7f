"""Mistakes and failures of the train command: one line that helps, and a code that says which."""

import errno
import json
import shutil
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

from rlgen.agents.ppo import PPO
from rlgen.core import checkpoint as checkpoint_module
from rlgen.core.checkpoint import list_checkpoints, load_checkpoint
from rlgen.core.record import CSVRecord, read_rows
from rlgen.train import main

SMALL = ["env=CartPole-v1", "preset=smoke", "eval_every=0", "video=false"]

MISTAKES = {
    "unknown agent": (
        ["agent=g2m"],
        "unknown agent 'g2m'; did you mean 'g2n'",
    ),
    "unknown environment": (
        ["env=CartPol-v1"],
        "unknown environment 'CartPol-v1'; did you mean 'CartPole-v1'",
    ),
    "unknown game": (["env=ALE/Braekout-v5"], "unknown Atari game 'Braekout'"),
    "unknown module": (["env=no_such_module:It-v0"], "fails: No module named 'no_such_module'"),
    "old game version": (["env=ALE/Breakout-v4"], "type env=Breakout"),
    "unknown key": (["total_timestep=5"], "unknown option total_timestep; did you mean 'total_ti"),
    "unknown agent key": (["agent.gama=1"], "unknown option agent.gama; did you mean 'agent.gamma"),
    "unknown preset": (["preset=smok"], "unknown preset 'smok'; did you mean 'smoke'?"),
    "unknown schedule": (["agent.lr_schedule=step"], "allowed: constant, linear"),
    "unknown selection": (["agent.selection=best"], "allowed: roulette, uniform"),
    "unknown backend": (["backend=fast"], "allowed: auto, native, sync, async, sb3"),
    "native without Atari": (["backend=native"], "use backend=auto"),
    "unknown policy": (["agent.policy=Cnn"], "Policy Cnn unknown"),
    "policy for pictures": (["agent.policy=CnnPolicy"], "agent=g2ppo cannot use env=CartPole-v1"),
    "word for a number": (["seed=one"], "seed: Value 'one' of type 'str' could not be converted"),
    "fraction for a whole": (["n_envs=1.5"], "n_envs: Value '1.5' of type 'float' could not be"),
    "word for a rate": (["agent.learning_rate=fast"], "could not be converted to Float"),
    "number for a list": (["agent.net_arch=64"], "int is not a ListConfig, list or tuple"),
    "null for a name": (["env=null"], "field 'env' is not Optional"),
    "no options": (["agent=ppoc", "agent.n_options=0"], "type n_options=1 or more"),
    "options without a fast path": (["agent=a2oc", "agent.fast=false"], "has no slow road"),
    "a cost below 0": (["agent=a2oc", "agent.deliberation_cost=-1"], "is no cost"),
    "no environments": (["n_envs=0"], "n_envs=0 is too small; type n_envs=1 or more"),
    "no steps": (["total_timesteps=0"], "type total_timesteps=1 or more"),
    "no checkpoints": (["checkpoint_every=-5"], "type checkpoint_every=1 or more"),
    "no threads": (["threads=0"], "type threads=1 or more"),
    "no rollout": (["agent.n_steps=0"], "agent.n_steps=0 is too small; type 1 or more"),
    "population": (
        ["agent.population_size=6"],
        "population_size=6 does not divide over n_envs=4: one must be a multiple of the other; "
        "type population_size=8 or another n_envs",
    ),
    "probability": (["agent.mutation=2"], "mutation=2.0 is not a probability; allowed: 0 to 1"),
    "batch size": (
        ["agent.batch_size=100"],
        "agent.batch_size=100 does not divide a rollout of n_steps * n_envs = 64 * 4 = 256; "
        "type a divisor of 256",
    ),
    "no gated layer": (["agent.gate_layers=[5]"], "the actor has 2 hidden layer(s)"),
    "strange device": (["device=toaster"], "device='toaster' is not there; type device=cpu or"),
    "garbage": (["garbage"], "cannot read the argument 'garbage'; type key=value, such as seed=1"),
    "unknown flag": (["--seed"], "cannot read the argument '--seed'; type key=value"),
    "open bracket": (["agent.net_arch=[64"], "cannot read the argument 'agent.net_arch=[64'"),
    "sweep without -m": (["seed=1,2"], "2 runs are asked for; add -m to run them one after anot"),
    "resume nowhere": (["resume=nowhere"], "nowhere is not a run folder; allowed: empty"),
    "resume almost": (["resume=empti"], "empti is not a run folder; did you mean 'empty'?"),
    "resume empty": (["resume=empty"], "empty holds no run (no config.yaml); name a folder that"),
    "resume nothing": (["resume=latest"], "there is no run under runs to resume; leave out resume"),
    "resume no such job": (
        ["resume=latest", "agent=ppo", "env=Pong"],
        "there is no run of ppo-Pong under runs to resume",
    ),
}


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """Returns the only line of the output, which has to be on stderr."""
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    assert err.count("\n") == 1, err
    return err


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_code_2(cwd, capsys, arguments, message):
    (cwd / "empty").mkdir()
    if not any(a.startswith("resume=") for a in arguments):
        arguments = [*SMALL, *arguments]
    assert main(arguments) == 2
    line = one_line(capsys)
    assert line.startswith("error: ")
    assert message in line
    assert [path.name for path in cwd.iterdir()] == ["empty"]  # no run folder is left


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is an accelerator")
def test_an_absent_accelerator_is_told(cwd, capsys):
    assert main([*SMALL, "device=cuda"]) == 2
    assert one_line(capsys) == (
        "error: device='cuda' is not there; type device=cpu or device=auto\n"
    )


def test_a_missing_extra_tells_what_to_install(cwd, capsys, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "minatar"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "minatar", None)
    others = {k: v for k, v in gym.registry.items() if not k.startswith("MinAtar/")}
    monkeypatch.setattr("rlgen.envs.names.gym.registry", others)
    assert main([*SMALL, "env=MinAtar/Breakout-v1"]) == 2
    assert one_line(capsys) == (
        "error: env=MinAtar/Breakout-v1 needs an optional dependency; "
        'run: pip install "rlgen[minatar]"\n'
    )


def test_a_folder_that_holds_a_run_is_not_overwritten(cwd, capsys):
    (cwd / "taken").mkdir()
    (cwd / "taken" / "config.yaml").write_text("seed: 0\n")
    assert main([*SMALL, "run_dir=taken"]) == 2
    assert one_line(capsys) == (
        "error: run_dir=taken holds a run already; type resume=taken to go on with it, or name "
        "another folder\n"
    )
    assert [path.name for path in (cwd / "taken").iterdir()] == ["config.yaml"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short PPO run; copy it before changing it."""
    folder = tmp_path_factory.mktemp("mistakes") / "run"
    assert main([*SMALL, "agent=ppo", "total_timesteps=512", f"run_dir={folder}"]) == 0
    return folder


@pytest.fixture
def run(finished: Path, cwd: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    shutil.copytree(finished, cwd / "run")
    capsys.readouterr()
    return cwd / "run"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sed=1"], "unknown option sed; did you mean 'seed'"),
        (["agent.gama=1"], "unknown option agent.gama; did you mean 'agent.gamma'"),
        (["total_timesteps=1024", "n_envs=0"], "n_envs=0 is too small"),
        (["total_timesteps=1024", "agent.batch_size=100"], "type a divisor of 256"),
        (["total_timesteps=1024", "agent.net_arch=[32]"], "the checkpoint does not fit the agent"),
    ],
)
def test_a_mistake_when_resuming_is_one_line_and_changes_nothing(run, capsys, arguments, message):
    before = sorted((path, path.stat().st_mtime_ns) for path in run.rglob("*"))
    assert main(["resume=run", *arguments]) == 2
    line = one_line(capsys)
    assert line.startswith("error: ")
    assert message in line
    assert sorted((path, path.stat().st_mtime_ns) for path in run.rglob("*")) == before


def test_a_damaged_configuration_is_one_line(run, capsys):
    (run / "config.yaml").write_text("a: [1")
    assert main(["resume=run"]) == 2
    assert one_line(capsys).startswith("error: cannot read run/config.yaml: ")


class NaNReward(gym.Env):
    """Walks for 20 steps; from a given step of its life on, rewards are not a number."""

    observation_space = gym.spaces.Box(-1, 1, (3,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, after: int = 200, render_mode: str | None = None) -> None:
        self.after = after
        self.render_mode = render_mode
        self.age = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 20
        return np.zeros(3, np.float32), {}

    def step(self, action):
        self.age += 1
        self.left -= 1
        reward = float("nan") if self.age > self.after else 1.0
        return np.zeros(3, np.float32), reward, self.left == 0, False, {}


@pytest.fixture
def nan_env(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("gymnasium.envs.registration.registry", dict(gym.registry))
    monkeypatch.setattr(gym, "registry", gym.envs.registration.registry)
    gym.register("NaNReward-v0", entry_point=NaNReward)
    return "NaNReward-v0"


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    err = capsys.readouterr().err
    assert "Traceback" not in err
    return err.splitlines()[-1]


@pytest.mark.parametrize("agent", ["g2n", "g2ac", "ppo", "a2c"])
def test_a_loss_that_is_not_a_number_stops_the_run(cwd, capsys, nan_env, agent):
    named = [f"agent={agent}", f"env={nan_env}", "run_dir=run"]
    assert main([*SMALL, *named]) == 1
    (*_, good) = list_checkpoints(cwd / "run" / "checkpoints")
    line = last_line(capsys)
    assert line.startswith("stopped: train/")
    assert "_loss is not finite at step " in line
    assert line.endswith(f"; the last good checkpoint is run/checkpoints/{good.name}")
    tensors, _ = load_checkpoint(good)
    for name, value in tensors["policy"].items():
        assert torch.isfinite(value).all(), name


def test_the_step_and_term_are_those_of_the_update(cwd, capsys, monkeypatch):
    real = PPO._log_update

    def log_update(self, terms):
        real(self, terms)
        if self.num_timesteps == 768:
            self.logger.record("train/value_loss", float("inf"))

    monkeypatch.setattr(PPO, "_log_update", log_update)
    assert main([*SMALL, "agent=ppo", "run_dir=run"]) == 1
    assert last_line(capsys) == (
        "stopped: train/value_loss is not finite at step 768; the last good checkpoint is "
        "run/checkpoints/step-000000000512"
    )


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_stops_the_run_and_keeps_the_checkpoint(cwd, capsys, monkeypatch, code):
    real, rows = CSVRecord.add, []

    def add(self, row):
        rows.append(row)
        if len(rows) == 60:
            raise OSError(code, "No space left on device")
        real(self, row)

    monkeypatch.setattr(CSVRecord, "add", add)
    assert main([*SMALL, "agent=g2n", "checkpoint_every=256", "run_dir=run"]) == 1
    good = list_checkpoints(cwd / "run" / "checkpoints")[-1]
    line = last_line(capsys)
    assert line.startswith("stopped: the disk is full (")
    assert f"the last complete checkpoint is run/checkpoints/{good.name}; make room" in line
    assert line.endswith("make room and type: python -m rlgen.train resume=run")
    load_checkpoint(good)
    monkeypatch.undo()
    monkeypatch.chdir(cwd)
    assert main(["resume=run"]) == 0
    assert json.loads((cwd / "run" / "result.json").read_text())["steps"] == 2048


def test_a_checkpoint_that_fails_stops_nothing(cwd, capsys, monkeypatch):
    real, calls = checkpoint_module.save_file, []

    def save_file(*args):
        calls.append(args)
        if 4 < len(calls) < 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*args)

    monkeypatch.setattr(checkpoint_module, "save_file", save_file)
    options = ["agent=ppo", "checkpoint_every=256", "total_timesteps=2048", "run_dir=run"]
    assert main([*SMALL, *options]) == 0
    assert "; the last complete one is kept\n" in capsys.readouterr().err
    for path in list_checkpoints(cwd / "run" / "checkpoints"):
        load_checkpoint(path)
    assert read_rows(cwd / "run" / "episodes.csv")


def test_another_error_is_not_hidden(cwd, monkeypatch):
    real, rows = CSVRecord.add, []

    def add(self, row):
        rows.append(row)
        if len(rows) == 1:
            raise OSError(errno.EIO, "Input/output error")
        real(self, row)

    monkeypatch.setattr(CSVRecord, "add", add)
    with pytest.raises(OSError, match="Input/output error"):
        main([*SMALL, "agent=ppo"])
