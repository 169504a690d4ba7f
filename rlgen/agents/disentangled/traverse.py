"""Latent traversals: what the decoder predicts as one coordinate slides, drawn and in numbers.

Paper: Yang, Lee, Chang, Kwak, ACML 2019 (arXiv 1811.04350). Seen in it: a coordinate of mu takes
the values of a grid from -5 to 5, and mu itself is decoded, without noise; tables of the standard
deviation of every predicted dimension. Reconstructed: 11 points; both ways to treat the other
coordinates, as the paper's sentence is cut; mapping ratio and coverage, which sum such tables up.

    T[i, d] = std over the grid of mu_i of the predicted s_{t+1, d}, mean over states.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw

from rlgen.agents.disentangled.model import ActionConditionalVAE
from rlgen.core.errors import MissingExtraError, UserError

Floats = npt.NDArray[np.float64]
Grid = npt.ArrayLike | torch.Tensor
DEFAULT_GRID = np.linspace(-5.0, 5.0, 11)
_MARGIN, _GAP, _PAPER, _INK = 76, 2, (255, 255, 255), (20, 20, 20)


def traverse(
    vae: ActionConditionalVAE,
    observations: torch.Tensor,
    coordinate: int,
    grid: Grid = DEFAULT_GRID,
    *,
    isolate: bool = False,
) -> torch.Tensor:
    """Returns predictions as one coordinate of mu takes the values of a grid.

    Args:
        vae: The model.
        observations: States, (batch, *observation_shape), float; images within 0..1.
        coordinate: Which one, from 0.
        grid: Its values, G numbers.
        isolate: Whether every other coordinate is 0; if not, it stays as encoded.

    Returns:
        (G, batch, *target_shape), in the data's own range.

    Raises:
        UserError: If there is no such coordinate, or the grid is not a row of finite numbers.
    """
    check_coordinate(vae, coordinate)
    values = _values(grid).to(observations.device)
    with torch.no_grad():
        mu, _ = vae.encode(observations)
        base = torch.zeros_like(mu) if isolate else mu
        z = base.repeat(len(values), 1, 1)  # (G, batch, n)
        z[:, :, coordinate] = values[:, None].to(z.dtype)
        # One grid value at a time: pictures of a whole grid may not fit into memory at once.
        return torch.stack([vae.predict(part) for part in z])


def effect_sizes(
    vae: ActionConditionalVAE,
    observations: torch.Tensor,
    grid: Grid = DEFAULT_GRID,
    *,
    isolate: bool = False,
) -> Floats:
    """Returns T, (n, D): how far each coordinate moves each predicted dimension.

    Args:
        vae: The model.
        observations: States to average over, 64 or more for figures to rely on.
        grid: As in :func:`traverse`, two values or more.
        isolate: As in :func:`traverse`.
    """
    if len(_values(grid)) < 2:
        raise UserError("grid has one value, which has no spread; type two or more")
    rows = []
    for i in range(vae.latent_dim):
        moved = traverse(vae, observations, i, grid, isolate=isolate).flatten(2)
        rows.append(moved.std(dim=0, correction=0).mean(dim=0))
    return np.asarray(torch.stack(rows).cpu().double().numpy())


def mapping_ratio(effects: npt.ArrayLike, mapped: int) -> float:
    """Returns mean(T[:m]) / mean(T[m:]); infinite where unmapped coordinates do nothing.

    Args:
        effects: T, (n, D).
        mapped: m, at least 1 and below n.
    """
    matrix = _effects(effects, mapped)
    above, below = matrix[:mapped].mean(), matrix[mapped:].mean()
    return float(above / below) if below > 0 else float("inf") if above > 0 else float("nan")


def coverage(effects: npt.ArrayLike, mapped: int, share: float = 0.1) -> float:
    """Returns the share of mapped coordinates that do something, 0 to 1.

    Args:
        effects: T, (n, D).
        mapped: m, at least 1 and below n.
        share: Of the largest row's mean, above which a coordinate counts.
    """
    means = _effects(effects, mapped).mean(1)
    return float((means[:mapped] > share * means.max()).mean())


def _effects(effects: npt.ArrayLike, mapped: int) -> Floats:
    matrix = np.asarray(effects, dtype=np.float64)
    if matrix.ndim != 2 or not 1 <= mapped < len(matrix):
        raise UserError(
            f"effects of shape {matrix.shape} and mapped={mapped} do not fit; allowed: (n, D) and "
            "1 to n - 1"
        )
    return matrix


def check_coordinate(vae: ActionConditionalVAE, coordinate: int) -> None:
    """Raises a :class:`UserError` if the model has no such coordinate."""
    if not 0 <= coordinate < vae.latent_dim:
        raise UserError(
            f"coordinate {coordinate} does not exist; allowed: 0 to {vae.latent_dim - 1}"
        )


def _values(grid: Grid) -> torch.Tensor:
    values = torch.as_tensor(grid, dtype=torch.float64).detach()
    if values.dim() != 1 or not len(values) or not torch.isfinite(values).all():
        raise UserError("grid is not a row of finite numbers; type such as grid=[-5, 0, 5]")
    return values


def coordinate_name(vae: ActionConditionalVAE, coordinate: int) -> str:
    """Returns ``0 mapped`` or ``7``, as drawings name a coordinate."""
    return f"{coordinate} mapped" if coordinate < vae.action_dim else str(coordinate)


def traversal_sheet(
    vae: ActionConditionalVAE,
    observations: torch.Tensor,
    grid: Grid = DEFAULT_GRID,
    *,
    isolate: bool = False,
) -> Image.Image:
    """Draws what every coordinate does.

    For pictures: a row for each coordinate, a column for each value of the grid, predicted from
    the first observation. For vectors: a heat map of :func:`effect_sizes` over all observations.

    Args:
        vae: The model.
        observations: (batch, *observation_shape), float; images within 0..1.
        grid: As in :func:`traverse`.
        isolate: As in :func:`traverse`.
    """
    if len(vae.target_shape) != 3:
        return _heat_map(vae, effect_sizes(vae, observations, grid, isolate=isolate))
    values = _values(grid)
    rows = [
        _pictures(traverse(vae, observations[:1], i, values, isolate=isolate)[:, 0])
        for i in range(vae.latent_dim)
    ]
    height, width = rows[0].shape[1:3]
    across, down = width + _GAP, height + _GAP
    size = (_MARGIN + across * len(values), 16 + down * len(rows))
    sheet = Image.new("RGB", size, _PAPER)
    pen = ImageDraw.Draw(sheet)
    for k, value in enumerate(values.tolist()):
        pen.text((_MARGIN + across * k + width // 2, 2), f"{value:g}", _INK, anchor="ma")
    for i, row in enumerate(rows):
        top = 16 + down * i
        pen.text((_MARGIN - 6, top + height // 2), coordinate_name(vae, i), _INK, anchor="rm")
        for k, picture in enumerate(row):
            sheet.paste(Image.fromarray(picture), (_MARGIN + across * k, top))
    return sheet


def _pictures(predictions: torch.Tensor, least: int = 48) -> npt.NDArray[np.uint8]:
    """Returns RGB pictures (count, height, width, 3), enlarged to a side of ``least`` or more.

    One channel is grey; other numbers than three, as those of MinAtar, are summed up to grey.
    """
    values = predictions.detach().float().cpu().clamp(0, 1)
    if values.shape[1] != 3:
        values = values.sum(dim=1, keepdim=True).clamp(max=1).repeat(1, 3, 1, 1)
    pictures = (255 * values).round().byte().permute(0, 2, 3, 1).numpy()
    times = -(-least // min(pictures.shape[1:3]))
    return np.asarray(pictures.repeat(times, axis=1).repeat(times, axis=2))


def _heat_map(vae: ActionConditionalVAE, effects: Floats) -> Image.Image:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # no pyplot: no global state, no display

    n, dimensions = effects.shape
    size = (1.8 + 0.42 * min(dimensions, 60), 1.4 + 0.32 * n)
    figure = Figure(figsize=size, layout="constrained", dpi=110)
    canvas = FigureCanvasAgg(figure)
    axes: Any = figure.subplots()
    image = axes.imshow(effects, cmap="magma", vmin=0, aspect="auto")
    top = float(effects.max())
    if dimensions <= 30:
        for (i, d), value in np.ndenumerate(effects):
            ink = "black" if value > 0.6 * top else "white"
            axes.text(d, i, f"{value:.1f}", ha="center", va="center", color=ink, fontsize=7)
        axes.set_xticks(range(dimensions))
    axes.set_yticks(range(n), [coordinate_name(vae, i) for i in range(n)])
    if 0 < vae.action_dim < n:
        axes.axhline(vae.action_dim - 0.5, color="white", lw=1)
    axes.set(xlabel="dimension of the next state", ylabel="coordinate")
    axes.set_title("standard deviation of the prediction", fontsize=10)
    figure.colorbar(image, ax=axes)
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def traversal_video(
    vae: ActionConditionalVAE,
    observations: torch.Tensor,
    path: Path,
    *,
    grid: Grid = DEFAULT_GRID,
    isolate: bool = False,
    frames: int = 60,
    fps: int = 20,
) -> int:
    """Writes a video in which every coordinate slides to and fro, side by side.

    Args:
        vae: A model of pictures.
        observations: The state is the first of them.
        path: The .mp4 or .gif file; its folder is made. A GIF needs no extra.
        grid: Only its ends matter.
        isolate: As in :func:`traverse`.
        frames: Pictures for one way there and back, at least 2.
        fps: Pictures a second.

    Returns:
        Number of frames.

    Raises:
        UserError: If the model's targets are no pictures, or the file is of another kind.
        MissingExtraError: If an .mp4 is asked for and imageio with ffmpeg is not installed.
    """
    if len(vae.target_shape) != 3:
        raise UserError("a traversal video needs a model of pictures; use traversal_sheet instead")
    if path.suffix.lower() not in (".mp4", ".gif"):
        raise UserError(f"video {path.name} is of an unknown kind; type a name in .mp4 or .gif")
    if frames < 2:
        raise UserError(f"frames={frames} is too small; type frames=2 or more")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    _write_video(temporary, list(_slides(vae, observations[:1], grid, isolate, frames)), fps)
    temporary.replace(path)
    return frames


def _slides(
    vae: ActionConditionalVAE, state: torch.Tensor, grid: Grid, isolate: bool, frames: int
) -> Iterator[npt.NDArray[np.uint8]]:
    values = _values(grid)
    low, high = float(values.min()), float(values.max())
    turn = np.cos(2 * np.pi * np.arange(frames) / frames)
    path = (high + low) / 2 - (high - low) / 2 * turn
    rows = [
        _pictures(traverse(vae, state, i, path, isolate=isolate)[:, 0], least=96)
        for i in range(vae.latent_dim)
    ]
    columns = -(-len(rows) // 2)  # two rows of panels
    height, width = rows[0].shape[1:3]
    for k in range(frames):
        sheet = Image.new("RGB", (columns * (width + _GAP), 2 * (height + 16)), _PAPER)
        pen = ImageDraw.Draw(sheet)
        for i, row in enumerate(rows):
            left, top = i % columns * (width + _GAP), i // columns * (height + 16)
            pen.text((left + 2, top + 2), coordinate_name(vae, i), _INK)
            sheet.paste(Image.fromarray(row[k]), (left, top + 16))
        yield np.asarray(sheet)


def _write_video(path: Path, frames: list[npt.NDArray[np.uint8]], fps: int) -> None:
    if path.suffix.lower() == ".gif":
        first, *others = [Image.fromarray(frame) for frame in frames]
        first.save(
            path, "GIF", save_all=True, append_images=others, duration=round(1000 / fps), loop=0
        )
        return
    try:
        import imageio.v2 as imageio
        import imageio_ffmpeg  # noqa: F401  (found by imageio when it writes)
    except ModuleNotFoundError as error:
        raise MissingExtraError("a video", "video") from error
    writer: Any
    with imageio.get_writer(path, format="FFMPEG", fps=fps, macro_block_size=2) as writer:
        for frame in frames:
            writer.append_data(frame)
