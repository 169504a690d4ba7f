"""The study command: what it leaves, how it goes on, mistakes."""

import errno
import os
import signal
import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest

from rlgen.core.record import read_rows
from rlgen.distill.study import command
from rlgen.distill.study.crossing import Crossing
from rlgen.distill.study.options import StudyOptions
from rlgen.study import main

TINY = [
    "data=tiny.npz",
    "student=resnet8",
    "teacher=resnet8",
    "epochs=1",
    "finetune_epochs=1",
    "batch_size=8",
    "padding=1",
    "seeds=2",
    "method=none,kd",
    "technique=[int8]",
    "device=cpu",
    "precision=fp32",
    "out=here",
]


@pytest.fixture
def pictures(cwd):
    generator = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 24), ("test", 12)):
        arrays[f"x_{part}"] = generator.integers(0, 255, (count, 8, 8, 3), dtype=np.uint8)
        arrays[f"y_{part}"] = np.arange(count) % 3
    np.savez(cwd / "tiny.npz", **arrays)
    return cwd


def test_a_study_leaves_its_tables_and_picture(pictures, capsys):
    assert main(TINY) == 0
    folder = pictures / "here"
    rows = read_rows(folder / "runs.csv")
    assert [(row["method"], row["technique"], row["seed"]) for row in rows] == [
        (method, technique, seed)
        for seed in "01"
        for technique in ("none", "int8")
        for method in ("none", "kd")
    ]
    table = (folder / "table.md").read_text()
    assert table in capsys.readouterr().out
    accuracy = [float(row["accuracy"]) for row in rows]
    gain = (accuracy[1] + accuracy[5] - accuracy[0] - accuracy[4]) / 2
    line = next(line for line in table.splitlines() if line.startswith("| int8 | kd |"))
    assert line.split("|")[3].split()[0] == f"{gain:+.2f}"
    assert line.endswith("| 2 |")
    assert "The rule is ours" in table
    assert (folder / "interaction.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_done_is_not_done_again(pictures, capsys, monkeypatch):
    monkeypatch.setattr(command, "draw_interactions", lambda found, path: None)
    assert main([*TINY, "seeds=1"]) == 0
    before = (pictures / "here/runs.csv").read_text()
    trained = []
    train = command.Trainer.train
    monkeypatch.setattr(
        command.Trainer,
        "train",
        lambda self, title, *rest, **named: (
            trained.append(title) or train(self, title, *rest, **named)
        ),
    )
    assert main([*TINY, "seeds=1"]) == 0
    assert trained == []
    assert (pictures / "here/runs.csv").read_text() == before
    # More techniques go into the same folder.
    assert main([*TINY, "technique=[int8,int4]", "seeds=1"]) == 0
    assert trained == ["none, int4, seed 0", "kd, int4, seed 0"]
    capsys.readouterr()
    assert main([*TINY, "lr=0.1"]) == 2
    assert "here holds a study with lr=0.05" in capsys.readouterr().err


def test_a_signal_leaves_what_is_done(pictures, capsys, monkeypatch):
    work = Crossing.work

    def signalled(self):
        for number, run in enumerate(work(self)):
            if number == 2:
                os.kill(os.getpid(), signal.SIGINT)
            yield run

    monkeypatch.setattr(Crossing, "work", signalled)
    assert main(TINY) == 130
    assert "3 of 8 runs are kept" in capsys.readouterr().err
    assert len(read_rows(pictures / "here/runs.csv")) == 3
    assert (pictures / "here/table.md").exists()


KILLED = """
import os, signal, sys
from rlgen.distill.study.training import Trainer
train, count = Trainer.train, []

def killed(self, *args, **named):
    count.append(1)
    if len(count) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    train(self, *args, **named)

Trainer.train = killed
from rlgen.study import main
main(sys.argv[1:])
"""


@pytest.mark.slow  # imports torch anew
def test_a_killed_study_ends_like_one_that_was_not(pictures, monkeypatch):
    monkeypatch.setattr(command, "draw_interactions", lambda found, path: None)
    killed = subprocess.run([sys.executable, "-c", KILLED, *TINY], timeout=200, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(read_rows(pictures / "here/runs.csv")) == 1
    assert main(TINY) == 0
    assert main([*TINY, "out=there"]) == 0
    columns = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in read_rows(path)]
        for path in (pictures / "here/runs.csv", pictures / "there/runs.csv")
    ]
    assert columns[0] == columns[1]


def test_bagging(pictures):
    assert main([*TINY, "protocol=bagging", "members=2", "seeds=1"]) == 0
    table = (pictures / "here/table.md").read_text()
    lines = [line.split(" | ")[0] for line in table.splitlines() if line.startswith("|")]
    assert [line.strip("| ") for line in lines[2:4]] == ["none", "kd"]
    assert lines[-3:] == ["| consistent, p_T(x + delta)", "| frozen, p_T(x)", "| difference"]
    assert len(read_rows(pictures / "here/runs.csv")) == 6


def test_help_names_the_options(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for field in fields(StudyOptions):
        assert f"{field.name}=" in out, field.name


def test_help_needs_no_torch():
    code = (
        "import sys; from rlgen.study import main; main(['-h']); assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=100, check=False).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["method=kdd"], "did you mean 'kd'"),
        (["technique=[none,prune]"], "did you mean 'pruning'"),
        (["tecnique=none"], "did you mean 'technique'"),
        (["student=resnet9"], "student=resnet9 is no classifier; did you mean 'resnet8'"),
        (["preset=tiny"], "preset=tiny is unknown"),
        (["seeds=0"], "type seeds=1 or more"),
        (["data=nowhere"], "data=nowhere is no known set"),
        (["kd"], "'kd' is not key=value"),
        (["seeds=many"], "seeds=many"),
        (["protocol=bagging", "method=none"], "type method=kd"),
    ],
)
def test_mistakes_take_one_line(pictures, capsys, arguments, told):
    assert main([*TINY, *arguments]) == 2
    err = capsys.readouterr().err.strip().splitlines()
    assert told in err[-1]
    assert err[-1].startswith("error: ")


def test_a_folder_of_other_things_is_left_alone(pictures, capsys):
    (pictures / "here").mkdir()
    (pictures / "here/thesis.txt").touch()
    assert main(TINY) == 2
    assert "has files and no study" in capsys.readouterr().err
    assert [path.name for path in (pictures / "here").iterdir()] == ["thesis.txt"]


def test_a_full_disk_ends_in_one_line_and_the_command_goes_on(pictures, capsys, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("rlgen.distill.study.store.save_checkpoint", full)
        assert main([*TINY, "seeds=1", "method=none"]) == 1
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert told.startswith("stopped: cannot write into here: No space left on device; type")
    assert main([*TINY, "seeds=1", "method=none"]) == 0
