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

import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rlgen.core.compose import check_options
from rlgen.core.curves import draw_groups, read_episodes, smooth
from rlgen.core.stats import bootstrap_interval

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


def folder_of(options: StudyOptions, label: str, seed: int) -> Path:
    """Returns the run folder of a variant and seed."""
    slug = "".join(c if c.isalnum() else "-" for c in f"{options.env}-{label}").lower()
    return Path(options.out) / slug / f"seed{seed}"


def train(options: StudyOptions, label: str, args: Sequence[str], steps: int, seed: int) -> None:
    """Runs one training command, unless its result is there."""
    folder = folder_of(options, label, seed)
    if (folder / "result.json").exists():
        return
    command = [sys.executable, "-m", "rlgen.train", *args, f"env={options.env}", f"seed={seed}"]
    command += [f"total_timesteps={steps}", f"run_dir={folder}", "threads=1", "device=cpu"]
    command += ["eval_every=0", "video=false", f"eval_episodes={options.eval_episodes}"]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    print(f"{label} seed {seed}: {summary(folder)}", flush=True)


FIGURES = ("mean of the curve", "last tenth", "evaluation")


def summary(folder: Path) -> tuple[float, ...]:
    """Returns the figures of a run, in the order of ``FIGURES``."""
    steps, returns = read_episodes(folder)
    curve = smooth(steps, returns, np.linspace(steps[0], steps[-1], 500), window=20)
    late = returns[steps > 0.9 * steps[-1]]
    result = json.loads((folder / "result.json").read_text())
    return tuple(round(float(np.mean(v)), 2) for v in (curve, late, result["returns"]))


def cell(values: npt.NDArray[np.float64]) -> str:
    """Formats a mean with its bootstrap interval."""
    low, high = bootstrap_interval(values)
    return f"{values.mean():.2f} [{low:.2f}, {high:.2f}]"


def report(options: StudyOptions, family: str, labels: list[str]) -> list[str]:
    """Returns the lines of a Markdown table of one family."""
    scores = {
        label: np.array([summary(folder_of(options, label, s)) for s in range(options.seeds)])
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


def main() -> None:
    """Runs the study and prints the tables."""
    options = check_options(StudyOptions, sys.argv[1:])
    jobs = []
    for family in options.families.split("+"):
        steps = options.steps_ppo if family == "ppo" else options.steps_a2c
        for seed in range(options.seeds):
            for label, args in variants(options, family).items():
                jobs.append((options, label, args, steps, seed))
    with ThreadPoolExecutor(options.jobs) as pool:
        for future in [pool.submit(train, *job) for job in jobs]:
            future.result()
    for family in options.families.split("+"):
        labels = list(variants(options, family))
        runs = {lab: [folder_of(options, lab, s) for s in range(options.seeds)] for lab in labels}
        name = options.env.replace("/", "-").lower()
        picture = Path(options.out) / f"{name}-{family}.png"
        draw_groups(runs, picture)
        print("\n".join([*report(options, family, labels), "", f"picture: {picture}", ""]))


if __name__ == "__main__":
    main()
