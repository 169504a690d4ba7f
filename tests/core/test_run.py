"""Run folders: how they are made, named and found."""

import os
import time
from pathlib import Path

import pytest

from rlgen.core import run as run_module
from rlgen.core.errors import UserError
from rlgen.core.run import all_runs, create_run, find_run, read_config, write_text

CONFIG = {"seed": 0, "agent": {"name": "ppo", "net_arch": [64, 64], "target_kl": None}}


def make(path: Path, age: float = 0.0) -> Path:
    """Makes a run folder whose configuration is so many seconds old."""
    path.mkdir(parents=True)
    (path / "config.yaml").write_text("seed: 0\n")
    then = time.time() - age
    os.utime(path / "config.yaml", (then, then))
    return path


@pytest.fixture
def noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module.time, "strftime", lambda _: "20260101-120000")


@pytest.mark.usefixtures("noon")
def test_a_folder_is_named_by_job_time_and_seed(tmp_path):
    folder = create_run(tmp_path, "ppo-Breakout", 3, CONFIG, None)
    assert folder == tmp_path / "ppo-Breakout" / "20260101-120000-seed3"


@pytest.mark.usefixtures("noon")
def test_two_runs_in_one_second_get_two_folders(tmp_path):
    folders = [create_run(tmp_path, "ppo-Breakout", 0, CONFIG, None) for _ in range(3)]
    stamp = "20260101-120000-seed0"
    assert [folder.name for folder in folders] == [stamp, f"{stamp}-1", f"{stamp}-2"]


def test_a_job_name_cannot_make_deeper_folders(tmp_path):
    folder = create_run(tmp_path, "ppo-../a b", 0, CONFIG, None)
    assert folder.parent == tmp_path / "ppo-.._a_b"


def test_the_configuration_comes_back(tmp_path):
    assert read_config(create_run(tmp_path, "job", 0, CONFIG, None)) == CONFIG


def test_the_user_may_name_the_folder(tmp_path):
    assert create_run(tmp_path / "runs", "job", 0, CONFIG, str(tmp_path / "x")) == tmp_path / "x"


def test_a_named_folder_that_exists_but_holds_no_run_is_taken(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "notes.txt").touch()
    assert read_config(create_run(tmp_path, "job", 0, CONFIG, str(tmp_path / "x"))) == CONFIG


def test_a_folder_that_holds_a_run_is_refused(tmp_path):
    run = make(tmp_path / "x")
    with pytest.raises(UserError, match="holds a run already; type resume="):
        create_run(tmp_path, "job", 0, CONFIG, str(run))
    assert (run / "config.yaml").read_text() == "seed: 0\n"


def test_a_run_is_found_by_its_folder(tmp_path):
    run = make(tmp_path / "runs" / "ppo-Pong" / "a")
    assert find_run(str(run), tmp_path / "elsewhere") == run


def test_a_folder_of_runs_gives_its_newest(tmp_path):
    make(tmp_path / "runs" / "ppo-Pong" / "b", age=50)
    newest = make(tmp_path / "runs" / "a2c-Pong" / "a", age=10)
    make(tmp_path / "runs" / "ppo-Pong" / "c", age=90)
    assert find_run(str(tmp_path / "runs"), tmp_path) == newest


def test_latest_is_the_newest_under_the_root(tmp_path):
    newest = make(tmp_path / "ppo-Pong" / "a", age=10)
    make(tmp_path / "ppo-Pong" / "b", age=50)
    assert find_run("latest", tmp_path) == newest


def test_latest_of_a_job_looks_at_that_job_only(tmp_path):
    make(tmp_path / "a2c-Pong" / "new")
    run = make(tmp_path / "ppo-Pong" / "old", age=50)
    assert find_run("latest", tmp_path, "ppo-Pong") == run


@pytest.mark.parametrize(
    ("text", "job", "message"),
    [
        ("latest", None, "there is no run under empty to resume; leave out resume=latest"),
        ("latest", "ppo-Pong", "there is no run of ppo-Pong under empty to resume"),
        ("empty", None, "empty holds no run .no config.yaml.; name a folder that training made"),
        ("emptyy", None, "emptyy is not a run folder; did you mean 'empty'?"),
        ("empty/file", None, "empty/file is not a run folder"),
        ("far/away", None, "far/away is not a run folder; train first: python -m rlgen.train"),
    ],
)
def test_where_there_is_no_run_the_message_says_what_to_do(cwd, text, job, message):
    (cwd / "empty").mkdir()
    with pytest.raises(UserError, match=message):
        find_run(text, Path("empty"), job)


def test_an_unreadable_configuration_is_one_line(tmp_path):
    run = make(tmp_path / "x")
    (run / "config.yaml").write_text("a: [1\n")
    with pytest.raises(UserError, match=r"cannot read .*config\.yaml") as caught:
        read_config(run)
    assert "\n" not in str(caught.value)


def test_all_runs_are_found_once_each_oldest_first(cwd):
    new, old = make(cwd / "runs" / "a" / "1", age=1), make(cwd / "runs" / "b" / "1", age=9)
    assert all_runs(["runs"]) == [old, new]
    assert all_runs(["runs/a", "runs/a/1"]) == [new]
    assert all_runs(["runs/a/1", "runs/b"]) == [new, old]


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["nowhere"], "nowhere does not exist; name run folders or a folder of them"),
        (["."], "no run folder in .; train first"),
    ],
)
def test_no_run_at_all_is_told(cwd, paths, message):
    with pytest.raises(UserError, match=message):
        all_runs(paths)


def test_a_text_is_complete_or_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "card.md"
    write_text(path, "old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_module.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "new")
    assert path.read_text() == "old"


def test_a_written_text_leaves_no_temporary_file(tmp_path):
    write_text(tmp_path / "card.md", "grüße")
    assert [entry.name for entry in tmp_path.iterdir()] == ["card.md"]
    assert (tmp_path / "card.md").read_text(encoding="utf-8") == "grüße"
