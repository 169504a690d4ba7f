"""Learning curves: from the episodes of runs to pictures with intervals."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rlgen.core.figures import save_figure
from rlgen.core.record import read_rows
from rlgen.core.stats import bootstrap_interval, iqm

Array = npt.NDArray[np.float64]


def read_episodes(run: Path) -> tuple[Array, Array]:
    """Returns the steps at which episodes of a run ended, and their returns; both may be empty."""
    path = run / "episodes.csv"
    rows = read_rows(path) if path.exists() else []
    pairs = np.array([[float(r["step"]), float(r["return"])] for r in rows]).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def smooth(steps: Array, returns: Array, grid: Array, window: int = 100) -> Array:
    """Returns, at each grid point, the mean return of the last ``window`` episodes before it.

    Args:
        steps: Steps at which episodes ended, ascending.
        returns: Their returns.
        grid: Steps at which the curve is wanted.
        window: Episodes to average.

    Returns:
        Same length as ``grid``, NaN before the first episode.
    """
    total = np.concatenate([[0.0], np.cumsum(returns)])
    end = np.searchsorted(steps, grid, side="right")
    begin = np.maximum(end - window, 0)
    with np.errstate(invalid="ignore"):
        return np.where(end > 0, (total[end] - total[begin]) / np.maximum(end - begin, 1), np.nan)


def draw_run(run: Path) -> Path:
    """Draws ``learning_curve.png`` of one run: every episode, and the mean of the last 100."""
    figure, axes = _axes()
    steps, returns = read_episodes(run)
    if len(steps):
        grid = np.linspace(0, steps[-1], 400)
        axes.plot(steps, returns, ".", ms=2, alpha=0.25, color="tab:gray", label="episode")
        axes.plot(grid, smooth(steps, returns, grid), color="tab:blue", label="mean of last 100")
        axes.legend(frameon=False)
    else:
        axes.text(0.5, 0.5, "no episode has ended yet", ha="center", transform=axes.transAxes)
    axes.set_title(run.parent.name)
    return save_figure(figure, run / "learning_curve.png")


def draw_losses(run: Path, columns: int = 3) -> Path:
    """Draws ``learning_curve.png`` of an image model's run: each column of ``progress.csv``."""
    from matplotlib.figure import Figure  # no pyplot: no global state, no display

    rows = read_rows(run / "progress.csv")
    names = [name for name in (rows[-1] if rows else {}) if name != "step"]
    lines = max(-(-len(names) // columns), 1)
    figure = Figure(figsize=(3.2 * columns, 2.2 * lines), layout="constrained")
    for number, name in enumerate(names):
        axes = figure.add_subplot(lines, columns, number + 1)
        pairs = [(float(row["step"]), float(row[name])) for row in rows if row.get(name)]
        axes.plot(*zip(*pairs, strict=True), lw=1)
        axes.set_title(name, fontsize=9)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    return save_figure(figure, run / "learning_curve.png")


def draw_groups(
    groups: Mapping[str, Sequence[Path]], path: Path, points: int = 200
) -> dict[str, dict[str, float]]:
    """Draws one curve per group of runs: interquartile mean with a bootstrap band over seeds.

    Args:
        groups: Runs by label.
        path: The PNG file.
        points: Points along the steps; a group is drawn as far as its shortest run.

    Returns:
        By label: number of runs, steps, final interquartile mean and its 95 % interval. Nothing,
        and no picture, where no episode has ended.
    """
    figure, axes = _axes()
    summary: dict[str, dict[str, float]] = {}
    for number, (label, runs) in enumerate(groups.items()):
        episodes = [read_episodes(run) for run in runs]
        episodes = [pair for pair in episodes if len(pair[0])]
        if not episodes:
            continue
        begin = max(steps[0] for steps, _ in episodes)
        grid = np.linspace(begin, max(begin, min(steps[-1] for steps, _ in episodes)), points)
        curves = np.stack([smooth(steps, returns, grid) for steps, returns in episodes])
        low, high = bootstrap_interval(curves, iqm)
        middle = iqm(curves)
        color = f"C{number}"
        axes.plot(grid, middle, color=color, label=f"{label} ({len(curves)} runs)")
        axes.fill_between(grid, low, high, color=color, alpha=0.2, lw=0)
        summary[label] = {
            "runs": len(curves),
            "steps": float(grid[-1]),
            "iqm": float(middle[-1]),
            "low": float(low[-1]),
            "high": float(high[-1]),
        }
    if not summary:
        return summary
    axes.legend(frameon=False)
    axes.set_title("interquartile mean over runs, 95 % bootstrap interval")
    save_figure(figure, path)
    return summary


def _axes():  # type: ignore[no-untyped-def]
    from matplotlib.figure import Figure  # no pyplot: no global state, no display

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel("environment steps")
    axes.set_ylabel("episode return")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
