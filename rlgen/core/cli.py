"""What all commands share: arguments, help, one-line errors and exit codes."""

import sys
from collections.abc import Callable, Sequence

from rlgen.core.errors import UserError

EXIT_USER = 2  # a mistake in what was typed
EXIT_FAILED = 1  # the run stopped for a reason of its own
EXIT_INTERRUPTED = 130


class RunFailed(Exception):
    """A run cannot go on; the message is one line and tells how to continue."""


def tell(line: str) -> None:
    """Prints a line for the user, beside and not inside what a command outputs."""
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
