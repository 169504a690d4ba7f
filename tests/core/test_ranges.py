"""Ranges of options: what passes, and what the message says."""

import pytest

from rlgen.core.errors import UserError
from rlgen.core.ranges import check_range


@pytest.mark.parametrize(
    ("value", "smallest", "largest"), [(1, 1, 9), (9, 1, 9), (0.5, 0.0, 1.0), (1, 0.0, 1.0)]
)
def test_what_lies_inside_passes(value, smallest, largest):
    check_range("size", value, smallest, largest)


def test_what_is_not_given_passes_where_it_may():
    check_range("size", None, 1, 9, optional=True)


@pytest.mark.parametrize(
    ("value", "smallest", "told"),
    [
        (0, 1, "size=0 is too small; type size=1 or more"),
        (10, 1, "size=10; a whole number from 1 to 9 is needed"),
        (None, 1, "size=None; a whole number from 1 to 9 is needed"),
        (2.5, 1, "size=2.5; a whole number from 1 to 9 is needed"),
        (True, 1, "size=True; a whole number from 1 to 9 is needed"),
        ("a", 0.0, "size=a; a number from 0 to 9 is needed"),
        (float("nan"), 0.0, "size=nan; a number from 0 to 9 is needed"),
    ],
)
def test_what_does_not_is_told_in_one_line(value, smallest, told):
    with pytest.raises(UserError) as error:
        check_range("size", value, smallest, 9)
    assert str(error.value) == told
