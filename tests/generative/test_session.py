"""A session's records, checkpoints and artefacts, with a trainer that is one number."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from rlgen.core import step_session as module
from rlgen.core.checkpoint import list_checkpoints, load_checkpoint
from rlgen.core.errors import NonFiniteLossError, UserError
from rlgen.core.interrupt import StopSignal
from rlgen.core.record import read_rows
from rlgen.generative.session import ImageSession


class FakeTrainer:
    """Adds 1 to its only weight at each step; the loss of step k is ``scale`` * k.

    Args:
        scale: Tells apart the losses of two trainers.
        nan_at: Step whose second term is NaN.
        broken_from: Steps from which the weight is NaN, though the loss is not.
    """

    def __init__(self, scale=1.0, nan_at=None, broken_from=None):
        self.scale, self.nan_at, self.broken_from = scale, nan_at, broken_from
        self.weight = torch.zeros(1)

    def train_step(self, step):
        self.weight += float("nan") if step == self.broken_from else 1
        style = float("nan") if step == self.nan_at else 1.0
        loss = torch.tensor(self.scale * step)
        return {"loss/generator": loss, "night/style": torch.tensor(style)}

    def state(self):
        return {"generator": {"weight": self.weight}}, {"kind": "fake"}

    def restore(self, tensors, state):
        assert state["kind"] == "fake"
        self.weight = tensors["generator"]["weight"].clone()

    def draw_samples(self, path: Path):
        path.write_text(f"weight {self.weight.item():g}")

    def export(self, folder: Path):
        folder.mkdir()

    def title(self):
        return "photo, night"

    def usage(self, folder: Path):
        return f"look at {folder}"

    def describe(self):
        return ["a weight"]


CONFIG = {
    "model": {"name": "fake"},
    "domains": {"photo": "reconstruction", "night": "style"},
    "total_steps": 6,
    "log_every": 2,
    "sample_every": 3,
    "checkpoint_every": 2,
    "threads": 1,
    "batch_size": 1,
    "size": 16,
    "seed": 0,
}


@pytest.fixture(autouse=True)
def _one_process(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)


@pytest.fixture
def make(tmp_path):
    """Returns what makes a session in one and the same folder."""

    def session(trainer=None, first=True, **options):
        process = SimpleNamespace(is_main_process=first)
        return ImageSession(tmp_path, {**CONFIG, **options}, trainer or FakeTrainer(), process)

    return session


def losses(session):
    rows = read_rows(session.folder / "progress.csv")
    return [(int(row["step"]), float(row["loss/generator"])) for row in rows]


def saved_steps(session):
    return [load_checkpoint(p)[1]["step"] for p in list_checkpoints(session.folder / "checkpoints")]


def test_a_row_is_the_mean_of_its_own_steps(make):
    session = make()
    session.learn(StopSignal())
    assert losses(session) == [(2, 0.5), (4, 2.5), (6, 4.5)]


def test_the_steps_after_the_last_row_get_one(make):
    session = make(total_steps=5)
    session.learn(StopSignal())
    assert losses(session) == [(2, 0.5), (4, 2.5), (5, 4.0)]


def test_a_stopped_run_records_what_it_did(make):
    stop, trainer = StopSignal(), FakeTrainer()
    step = trainer.train_step

    def step_and_stop(number):
        stop.stopped = number == 2
        return step(number)

    trainer.train_step = step_and_stop
    session = make(trainer)
    session.learn(stop)
    assert session.step == 3
    assert losses(session) == [(2, 0.5), (3, 2.0)]


def test_samples_and_checkpoints_come_when_they_are_due(make):
    session = make()
    session.learn(StopSignal())
    samples = sorted((session.folder / "samples").iterdir())
    assert [(p.name, p.read_text()) for p in samples] == [
        ("step-0000003.png", "weight 3"),
        ("step-0000006.png", "weight 6"),
    ]
    assert saved_steps(session) == [4, 6]  # the last two are kept
    assert session.last_checkpoint().endswith("step-000000000006")


def test_a_new_run_saves_its_start(make):
    session = make(checkpoint_every=100)
    assert session.last_checkpoint() == "none"
    session.learn(StopSignal())
    (path,) = list_checkpoints(session.folder / "checkpoints")
    tensors, state = load_checkpoint(path)
    assert (tensors["generator"]["weight"].item(), state["step"]) == (0, 0)


def test_a_finished_run_has_its_artefacts(make, capsys):
    session = make(checkpoint_every=100)
    session.learn(StopSignal())
    session.finish("python -m rlgen.train model=fake", 2.0)
    assert saved_steps(session) == [0, 6]
    assert (session.folder / "samples.png").read_text() == "weight 6"
    assert (session.folder / "learning_curve.png").exists()
    assert (session.folder / "pipeline").is_dir()
    card = (session.folder / "card.md").read_text()
    assert "# fake: photo, night" in card
    assert "`python -m rlgen.train model=fake`" in card
    assert "6 steps of 1 photos at 16 px, seed 0, 3.00 steps/s" in card
    assert "- a weight\n- last losses: loss/generator 4.5, night/style 1\n" in card
    assert "card.md" in capsys.readouterr().err


@pytest.mark.parametrize(("nan_at", "told_at"), [(2, 4), (3, 4), (4, 5)])
def test_a_term_that_is_nan_stops_the_run_by_name(make, nan_at, told_at):
    session = make(FakeTrainer(nan_at=nan_at), total_steps=5)
    with pytest.raises(NonFiniteLossError, match=f"night/style is not finite at step {told_at}"):
        session.learn(StopSignal())
    assert [step for step, _ in losses(session)] == [2, 4][: nan_at // 2]
    assert max(saved_steps(session)) <= nan_at  # what was saved was good


def test_weights_that_are_not_finite_are_not_saved(make, capsys):
    session = make(FakeTrainer(broken_from=2))
    session.learn(StopSignal())
    assert saved_steps(session) == [0, 2]
    assert not session.save()
    assert "no checkpoint at step 6: weights are not finite" in capsys.readouterr().err


def test_a_failing_disk_stops_no_run(make, monkeypatch, capsys):
    session = make()
    real = module.save_checkpoint

    def save(folder, step, tensors, state):
        if step == 4:
            raise OSError(28, "No space left on device")
        return real(folder, step, tensors, state)

    monkeypatch.setattr(module, "save_checkpoint", save)
    session.learn(StopSignal())
    assert session.step == 6
    assert saved_steps(session) == [2, 6]
    told = capsys.readouterr().err
    assert "checkpoint at step 4 failed" in told
    assert "No space left on device" in told


def test_a_save_tells_whether_it_succeeded(make, monkeypatch):
    session = make()
    assert session.save()

    def fail(*_):
        raise OSError(5, "broken disk")

    monkeypatch.setattr(module, "save_checkpoint", fail)
    assert not session.save()


def test_a_resumed_run_drops_later_rows_and_checkpoints(make, capsys):
    session = make()
    session.learn(StopSignal())
    checkpoint = list_checkpoints(session.folder / "checkpoints")[-1]
    (checkpoint / "generator.safetensors").write_bytes(b"damaged")
    again = make(FakeTrainer(scale=10.0), total_steps=8)
    again.restore()
    assert (again.step, again.trainer.weight.item()) == (4, 4)
    assert saved_steps(again) == [4]
    told = capsys.readouterr().err
    assert "skipped a checkpoint: step-000000000006/generator.safetensors is damaged" in told
    assert "resumed at step 4" in told
    again.learn(StopSignal())
    assert losses(again) == [(2, 0.5), (4, 2.5), (6, 45.0), (8, 65.0)]
    assert again.trainer.weight.item() == 8


def test_a_resumed_run_counts_its_own_speed(make):
    make(total_steps=4).learn(StopSignal())
    session = make()
    session.restore()
    session.learn(StopSignal())
    session.finish("command", 0.5)
    assert "- 6 steps of 1 photos at 16 px, seed 0, 4.00 steps/s" in (
        session.folder / "card.md"
    ).read_text(encoding="utf-8")


def test_a_run_without_a_checkpoint_starts_anew(make, capsys):
    (make().folder / "progress.csv").write_text("loss/generator,step\n9,2\n")
    session = make()
    session.restore()
    assert "it starts from step 0" in capsys.readouterr().err
    session.learn(StopSignal())
    assert losses(session) == [(2, 0.5), (4, 2.5), (6, 4.5)]


def test_a_run_whose_checkpoints_are_all_damaged_is_refused(make):
    session = make()
    session.learn(StopSignal())
    for path in list_checkpoints(session.folder / "checkpoints"):
        (path / "state.json").unlink()
    with pytest.raises(UserError, match=r"none of the 2 checkpoints in .* can be read"):
        make().restore()


def test_only_the_first_process_writes(make):
    session = make(first=False)
    session.learn(StopSignal())
    session.draw()
    session.finish("command", 1.0)
    assert session.step == 6
    assert session.save()
    assert os.listdir(session.folder) == []
