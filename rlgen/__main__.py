"""``rlgen <command>``, the same as ``python -m rlgen.<command>``."""

import sys
from collections.abc import Sequence
from importlib import import_module

from rlgen import __version__

COMMANDS = {
    "train": "train an agent, an image model or a distilled classifier",
    "evaluate": "score a trained agent, and film it",
    "design": "search, compare and export 3D designs",
    "generate": "translate images into mixes of domains",
    "govern": "steer an agent by its latent coordinates",
    "list": "list layers, models and losses",
    "plot": "draw learning curves over seeds",
    "study": "cross distillation with pruning, quantisation and the like",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        lines = [f"  {name:<10}{what}" for name, what in COMMANDS.items()]
        print("usage: rlgen COMMAND [--help] ...\n\n" + "\n".join(lines))
        return 0
    if arguments[0] == "--version":
        print(__version__)
        return 0
    if arguments[0] not in COMMANDS:
        from rlgen.core.errors import closest

        unknown = f"unknown command {arguments[0]!r}; {closest(arguments[0], COMMANDS)}"
        print(f"error: {unknown}", file=sys.stderr)
        return 2
    code: int = import_module(f"rlgen.{arguments[0]}").main(arguments[1:])
    return code


if __name__ == "__main__":
    sys.exit(main())
