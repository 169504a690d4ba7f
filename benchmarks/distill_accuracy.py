"""Which distillation method helps? One teacher/student pair, all methods, paired seeds.

    RLGEN_DATA=FOLDER python benchmarks/distill_accuracy.py
    python benchmarks/distill_accuracy.py report=true

Each run is what the command in its ``result.json`` does (``python -m rlgen.train distiller=...``),
in this process, without the command's records and checkpoints. The teacher is trained once per
set, longer than the students, on the same pictures, and serves all methods and seeds. Losses have
their usual weights and options; nothing is tuned. Two things are as short as our runs: the ramp of
ONE and FFL, 80 of the papers' 300 epochs, is that share of ours, and FT's paraphraser learns for
one epoch. ONE and FFL share their stem (``branch_at``); DML and AFD have two whole networks. FEED
has one teacher, as all the others.

With one seed every method starts from the same weights and sees the same batches, so differences
are paired by seed. Seeds are the outer loop: a study that was cut is balanced. What is there
already, with the same settings, is not repeated. Accuracies are of the last step, on the whole test
set; those of online methods are the mean over the peers, each alone.
"""

import json
import multiprocessing
import shlex
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from paired_runs import cell, read_result

from rlgen.core.cli import run_command
from rlgen.core.compose import check_options
from rlgen.core.errors import NonFiniteLossError, UserError, closest
from rlgen.core.loop import Means, make_accelerator
from rlgen.core.run import write_text
from rlgen.data.classification import LabelledImages, open_classification
from rlgen.distill.chain import plan_stages
from rlgen.distill.job import check_config, compose_train_config
from rlgen.distill.options import ONLINE, PLAIN
from rlgen.distill.training import DistillTrainer, TrainerMaker

TAUGHT = ("kd", "fitnets", "at", "ft", "ab", "rkd", "ofd", "feed", "lsfd")
METHODS = (PLAIN, *TAUGHT, "dml", "one", "ffl", "afd")
MAIN = (PLAIN, "kd", "ofd", "feed", "ffl", "afd")  # these have more seeds
RAMPED = ("one", "ffl")
RAMP = 80 / 300  # share of a run, in the papers' settings
TEACHER = "teacher"
TEACHER_SEED = 1000
TOGETHER = ("fused", "gated", "ensemble")  # FFL's, ONE's, or the mean of the logits
PEERS = ("student", "peer_1")


@dataclass
class AccuracyOptions:
    """Options of the study."""

    sets: list[str] = field(default_factory=lambda: ["fashion_mnist", "cifar10"])
    only: list[str] = field(default_factory=list)  # methods; empty: all
    seeds: int = 3
    main_seeds: int = 5  # of none, kd, ofd, feed, ffl, afd
    train: int = 0  # training pictures, as many of each class; 0: all
    test: int = 0  # test pictures, likewise
    teacher: str = "wrn-10-2"
    student: str = "wrn-10-1"
    epochs: int = 30
    teacher_epochs: int = 60
    batch_size: int = 32
    lr: float = 0.05
    branch_at: str = "layer3"
    device: str = "cpu"
    threads: int = 1
    jobs: int = 1
    report: bool = False  # tables of what is there, without a run
    out: str = "runs/distill"


class Run(NamedTuple):
    """One training: the teacher's (``method=TEACHER``) or a student's."""

    data: str
    method: str
    seed: int

    def folder(self, out: str) -> Path:
        """Returns where its result is."""
        return Path(out) / self.data / self.method / f"seed{self.seed}"


def check_study(options: AccuracyOptions) -> None:
    """Checks what the types leave open.

    Raises:
        UserError: If a method is unknown or a number too small.
    """
    for name in options.only:
        if name not in METHODS:
            raise UserError(f"only: unknown method {name!r}; {closest(name, METHODS)}")
    for key in ("seeds", "main_seeds", "epochs", "teacher_epochs", "threads", "jobs"):
        if getattr(options, key) < 1:
            raise UserError(f"{key}={getattr(options, key)} is too small; type {key}=1 or more")


def plan(options: AccuracyOptions, data: str) -> list[Run]:
    """Returns the runs of a set, seed by seed."""
    wanted = [method for method in METHODS if not options.only or method in options.only]
    last = max(options.seeds, options.main_seeds)
    counts = {m: options.main_seeds if m in MAIN else options.seeds for m in wanted}
    return [Run(data, m, seed) for seed in range(last) for m in wanted if seed < counts[m]]


def arguments_of(options: AccuracyOptions, run: Run) -> list[str]:
    """Returns the arguments of ``python -m rlgen.train`` that make the run."""
    is_teacher = run.method == TEACHER
    method = PLAIN if is_teacher else run.method
    epochs = options.teacher_epochs if is_teacher else options.epochs
    given = [f"distiller={method}", f"data={data_file(options, run.data)}"]
    given.append(f"student={options.teacher if is_teacher else options.student}")
    if method in TAUGHT:
        given.append(f"teacher={Run(run.data, TEACHER, TEACHER_SEED).folder(options.out)}")
    if method in RAMPED:
        given.append(f"branch_at={options.branch_at}")
        given.append(f"distiller.ramp_epochs={RAMP * epochs:.4g}")
    if method == "ft":
        given.append("distiller.epochs=1")
    given += [f"epochs={epochs}", f"batch_size={options.batch_size}", f"lr={options.lr}"]
    given += [f"seed={run.seed}", f"device={options.device}", "precision=fp32"]
    return [*given, f"threads={options.threads}", "eval_every=0"]


def data_file(options: AccuracyOptions, data: str) -> Path:
    """Returns where the pictures of the study lie; the name tells how many are wanted."""
    counts = "_".join(str(count or "all") for count in (options.train, options.test))
    return Path(options.out) / "data" / f"{data}_{counts}.npz"


def write_subset(options: AccuracyOptions, data: str) -> None:
    """Writes the study's pictures: the first of every class in a fixed random order."""
    path = data_file(options, data)
    if path.exists():
        return
    sets = open_classification(data)
    train, test = choose(sets.train, options.train), choose(sets.test, options.test)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part.npz")
    np.savez_compressed(
        unfinished,
        x_train=train.pixels,
        y_train=train.labels,
        x_test=test.pixels,
        y_test=test.labels,
        classes=np.array(sets.classes),
    )
    unfinished.replace(path)


def choose(images: LabelledImages, count: int) -> LabelledImages:
    """Returns ``count`` pictures, as many of each class; all where it is 0.

    Raises:
        UserError: If a class has too few, or the classes cannot be equal.
    """
    if not count:
        return images
    held = np.bincount(images.labels)
    share, rest = divmod(count, len(held))
    if rest or share < 1 or held.min() < share:
        raise UserError(f"train, test: {count} is no multiple of {len(held)} that all classes fill")
    order = np.random.default_rng(0).permutation(len(images))
    kept = [order[images.labels[order] == label][:share] for label in range(len(held))]
    chosen = np.sort(np.concatenate(kept))
    return LabelledImages(images.pixels[chosen], images.labels[chosen])


def train(options: AccuracyOptions, run: Run) -> None:
    """Makes a run and leaves its ``result.json``, unless one of the same settings is there."""
    folder, arguments = run.folder(options.out), arguments_of(options, run)
    command = "python -m rlgen.train " + shlex.join(arguments)
    if (found := read_result(folder)) is not None:
        if found["command"] != command:
            raise UserError(f"{folder} is of other settings ({found['command']}); type another out")
        return
    config = compose_train_config(arguments)
    check_config(config)
    torch.set_num_threads(options.threads)
    accelerator = make_accelerator(options.device, "fp32")
    maker = TrainerMaker(config, open_classification(config["data"]), accelerator)
    trainer = maker(plan_stages(config)[-1], folder)
    start, cpu = time.monotonic(), time.process_time()
    losses = learn(trainer)
    spent = {"seconds": time.monotonic() - start, "cpu_seconds": time.process_time() - cpu}
    accuracy = {name.partition("/")[2]: v for name, v in trainer.evaluate().items()}
    folder.mkdir(parents=True, exist_ok=True)
    trainer.export(folder)
    result = {"command": command, "steps": trainer.total_steps, **spent}
    result |= {"accuracy": accuracy, "own": own_accuracy(accuracy), "losses": losses}
    result["parameters"] = sum(p.numel() for p in trainer.distiller.networks[0].parameters())
    result["pictures"] = [len(trainer.sets.train), len(trainer.sets.test)]
    write_text(folder / "result.json", json.dumps(result, indent=1) + "\n")
    shown = ", ".join(f"{name} {value:.2f}" for name, value in accuracy.items())
    print(f"{folder}: {shown}; {spent['cpu_seconds']:.0f} s of CPU", flush=True)


def learn(trainer: DistillTrainer) -> dict[str, list[float]]:
    """Trains to the end and returns each term's mean in every epoch.

    A run whose loss is not finite stops there, with a message; its accuracy counts as it is.
    """
    trainer.prepare()
    means = Means()
    rows: dict[str, list[float]] = {}
    for step in range(trainer.total_steps):
        means.add(trainer.train_step(step))
        if (step + 1) % trainer.steps_per_epoch == 0 or step + 1 == trainer.total_steps:
            try:
                for name, value in means.read(step + 1).items():
                    rows.setdefault(name, []).append(round(value, 5))
            except NonFiniteLossError as error:
                print(error, flush=True)
                break
    return rows


def own_accuracy(accuracy: dict[str, float]) -> float:
    """Returns the accuracy of a network alone: the student's, or the mean of the peers'."""
    return float(np.mean([accuracy[name] for name in PEERS if name in accuracy]))


def report(options: AccuracyOptions, data: str) -> list[str]:
    """Returns the lines of a Markdown table of what is there."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for run in plan(options, data):
        if (result := read_result(run.folder(options.out))) is not None:
            found.setdefault(run.method, {})[run.seed] = result
    teacher = read_result(Run(data, TEACHER, TEACHER_SEED).folder(options.out))
    if teacher is None or not found:
        return [f"{data}: nothing to report yet"]
    lines = headline(options, data, teacher, found)
    lines += [
        "| method | seeds | accuracy, % | minus none | minus dml | together, % | CPU s |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    return [*lines, *(row(method, found) for method in found)]


def headline(
    options: AccuracyOptions,
    data: str,
    teacher: dict[str, Any],
    found: dict[str, dict[int, dict[str, Any]]],
) -> list[str]:
    """Returns what the table is of."""
    some = next(iter(next(iter(found.values())).values()))
    train_count, test_count = some["pictures"]
    return [
        f"{data}: {train_count:,} pictures to train on, {test_count:,} to test on; "
        f"{options.student} ({some['parameters']:,} parameters), {some['steps']:,} steps of "
        f"{options.batch_size} ({options.epochs} epochs); teacher {options.teacher} "
        f"({teacher['parameters']:,}, {options.teacher_epochs} epochs): {teacher['own']:.2f} %",
        "",
    ]


def row(method: str, found: dict[str, dict[int, dict[str, Any]]]) -> str:
    """Returns a method's row: means with 95 % bootstrap intervals, differences paired by seed."""
    runs = found[method]
    own = np.array([result["own"] for result in runs.values()])
    cells = [f"`{method}`", str(len(runs)), shown(own)]
    for other in (PLAIN, "dml"):
        both = [seed for seed in runs if seed in found.get(other, {})]
        compared = method != other and both and (other == PLAIN or method in ONLINE)
        gaps = np.array([runs[s]["own"] - found[other][s]["own"] for s in both])
        cells.append(shown(gaps) if compared else "")
    together = [v for v in (together_of(r["accuracy"]) for r in runs.values()) if v is not None]
    cells.append(shown(np.array(together)) if together else "")
    cells.append(f"{np.mean([result['cpu_seconds'] for result in runs.values()]):.0f}")
    return "| " + " | ".join(cells) + " |"


def shown(values: npt.NDArray[np.float64]) -> str:
    """Formats a mean with its interval, which one value has not."""
    return cell(values) if len(values) > 1 else f"{values[0]:.2f}"


def together_of(accuracy: dict[str, float]) -> float | None:
    """Returns the accuracy of the peers together, by what the method trains for it."""
    return next((accuracy[name] for name in TOGETHER if name in accuracy), None)


def run_all(options: AccuracyOptions, data: str) -> None:
    """Trains the teacher, then the students."""
    write_subset(options, data)
    train(options, Run(data, TEACHER, TEACHER_SEED))
    runs = plan(options, data)
    if options.jobs == 1:
        for run in runs:
            train(options, run)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, mp_context=context) as pool:
        for job in [pool.submit(train, options, run) for run in runs]:
            job.result()


def main(arguments: list[str]) -> int:
    """Runs the study and prints its tables."""
    options = check_options(AccuracyOptions, arguments)
    check_study(options)
    for data in options.sets:
        if not options.report:
            run_all(options, data)
        print("\n".join([*report(options, data), ""]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, lambda: __doc__, None))
