"""Which learner forgets least? HC-Net and its rivals on two streams, equal budgets, paired seeds.

    RLGEN_DATA=FOLDER python benchmarks/continual.py
    python benchmarks/continual.py report=true page=docs/methods/continual.md

Streams: ``three``, MNIST, Fashion-MNIST and a part of CIFAR-10, and ``split``, one set in five
tasks of two classes; all pictures have 32x32 pixels and three channels. Learners: HC-Net with each
task index, fine-tuning, joint training, EWC, LwF, PackNet, replay. All have one network and take
the same steps in each task; joint training and replay see a batch of every earlier task besides in
each step. Options of learners are their defaults, but for what is typed, such as
``learner_options={hcnet:{fractions:[0.5,0.75,1.0]}}``; HC-Net and PackNet are told the number of
tasks, from which they share the network out equally.

With one seed all learners are given the same network and see the same pictures, so differences are
paired by seed; the C-net draws its rows anew, at that network's scale, since its layers are
narrower. A result is a file of its own: what is there with the same settings is not repeated.
HC-Net's rows with the given and with the estimated task are of the same runs. Learners without an
index of their own take the task whose head is surest.
"""

import json
import multiprocessing
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from continual_plan import (
    HCNET,
    PLANNED,
    THIN,
    ContinualOptions,
    Run,
    check_study,
    make_network,
    plan,
    recipe_of,
    settings_of,
    stream_of,
)
from continual_tables import report
from pages import write_page
from paired_runs import read_result

import rlgen.density_index  # noqa: F401 - registers the index "density"
from rlgen.continual.experience import Experience
from rlgen.continual.hcnet import HCNet
from rlgen.continual.learner import Learner
from rlgen.continual.learners import LEARNERS
from rlgen.continual.metrics import StreamScores
from rlgen.core.cli import run_command
from rlgen.core.compose import check_options
from rlgen.core.errors import NonFiniteLossError, UserError
from rlgen.core.run import write_text


def make_learner(options: ContinualOptions, run: Run, shape: Sequence[int], tasks: int) -> Learner:
    """Returns a run's learner, before its first task."""
    settings = settings_of(options, run)
    name = HCNET if run.index is not None else run.learner
    own: dict[str, Any] = {**settings["learner_options"]}
    if name in PLANNED and not own.keys() & {"fractions", "prune"}:
        own.setdefault("tasks", tasks)
    if run.index is not None:
        own |= {"index": run.index, "index_options": settings["index_options"]}
    network = make_network(options.network, options.width, run.seed)
    recipe = recipe_of(options, run.stream)
    return LEARNERS[name](network, shape, recipe, seed=run.seed, **own)


def learn(learner: Learner, experience: Experience) -> dict[str, float]:
    """Learns a task and returns the CPU seconds of the network and of the index."""
    spent = {"network": 0.0, "index": 0.0}
    learner.begin_task(experience)
    assert learner.training is not None
    while learner.steps_left:
        of_network = learner.training.step < learner.training.total_steps
        start = time.process_time()
        learner.step()
        spent["network" if of_network else "index"] += time.process_time() - start
    start = time.process_time()
    learner.end_task()  # where some indices are fitted, and EWC's diagonals
    ended = "index" if isinstance(learner, HCNet) else "network"
    spent[ended] += time.process_time() - start
    return spent


def run_one(options: ContinualOptions, run: Run) -> None:
    """Makes a run and leaves its ``result.json``, unless one of the same settings is there."""
    folder, settings = run.folder(options.out), settings_of(options, run)
    if (found := read_result(folder)) is not None:
        if found["settings"] != settings:
            raise UserError(f"{folder} is of other settings; type another out")
        return
    torch.set_num_threads(options.threads)
    stream = stream_of(settings)
    learner = make_learner(options, run, stream[0].shape, len(stream))
    folder.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"settings": settings, "keeps_data": learner.keeps_data}
    try:
        result |= measure(learner, stream)
        line = told(result)
    except NonFiniteLossError as error:  # the other learners go on
        result["failed"] = line = str(error)
    write_text(folder / "result.json", json.dumps(result, indent=1) + "\n")
    print(f"{folder}: {line}", flush=True)


def measure(learner: Learner, stream: Sequence[Experience]) -> dict[str, Any]:
    """Learns all tasks and returns accuracies, times and what is kept after each task.

    Raises:
        NonFiniteLossError: If a loss is NaN or infinite.
    """
    scores = StreamScores([experience.name for experience in stream])
    rows, start = [], time.monotonic()
    for experience in stream:
        spent = learn(learner, experience)
        scores.add(learner, stream)
        kept = {"parameters": learner.parameter_count(), "memory": memory_of(learner)}
        rows.append({"cpu_seconds": spent, **kept})
    seconds = time.monotonic() - start
    return {
        "seconds": seconds,
        "tasks": rows,
        "scores": scores.values(),
        "summary": scores.summary(),
    }


def memory_of(learner: Learner) -> dict[str, int]:
    """Returns the bytes kept by the network's part, pictures included, and by the index."""
    if isinstance(learner, HCNet):
        parts = learner.memory_parts()
        return {"network": parts["cnet"], "index": parts["index"]}
    return {"network": learner.memory_bytes(), "index": 0}


def told(result: dict[str, Any]) -> str:
    """Returns a result in one line."""
    summary = result["summary"]
    spent = [sum(row["cpu_seconds"][part] for row in result["tasks"]) for part in PARTS]
    return (
        f"ACC {summary['acc']:.2f}, BWT {summary['bwt']:.2f}, found {summary['acc_estimated']:.2f}"
        f" (index {summary['index']:.2f}); CPU s: network {spent[0]:.0f}, index {spent[1]:.0f},"
        f" wall {result['seconds']:.0f}"
    )


PARTS = ("network", "index")


def run_all(options: ContinualOptions, stream: str) -> None:
    """Makes all runs of a stream that are not there."""
    runs = plan(options, stream)
    if options.jobs == 1:
        for run in runs:
            run_one(options, run)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, mp_context=context) as pool:
        for job in [pool.submit(run_one, options, run) for run in runs]:
            job.result()


def main(arguments: list[str]) -> int:
    """Runs the study and prints its tables."""
    options = check_options(ContinualOptions, arguments)
    check_study(options)
    if options.network != THIN:
        make_network(options.network, options.width, 0)  # an unknown one is told first
    for stream in options.streams:
        if not options.report:
            run_all(options, stream)
        lines = report(options, stream)
        print("\n".join([*lines, ""]), flush=True)
        if options.page is not None:
            write_page(Path(options.page), stream, "\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, lambda: __doc__, None))
