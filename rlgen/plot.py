"""``python -m rlgen.plot runs/*``: learning curves over seeds, with intervals."""

import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rlgen.core.cli import run_command
from rlgen.core.errors import UserError

HELP = """usage: python -m rlgen.plot FOLDER [FOLDER ...] [key=value ...]

  FOLDER            run folders, or folders of runs; runs are grouped by agent and environment
  out=curves.png    the picture
  by=agent.evolve   group by these keys of config.yaml as well, separated by +

The curve of a group is the interquartile mean over its runs of the mean return of the last 100
episodes, the band its 95 % bootstrap interval.

example: python -m rlgen.plot runs/* out=breakout.png"""


@dataclass
class PlotOptions:
    """Options of the command; see ``HELP``."""

    out: str = "curves.png"
    by: str = ""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    return run_command(_work, lambda: HELP, argv)


def _work(arguments: list[str]) -> int:
    from rich.console import Console
    from rich.table import Table

    from rlgen.core.compose import check_options
    from rlgen.core.curves import draw_groups
    from rlgen.core.run import all_runs

    folders = [a for a in arguments if "=" not in a]
    if not folders:
        raise UserError("no folder is named; type: python -m rlgen.plot runs/*")
    options = check_options(PlotOptions, [a for a in arguments if "=" in a])
    out = Path(options.out)
    if not out.parent.is_dir():
        raise UserError(f"out={options.out}: the folder {out.parent} does not exist")
    groups: dict[str, list[Path]] = defaultdict(list)
    for run in all_runs(folders):
        groups[_label(run, options.by)].append(run)
    summary = draw_groups(dict(sorted(groups.items())), out)
    if not summary:
        raise UserError("no episode has ended in these runs; train them longer")
    table = Table(title="interquartile mean of the return at the last common step")
    for column in ("group", "runs", "steps", "return", "95 % interval"):
        table.add_column(column, justify="left" if column == "group" else "right")
    for label, row in summary.items():
        interval = f"[{row['low']:.2f}, {row['high']:.2f}]"
        table.add_row(
            label, f"{row['runs']:.0f}", f"{row['steps']:,.0f}", f"{row['iqm']:.2f}", interval
        )
    console = Console()
    console.print(table)
    console.print(f"picture: {out}")
    return 0


def _label(run: Path, by: str) -> str:
    from rlgen.core.run import read_config
    from rlgen.envs.names import resolve_env

    config = read_config(run)
    try:
        title = f"{config['agent']['name']} on {resolve_env(config['env']).short}"
    except (KeyError, TypeError, UserError):
        title = run.parent.name
    for key in filter(None, by.split("+")):
        value = config
        for part in key.split("."):
            if not isinstance(value, dict) or part not in value:
                raise UserError(f"by={by}: {run} has no {key} in its config.yaml")
            value = value[part]
        title += f", {key}={value}"
    return title


if __name__ == "__main__":
    sys.exit(main())
