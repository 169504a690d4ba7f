"""Errors that are the user's to fix, and how a command reports them."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in what was asked for, told in one line.

    Commands print the message and exit with code 2; library code lets it rise. The message says
    what was given, what is allowed and what to type instead.
    """


class MissingExtraError(UserError):
    """An optional dependency is needed and absent.

    Args:
        what: What was asked for, as the user typed it.
        extra: Name of the extra in ``rlgen[...]`` that brings the dependency.
    """

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f'{what} needs an optional dependency; run: pip install "rlgen[{extra}]"')


class NonFiniteLossError(RuntimeError):
    """A loss term became NaN or infinite.

    Args:
        term: Name of the term, as it is logged.
        step: Environment steps taken when it happened.
    """

    def __init__(self, term: str, step: int) -> None:
        super().__init__(f"{term} is not finite at step {step}")
        self.term = term
        self.step = step


def closest(name: str, allowed: Iterable[str], count: int = 3) -> str:
    """Returns the allowed names nearest to a mistyped one, as the tail of an error message.

    Args:
        name: What was given.
        allowed: Every valid name.
        count: How many to offer at most.

    Returns:
        ``"did you mean 'a' or 'b'?"``, or the list of allowed names where none is near.
    """
    names = sorted(set(allowed))
    by_lower = {candidate.lower(): candidate for candidate in reversed(names)}
    near = difflib.get_close_matches(name.lower(), by_lower, n=count, cutoff=0.6)
    if near:
        return "did you mean " + " or ".join(repr(by_lower[match]) for match in near) + "?"
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"allowed: {shown}"
