"""What all commands share: arguments, help, one-line errors and exit codes."""

import os
import sys
from collections.abc import Callable, Sequence

from rlgen.core.errors import UserError

EXIT_USER = 2  # a mistake in what was typed
EXIT_FAILED = 1  # the run stopped for a reason of its own
EXIT_INTERRUPTED = 130


class RunFailed(Exception):
    """A run cannot go on; the message is one line and tells how to continue."""


def share_the_cores() -> None:
    """Lets torch's idle threads sleep soon, so that environments get the cores they step on.

    By default an idle thread of GNU OpenMP spins for some milliseconds, longer than a step of a
    vector of Atari games, and takes a core from it. Measured on two cores: 8 % more steps/s of
    PPO on Breakout in bf16, no change in fp32. OpenMP reads the variable when torch is loaded,
    so this must come first; a value that the user has set stays.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")


def tell(line: str) -> None:
    """Prints a line for the user, beside and not inside what a command outputs.

    Where several processes train together, only the first one speaks.
    """
    if os.environ.get("RANK", "0") == "0":
        print(line, file=sys.stderr, flush=True)


def run_command(
    work: Callable[[list[str]], int], help_text: Callable[[], str], argv: Sequence[str] | None
) -> int:
    """Runs a command and turns its errors into one line and an exit code.

    Args:
        work: Does the work for the arguments and returns an exit code.
        help_text: Returns what ``-h`` and ``--help`` print.
        argv: The arguments, or None for those of the process.
    """
    share_the_cores()
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if any(argument in ("-h", "--help") for argument in arguments):
            print(help_text())
            return 0
        return work(arguments)
    except UserError as error:
        tell(f"error: {error}")
        return EXIT_USER
    except RunFailed as error:
        tell(f"stopped: {error}")
        return EXIT_FAILED
    except KeyboardInterrupt:
        tell("interrupted")
        return EXIT_INTERRUPTED
