"""The examples of distillation run; those of other libraries where these are installed."""

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_own_model(capsys: pytest.CaptureFixture) -> None:
    script = runpy.run_path(str(EXAMPLES / "distill_own_model.py"))
    accuracy = script["main"](steps=40)
    assert 0.2 < accuracy["student"] < accuracy["teacher"]
    assert capsys.readouterr().out.startswith("teacher ")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_transformers(cwd: Path) -> None:
    pytest.importorskip("transformers")
    accuracy = runpy.run_path(str(EXAMPLES / "distill_transformers.py"))["main"](steps=40)
    assert accuracy > 0.3
    assert (cwd / "distill_transformers" / "model.safetensors").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("cwd")
def test_lightning() -> None:
    pytest.importorskip("lightning")
    accuracy = runpy.run_path(str(EXAMPLES / "distill_lightning.py"))["main"](epochs=2)
    assert accuracy["student"] > 0.3
