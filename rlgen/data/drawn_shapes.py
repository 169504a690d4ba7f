"""Small drawn pictures with classes, so that a classifier can be trained where there is no data.

Six shapes of a random colour, place and size on a noisy ground of another colour. A linear
classifier on the pixels does poorly; a small convolutional network learns them in seconds.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Grid = npt.NDArray[np.float64]

# From offsets (dx, dy) of a pixel to the middle, in units of the shape's radius.
SHAPES: dict[str, Callable[[Grid, Grid], npt.NDArray[np.bool_]]] = {
    "disc": lambda dx, dy: dx**2 + dy**2 < 1,
    "ring": lambda dx, dy: (dx**2 + dy**2 < 1) & (dx**2 + dy**2 > 0.4),
    "square": lambda dx, dy: np.maximum(abs(dx), abs(dy)) < 0.85,
    "cross": lambda dx, dy: (
        (np.minimum(abs(dx), abs(dy)) < 0.3) & (np.maximum(abs(dx), abs(dy)) < 1)
    ),
    "triangle": lambda dx, dy: (dy < 0.8) & (abs(dx) < (dy + 1) / 2),
    "stripes": lambda dx, dy: (np.maximum(abs(dx), abs(dy)) < 1) & (np.floor(4 * dy) % 2 == 0),
}


def draw_shapes(count: int, side: int, seed: int) -> tuple[Pixels, npt.NDArray[np.int64]]:
    """Draws pictures, the classes in turn.

    Args:
        count: How many.
        side: Height and width in pixels.
        seed: The same seed gives the same pictures.

    Returns:
        Pictures (count, side, side, 3) and classes (count,), indices into ``SHAPES``.
    """
    generator = np.random.default_rng([seed, side])
    labels = np.arange(count) % len(SHAPES)
    radius = side * generator.uniform(0.22, 0.36, (count, 1, 1))
    middle = side / 2 + generator.uniform(-1, 1, (2, count, 1, 1)) * (side / 2 - radius)
    y, x = np.mgrid[0:side, 0:side] + 0.5
    dx, dy = (x - middle[0]) / radius, (y - middle[1]) / radius
    inside = np.zeros((count, side, side), dtype=bool)
    for number, shape in enumerate(SHAPES.values()):
        chosen = labels == number
        inside[chosen] = shape(dx[chosen], dy[chosen])
    ground = generator.uniform(0.1, 0.9, (count, 1, 1, 3))
    # At least 0.35 away in every colour, so that no shape hides.
    ink = (ground + generator.uniform(0.35, 0.65, ground.shape)) % 1.0
    images = np.where(inside[..., None], ink, ground)
    images += generator.normal(0, 0.06, images.shape)
    return np.round(255 * images.clip(0, 1)).astype(np.uint8), labels
