"""Pictures of what options do: distances between them, their places in Four Rooms, their times.

The indicators behind them are in :mod:`rlgen.agents.option_critic.indicators`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rlgen.agents.option_critic.indicators import (
    Array,
    OptionRecord,
    occupancy,
    option_state_table,
    termination_rates,
)
from rlgen.core.errors import UserError
from rlgen.core.figures import save_figure

Frame = npt.NDArray[np.uint8]
_PALE = 236.0  # floor that no option prefers; unvisited floor is white


def draw_distance_matrix(matrix: Array, path: Path, title: str = "Hellinger distance") -> Path:
    """Draws distances between options, with their numbers.

    Args:
        matrix: (K, K); pairs that are not finite have no number.
        path: The PNG file.
        title: What the numbers are.
    """
    from matplotlib.figure import Figure  # no pyplot: no global state, no display

    k = len(matrix)
    figure = Figure(figsize=(1.6 + 0.5 * k, 1.3 + 0.5 * k), layout="constrained")
    axes = figure.subplots()
    top = float(matrix[np.isfinite(matrix)].max(initial=1.0))
    image = axes.imshow(matrix, cmap="magma", vmin=0, vmax=top)
    for row, column in zip(*np.nonzero(np.isfinite(matrix)), strict=True):
        value = matrix[row, column]
        color = "black" if value > 0.6 * top else "white"
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=color, fontsize=8)
    axes.set_xticks(range(k))
    axes.set_yticks(range(k))
    axes.set_xlabel("option")
    axes.set_ylabel("option")
    axes.set_title(title, fontsize=10)
    figure.colorbar(image, ax=axes, shrink=0.8)
    return save_figure(figure, path)


def draw_option_map(record: OptionRecord, path: Path) -> Path:
    """Draws where in Four Rooms each option acts, and where it ends.

    The large map has the colour of the most used option of each cell, the paler the less exclusive
    it is there. Below it, every option has its share of the steps in each cell (white: none, its
    colour: all), and its mean termination probability there.

    Args:
        record: Steps in Four Rooms, with ``states`` the numbers of cells.
        path: The PNG file.

    Raises:
        UserError: If the states are no cells of Four Rooms.
    """
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure  # no pyplot: no global state, no display
    from matplotlib.patches import Patch

    from rlgen.envs.four_rooms import CELLS, paint_cells

    table = option_state_table(record)
    if record.states is None or table is None or table.shape[1] > len(CELLS):
        raise UserError(
            f"a map needs states from 0 to {len(CELLS) - 1}, the cells of rlgen/FourRooms-v0; "
            "play that environment, or use draw_timeline"
        )
    k, cells = record.n_options, record.states.ravel()
    counts = np.zeros((k, len(CELLS)))
    counts[:, : table.shape[1]] = table
    visits = counts.sum(0)
    visited = visits > 0
    shares = counts / np.maximum(visits, 1)
    beta = np.array([np.bincount(cells, b, len(CELLS)) for b in record.beta.reshape(-1, k).T])
    beta /= np.maximum(visits, 1)

    colors, white = option_colors(k), np.full(3, 255.0)
    exclusive = (k * shares.max(0) - 1) / (k - 1) if k > 1 else np.ones(len(CELLS))
    best = _PALE + exclusive[:, None] * (colors[shares.argmax(0)] - _PALE)
    figure: Any = Figure(figsize=(max(6.0, 1.3 * k + 0.8), 7.4), layout="constrained")
    large, small = figure.subfigures(2, 1, height_ratios=[1.7, 1.3])
    axes = large.subplots()
    _show(axes, paint_cells(_bytes(np.where(visited[:, None], best, white))))
    axes.set_title("most used option of each cell; paler: less exclusive", fontsize=10)
    patches = [Patch(color=color / 255, label=f"option {w}") for w, color in enumerate(colors)]
    axes.legend(handles=patches, loc="center left", bbox_to_anchor=(1.02, 0.5), frameon=False)

    panels = small.subplots(2, k, squeeze=False)
    viridis, usage, ends = colormaps["viridis"], occupancy(record), termination_rates(record)[1]
    for w in range(k):
        part = white + shares[w][:, None] * (colors[w] - white)
        _show(panels[0, w], paint_cells(_bytes(part)))
        panels[0, w].set_title(f"option {w}\nshare {usage[w]:.2f}", fontsize=8)
        part = np.where(visited[:, None], 255 * viridis(beta[w])[:, :3], white)
        _show(panels[1, w], paint_cells(_bytes(part)))
        panels[1, w].set_title(f"beta {ends[w]:.2f}", fontsize=8)
    bar = small.colorbar(
        ScalarMappable(cmap=viridis), ax=panels.ravel().tolist(), shrink=0.4, anchor=(0, 0)
    )
    bar.ax.tick_params(labelsize=7)
    return save_figure(figure, path)


def draw_timeline(record: OptionRecord, path: Path, steps: int = 400) -> Path:
    """Draws the first steps of environment 0: who acts, where options end, what is earned.

    Args:
        record: The steps.
        path: The PNG file.
        steps: How many to draw at most.
    """
    from matplotlib.figure import Figure  # no pyplot: no global state, no display

    k, options = record.n_options, record.options[:steps, 0]
    count = len(options)
    figure = Figure(figsize=(10, 2.2 + 0.3 * k), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[0.6 + 0.3 * k, 1.2])
    changes = record.decided[:steps, 0].copy()
    changes[0] = True
    first = np.flatnonzero(changes)
    lengths = np.diff(np.append(first, count))
    for w, color in enumerate(option_colors(k) / 255):
        mine = options[first] == w
        bars = list(zip(first[mine].tolist(), lengths[mine].tolist(), strict=True))
        upper.broken_barh(bars, (w - 0.4, 0.8), facecolors=[tuple(color)])
    ended = np.flatnonzero(record.terminated[1:steps, 0]) + 1
    upper.plot(ended, options[ended - 1], "k|", ms=9, label="termination")
    begun = np.flatnonzero(record.starts[:steps, 0])
    for axes in (upper, lower):
        axes.vlines(begun, 0, 1, transform=axes.get_xaxis_transform(), color="gray", ls=":", lw=1)
        axes.spines[["top", "right"]].set_visible(False)
    upper.set_yticks(range(k))
    upper.set_ylim(k - 0.4, -0.6)
    upper.set_ylabel("option")
    upper.set_title("tick: the option terminated; dotted line: an episode starts", fontsize=9)
    lower.step(np.arange(count), record.rewards[:steps, 0], where="post", color="black", lw=1)
    lower.set_ylabel("reward")
    lower.set_xlabel("step")
    lower.set_xlim(0, count)
    return save_figure(figure, path)


def option_bar(n_options: int, pixels: int = 2) -> Callable[[Frame, Any], Frame]:
    """Returns what draws the options of the last steps below the frames of a video.

    Args:
        n_options: K.
        pixels: Width of a step; the newest is at the right end.

    Returns:
        From a frame (H, W, 3) and the policy's state after it to a taller frame.
    """
    colors = _bytes(option_colors(n_options))
    history: list[int] = []

    def draw(frame: Frame, state: Any) -> Frame:
        history.append(int(state[0][0]))
        height, width = frame.shape[:2]
        thickness = max(height // 12, 8)
        thickness += (height + thickness) % 2  # videos have an even height
        bar = np.full((thickness, width, 3), 255, dtype=np.uint8)
        shown = np.repeat(colors[history[-(width // pixels) :]], pixels, axis=0)
        bar[2:, width - len(shown) :] = shown
        return np.concatenate([frame, bar])

    return draw


def option_colors(count: int) -> Array:
    """Returns colours of options, (count, 3) of 0 to 255; after 20 they repeat."""
    from matplotlib import colormaps

    colors = np.array(colormaps["tab10" if count <= 10 else "tab20"].colors)  # type: ignore[attr-defined]
    return np.asarray(255 * colors[np.arange(count) % len(colors)], dtype=np.float64)


def _bytes(colors: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return np.rint(colors).clip(0, 255).astype(np.uint8)


def _show(axes: Any, picture: npt.NDArray[np.uint8]) -> None:
    axes.imshow(picture, interpolation="nearest")
    axes.set_axis_off()
