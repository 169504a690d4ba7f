"""Interquartile means against numbers worked out by hand; bootstrap intervals."""

import numpy as np
import pytest

from rlgen.core.stats import bootstrap_interval, iqm

# The middle half holds n / 2 values; where n / 4 is not whole, the outer ones count in part.
BY_HAND = [
    ([7], 7.0),
    ([1, 3], 2.0),
    ([0, 3, 9], 3.5),  # weights 1/4, 1, 1/4
    ([1, 2, 3, 1000], 2.5),  # weights 0, 1, 1, 0
    ([0, 1, 2, 4, 100], 2.3),  # weights 0, 3/4, 1, 3/4, 0
    ([1, 2, 3, 4, 5, 1000], 3.5),  # weights 0, 1/2, 1, 1, 1/2, 0
    ([-1000, 2, 3, 4, 5, 6, 7, 1000], 4.5),  # the mean of 3, 4, 5, 6
]


@pytest.mark.parametrize(("values", "expected"), BY_HAND)
def test_iqm_is_the_mean_of_the_middle_half(values, expected):
    assert iqm(values) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("values", "expected"), BY_HAND)
def test_iqm_does_not_depend_on_the_order(values, expected):
    shuffled = np.random.default_rng(0).permutation(values)
    assert iqm(shuffled) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_iqm_reduces_one_axis(axis):
    table = np.random.default_rng(1).normal(size=(5, 7))
    rows = table if axis else table.T
    assert iqm(table, axis=axis) == pytest.approx([float(iqm(row)) for row in rows])


def test_iqm_leaves_its_argument_alone():
    values = np.array([3.0, 1.0, 2.0])
    iqm(values)
    assert values.tolist() == [3.0, 1.0, 2.0]


@pytest.mark.parametrize(("confidence", "expected"), [(0.95, (0, 1)), (0.4, (0.5, 0.5))])
def test_the_interval_of_two_values_is_known(confidence, expected):
    # The mean of a resample of {0, 1} is 0, 1/2 or 1 with probability 1/4, 1/2, 1/4.
    assert bootstrap_interval([0, 1], confidence=confidence) == expected


def test_the_interval_covers_the_mean_as_often_as_it_says():
    generator = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        samples = generator.normal(5.0, 2.0, size=40)
        low, high = bootstrap_interval(samples, confidence=0.9, resamples=300, seed=trial)
        covered += low <= 5.0 <= high
    # Expected 0.88, as the bootstrap is a little narrow; four standard errors are 0.09.
    assert 0.79 <= covered / 200 <= 0.97


def test_the_interval_of_equal_values_has_no_width():
    assert bootstrap_interval([4.0] * 6) == (4.0, 4.0)


def test_more_confidence_is_a_wider_interval():
    values = np.random.default_rng(2).normal(size=30)
    narrow, wide = (bootstrap_interval(values, confidence=c) for c in (0.5, 0.99))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


@pytest.mark.parametrize("statistic", [np.mean, np.median, iqm])
def test_further_axes_are_kept(statistic):
    values = np.random.default_rng(3).normal(size=(6, 4, 2))
    low, high = bootstrap_interval(values, statistic, resamples=200)
    assert low.shape == high.shape == (4, 2)
    assert (low < high).all()


def test_an_interval_per_column_is_that_of_the_column():
    values = np.random.default_rng(4).normal(size=(8, 3))
    low, high = bootstrap_interval(values)
    alone = bootstrap_interval(values[:, 1])
    assert (low[1], high[1]) == pytest.approx(alone)


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(5).normal(size=9)
    assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=1)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)


def test_no_values_are_refused():
    with pytest.raises(ValueError, match="at least one value"):
        bootstrap_interval([])
