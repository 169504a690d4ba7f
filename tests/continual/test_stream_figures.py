"""Tables and pictures of a run's accuracies and growth."""

import io

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from rlgen.continual import figures
from rlgen.continual.metrics import StreamScores

LEDGER = [
    {
        **{"task": name, "steps": 1000 * n, "seconds": 1.5 * n, "parameters": 10_000 * n},
        **{"memory_bytes": 3_000_000 * n, "memory/cnet": 1_000_000 * n, "memory/index": 2_000_000},
    }
    for n, name in enumerate(("ants", "bees"), 1)
]


@pytest.fixture
def scores():
    made = StreamScores(["ants", "bees"])
    made.given[:] = [[90.0, np.nan], [85.5, 70.25]]
    made.estimated[:] = [[90.0, np.nan], [80.0, 60.0]]
    made.routed[:] = [[100.0, np.nan], [95.0, 87.5]]
    return made


def test_a_matrix_as_text(scores):
    lines = figures.matrix_lines(scores, "given")
    assert lines == [
        "| after (task given) | ants | bees |",
        "| --- | --- | --- |",
        "| ants | 90.00 |  |",
        "| bees | 85.50 | 70.25 |",
    ]
    text = io.StringIO()
    Console(width=100, file=text).print(figures.matrix_table(scores, "estimated"))
    text = text.getvalue()
    assert "task estimated" in text
    assert "60.00" in text


def test_what_each_task_took_as_text(scores):
    head, _, first, second = figures.ledger_lines(LEDGER, scores.routed)
    assert head.endswith("| memory [MB] | index accuracy at the end |")
    assert first == "| ants | 1,000 | 1.5 | 10,000 | 3.00 (cnet 1.00, index 2.00) | 95.00 % |"
    assert second == "| bees | 2,000 | 3.0 | 20,000 | 6.00 (cnet 2.00, index 2.00) | 87.50 % |"


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), int)


def test_pictures_show_what_they_are_given(scores, tmp_path):
    one = figures.draw_matrix(scores, tmp_path / "one.png")
    scores.given[1, 0] = 5.0
    two = figures.draw_matrix(scores, tmp_path / "two.png")
    pictures = [pixels(path) for path in (one, two)]
    changed = np.abs(pictures[0] - pictures[1]).max(2) > 40
    columns = np.flatnonzero(changed.any(0))
    assert len(columns) > 20
    assert columns.max() < changed.shape[1] / 2  # the left picture alone, that of given tasks
    growth = figures.draw_growth(LEDGER, tmp_path / "growth.png")
    assert pixels(growth).shape[1] > 800
    assert not list(tmp_path.glob(".*"))
