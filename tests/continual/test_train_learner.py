"""Continual learning by the train command: what a run leaves, exact resume, mistakes."""

import csv
import json
import shutil
import signal
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from learner_runs import STREAM, TINY, cut, write_sets

from rlgen.continual import session as module
from rlgen.continual.export import load_task
from rlgen.continual.runs import load_learner
from rlgen.continual.streams import open_stream
from rlgen.continual.training import StreamTrainer
from rlgen.core.checkpoint import list_checkpoints, load_checkpoint, save_checkpoint
from rlgen.core.errors import UserError
from rlgen.core.record import read_rows
from rlgen.core.run import read_config
from rlgen.nets.classifiers import make_classifier
from rlgen.train import main

INDEX = "learner.index_options={size:8,batch_size:8}"
LEARNERS = {  # of hcnet each task has three steps of the C-net and three of the index
    "hcnet": ["learner=hcnet", "learner.index=prototype", INDEX],
    "replay": ["learner=replay", "learner.memory=8"],
}


def leave_empty(patch):
    """Lets runs leave empty pictures: to draw them takes longer than the rest."""
    for name in ("draw_matrix", "draw_growth"):
        patch.setattr(module, name, lambda _, path: path.touch())


def save_all(*arguments, **options):
    return save_checkpoint(*arguments, **options, keep=100)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with sets, and finished runs in it that have kept all checkpoints."""
    folder = tmp_path_factory.mktemp("home")
    write_sets(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        leave_empty(patch)
        patch.setattr("rlgen.core.step_session.save_checkpoint", save_all)
        for name, arguments in LEARNERS.items():
            assert main([*TINY, *arguments, STREAM, f"run_dir={name}"]) == 0
    return folder


@pytest.fixture
def here(home, monkeypatch, tmp_path):
    """The same folder in another place."""
    leave_empty(monkeypatch)
    # Its import takes seconds; only an unknown index asks for it.
    monkeypatch.setitem(sys.modules, "rlgen.density_index", ModuleType("density_index"))
    shutil.copytree(home, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def ledger(run):
    """Rows of tasks.csv without the time, the only thing that two equal runs differ in."""
    with (run / "tasks.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def newest(run):
    tensors, values = load_checkpoint(list_checkpoints(run / "checkpoints")[-1])
    for entry in (*values["ledger"], values["under_way"]):
        entry.pop("seconds")
    return tensors, values


def same(one, two):
    return all(torch.equal(one[f][n], two[f][n]) for f in one for n in one[f])


def test_a_run_leaves_what_a_run_leaves(home):
    run = home / "hcnet"
    for name in ("config.yaml", "card.md", "matrix.png", "growth.png", "learning_curve.png"):
        assert (run / name).exists(), name
    assert list(run.glob("events.out.tfevents*"))
    assert not [path for path in run.rglob("*") if path.name.startswith(".")]
    rows = read_rows(run / "progress.csv")
    assert [row["step"] for row in rows] == [str(step) for step in range(1, 13)]
    assert [row["task"] for row in rows] == list("111111222222")
    assert [row["given/ants"] != "" for row in rows] == [step in (6, 12) for step in range(1, 13)]
    entries = ledger(run)
    assert [entry["task"] for entry in entries] == ["ants", "bees"]
    assert [entry["steps"] for entry in entries] == ["6", "6"]
    assert int(entries[0]["parameters"]) < int(entries[1]["parameters"])
    result = json.loads((run / "result.json").read_text())
    assert result["bwt"] == 0  # nothing is forgotten where the task is given
    assert result["fwt"] is None
    assert result["given"][1][0] == result["given"][0][0] == float(entries[0]["given"])
    assert result["acc"] == pytest.approx(np.mean(result["given"][1]))
    card = (run / "card.md").read_text()
    assert f"ACC {result['acc']:.2f} %, BWT +0.00" in card
    assert "12 steps, seed 0" in card
    assert "| bees | " in card
    assert read_config(run)["learner"]["tasks"] == 2


def test_a_run_is_used_from_python(home):
    run = home / "hcnet"
    learner = load_learner(run)
    assert learner.tasks == ["ants", "bees"]
    names = [str(home / f"{name}.npz") for name in ("ants", "bees")]
    images = torch.from_numpy(open_stream(names, size=8)[1].test.pixels).permute(0, 3, 1, 2)
    told = learner.predict(images, task="bees")
    result = json.loads((run / "result.json").read_text())
    labels = torch.from_numpy(open_stream(names, size=8)[1].test.labels)
    assert 100 * (told.label == labels).double().mean() == result["given"][1][1]
    alone = load_task(make_classifier("resnet8"), run / "tasks" / "bees")
    shown = alone.record.normalized(images.float() / 255).contiguous()
    assert torch.equal(alone.network(shown), told.logits)


def test_only_runs_of_learners_are_loaded(home, tmp_path):
    (tmp_path / "config.yaml").write_text("agent:\n  name: ppo\n")
    with pytest.raises(UserError, match="is no run of continual learning"):
        load_learner(tmp_path)
    shutil.copy(home / "hcnet/config.yaml", tmp_path)
    with pytest.raises(UserError, match="has not learned a task yet"):
        load_learner(tmp_path)


@pytest.mark.parametrize(("name", "step"), [("hcnet", 4), ("hcnet", 8), ("replay", 4)])
def test_a_resumed_run_equals_an_uninterrupted_one(home, here, name, step):
    shutil.copytree(home / name, here / "part", dirs_exist_ok=True)
    for path in ("tasks.csv", "result.json", "learner", "tasks"):
        file = here / "part" / path
        shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)
    cut(here / "part", step)
    assert main(["resume=part"]) == 0
    one, two = newest(home / name), newest(here / "part")
    assert one[1] == two[1]
    assert one[0].keys() == two[0].keys()
    assert same(one[0], two[0])
    assert ledger(home / name) == ledger(here / "part")
    text = [(run / "progress.csv").read_text() for run in (home / name, here / "part")]
    assert text[0] == text[1]
    for folder in ("tasks", "learner"):  # exports of tasks before the kill among them
        files = [
            sorted(path.relative_to(run) for path in (run / folder).rglob("*.safetensors"))
            for run in (home / name, here / "part")
        ]
        assert [path.name for path in files[0]] == [path.name for path in files[1]]
        assert folder == "learner" or files[0] == files[1]


def test_an_interrupted_run_is_saved_inside_its_task(here, monkeypatch, capsys):
    step = StreamTrainer.train_step

    def interrupted(trainer, number):
        terms = step(trainer, number)
        if number == 6:  # the first step of the second task
            signal.raise_signal(signal.SIGINT)
        return terms

    with monkeypatch.context() as patch:
        patch.setattr(StreamTrainer, "train_step", interrupted)
        arguments = [*TINY, *LEARNERS["hcnet"], STREAM, "run_dir=part", "checkpoint_every=100"]
        assert main(arguments) == 130
    assert "interrupted, saved at step 7; go on with: python -m rlgen.train resume=part" in (
        capsys.readouterr().err
    )
    assert load_learner("part").tasks == ["ants"]  # what it had after the last whole task
    assert main(["resume=part"]) == 0
    assert "task 2 of 2, bees: 5 steps" in capsys.readouterr().err
    assert same(newest(here / "hcnet")[0], newest(here / "part")[0])


def test_a_finished_run_learns_another_task(here, capsys):
    assert main(["resume=hcnet"]) == 0
    assert "type stream=[...,ANOTHER] to learn more tasks" in capsys.readouterr().err
    longer = "stream=[ants.npz,bees.npz,cats.npz]"
    assert main(["resume=hcnet", longer]) == 2
    assert "shared out to 2; type learner.grow=true" in capsys.readouterr().err
    before = json.loads((here / "hcnet/result.json").read_text())
    assert main(["resume=hcnet", longer, "learner.grow=true"]) == 0
    after = json.loads((here / "hcnet/result.json").read_text())
    assert after["tasks"] == ["ants", "bees", "cats"]
    assert after["given"][2][:2] == before["given"][1]
    assert after["bwt"] == 0
    assert len(ledger(here / "hcnet")) == 3


MISTAKES = {
    "unknown learner": (["learner=hcnt"], "unknown learner 'hcnt'; did you mean 'hcnet'"),
    "unknown network": (["network=resnet9"], "unknown classifier 'resnet9'; did you mean"),
    "unknown index": (["learner=hcnet", "learner.index=gn"], "unknown task index 'gn'"),
    "unknown option": (["learner.wight=1"], "unknown option learner.wight; did you mean"),
    "another's option": (["learner.weight=1"], "learner=cnet has no option learner.weight"),
    "one task": (["stream=ants.npz"], "stream=ants.npz has one task; two or more are needed"),
    "twice": (["stream=[ants.npz,ants.npz]"], "ants.npz is given twice"),
    "too many": (["learner.tasks=1"], "the stream has 2 tasks and the network is shared out to 1"),
    "no tasks": (["learner.tasks=0"], "the network is shared out to 0"),
    "two shares": (
        ["learner.tasks=2", "learner.fractions=[0.5,1.0]"],
        "both share the network out; type one of them",
    ),
    "milestones": (["milestones=[50]"], "milestones are shares of a task's steps in (0, 1)"),
    "two jobs": (["distiller=kd"], "distiller and learner are given"),
}


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_code_2(here, capsys, arguments, message):
    learner = [] if any(a.startswith("learner=") for a in arguments) else ["learner=cnet"]
    before = sorted(here.iterdir())
    assert main([*TINY, STREAM, *learner, *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith("error: ")
    assert message in err
    assert sorted(here.iterdir()) == before  # no run folder


def test_another_stream_is_not_gone_on_with(here, capsys):
    cut(here / "hcnet", 11)
    assert main(["resume=hcnet", "stream=[bees.npz,ants.npz]"]) == 2
    message = "the run has begun the tasks ants, bees; a stream to go on with begins with them"
    assert message in capsys.readouterr().err


def test_a_task_under_way_cannot_end_before_it_stands(here, capsys):
    cut(here / "replay", 5)
    assert main(["resume=replay", "steps_per_task=1"]) == 2
    message = "task bees has taken 2 steps and would have 1; type more epochs, or steps_per_task=3"
    assert message in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("index", ["gan", "density"])
def test_the_short_preset_learns_drawn_tasks(cwd, index):
    assert main(["learner=hcnet", f"learner.index={index}", "preset=smoke"]) == 0
    (run,) = (cwd / "runs" / "hcnet-resnet8-drawn").iterdir()
    result = json.loads((run / "result.json").read_text())
    assert result["bwt"] == 0
    assert result["acc"] > 22  # chance is 16.7
    assert result["index"] > 60  # chance is 33.3
    assert (run / "card.md").exists()
