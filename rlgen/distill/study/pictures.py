"""The pictures of a study: a drawn part of a named set, perhaps made smaller."""

import numpy as np

from rlgen.core.errors import UserError
from rlgen.data.classification import LabelledImages, LabelledSets, open_classification
from rlgen.data.images import Pixels
from rlgen.distill.study.options import StudyOptions


def open_pictures(options: StudyOptions) -> LabelledSets:
    """Opens the pictures that the options name.

    Raises:
        UserError: If there are none, or too few.
    """
    sets = open_classification(options.data, options.size)
    train = draw_part("train_pictures", sets.train, options.train_pictures)
    test = draw_part("test_pictures", sets.test, options.test_pictures)
    if min(sets.shape[1:]) // options.shrink < 8:
        raise UserError(
            f"shrink={options.shrink} leaves less than 8 pixels of {sets.shape[2]}x"
            f"{sets.shape[1]}; type a smaller one"
        )
    small = (LabelledImages(shrink(p.pixels, options.shrink), p.labels) for p in (train, test))
    return sets._replace(train=next(small), test=next(small))


def draw_part(name: str, part: LabelledImages, count: int | None) -> LabelledImages:
    """Returns some pictures, always the same ones, in the order of the set.

    Args:
        name: Of the option, for messages.
        part: All pictures.
        count: How many; None for all.

    Raises:
        UserError: If there are fewer.
    """
    if count is None:
        return part
    if count > len(part):
        raise UserError(f"{name}={count}: the set has {len(part)}")
    return take(part, np.sort(np.random.default_rng(0).permutation(len(part))[:count]))


def take(
    part: LabelledImages, index: "np.ndarray[tuple[int], np.dtype[np.int64]]"
) -> LabelledImages:
    """Returns the pictures of an index, which may name one several times."""
    return LabelledImages(part.pixels[index], part.labels[index])


def shrink(pixels: Pixels, factor: int) -> Pixels:
    """Averages squares of pixels; a rest at the right and lower edge is cut off.

    Args:
        pixels: uint8 (N, H, W, C).
        factor: Side of the squares.

    Returns:
        uint8 (N, H / factor, W / factor, C), rounded.
    """
    if factor == 1:
        return pixels
    count, height, width, channels = pixels.shape
    rows, columns = height // factor, width // factor
    cut = pixels[:, : rows * factor, : columns * factor]
    squares = cut.reshape(count, rows, factor, columns, factor, channels)
    small: Pixels = np.rint(squares.mean((2, 4), dtype=np.float32)).astype(np.uint8)
    return small
