"""Does the Hellinger regularizer help? Paired runs of one agent with and without it.

    python benchmarks/option_learning.py env=FourRooms agent=ppoc steps=150000
    python benchmarks/option_learning.py env=CartPole-v1 agent=ppoc steps=100000
    python benchmarks/option_learning.py env=MinAtar/Breakout-v1 agent=ppoc steps=300000 jobs=2

Both variants take the same steps with the same seeds; every run is one ``python -m rlgen.train``
command with one torch thread, and one ``python -m rlgen.evaluate RUN indicators=true`` of the final
agent on 10,000 steps. What is there already is not repeated. Printed: the learning curve's figures
and all indicators, as mean over seeds with 95 % bootstrap interval, and the paired difference.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from paired_runs import FIGURES, call, cell, folder_of, summary, train

from rlgen.core.cli import run_command
from rlgen.core.compose import check_options
from rlgen.core.curves import draw_groups
from rlgen.core.record import read_rows


@dataclass
class StudyOptions:
    """Options of the study."""

    env: str = "FourRooms"
    agent: str = "ppoc"
    steps: int = 150_000
    seeds: int = 5
    coef: float = 0.05
    extra: str = ""  # further arguments of both variants, separated by spaces
    record_steps: int = 10_000
    eval_episodes: int = 30
    jobs: int = 1
    out: str = "runs/options"


def folder(options: StudyOptions, coef: float, seed: int) -> Path:
    """Returns the run folder of a coefficient and seed."""
    label = f"{options.agent}-{coef}-{options.extra}"
    return folder_of(options.out, options.env, label, seed)


def run(options: StudyOptions, coef: float, seed: int) -> None:
    """Trains and studies one agent."""
    where = folder(options, coef, seed)
    arguments = [f"agent={options.agent}", f"env={options.env}", f"seed={seed}"]
    arguments += [f"agent.hellinger_coef={coef}", f"total_timesteps={options.steps}"]
    arguments += [f"eval_episodes={options.eval_episodes}", *options.extra.split()]
    train(where, arguments)
    if not (where / "options" / "indicators.json").exists():
        studied = [str(where), "indicators=true", "which=last"]
        call("rlgen.evaluate", [*studied, f"record_steps={options.record_steps}"])


def late_length(run: Path) -> float:
    """Returns the mean length of the episodes in the last tenth of a run's steps."""
    rows = read_rows(run / "episodes.csv")
    late = [row for row in rows if float(row["step"]) > 0.9 * float(rows[-1]["step"])]
    return float(np.mean([float(row["length"]) for row in late]))


def report(options: StudyOptions) -> list[str]:
    """Returns the lines of a Markdown table."""
    columns: list[list[dict[str, float]]] = []
    for coef in (0.0, options.coef):
        found = []
        for seed in range(options.seeds):
            where = folder(options, coef, seed)
            figures = dict(zip(FIGURES, summary(where), strict=True))
            figures["steps per episode, last tenth"] = late_length(where)
            indicators = json.loads((where / "options" / "indicators.json").read_text())
            found.append({**figures, **indicators})
        columns.append(found)
    names = [n for n in columns[0][0] if all(n in row for column in columns for row in column)]
    lines = [
        f"{options.agent} on {options.env}, {options.steps:,} steps, {options.seeds} paired seeds",
        "",
        f"| | hellinger_coef=0 | hellinger_coef={options.coef} | difference |",
        "| --- | --- | --- | --- |",
    ]
    for name in names:
        without, with_it = (np.array([row[name] for row in column]) for column in columns)
        cells = (cell(values, 3) for values in (without, with_it, with_it - without))
        lines.append(f"| {name.replace('_', ' ')} | " + " | ".join(cells) + " |")
    return lines


def main(arguments: list[str]) -> int:
    """Runs the study and prints the table."""
    options = check_options(StudyOptions, arguments)
    coefs = (0.0, options.coef)
    with ThreadPoolExecutor(options.jobs) as pool:
        jobs = [pool.submit(run, options, c, s) for s in range(options.seeds) for c in coefs]
        for job in jobs:
            job.result()
    picture = Path(options.out) / f"{options.env.replace('/', '-')}-{options.agent}.png".lower()
    seeds = range(options.seeds)
    draw_groups(
        {f"hellinger_coef={c}": [folder(options, c, s) for s in seeds] for c in coefs}, picture
    )
    print("\n".join([*report(options), "", f"picture: {picture}"]))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, lambda: __doc__, None))
