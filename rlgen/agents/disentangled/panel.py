"""Pictures beside a governed agent: its latent means, and the next state that they decode to.

They are drawn by NumPy and OpenCV, because they are made anew in every step of a video or page.
"""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from rlgen.agents.disentangled.govern import Governor

Frame = npt.NDArray[np.uint8]
MAPPED, UNMAPPED, GOVERNED, ALARM = (52, 101, 164), (140, 140, 140), (220, 110, 20), (200, 30, 30)
LIMIT = 5.0  # the paper's range of values


def draw_bars(
    values: npt.ArrayLike,
    colors: list[tuple[int, int, int]],
    size: tuple[int, int],
    *,
    limit: float = LIMIT,
    marks: npt.ArrayLike | None = None,
) -> Frame:
    """Draws vertical bars around zero, with the number of each below it.

    Args:
        values: (n,); drawn up to the limit.
        colors: RGB of each bar.
        size: Height and width of the picture in pixels.
        limit: Value at the upper edge; minus it at the lower one.
        marks: (n,) values shown as thin lines, or None.

    Returns:
        uint8 (height, width, 3).
    """
    height, width = size
    picture = np.full((height, width, 3), 255, dtype=np.uint8)
    numbers = np.asarray(values, np.float64)
    slot, text = width / len(numbers), 12
    zero, scale = (height - text) / 2, (height - text) / 2 / limit
    for i, (value, color) in enumerate(zip(numbers, colors, strict=True)):
        left = int(slot * (i + 0.15))
        right = max(int(slot * (i + 0.85)), left + 1)
        ends = sorted((zero, zero - scale * float(np.clip(value, -limit, limit))))
        picture[round(ends[0]) : max(round(ends[1]), round(ends[0]) + 1), left:right] = color
        if marks is not None:
            at = zero - scale * float(np.clip(np.asarray(marks)[i], -limit, limit))
            picture[min(max(round(at), 0), height - text - 1), left:right] = 0
        if slot >= 14:
            where = (int(slot * (i + 0.5)) - 4 * len(str(i)), height - 2)
            cv2.putText(picture, str(i), where, cv2.FONT_HERSHEY_SIMPLEX, 0.34, (0, 0, 0), 1)
    picture[round(zero)] = 0
    return picture


def latent_panel(governor: Governor, size: tuple[int, int], row: int = 0) -> Frame:
    """Draws the means of the last step: blue mapped, gray not, orange where a rule changed them.

    A thin line is what the encoder said. A red edge is an alarm: no such state was visited.

    Args:
        governor: After its ``predict``.
        size: Height and width in pixels.
        row: Which environment.
    """
    encoded, edited = governor.latents[row], governor.edited[row]
    m = governor.action_dim
    plain = [MAPPED if i < m else UNMAPPED for i in range(governor.latent_dim)]
    changed = encoded != edited
    colors = [GOVERNED if c else color for c, color in zip(changed, plain, strict=True)]
    picture = draw_bars(edited, colors, size, marks=encoded)
    if len(governor.alarms) and governor.alarms[row]:
        for edge in (picture[:3], picture[-3:], picture[:, :3], picture[:, -3:]):
            edge[:] = ALARM
    return picture


def below_frames(governor: Governor) -> Callable[[Frame, Any], Frame]:
    """Returns what draws the latent means below the frames of a video."""

    def draw(frame: Frame, state: Any) -> Frame:
        height, width = frame.shape[:2]
        thickness = max(height // 5, 48)
        thickness += (height + thickness) % 2  # videos have an even height
        return np.concatenate([frame, latent_panel(governor, (thickness, width))])

    return draw


def prediction_picture(
    prediction: npt.NDArray[Any], size: tuple[int, int], marks: npt.NDArray[Any] | None = None
) -> Frame:
    """Draws a predicted next state.

    Args:
        prediction: A vector (D,), drawn as bars; or a picture (channels, height, width) of numbers
            within 0..1, of which three channels are colours and others are shown as their mean.
        size: Height and width in pixels.
        marks: The state that is there now, a vector (D,), shown as thin lines.
    """
    if prediction.ndim == 3:
        shown = prediction if len(prediction) == 3 else prediction.mean(0, keepdims=True)
        pixels = np.moveaxis(np.broadcast_to(shown, (3, *shown.shape[1:])), 0, -1)
        bytes_ = np.rint(255 * pixels.clip(0, 1)).astype(np.uint8)
        return np.asarray(
            cv2.resize(bytes_, size[::-1], interpolation=cv2.INTER_NEAREST), dtype=np.uint8
        )
    flat = prediction.reshape(-1)
    limit = float(np.abs(flat).max(initial=1.0))
    limit = 2.0 ** np.ceil(np.log2(limit))  # steps, so that the picture does not breathe
    return draw_bars(flat, [MAPPED] * len(flat), size, limit=limit, marks=marks)
