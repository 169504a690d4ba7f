"""The progress bar of a terminal and the lines of anything else."""

import re
from io import StringIO

import pytest
from rich.console import Console

from rlgen.core import progress
from rlgen.core.progress import StepBar


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that the bar sees; set ``clock[0]`` to move it."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def lines(total: int = 1000, done: int = 0, every: float = 15.0) -> tuple[StepBar, StringIO]:
    file = StringIO()
    return StepBar(total, done, Console(file=file, width=200), every), file


def test_a_line_tells_steps_speed_time_left_and_values(clock):
    bar, file = lines(total=4000)
    clock[0] += 20.0
    bar.update(1000, {"return": 12.345, "generation": 3})
    assert file.getvalue() == (
        "1,000/4,000 steps  50 steps/s  eta 60 s  return 12.3  generation 3\n"
    )


def test_lines_come_no_oftener_than_asked(clock):
    bar, file = lines()
    for done in range(100, 500, 100):
        clock[0] += 5.0
        bar.update(done, {})
    assert file.getvalue().count("\n") == 1


def test_the_last_step_is_always_told(clock):
    bar, file = lines()
    clock[0] += 0.5
    bar.update(1000, {})
    assert file.getvalue().startswith("1,000/1,000 steps")


def test_steps_before_a_resume_do_not_count_as_speed(clock):
    bar, file = lines(total=1000, done=900)
    clock[0] += 20.0
    bar.update(940, {})
    assert file.getvalue().startswith("940/1,000 steps  2 steps/s  eta 30 s")


def test_steps_beyond_the_total_leave_no_negative_time(clock):
    bar, file = lines(total=1000)
    clock[0] += 20.0
    bar.update(1010, {})
    assert "eta 0 s" in file.getvalue()


def test_a_terminal_gets_a_bar():
    file = StringIO()
    console = Console(force_terminal=True, file=file, width=120)
    with StepBar(1000, 0, console) as bar:
        bar.update(400, {"return": 7.25})
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())
    assert "400/1000" in text
    assert "steps/s" in text
    assert "return 7.2" in text


def test_a_terminal_bar_never_exceeds_its_total():
    file = StringIO()
    with StepBar(1000, 0, Console(force_terminal=True, file=file, width=120)) as bar:
        bar.update(1010, {})
    assert "1000/1000" in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())


def test_the_terminal_is_given_back_after_an_error():
    file = StringIO()
    bar = StepBar(10, 0, Console(force_terminal=True, file=file, width=120))
    with pytest.raises(RuntimeError, match="stop"), bar:
        raise RuntimeError("stop")
    assert file.getvalue().rstrip().endswith("\x1b[?25h")  # the cursor is shown again
