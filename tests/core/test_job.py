"""How a session ends: done, done before, stopped, with a loss that is not finite, disk full."""

import errno

import pytest

from rlgen.core.cli import EXIT_INTERRUPTED, RunFailed
from rlgen.core.compose import load_yaml
from rlgen.core.errors import NonFiniteLossError
from rlgen.core.job import run_session

COMMAND = "python -m rlgen.train model=sgn"


class FakeSession:
    """Notes what is asked of it.

    Args:
        learn: What happens within ``learn``; it is given the stop signal.
        done: Steps of its newest checkpoint.
        saves: Whether a save succeeds.
    """

    total_steps = 10
    steps_option = "total_steps"

    def __init__(self, learn=lambda stop: None, done=0, saves=True):
        self.step = 0
        self.done, self.saves, self.work = done, saves, learn
        self.calls = []

    def restore(self):
        self.calls.append("restore")
        self.step = self.done

    def learn(self, stop):
        self.calls.append("learn")
        self.step += 4
        self.work(stop)

    def save(self):
        self.calls.append("save")
        return self.saves

    def draw(self):
        self.calls.append("draw")

    def finish(self, command, seconds):
        assert seconds >= 0
        self.calls.append(command)

    def last_checkpoint(self):
        return "checkpoints/step-4"


@pytest.fixture(autouse=True)
def _one_process(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)


@pytest.fixture
def start(tmp_path, capsys):
    """Runs a session in a folder; returns the exit code and what was told."""

    def run(session, *, resumed=False):
        code = run_session(session, tmp_path, {"seed": 3}, COMMAND, resumed=resumed)
        return code, capsys.readouterr().err.splitlines()

    return run


def raises(error):
    def learn(stop):
        raise error

    return learn


def stops(stop):
    stop.stopped = True


def test_a_run_that_ends_is_finished(start, tmp_path):
    session = FakeSession()
    assert start(session) == (0, [f"run folder: {tmp_path}"])
    assert session.calls == ["learn", COMMAND]
    assert not (tmp_path / "config.yaml").exists()  # a new run has its own already


def test_a_resumed_run_goes_on_under_what_was_changed(start, tmp_path):
    session = FakeSession(done=2)
    assert start(session, resumed=True)[0] == 0
    assert session.calls == ["restore", "learn", COMMAND]
    assert session.step == 6
    assert load_yaml(tmp_path / "config.yaml") == {"seed": 3}


@pytest.mark.parametrize("done", [10, 1200])
def test_a_run_that_is_done_says_how_to_train_it_further(start, tmp_path, done):
    (tmp_path / "card.md").touch()
    session = FakeSession(done=done)
    code, told = start(session, resumed=True)
    assert (code, session.calls) == (0, ["restore"])
    assert told == [
        f"{tmp_path} has its {done:,} steps already; "
        f"type total_steps={2 * done} to train it further"
    ]
    assert not (tmp_path / "config.yaml").exists()


def test_a_run_that_was_killed_before_its_card_is_finished(start, tmp_path):
    session = FakeSession(done=10)
    code, _ = start(session, resumed=True)
    assert code == 0
    assert "learn" not in session.calls
    assert session.calls[0] == "restore"
    assert len(session.calls) == 2  # and finish, with the command


def test_training_further_takes_the_old_card_away(start, tmp_path):
    (tmp_path / "card.md").touch()
    code, _ = start(FakeSession(done=4), resumed=True)
    assert code == 0
    assert not (tmp_path / "card.md").exists()  # the fake's finish writes none


@pytest.mark.parametrize(("saves", "where"), [(True, "saved at step 4"), (False, "not saved")])
def test_a_stopped_run_saves_and_says_how_to_go_on(start, tmp_path, saves, where):
    session = FakeSession(stops, saves=saves)
    code, told = start(session)
    assert code == EXIT_INTERRUPTED == 130
    assert session.calls == ["learn", "save", "draw"]
    assert told[-1] == (
        f"interrupted, {where}; go on with: python -m rlgen.train resume={tmp_path}"
    )


def test_a_second_interrupt_names_the_last_checkpoint(start):
    session = FakeSession(raises(KeyboardInterrupt()))
    code, told = start(session)
    assert code == EXIT_INTERRUPTED
    assert session.calls == ["learn"]
    assert told[-1].startswith("interrupted; go on from checkpoints/step-4 with: python -m rlgen")


def test_a_folder_with_a_space_is_quoted(tmp_path, capsys):
    folder = tmp_path / "my runs"
    run_session(FakeSession(stops), folder, {}, COMMAND, resumed=False)
    assert capsys.readouterr().err.endswith(f"resume='{folder}'\n")


def test_a_loss_that_is_not_finite_names_the_last_checkpoint(start):
    session = FakeSession(raises(NonFiniteLossError("night/style", 4)))
    with pytest.raises(RunFailed) as caught:
        start(session)
    assert str(caught.value) == (
        "night/style is not finite at step 4; the last good checkpoint is checkpoints/step-4"
    )
    assert session.calls == ["learn"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_names_the_last_checkpoint_and_the_way_on(start, tmp_path, number):
    session = FakeSession(raises(OSError(number, "no room")))
    with pytest.raises(RunFailed) as caught:
        start(session)
    told = str(caught.value)
    assert told.startswith("the disk is full (")
    assert "the last complete checkpoint is checkpoints/step-4" in told
    assert told.endswith(f"type: python -m rlgen.train resume={tmp_path}")


def test_a_disk_that_is_full_at_the_end_is_told_likewise(start, monkeypatch):
    session = FakeSession()

    def full(command, seconds):
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(session, "finish", full)
    with pytest.raises(RunFailed, match="the disk is full"):
        start(session)


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "broken disk"), PermissionError(errno.EACCES, "no"), KeyError("k")]
)
def test_other_errors_rise_as_they_are(start, error):
    with pytest.raises(type(error)) as caught:
        start(FakeSession(raises(error)))
    assert caught.value is error
