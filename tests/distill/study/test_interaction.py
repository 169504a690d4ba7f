"""The 2x2 comparison against numbers worked out by hand."""

import math

import pytest

from rlgen.distill.study.interaction import UNDECIDED, Estimate, compare, estimate, judge


def test_estimate_of_three_values():
    # Mean 4, deviation 2, error 2 / sqrt(3); the t quantile of two degrees of freedom is 4.302653.
    found = estimate([2.0, 4.0, 6.0])
    assert found.mean == 4.0
    assert found.error == pytest.approx(2 / math.sqrt(3))
    assert found.half == pytest.approx(4.302653 * 2 / math.sqrt(3), rel=1e-6)
    assert found.low == pytest.approx(4 - found.half)


def test_one_seed_has_no_interval_and_no_verdict():
    found = compare([70.0], [72.0], [69.0], [74.0])
    assert (found.gain_kd.mean, found.gain_x.mean, found.gain_kd_given_x.mean) == (2.0, -1.0, 5.0)
    assert found.interaction.mean == 3.0
    assert math.isnan(found.interaction.low)
    assert math.isnan(found.error)
    assert found.verdict == UNDECIDED


def test_gains_interaction_and_error_of_two_seeds():
    # SE of two values is half their distance: 1, 2, 0, 2 for the four cells.
    found = compare([70.0, 72.0], [71.0, 75.0], [60.0, 60.0], [66.0, 70.0])
    assert found.gain_kd.mean == 2.0
    assert found.gain_x.mean == -11.0
    assert found.gain_kd_given_x.mean == 8.0
    assert found.interaction.mean == 6.0
    assert found.error == pytest.approx(3.0)
    # I of the seeds is 66 - 60 - 71 + 70 = 5 and 70 - 60 - 75 + 72 = 7.
    assert found.interaction.error == pytest.approx(1.0)


VALUES = ([70.1, 71.7, 70.9], [72.3, 72.9, 73.3], [66.6, 64.2, 65.7], [69.9, 68.1, 68.8])


def test_the_factors_may_change_roles():
    base, kd, x, both = VALUES
    one, two = compare(base, kd, x, both), compare(base, x, kd, both)
    assert one.interaction == two.interaction
    assert one.error == two.error
    assert one.gain_kd == two.gain_x
    assert one.gain_x == two.gain_kd


def test_the_identity_has_no_gain_and_no_interaction():
    base, kd = VALUES[:2]
    found = compare(base, kd, base, kd)
    assert found.interaction == Estimate(0.0, 0.0, 0.0, 0.0)
    assert found.gain_x == Estimate(0.0, 0.0, 0.0, 0.0)
    assert found.gain_kd_given_x == found.gain_kd


@pytest.mark.parametrize(
    ("low", "interaction", "verdict"),
    [
        (0.1, 0.99, "orthogonal"),
        (0.1, -1.0, "orthogonal"),
        (0.1, 1.01, "compatible"),
        (0.1, -1.01, "compatible"),
        (0.0, 0.0, "conflicting"),
        (-0.1, 5.0, "conflicting"),
    ],
)
def test_the_rule(low, interaction, verdict):
    assert judge(Estimate(1.0, 0.2, low, 2.0), interaction, error=0.5) == verdict


@pytest.mark.parametrize("cells", [([], [], [], []), ([1.0], [1.0, 2.0], [1.0], [1.0])])
def test_cells_have_the_same_seeds(cells):
    with pytest.raises(ValueError, match="same seeds"):
        compare(*cells)
