"""Statistics over seeds and episodes: interquartile mean and bootstrap intervals."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def iqm(values: npt.ArrayLike, axis: int = 0) -> Array:
    """Returns the interquartile mean: the mean of the middle half of the values.

    A quarter of the weight is cut from each end; where a quarter is not a whole number of
    values, the boundary values count in part, so that small sample sizes are not biased.

    Args:
        values: Numbers; NaN is not allowed.
        axis: Axis to average over.
    """
    ordered = np.moveaxis(np.sort(np.asarray(values, dtype=np.float64), axis=axis), axis, 0)
    count = len(ordered)
    cut = count / 4
    position = np.arange(count)
    # Share of each ordered value that lies inside the middle half, between 0 and 1.
    weight = np.clip(np.minimum(position + 1, count - cut) - np.maximum(position, cut), 0, 1)
    return np.asarray(np.tensordot(weight, ordered, axes=1) / weight.sum())


def bootstrap_interval(
    values: npt.ArrayLike,
    statistic: Callable[..., Array] = np.mean,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[Array, Array]:
    """Returns a percentile bootstrap interval of a statistic over the first axis.

    Args:
        values: Samples along axis 0 (seeds or episodes); further axes (time) are kept.
        statistic: Reduces axis 1 of a stack of resamples; called with ``axis=1``.
        confidence: Probability mass inside the interval.
        resamples: Number of bootstrap resamples.
        seed: Seed of the resampling, so that a report can be made again.

    Returns:
        Lower and upper end, each with the shape of the further axes.
    """
    samples = np.asarray(values, dtype=np.float64)
    if len(samples) == 0:
        raise ValueError("bootstrap_interval needs at least one value")
    index = np.random.default_rng(seed).integers(len(samples), size=(resamples, len(samples)))
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(statistic(samples[index], axis=1), [tail, 100 - tail], axis=0)
    return low, high
