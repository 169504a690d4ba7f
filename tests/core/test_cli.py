"""What commands share: OpenMP's spinning, who speaks, errors as one line and an exit code."""

import os

import pytest

from rlgen.core.cli import RunFailed, run_command, share_the_cores, tell
from rlgen.core.errors import UserError


@pytest.fixture(autouse=True)
def _unset(monkeypatch):
    for name in ("GOMP_SPINCOUNT", "RANK"):
        monkeypatch.setenv(name, "")  # so that it is put back, whatever a test leaves there
        monkeypatch.delenv(name)


@pytest.mark.parametrize(("user", "left"), [(None, "5000"), ("0", "0"), ("infinity", "infinity")])
def test_a_spin_count_that_the_user_has_set_stays(monkeypatch, user, left):
    if user is not None:
        monkeypatch.setenv("GOMP_SPINCOUNT", user)
    share_the_cores()
    assert os.environ["GOMP_SPINCOUNT"] == left


@pytest.mark.parametrize(
    ("rank", "told"), [(None, "a line\n"), ("0", "a line\n"), ("1", ""), ("10", "")]
)
def test_the_first_process_alone_speaks(monkeypatch, capsys, rank, told):
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    tell("a line")
    assert capsys.readouterr() == ("", told)


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (UserError("no such env"), 2, "error: no such env\n"),
        (RunFailed("the disk is full"), 1, "stopped: the disk is full\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_errors_become_a_line_and_an_exit_code(capsys, error, code, told):
    def work(arguments):
        raise error

    assert run_command(work, str, []) == code
    assert capsys.readouterr() == ("", told)


def test_a_command_gets_its_arguments_and_gives_its_code():
    seen = []
    assert run_command(lambda arguments: seen.extend(arguments) or 7, str, ["a=1", "b"]) == 7
    assert seen == ["a=1", "b"]


@pytest.mark.parametrize("arguments", [["-h"], ["agent=ppo", "--help"]])
def test_help_is_printed_instead_of_working(capsys, arguments):
    assert run_command(lambda _: 7, lambda: "how to use it", arguments) == 0
    assert capsys.readouterr() == ("how to use it\n", "")


def test_defects_rise():
    with pytest.raises(ZeroDivisionError):
        run_command(lambda _: 1 // 0, str, [])
