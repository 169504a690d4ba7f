"""Does learning help to design? Agents, search and experts with equal numbers of operations.

    python benchmarks/design_learning.py                                  # Vessel, NestCup, Reach
    python benchmarks/design_learning.py tasks=Reach agents=ppo+maskable_ppo operations=50000

The budget counts operations, so that all do the same work on the kernel: a step of an agent is
one, a design of the cross-entropy search (CEM) four, a random design ten (masked operations, all
ten tried). With dense rewards an agent learns a score from each. Agents are trained by
``python -m rlgen.train agent=... env=TASK total_timesteps=OPERATIONS`` with the settings of the
command, one torch thread; the last rollout may go a little beyond. What is there already is not
repeated.

Printed: the best score that was found (final resolution), and for agents the mean score of what
the final policy designs, each as mean over seeds with 95 % bootstrap interval; and paired
differences of the best scores between the agents and CEM.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from paired_runs import cell, folder_of, summary, train

from rlgen.core.cli import run_command
from rlgen.core.compose import check_options
from rlgen.core.run import write_text
from rlgen.envs.design.measure.metrics import evaluate
from rlgen.envs.design.shape.history import Design
from rlgen.envs.design.shape.solids import Solid
from rlgen.envs.design.solve.brief import Brief
from rlgen.envs.design.solve.search import Trial, cem_search, limited, random_search
from rlgen.envs.design.task.experts import expert
from rlgen.envs.design.task.tasks import score

SEARCHES = {"random": (random_search, 10), "cem": (cem_search, 4)}  # and operations per design
Row = npt.NDArray[np.float64]


@dataclass
class StudyOptions:
    """Options of the study."""

    tasks: str = "Vessel+NestCup+Reach"
    agents: str = "ppo+g2ppo"
    operations: int = 8_000
    seeds: int = 5
    eval_episodes: int = 30
    extra: str = ""  # further arguments of all agents, separated by spaces
    jobs: int = 1
    out: str = "runs/design-learning"


def final_score(solid: Solid, brief: Brief) -> float:
    """Returns a design's score at final resolution."""
    metrics = evaluate(solid.mesh, brief.task.metrics, brief.task.conditions, precise=True)
    return score(metrics, brief.task, empty=solid.is_empty)


def run_search(options: StudyOptions, task: str, name: str, seed: int) -> None:
    """Runs one search and writes the best score it found."""
    path = folder_of(options.out, task, f"{name}-{options.operations}", seed) / "best.json"
    if path.exists():
        return
    brief, best = Brief.of_task(task), Trial(Design(), 0.0)
    search, length = SEARCHES[name]
    for trial in limited(search(brief, seed), options.operations // length):
        if trial.score > best.score:
            best = trial
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps({"score": final_score(best.design.solid, brief)}))
    print(f"{path.parent}: {final_score(best.design.solid, brief):.3f}", flush=True)


def agent_folder(options: StudyOptions, task: str, name: str, seed: int) -> Path:
    """Returns the run folder of an agent."""
    return folder_of(options.out, task, f"{name}-{options.operations}-{options.extra}", seed)


def run_agent(options: StudyOptions, task: str, name: str, seed: int) -> None:
    """Trains one agent."""
    arguments = [f"agent={name}", f"env={task}", f"seed={seed}"]
    arguments += [f"total_timesteps={options.operations}", *options.extra.split()]
    arguments += [f"eval_episodes={options.eval_episodes}"]
    train(agent_folder(options, task, name, seed), arguments)


def best_of(options: StudyOptions, task: str, name: str) -> Row:
    """Returns the best score of each seed."""
    values = []
    for seed in range(options.seeds):
        if name in SEARCHES:
            where = folder_of(options.out, task, f"{name}-{options.operations}", seed)
            values.append(json.loads((where / "best.json").read_text())["score"])
        else:
            found = agent_folder(options, task, name, seed) / "designs" / "best.json"
            values.append(json.loads(found.read_text())[0]["score"] if found.exists() else 0.0)
    return np.array(values)


def report(options: StudyOptions) -> list[str]:
    """Returns the lines of a Markdown table."""
    agents = options.agents.split("+")
    lines = [
        f"{options.operations:,} operations, {options.seeds} seeds",
        "",
        "| task | who | best design | final policy | best - CEM's |",
        "| --- | --- | --- | --- | --- |",
    ]
    for task in options.tasks.split("+"):
        brief = Brief.of_task(task)
        lines.append(f"| {task} | expert | {final_score(expert(task).solid, brief):.3f} | | |")
        cem = best_of(options, task, "cem")
        for name in (*SEARCHES, *agents):
            best = best_of(options, task, name)
            policy, apart = "", "" if name == "cem" else cell(best - cem, 3)
            if name in agents:
                folders = [agent_folder(options, task, name, s) for s in range(options.seeds)]
                policy = cell(np.array([summary(folder)[-1] for folder in folders]))
            lines.append(f"| {task} | {name} | {cell(best, 3)} | {policy} | {apart} |")
    return lines


def main(arguments: list[str]) -> int:
    """Runs the study."""
    options = check_options(StudyOptions, arguments)
    work = []
    for seed in range(options.seeds):
        for task in options.tasks.split("+"):
            work += [(run_search, task, name, seed) for name in SEARCHES]
            work += [(run_agent, task, name, seed) for name in options.agents.split("+")]
    with ThreadPoolExecutor(options.jobs) as pool:
        for done in [pool.submit(call, options, *rest) for call, *rest in work]:
            done.result()
    print("\n".join(report(options)))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, lambda: __doc__, None))
