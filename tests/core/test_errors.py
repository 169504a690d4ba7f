"""Error messages: what was given, what is allowed, what to type instead."""

import pytest

from rlgen.core.errors import MissingExtraError, NonFiniteLossError, UserError, closest


@pytest.mark.parametrize(
    ("name", "allowed", "message"),
    [
        ("braekout", ["Breakout", "Pong"], "did you mean 'Breakout'?"),
        ("BREAKOUT", ["Breakout", "Pong"], "did you mean 'Breakout'?"),
        ("ppp", ["ppo", "a2c", "g2ppo"], "did you mean 'ppo'?"),
        ("aaab", ["aaac", "aaad"], "did you mean 'aaad' or 'aaac'?"),
        ("zzz", ["b", "a"], "allowed: a, b"),
        ("zzz", ["a", "a"], "allowed: a"),
    ],
)
def test_closest_names_come_with_the_error(name, allowed, message):
    assert closest(name, allowed) == message


def test_no_more_than_count_names_are_offered():
    assert closest("aaaa", ["aaab", "aaac", "aaad"], count=1).count(" or ") == 0


@pytest.mark.parametrize(("count", "tail"), [(12, "x11"), (13, "...")])
def test_a_long_list_is_cut_after_twelve_names(count, tail):
    text = closest("?", [f"x{i:02}" for i in range(count)])
    assert text.startswith("allowed: x00, ")
    assert text.endswith(tail)


def test_a_missing_extra_tells_what_to_install():
    error = MissingExtraError("env=MinAtar/Breakout-v1", "minatar")
    assert isinstance(error, UserError)
    assert str(error) == (
        'env=MinAtar/Breakout-v1 needs an optional dependency; run: pip install "rlgen[minatar]"'
    )


def test_a_non_finite_loss_names_term_and_step():
    error = NonFiniteLossError("train/value_loss", 512)
    assert (error.term, error.step) == ("train/value_loss", 512)
    assert str(error) == "train/value_loss is not finite at step 512"
