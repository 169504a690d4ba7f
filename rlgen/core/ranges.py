"""Checks of numbers that the types of options leave open."""

from typing import Any

from rlgen.core.errors import UserError


def check_range(
    name: str, value: Any, smallest: float, largest: float, *, optional: bool = False
) -> None:
    """Checks that an option's value lies in its range.

    Args:
        name: Of the option, as it is typed.
        value: What was given.
        smallest: Least value; a whole number asks for whole numbers.
        largest: Greatest value.
        optional: Whether None, for "not given", passes.

    Raises:
        UserError: If the value is no such number.
    """
    if value is None and optional:
        return
    whole = isinstance(smallest, int)
    number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
    if number and value < smallest:
        raise UserError(f"{name}={value} is too small; type {name}={smallest:g} or more")
    if not number or not value <= largest:
        kind = "a whole number" if whole else "a number"
        raise UserError(f"{name}={value}; {kind} from {smallest:g} to {largest:g} is needed")
