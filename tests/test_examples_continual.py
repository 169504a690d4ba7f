"""The example of continual learning runs without data."""

import runpy
from pathlib import Path

import pytest

from rlgen.continual.export import load_task
from rlgen.nets.classifiers import make_classifier

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_three_tasks(cwd: Path, capsys: pytest.CaptureFixture, monkeypatch) -> None:
    monkeypatch.delenv("RLGEN_DATA", raising=False)
    script = runpy.run_path(str(EXAMPLES / "three_tasks.py"))
    found = script["main"]("out", epochs=1, size=16, train=96)
    assert found > 0.9  # of three tasks
    assert "blue_shapes: right with the task given" in capsys.readouterr().out
    exported = load_task(make_classifier("resnet8"), cwd / "out" / "red_shapes")
    assert exported.network.conv1.out_channels == 5
