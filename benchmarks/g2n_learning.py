"""Does G2N help? Paired runs of G2PPO against PPO and of G2AC against A2C at equal steps.

    python benchmarks/g2n_learning.py env=CartPole-v1 seeds=5
    python benchmarks/g2n_learning.py env=MinAtar/Breakout-v1 seeds=5 jobs=2

Every run is one ``python -m rlgen.train`` command with one torch thread; a run that is there
already is not repeated, so an interrupted study goes on where it stopped. Variants:

* the base algorithm (PPO or A2C);
* G2N with its defaults;
* random gates: uniform selection, no elitism, the rest as G2N.

"GA off" needs no runs of its own: with all gates open the computation is the base algorithm's, bit
for bit (tests/agents/test_g2n_equality.py); ``check=true`` runs one seed of it and compares.

Figures: the learning curve's mean over all steps (how fast it learns), the mean return of the
episodes in the last tenth of the training, and the return of a final evaluation of the elite; mean
over seeds with 95 % bootstrap interval, and the paired difference to the base.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from paired_runs import FIGURES, cell, folder_of, summary, train

from rlgen.core.cli import run_command
from rlgen.core.compose import check_options
from rlgen.core.curves import draw_groups
from rlgen.core.errors import UserError, closest

RANDOM = ("agent.selection=uniform", "agent.elitism=false")
FAMILIES = {
    "ppo": {"PPO": ("agent=ppo",), "G2PPO": ("agent=g2ppo",)},
    "a2c": {"A2C": ("agent=a2c",), "G2AC": ("agent=g2ac",)},
}


@dataclass
class StudyOptions:
    """Options of the study."""

    env: str = "CartPole-v1"
    steps_ppo: int = 100_000
    steps_a2c: int = 200_000
    seeds: int = 5
    jobs: int = 1
    eval_episodes: int = 30
    out: str = "runs/study"
    families: str = "ppo+a2c"
    extra: str = ""  # further agent options of the G2N variants, separated by spaces
    tag: str = ""  # name of the variant that ``extra`` makes
    check: bool = False


def variants(options: StudyOptions, family: str) -> dict[str, tuple[str, ...]]:
    """Returns the arguments of each variant by its label; the base comes first."""
    (base, base_args), (gated, gated_args) = FAMILIES[family].items()
    found = {base: base_args, gated: gated_args, f"{gated}, random gates": (*gated_args, *RANDOM)}
    if options.extra:
        found[f"{gated}, {options.tag}"] = (*gated_args, *options.extra.split())
    if options.check:
        found[f"{gated}, GA off"] = (*gated_args, "agent.evolve=false")
    return found


def folder(options: StudyOptions, label: str, seed: int) -> Path:
    """Returns the run folder of a variant and seed."""
    return folder_of(options.out, options.env, label, seed)


def report(options: StudyOptions, family: str, labels: list[str]) -> list[str]:
    """Returns the lines of a Markdown table of one family."""
    scores = {
        label: np.array([summary(folder(options, label, s)) for s in range(options.seeds)])
        for label in labels
    }
    base = scores[labels[0]]
    steps = options.steps_ppo if family == "ppo" else options.steps_a2c
    lines = [
        f"{options.env}, {steps:,} steps, {options.seeds} seeds",
        "",
        "| variant | " + " | ".join(f"{name} | difference" for name in FIGURES) + " |",
        "| --- |" + " --- |" * (2 * len(FIGURES)),
    ]
    for label, score in scores.items():
        cells = []
        for k in range(len(FIGURES)):
            cells.append(cell(score[:, k]))
            cells.append("" if label == labels[0] else cell(score[:, k] - base[:, k]))
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return lines


def main(arguments: list[str]) -> int:
    """Runs the study and prints the tables."""
    options = check_options(StudyOptions, arguments)
    jobs = []
    for family in options.families.split("+"):
        if family not in FAMILIES:
            raise UserError(f"families: unknown family {family!r}; {closest(family, FAMILIES)}")
        steps = options.steps_ppo if family == "ppo" else options.steps_a2c
        for seed in range(options.seeds):
            for label, args in variants(options, family).items():
                named = [*args, f"env={options.env}", f"seed={seed}", f"total_timesteps={steps}"]
                named.append(f"eval_episodes={options.eval_episodes}")
                jobs.append((folder(options, label, seed), named))
    with ThreadPoolExecutor(options.jobs) as pool:
        for future in [pool.submit(train, *job) for job in jobs]:
            future.result()
    for family in options.families.split("+"):
        labels = list(variants(options, family))
        runs = {lab: [folder(options, lab, s) for s in range(options.seeds)] for lab in labels}
        name = options.env.replace("/", "-").lower()
        picture = Path(options.out) / f"{name}-{family}.png"
        draw_groups(runs, picture)
        print("\n".join([*report(options, family, labels), "", f"picture: {picture}", ""]))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, lambda: __doc__, None))
