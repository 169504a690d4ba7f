"""A run's accuracies and growth as tables and pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure  # no pyplot: no global state, no display
from rich.table import Table

from rlgen.continual.metrics import Matrix, StreamScores
from rlgen.core.figures import save_figure

MATRIX, GROWTH = "matrix.png", "growth.png"
_LABELLED = 12  # tasks up to which each cell bears its number
_MEGABYTE = 1e6
_KINDS = {"given": "task given", "estimated": "task estimated"}


def matrix_rows(matrix: Matrix, learned: int) -> list[list[str]]:
    """Returns the cells of a matrix as text, empty where there is no number.

    Args:
        matrix: R, (T, T), in percent.
        learned: Rows to show.
    """
    return [["" if np.isnan(v) else f"{v:.2f}" for v in row] for row in matrix[:learned]]


def matrix_table(scores: StreamScores, kind: str) -> Table:
    """Returns a matrix for the console.

    Args:
        scores: Of the run.
        kind: ``"given"`` or ``"estimated"``.
    """
    table = Table()
    table.add_column(f"accuracy in %, {_KINDS[kind]}, after", overflow="fold")
    for name in scores.names:
        table.add_column(name, justify="right", overflow="fold")
    rows = matrix_rows(getattr(scores, kind), scores.learned)
    for name, cells in zip(scores.names, rows, strict=False):
        table.add_row(name, *cells)
    return table


def matrix_lines(scores: StreamScores, kind: str) -> list[str]:
    """Returns the same as lines of Markdown."""
    head = [f"after ({_KINDS[kind]})", *scores.names]
    rows = matrix_rows(getattr(scores, kind), scores.learned)
    lines = [[name, *cells] for name, cells in zip(scores.names, rows, strict=False)]
    return markdown(head, lines)


def ledger_lines(ledger: Sequence[Mapping[str, Any]], routed: Matrix) -> list[str]:
    """Returns what each task took, as lines of Markdown.

    Args:
        ledger: Of the run's trainer.
        routed: (T, T), shares of pictures routed to their task, in percent.
    """
    head = ["task", "steps", "time [s]", "parameters", "memory [MB]", "index accuracy at the end"]
    last = len(ledger) - 1
    rows = [
        [
            str(entry["task"]),
            f"{entry['steps']:,}",
            f"{entry['seconds']:.1f}",
            f"{entry['parameters']:,}",
            _memory(entry),
            f"{routed[last, number]:.2f} %",
        ]
        for number, entry in enumerate(ledger)
    ]
    return markdown(head, rows)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Returns a table as lines of Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _memory(entry: Mapping[str, Any]) -> str:
    total = f"{entry['memory_bytes'] / _MEGABYTE:.2f}"
    parts = _parts(entry)
    told = ", ".join(f"{name} {value / _MEGABYTE:.2f}" for name, value in parts.items())
    return f"{total} ({told})" if told else total


def _parts(entry: Mapping[str, Any]) -> dict[str, int]:
    return {k.removeprefix("memory/"): v for k, v in entry.items() if k.startswith("memory/")}


def draw_matrix(scores: StreamScores, path: Path) -> Path:
    """Draws both matrices of accuracies as heat maps.

    Args:
        scores: Of the run.
        path: The PNG file.
    """
    count = len(scores.names)
    side = max(0.55 * count + 1.6, 3.0)
    figure = Figure(figsize=(2 * side + 0.8, side), layout="constrained")
    for number, (kind, title) in enumerate(_KINDS.items()):
        axes = figure.add_subplot(1, 2, number + 1)
        values = getattr(scores, kind)
        image = axes.imshow(values, cmap="viridis", vmin=0, vmax=100)
        axes.set_title(title, fontsize=9)
        axes.set_xticks(range(count), scores.names, rotation=45, ha="right", fontsize=7)
        axes.set_yticks(range(count), scores.names, fontsize=7)
        axes.set_xlabel("accuracy on", fontsize=8)
        axes.set_ylabel("after learning", fontsize=8)
        if count <= _LABELLED:
            for (row, column), value in np.ndenumerate(values):
                if not np.isnan(value):
                    ink = "black" if value > 60 else "white"
                    text = f"{value:.1f}"
                    axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=7)
    figure.colorbar(image, ax=figure.axes, label="%", shrink=0.8)
    return save_figure(figure, path)


def draw_growth(ledger: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Draws parameters and memory after each task, and the time that each task took.

    Args:
        ledger: Of the run's trainer, not empty.
        path: The PNG file.
    """
    names = [str(entry["task"]) for entry in ledger]
    figure = Figure(figsize=(9.6, 2.8), layout="constrained")
    parameters, memory, seconds = figure.subplots(1, 3)
    parameters.bar(names, [entry["parameters"] / 1e6 for entry in ledger], color="C0")
    parameters.set_title("parameters of the network [millions]", fontsize=9)
    below = np.zeros(len(ledger))
    parts = list(_parts(ledger[-1])) or ["memory_bytes"]
    for part in parts:
        key = part if part == "memory_bytes" else f"memory/{part}"
        height = np.array([entry[key] for entry in ledger]) / _MEGABYTE
        memory.bar(names, height, bottom=below, label=part)
        below += height
    if len(parts) > 1:
        memory.legend(frameon=False, fontsize=7)
    memory.set_title("memory kept after each task [MB]", fontsize=9)
    seconds.bar(names, [entry["seconds"] for entry in ledger], color="C2")
    seconds.set_title("training of each task [s]", fontsize=9)
    for axes in figure.axes:
        axes.tick_params(axis="x", labelsize=7)
        for label in axes.get_xticklabels():
            label.set(rotation=45, ha="right")
        axes.tick_params(axis="y", labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    return save_figure(figure, path)
