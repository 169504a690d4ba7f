"""Distillation by the train command: what a run leaves, exact resume, mistakes."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from distill_runs import TINY, write_pictures, write_teacher
from safetensors.torch import load_file

from rlgen.core.checkpoint import list_checkpoints, load_checkpoint
from rlgen.core.curves import draw_losses
from rlgen.core.interrupt import StopSignal
from rlgen.core.record import read_rows
from rlgen.core.run import read_config
from rlgen.distill import session as module
from rlgen.distill.session import ChainSession
from rlgen.nets.classifiers import make_classifier
from rlgen.train import main

SHORT = [*TINY, "epochs=2", "lr=0.02", "padding=1"]


@pytest.fixture
def here(cwd):
    """A folder with pictures and a teacher."""
    write_pictures(cwd)
    write_teacher(cwd / "old")
    return cwd


def same(one: Path, two: Path) -> bool:
    a, b = load_file(one), load_file(two)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_trains_its_teacher_and_leaves_what_a_run_leaves(here, capsys, monkeypatch):
    drawn = []
    monkeypatch.setattr(module, "draw_losses", lambda run: drawn.append(draw_losses(run)))
    arguments = [*SHORT, "distiller=kd", "teacher=resnet8", "run_dir=run"]
    assert main(arguments) == 0
    run = here / "run"
    for name in ("config.yaml", "card.md"):
        assert (run / name).stat().st_size > 0, name
    assert drawn == [Path("run", p, "learning_curve.png") for p in ("teachers/0", ".")]
    assert all(path.exists() for path in drawn)
    assert list(run.glob("events.out.tfevents*"))
    rows = read_rows(run / "progress.csv")
    assert [row["step"] for row in rows] == ["3", "6"]
    assert {"loss", "loss/task", "loss/kd", "accuracy/student"} <= set(rows[0])
    assert "loss/kd" not in read_rows(run / "teachers/0/progress.csv")[0]
    result = json.loads((run / "result.json").read_text())
    assert result == {"steps": 6, "accuracy": {"student": float(rows[-1]["accuracy/student"])}}
    for place in ("student", "teachers/0/student"):
        found = load_file(run / place / "model.safetensors")
        assert found.keys() == make_classifier("resnet8", 3).state_dict().keys()
    assert not same(run / "student/model.safetensors", run / "teachers/0/student/model.safetensors")
    card = (run / "card.md").read_text()
    assert f"accuracy after the last step: student {result['accuracy']['student']:.2f} %" in card
    assert "taught by resnet8 (`teachers/0`) of 77," in card
    assert "6 steps of 8 pictures, 2 epochs, seed 0" in card
    assert read_config(run)["distiller"] == {
        "name": "kd",
        "weight": None,
        "task_weight": 0.1,
        "temperature": 4.0,
    }
    assert not [p for p in run.rglob("*") if p.name.startswith(".")]
    told = capsys.readouterr().err
    assert told.index("training teachers/0: resnet8: 6 steps") < told.index("training resnet8: 6")
    # The run is a teacher itself.
    assert main([*SHORT, "distiller=at", "teacher=run", "epochs=1", "run_dir=next"]) == 0
    assert "taught by run of 77," in (here / "next/card.md").read_text()


def cut(run: Path, step: int) -> None:
    """Makes a run one that was killed after a checkpoint."""
    (run / "card.md").unlink(missing_ok=True)
    for path in list_checkpoints(run / "checkpoints"):
        if int(path.name.removeprefix("step-")) > step:
            shutil.rmtree(path)


@pytest.mark.parametrize("method", ["feed", "ffl"])
def test_a_resumed_run_equals_an_uninterrupted_one(here, method):
    teacher = ["teacher=old"] if method == "feed" else []
    arguments = [*SHORT, f"distiller={method}", *teacher]
    assert main([*arguments, "run_dir=whole"]) == 0
    shutil.copytree("whole", "part")
    cut(here / "part", 3)
    assert main(["resume=part"]) == 0
    whole, part = (
        load_checkpoint(list_checkpoints(here / name / "checkpoints")[-1])
        for name in ("whole", "part")
    )
    assert whole[1] == part[1]
    assert whole[1]["step"] == 6
    for group, tensors in whole[0].items():
        for name, tensor in tensors.items():
            assert torch.equal(tensor, part[0][group][name]), f"{group}/{name}"
    for name in ("progress.csv", "result.json"):
        assert (here / "whole" / name).read_text() == (here / "part" / name).read_text()
    assert same(here / "whole/student/model.safetensors", here / "part/student/model.safetensors")


def test_a_finished_run_can_be_trained_further(here, capsys):
    assert main([*SHORT, "distiller=none", "epochs=1", "run_dir=run"]) == 0
    assert main(["resume=run"]) == 0
    assert "has its 3 steps already; type total_steps=6" in capsys.readouterr().err
    assert main(["resume=run", "total_steps=5"]) == 0
    assert [row["step"] for row in read_rows(here / "run/progress.csv")] == ["3", "5"]


def test_a_run_that_is_stopped_while_its_teachers_learn_goes_on_there(here, capsys, monkeypatch):
    arguments = [*SHORT, "distiller=kd", "teacher=resnet8", "n_teachers=2"]
    assert main([*arguments, "run_dir=whole"]) == 0
    learn = ChainSession.learn

    def learn_and_stop(session: ChainSession, stop: StopSignal) -> None:
        """Stops after the second teacher's third step."""
        inner = session._learn_stage

        def watched(stage, stop):
            make = session.make

            def hurried(stage, run):
                trainer = make(stage, run)
                step = trainer.train_step

                def train_step(number):
                    stop.stopped = stage.folder == "teachers/1" and number == 2
                    return step(number)

                trainer.train_step = train_step
                return trainer

            session.make = hurried
            inner(stage, stop)
            session.make = make

        session._learn_stage = watched
        learn(session, stop)

    with monkeypatch.context() as patch:
        patch.setattr(ChainSession, "learn", learn_and_stop)
        assert main([*arguments, "run_dir=part"]) == 130
    told = capsys.readouterr().err
    assert "teachers/1: resnet8 stands at step 3\n" in told
    assert "go on with: python -m rlgen.train resume=part" in told
    first = here / "part/teachers/0/student/model.safetensors"
    before = first.stat().st_mtime_ns
    assert not (here / "part/teachers/1/student").exists()
    assert main(["resume=part"]) == 0
    assert "the run was stopped in teachers/1: resnet8; it goes on there" in capsys.readouterr().err
    assert first.stat().st_mtime_ns == before
    for place in ("teachers/1/student", "student"):
        files = [here / run / place / "model.safetensors" for run in ("whole", "part")]
        assert same(*files), place


def test_a_chain_begins_as_a_run_with_one_student(here):
    arguments = [*SHORT, "epochs=1", "distiller=feed", "teacher=resnet8"]
    assert main([*arguments, "run_dir=one"]) == 0
    assert main([*arguments, "stages=2", "run_dir=chain"]) == 0
    weights = "student/model.safetensors"
    assert same(here / "one/teachers/0" / weights, here / "chain/teachers/0" / weights)
    assert same(here / "one" / weights, here / "chain/stages/1" / weights)
    assert not same(here / "one" / weights, here / "chain" / weights)
    assert "taught by resnet8 (`stages/1`)" in (here / "chain/card.md").read_text()


MISTAKES = {
    "unknown method": (["distiller=kdd"], "unknown distiller 'kdd'; did you mean"),
    "no teacher": (["distiller=kd"], "distiller=kd needs a teacher; type teacher=resnet56"),
    "unknown student": (["student=resnet9"], "unknown student 'resnet9'; did you mean 'resnet8'"),
    "unknown key": (["epoch=3"], "unknown option epoch; did you mean 'epochs'"),
    "unknown method's key": (
        ["distiller.temprature=2"],
        "unknown option distiller.temprature; did you mean 'distiller.temperature'",
    ),
    "key of another method": (
        ["distiller.temperature=2"],
        "distiller=none has no option distiller.temperature; others have it",
    ),
    "word for a number": (["lr=fast"], "lr: Value 'fast' of type 'str' could not be converted"),
    "unknown data": (["data=cifar11"], "data=cifar11 is no known set"),
    "unknown border": (["border=mirror"], "border='mirror' is unknown; allowed: zero, reflect"),
    "unknown device": (["device=toaster"], "device='toaster' is unknown; allowed: auto, cpu"),
    "a method's range": (
        ["distiller=kd", "teacher=resnet8", "distiller.temperature=0"],
        "kd: temperature=0",
    ),
    "unknown layer": (
        ["distiller=at", "teacher=resnet8", "taps=[layr2]"],
        "did you mean 'layer2'",
    ),
    "two jobs": (["agent=ppo"], "agent and distiller are given; a run trains one of them"),
}


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_code_2(here, capsys, arguments, message):
    start = [] if any(a.startswith("distiller=") for a in arguments) else ["distiller=none"]
    assert main([*SHORT, *start, *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith("error: ")
    assert message in err
    assert sorted(path.name for path in here.iterdir()) == ["old", "tiny.npz"]  # no run folder


@pytest.mark.slow
@pytest.mark.parametrize("method", ["feed", "afd"])
def test_the_short_preset_trains_on_drawn_pictures(cwd, method):
    assert main([f"distiller={method}", "preset=smoke"]) == 0
    (run,) = (cwd / "runs" / f"{method}-resnet8-shapes").iterdir()
    accuracy = json.loads((run / "result.json").read_text())["accuracy"]["student"]
    assert accuracy > 25  # chance is 16.7
    assert (run / "card.md").exists()
