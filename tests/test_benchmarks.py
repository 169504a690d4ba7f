"""The benchmarks' scripts: a mistake is one line and code 2; what their training commands do."""

import json
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from rlgen.core.cli import RunFailed
from rlgen.core.errors import UserError

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
COMMANDS = sorted(p.stem for p in BENCHMARKS.glob("*.py") if "def main(" in p.read_text())


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts find each other, as where one of them is called."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def call(name: str, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    """Calls a script as the command line does, and returns its exit code."""
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(BENCHMARKS / f"{name}.py"), run_name="__main__")
    return ended.value.code


def test_all_benchmarks_are_found() -> None:
    assert {"distill_policy", "rl_throughput", "sgn_quality"} <= set(COMMANDS)
    assert "paired_runs" not in COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_a_mistake_is_one_line_and_code_2(name, cwd, monkeypatch, capsys) -> None:
    assert call(name, monkeypatch, "no_such_option=1") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: unknown option no_such_option; ")
    assert err.count("\n") == 1
    assert not list(cwd.iterdir())


def test_help_is_the_scripts_own(monkeypatch, capsys) -> None:
    assert call("distill_policy", monkeypatch, "--help") == 0
    assert "python benchmarks/distill_policy.py env=CartPole-v1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "argument", "message"),
    [
        ("distill_policy", "variants=[kd,fed]", "variants: unknown variant 'fed'; did you mean"),
        ("distill_policy", "seeds=many", "seeds=many: "),
        ("distill_accuracy", "only=[kdd]", "only: unknown method 'kdd'; did you mean"),
        ("g2n_learning", "families=ddpg", "families: unknown family 'ddpg'; allowed: a2c, ppo"),
        ("option_throughput", "agents=ppco", "agents: unknown agent 'ppco'; did you mean"),
        ("disentangled_throughput", "clock=sand", "clock=sand is unknown; allowed: cpu, wall"),
        (
            "rl_throughput",
            "sections=ppo+cartpol",
            "sections: unknown section 'cartpol'; ",
        ),
    ],
)
def test_other_mistakes(name, argument, message, cwd, monkeypatch, capsys) -> None:
    assert call(name, monkeypatch, argument) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1
    assert not list(cwd.iterdir())


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch):
    """The module of training commands; they are noted and answered as a test says."""
    import paired_runs

    answer = SimpleNamespace(commands=[], returncode=0, stderr="")

    def run(command, **kwargs):
        answer.commands.append(command[2:])
        return answer

    monkeypatch.setattr(paired_runs.subprocess, "run", run)
    return SimpleNamespace(**vars(paired_runs), answer=answer)


def test_a_run_is_begun_gone_on_with_or_left_alone(runs, tmp_path) -> None:
    folder = tmp_path / "run"
    assert runs.train_once(folder, ["agent=ppo"])
    fixed = [f"run_dir={folder}", "threads=1", "device=cpu", "eval_every=0"]
    assert runs.answer.commands.pop() == ["rlgen.train", "agent=ppo", *fixed]
    folder.mkdir()
    (folder / "config.yaml").touch()
    assert runs.train_once(folder, ["agent=ppo"])
    assert runs.answer.commands.pop() == ["rlgen.train", f"resume={folder}"]
    (folder / "result.json").write_text(json.dumps({}))
    assert not runs.train_once(folder, ["agent=ppo"])
    assert not runs.answer.commands


def test_a_mistake_in_a_training_command_is_told(runs) -> None:
    runs.answer.returncode, runs.answer.stderr = 2, "error: unknown agent 'pppo'\n"
    with pytest.raises(UserError, match=r"^unknown agent 'pppo'$"):
        runs.call("rlgen.train", ["agent=pppo"])
    runs.answer.returncode, runs.answer.stderr = 1, "step 1\nstopped: out of memory\n"
    with pytest.raises(RunFailed, match=r"^rlgen.train agent=ppo: stopped: out of memory$"):
        runs.call("rlgen.train", ["agent=ppo"])
