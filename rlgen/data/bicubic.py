"""Bicubic resampling in MATLAB's convention, in which super-resolution is measured.

``imresize``'s kernel is Keys' with a = -0.5; where pictures shrink it is widened by the factor, so
that it does not alias. Borders are mirrored with the edge twice, and sample k of the result lies at
(k + 1/2) factor - 1/2. Pillow's and OpenCV's resizing differ from it, at borders or in aliasing,
and figures of bicubic enlargement are not comparable then.

As MATLAB does when it is given bytes, columns are resampled first, and both results are rounded to
bytes, half upwards. Given doubles it rounds nothing, which changes figures by 0.01 dB.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]


def cubic(x: Floats) -> Floats:
    """Returns Keys' kernel with a = -0.5 at x."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


@lru_cache(maxsize=256)
def bicubic_weights(length: int, result: int) -> tuple[Index, Floats]:
    """Returns from which samples each sample of the result is made, and with which weights.

    Args:
        length: Samples in, 1 or more.
        result: Samples out.

    Returns:
        Indices and weights, each (result, taps); weights of a row sum to 1.
    """
    step = length / result
    widening = max(step, 1.0)
    centre = (np.arange(result) + 0.5) * step - 0.5
    taps = int(np.ceil(4 * widening)) + 2
    index = np.floor(centre - 2 * widening).astype(np.int64)[:, None] + np.arange(taps)
    weight = cubic((centre[:, None] - index) / widening)
    used = np.any(weight != 0, axis=0)
    index, weight = index[:, used], weight[:, used]
    period = index % (2 * length)  # mirrored with the edge twice
    index = np.where(period < length, period, 2 * length - 1 - period)
    return index, weight / weight.sum(axis=1, keepdims=True)


def shrink(image: Pixels, scale: int) -> Pixels:
    """Returns a picture made smaller.

    Args:
        image: uint8 (H, W, C), both sides multiples of the scale.
        scale: By how much each side shrinks.

    Returns:
        uint8 (H / scale, W / scale, C).
    """
    height, width = image.shape[:2]
    return shrink_part(image, scale, (0, 0), (height // scale, width // scale))


def shrink_part(image: Pixels, scale: int, place: tuple[int, int], size: tuple[int, int]) -> Pixels:
    """Returns a part of ``shrink(image, scale)``, without making the rest.

    Args:
        image: uint8 (H, W, C), both sides multiples of the scale.
        scale: By how much each side shrinks.
        place: Top and left of the part in the small picture.
        size: Its height and width.

    Returns:
        uint8 (height, width, C).
    """
    (top, left), (rows, columns) = place, size
    down, right = (bicubic_weights(side, side // scale) for side in image.shape[:2])
    return _resample(
        image,
        (down[0][top : top + rows], down[1][top : top + rows]),
        (right[0][left : left + columns], right[1][left : left + columns]),
    )


def enlarge(image: Pixels, scale: int) -> Pixels:
    """Returns a picture made larger: uint8 (scale H, scale W, C)."""
    down, right = (bicubic_weights(side, side * scale) for side in image.shape[:2])
    return _resample(image, down, right)


def _resample(image: Pixels, down: tuple[Index, Floats], right: tuple[Index, Floats]) -> Pixels:
    # Only columns that are read later; both gathers hold taps times the pixels for a moment.
    first, end = int(right[0].min()), int(right[0].max()) + 1
    rows = np.einsum("rt,rtwc->rwc", down[1], image[down[0], first:end])
    both = np.einsum("ct,rctk->rck", right[1], _to_bytes(rows)[:, right[0] - first])
    return _to_bytes(both)


def _to_bytes(values: Floats) -> Pixels:
    return np.floor(values + 0.5).clip(0, 255).astype(np.uint8)
