"""What a session measures, and the rows it comes in; the rest is tested with image models."""

from types import SimpleNamespace

import pytest
import torch

from rlgen.core.interrupt import StopSignal
from rlgen.core.loop import Every
from rlgen.core.record import read_rows
from rlgen.core.step_session import StepSession


class Counter:
    """Its loss is the number of the step."""

    def train_step(self, step):
        return {"loss": torch.tensor(float(step))}

    def state(self):
        return {}, {}

    def restore(self, tensors, state):
        pass

    def describe(self):
        return []


class Measured(StepSession):
    """Measures at every third step, and rows come then, too."""

    def events(self):
        return [Every(3, self.log)]

    def measure(self):
        self.asked.append(self.step)
        return {"score": 10.0 * self.step} if self.step % 3 == 0 else {}

    def draw(self):
        pass

    def finish(self, command, seconds):
        pass


@pytest.fixture
def make(tmp_path):
    def session(steps, first=True):
        process = SimpleNamespace(is_main_process=first)
        made = Measured(tmp_path, {"threads": 1}, Counter(), process, steps, 2, 100)
        made.asked = []
        return made

    return session


def test_a_row_holds_terms_and_what_was_measured_at_its_step(make):
    session = make(7)
    session.learn(StopSignal())
    rows = read_rows(session.folder / "progress.csv")
    assert [(r["step"], float(r["loss"]), r.get("score", "")) for r in rows] == [
        ("2", 0.5, ""),
        ("3", 2.0, "30.0"),
        ("4", 3.0, ""),
        ("6", 4.5, "60.0"),  # due for both reasons, and one row
        ("7", 6.0, ""),
    ]
    assert session.asked == [2, 3, 4, 6, 7]
    assert session.last == {"loss": 6.0}


def test_other_processes_measure_nothing(make):
    session = make(6, first=False)
    session.learn(StopSignal())
    assert session.asked == []
    assert session.step == 6
