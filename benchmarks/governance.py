"""Which coordinate of a disentangled agent drives which behaviour, and how monotonely?

    python benchmarks/governance.py steps=400000
    python benchmarks/governance.py env=Swimmer-v5 steps=300000 seeds=3 jobs=2

A disentangled PPO is trained with one torch thread (``python -m rlgen.train``). Then each
coordinate is held at values from low to high for whole episodes, which begin with the same seeds
under every value, with sampled actions. For each coordinate the behaviours are ranked by
Spearman's rank correlation between the value and the behaviour's mean over an episode. What is
there already is not repeated: the training, and each coordinate's sweep in RUN/governance.

Printed: for each mapped coordinate the three clearest behaviours (for the others one), with the
correlation over all episodes, over the means, and of the episode seed where it is weakest, and the
behaviour at both ends; then how many coordinates reach 0.9, with the true values and, to check the
method, with the episodes dealt out to the values at random.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from paired_runs import folder_of, train

from rlgen.agents.disentangled.behavior import Sweep, sweep
from rlgen.core.cli import run_command
from rlgen.core.compose import check_options
from rlgen.core.run import read_config, write_text
from rlgen.govern import open_run

# What the numbers of these tasks are, from Gymnasium's documentation.
NAMES = {
    "HalfCheetah-v5": {
        "info x_velocity": "forward speed",
        "observation 0": "torso height",
        "observation 1": "torso pitch",
        **{
            f"action {i}": f"torque {joint}"
            for i, joint in enumerate(
                ("back thigh", "back shin", "back foot", "front thigh", "front shin", "front foot")
            )
        },
    },
    "Swimmer-v5": {
        "info x_velocity": "forward speed",
        "info y_velocity": "sideways speed",
        "observation 0": "heading",
        "action 0": "torque first joint",
        "action 1": "torque second joint",
    },
}


@dataclass
class GovernanceOptions:
    """Options of the study."""

    env: str = "HalfCheetah-v5"
    steps: int = 400_000
    seeds: int = 1
    extra: str = ""  # further arguments of the training, separated by spaces
    low: float = -3.0
    high: float = 3.0
    values: int = 7
    episodes: int = 8  # per value, each with its own seed
    episode_steps: int = 200
    unmapped: bool = True  # sweep the coordinates to which no action is added too
    which: str = "last"
    jobs: int = 1
    out: str = "runs/governance"


def study(options: GovernanceOptions, seed: int) -> Path:
    """Trains one agent and sweeps its coordinates; returns its run folder."""
    folder = folder_of(options.out, options.env, f"disentangled-{options.extra}", seed)
    arguments = ["agent=disentangled", f"env={options.env}", f"seed={seed}"]
    arguments += [f"total_timesteps={options.steps}", *options.extra.split()]
    train(folder, arguments)
    config = {**read_config(folder), "seed": 1000 + seed, "eval_max_steps": options.episode_steps}
    n_envs = min(options.episodes, 8)
    with open_run(folder, config, which=options.which, n_envs=n_envs) as (governor, env, _):
        size = {"n": governor.latent_dim, "m": governor.action_dim}
        (folder / "governance").mkdir(exist_ok=True)
        write_text(folder / "governance" / "size.json", json.dumps(size))
        swept = governor.latent_dim if options.unmapped else governor.action_dim
        for coordinate in range(swept):
            path = sweep_file(folder, options, coordinate)
            if path.exists():
                continue
            values = np.linspace(options.low, options.high, options.values).tolist()
            found = sweep(governor, env, coordinate, values, options.episodes, seed=1000 + seed)
            tables = {name: table.tolist() for name, table in found.behaviors.items()}
            write_text(path, json.dumps({"values": values, "behaviors": tables}))
            print(f"{path}", flush=True)
    return folder


def sweep_file(folder: Path, options: GovernanceOptions, coordinate: int) -> Path:
    """Returns where a coordinate's sweep is kept; other settings have another file."""
    settings = (options.low, options.high, options.values, options.episodes, options.episode_steps)
    label = "_".join(f"{number:g}" for number in settings)
    return folder / "governance" / f"sweep-{coordinate}-{options.which}-{label}.json"


def load_sweeps(folder: Path, options: GovernanceOptions) -> tuple[list[Sweep], int]:
    """Returns the sweeps of a run by coordinate, and the number of mapped coordinates.

    Only named behaviours stay where the task has names, else all of them.
    """
    size = json.loads((folder / "governance" / "size.json").read_text())
    names = NAMES.get(options.env)
    sweeps = []
    for coordinate in range(size["n"] if options.unmapped else size["m"]):
        saved = json.loads(sweep_file(folder, options, coordinate).read_text())
        tables = {name: np.array(table) for name, table in saved["behaviors"].items()}
        if names is not None:
            tables = {names[name]: table for name, table in tables.items() if name in names}
        sweeps.append(Sweep(coordinate, np.array(saved["values"]), tables))
    return sweeps, size["m"]


def shuffled(one: Sweep) -> Sweep:
    """Returns a sweep whose episodes are dealt out to the values at random: what chance gives."""
    generator = np.random.default_rng(one.coordinate)
    tables = {}
    for name, table in one.behaviors.items():
        tables[name] = generator.permutation(table.ravel()).reshape(table.shape)
    return Sweep(one.coordinate, one.values, tables)


def reaches(one: Sweep, level: float = 0.9) -> bool:
    """Tells whether some behaviour follows a coordinate monotonely, over all episodes."""
    return any(abs(found.pooled) >= level for found in one.monotony().values())


def report(options: GovernanceOptions, folder: Path) -> list[str]:
    """Returns the lines of Markdown tables of one run."""
    sweeps, m = load_sweeps(folder, options)
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    lines = [
        f"{folder}: {result['steps']:,} steps, return {np.mean(result['returns']):.0f}; held from "
        f"{options.low:g} to {options.high:g} at {options.values} values, {options.episodes} "
        f"episodes of {options.episode_steps} steps each",
        "",
        "| coordinate | behaviour | all episodes | means | weakest seed | at low | at high |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in sweeps:
        kind = "mapped" if one.coordinate < m else "not mapped"
        for name, found in list(one.monotony().items())[: 3 if one.coordinate < m else 1]:
            figures = (found.pooled, found.of_means, found.weakest)
            cells = [f"{number:+.2f}" for number in figures]
            cells += [f"{number:.3g}" for number in (found.low, found.high)]
            lines.append(f"| {one.coordinate} ({kind}) | {name} | " + " | ".join(cells) + " |")
    lines += ["", "| | mapped | not mapped |", "| --- | --- | --- |"]
    for label, shown in (("true", sweeps), ("shuffled", [shuffled(one) for one in sweeps])):
        counts = [sum(map(reaches, part)) for part in (shown[:m], shown[m:])]
        sizes = (m, len(sweeps) - m)
        cells = [f"{count} of {size}" for count, size in zip(counts, sizes, strict=True)]
        lines.append(
            f"| coordinates with a correlation of 0.9, {label} | " + " | ".join(cells) + " |"
        )
    return [*lines, ""]


def main(arguments: list[str]) -> int:
    """Runs the study and prints the tables."""
    options = check_options(GovernanceOptions, arguments)
    with ThreadPoolExecutor(options.jobs) as pool:
        folders = list(pool.map(lambda seed: study(options, seed), range(options.seeds)))
    for folder in folders:
        print("\n".join(report(options, folder)))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, lambda: __doc__, None))
