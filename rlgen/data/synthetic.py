"""Small drawn images, for runs without data: landscapes, and two looks of them.

They exist so that a training command can be tried, and tested, on a machine that has no images.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from rlgen.core.errors import UserError, closest

UInt8Array = npt.NDArray[np.uint8]
PREFIX = "synthetic:"


class SyntheticImages:
    """A set of drawn images, the same at every use.

    Args:
        kind: ``photos`` (sky, hills, a sun), ``stripes`` (the same under warm diagonal stripes) or
            ``night`` (the same, dark and blue).
        side: Height and width in pixels.
        count: How many.

    Raises:
        UserError: If the kind is unknown.
    """

    short_side: int | None

    def __init__(self, kind: str, side: int, count: int = 16) -> None:
        if kind not in _LOOKS:
            raise UserError(f"unknown drawn images {PREFIX}{kind}; {closest(kind, _LOOKS)}")
        self.short_side = side
        self.names = [f"{kind}-{k}" for k in range(count)]
        # Other scenes for other looks: adversarial domains are unpaired.
        first = 1000 * sorted(_LOOKS).index(kind)
        self._images = [_LOOKS[kind](_landscape(first + k, side)) for k in range(count)]
        for image in self._images:  # as those of an ImageSet are
            image.setflags(write=False)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> UInt8Array:
        return self._images[index]


def _landscape(seed: int, side: int) -> UInt8Array:
    generator = np.random.default_rng([seed])
    y, x = np.mgrid[0:side, 0:side] / side
    sky = np.array([0.45, 0.65, 0.95]) + generator.normal(0, 0.08, 3)
    image = sky * (1 - 0.4 * y[..., None]) + 0.3 * y[..., None]
    sun = generator.uniform(0.15, 0.85), generator.uniform(0.1, 0.35)
    image[(x - sun[0]) ** 2 + (y - sun[1]) ** 2 < 0.006] = (1.0, 0.95, 0.6)
    for depth in (0.5, 0.7):
        phase, waves = generator.uniform(0, 6.3), generator.uniform(3, 9)
        ridge = depth + 0.1 * np.sin(waves * x + phase)
        image[y > ridge] = np.array([0.25, 0.5, 0.2]) * (1.5 - depth) + generator.normal(0, 0.04, 3)
    image += generator.normal(0, 0.02, image.shape)
    return np.round(255 * image.clip(0, 1)).astype(np.uint8)


def _stripes(image: UInt8Array) -> UInt8Array:
    side = len(image)
    y, x = np.mgrid[0:side, 0:side]
    wave = 0.5 + 0.5 * np.sin((x + y) * 2 * np.pi / 6)[..., None]
    warm = image * np.array([1.1, 0.8, 0.5])
    return np.round((warm * (0.6 + 0.4 * wave)).clip(0, 255)).astype(np.uint8)


def _night(image: UInt8Array) -> UInt8Array:
    return np.round(image * np.array([0.25, 0.3, 0.6])).astype(np.uint8)


_LOOKS: dict[str, Callable[[UInt8Array], UInt8Array]] = {
    "photos": lambda image: image,
    "stripes": _stripes,
    "night": _night,
}
