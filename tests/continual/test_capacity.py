"""Shares of channels."""

import pytest

from rlgen.continual.capacity import Capacity
from rlgen.core.errors import UserError

FULL = {"a": 16, "b": 7}


@pytest.mark.parametrize(
    ("capacity", "expected"),
    [
        (Capacity(tasks=2), [(8, 4), (16, 7)]),  # 3.5 goes up
        (Capacity(tasks=3), [(5, 2), (11, 5), (16, 7)]),
        (Capacity(fractions=[0.5, 0.75, 1]), [(8, 4), (12, 5), (16, 7)]),
        (Capacity(tasks=2, grow=True), [(8, 4), (16, 7), (24, 11), (32, 14)]),
        (Capacity(fractions=[0.5, 0.75], grow=True), [(8, 4), (12, 5), (16, 7)]),
    ],
)
def test_widths(capacity, expected):
    got = [tuple(capacity.widths(task, FULL).values()) for task in range(len(expected))]
    assert got == expected


@pytest.mark.parametrize("tasks", range(1, 8))
def test_equal_shares_rise_to_the_whole(tasks):
    capacity = Capacity(tasks=tasks)
    for count in range(tasks, 40):
        widths = [capacity.widths(task, {"a": count})["a"] for task in range(tasks)]
        assert [0, *widths] == sorted({0, *widths})
        assert widths[-1] == count


def test_no_room_is_one_clear_line():
    with pytest.raises(UserError, match=r"is full.*2 tasks.*grow=true, or begin with tasks=3"):
        Capacity(tasks=2).widths(2, FULL)
    with pytest.raises(
        UserError, match="b has 7 channels, too few for the shares of 20 tasks: task 1 gets none"
    ):
        [Capacity(tasks=20).widths(task, FULL) for task in range(20)]


@pytest.mark.parametrize("fractions", [[], [0.5, 0.5], [0.5, 1.5], [0, 1], [0.6, 0.3]])
def test_fractions_rise(fractions):
    with pytest.raises(UserError, match=r"shares rise .* type fractions=\[0.5,0.75,1.0\]"):
        Capacity(fractions=fractions)


def test_either_tasks_or_fractions():
    for options in ({}, {"tasks": 2, "fractions": [1.0]}):
        with pytest.raises(UserError, match="give either"):
            Capacity(**options)
    with pytest.raises(UserError, match="tasks=0 is too small"):
        Capacity(tasks=0)
