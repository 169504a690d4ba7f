r"""Does a small student play as well as the population's elite? Paired over seeds.

    python benchmarks/distill_policy.py env=CartPole-v1
    python benchmarks/distill_policy.py env=MinAtar/Breakout-v1 steps=500000 total_steps=10000 \
        eval_episodes=1000

For each seed one G2N teacher is trained, by ``python -m rlgen.train``, and each variant distils the
elite of its last checkpoint, by the same command: ``kd``, and ``feed`` with FEED on all members'
features. Every run has one torch thread; what is there already is not repeated. Teacher and student
play the same number of episodes with sampled actions, on the same seeds of the environment.
Printed: returns, the student's share of the elite's, parameters, as mean over seeds with 95 %
bootstrap interval.
"""

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from paired_runs import cell, folder_of, train, train_once

from rlgen.core.cli import run_command
from rlgen.core.compose import check_options
from rlgen.core.errors import UserError, closest

VARIANTS = {"kd": [], "feed": ["distiller.feed_weight=1"]}


@dataclass
class StudyOptions:
    """Options of the study."""

    env: str = "CartPole-v1"
    agent: str = "g2ppo"
    steps: int = 100_000
    total_steps: int = 4000
    student_size: float = 0.25
    seeds: int = 5
    eval_episodes: int = 50
    variants: list[str] = field(default_factory=lambda: ["kd"])
    extra: str = ""  # further arguments of all students, separated by spaces
    out: str = "runs/distill_policy"


def run(options: StudyOptions, seed: int) -> None:
    """Trains the teacher of a seed and its students."""
    teacher = folder_of(options.out, options.env, "teacher", seed)
    arguments = [f"env={options.env}", f"total_timesteps={options.steps}", f"seed={seed}"]
    train(teacher, [f"agent={options.agent}", *arguments])
    for variant in options.variants:
        where = folder_of(options.out, options.env, variant + options.extra, seed)
        further = [*options.extra.split(), *VARIANTS[variant], f"seed={seed}"]
        if train_once(where, [*recipe(options, teacher), *further]):
            student, elite, *_ = figures(where)
            print(f"{where}: student {student:.2f}, elite {elite:.2f}", flush=True)


def recipe(options: StudyOptions, teacher: Path) -> list[str]:
    """Returns what the distillations from a teacher share."""
    return [
        "distiller=policy",
        f"teacher={teacher}",
        f"student_size={options.student_size}",
        f"total_steps={options.total_steps}",
        f"eval_episodes={options.eval_episodes}",
        "which=last",
    ]


def figures(where: Path) -> tuple[float, ...]:
    """Returns a student's and its teacher's return and the shares of parameters, in per cent."""
    result = json.loads((where / "result.json").read_text())
    student, elite = (float(np.mean(result[key])) for key in ("returns", "teacher_returns"))
    size, teacher = result["parameters"]["student"], result["parameters"]["teacher"]
    shares = (100 * size / teacher[kind] for kind in ("acting", "open", "population"))
    return student, elite, 100 * student / elite, *shares


def report(options: StudyOptions) -> list[str]:
    """Returns the lines of a Markdown table."""
    lines = [
        f"{options.agent} on {options.env}, {options.steps:,} steps; {options.total_steps:,} steps "
        f"of distillation; {options.seeds} seeds, {options.eval_episodes} episodes each",
        "",
        "| variant | elite's return | student's | difference | student's, % of the elite's | "
        "parameters, % of the elite's | without closed units | of the population's |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for variant in options.variants:
        label = variant + options.extra
        folders = [folder_of(options.out, options.env, label, s) for s in range(options.seeds)]
        student, elite, ratio, *shares = np.array([figures(f) for f in folders]).T
        cells = [cell(elite), cell(student), cell(student - elite), cell(ratio, 1)]
        cells += [f"{share.mean():.1f}" for share in shares]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return lines


def main(arguments: list[str]) -> int:
    """Runs the study and prints the table."""
    options = check_options(StudyOptions, arguments)
    for variant in options.variants:
        if variant not in VARIANTS:
            raise UserError(f"variants: unknown variant {variant!r}; {closest(variant, VARIANTS)}")
    for seed in range(options.seeds):
        run(options, seed)
    print("\n".join(report(options)))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, lambda: __doc__, None))
