"""Tables of the study of continual learning."""

from typing import Any

import numpy as np
from continual_plan import BASELINES, HCNET, SPLIT_TASKS, ContinualOptions, plan
from paired_runs import cell, read_result

Result = dict[str, Any]
Found = dict[str, dict[int, Result]]
RIVAL = "packnet"


def collect(options: ContinualOptions, stream: str) -> tuple[Found, list[str]]:
    """Returns what is there, by learner and seed, and a line on each run that failed."""
    found: Found = {}
    failed = []
    for run in plan(options, stream):
        result = read_result(run.folder(options.out))
        if result is not None and "failed" in result:
            failed.append(f"`{run.learner}`, seed {run.seed}: {result['failed']}")
        elif result is not None:
            found.setdefault(run.learner, {})[run.seed] = result
    return found, failed


def report(options: ContinualOptions, stream: str) -> list[str]:
    """Returns the lines of the Markdown tables of what is there."""
    found, failed = collect(options, stream)
    if not found:
        return [f"{stream}: nothing to report yet", *failed]
    some = next(iter(next(iter(found.values())).values()))
    parts = [headline(some), learners(options, found), by_task(options, found), indices(found)]
    if failed:
        parts.append([f"Not counted: {'; '.join(failed)}."])
    return [line for part in parts if part for line in [*part, ""]][:-1]


def headline(some: Result) -> list[str]:
    """Returns what the tables are of."""
    settings, recipe = some["settings"], some["settings"]["recipe"]
    names = settings["stream"]
    tasks = names if isinstance(names, list) else [f"{names} in {SPLIT_TASKS} tasks"]
    return [
        f"{' -> '.join(tasks)}: {settings['train']:,} pictures of each task to learn from, "
        f"{settings['test']:,} to be judged by; {settings['network']}, {recipe['epochs']} epochs "
        f"of batches of {recipe['batch_size']}, lr {recipe['lr']}. Percent; means with 95 % "
        "bootstrap intervals over seeds. Every task has classes and a head of its own, so there is "
        "no forward transfer to measure."
    ]


def learners(options: ContinualOptions, found: Found) -> list[str]:
    """Returns the table of learners, HC-Net with the index of the options."""
    lines = [
        f"| learner | seeds | ACC, task given | minus {RIVAL} | BWT, task given | ACC, task found "
        "| tasks found | network's parameters | memory, kB: network + index | CPU s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    return lines + [
        learner_row(name, found)
        for name in (f"{HCNET}-{options.index}", *BASELINES)
        if name in found
    ]


def learner_row(name: str, found: Found) -> str:
    """Returns a learner's row; differences are paired by seed."""
    runs, rivals = found[name], found.get(RIVAL, {})
    both = [seed for seed in runs if seed in rivals and name != RIVAL]
    gaps = [acc(runs[seed]) - acc(rivals[seed]) for seed in both]
    last = next(iter(runs.values()))["tasks"][-1]
    data = " (keeps pictures)" if next(iter(runs.values()))["keeps_data"] else ""
    cells = [f"`{name}`{data}", str(len(runs)), shown([acc(run) for run in runs.values()])]
    cells += [shown(gaps), transfer([run["summary"]["bwt"] for run in runs.values()])]
    cells += [shown(each(runs, key)) for key in ("acc_estimated", "index")]
    kept = [f"{bytes_ / 1000:,.0f}" for bytes_ in last["memory"].values() if bytes_]
    cells += [f"{last['parameters']:,}", " + ".join(kept)]
    cells.append(
        f"{np.mean([seconds(run, 'network') + seconds(run, 'index') for run in runs.values()]):.0f}"
    )
    return row(cells)


def by_task(options: ContinualOptions, found: Found) -> list[str]:
    """Returns the accuracies of each task after the last one, means over seeds."""
    name = f"{HCNET}-{options.index}"
    tasks = next(iter(next(iter(found.values())).values()))["scores"]["tasks"]
    lines = ["After the last task:", "", row(["learner", *tasks, "mean"])]
    lines.append(row(["---"] * (len(tasks) + 2)))
    if name in found:
        lines.append(task_row(f"`{name}`, task found", found[name], "estimated"))
    rows = [(n, f"`{n}`, task given") for n in (name, *BASELINES) if n in found]
    return lines + [task_row(label, found[n], "given") for n, label in rows]


def task_row(label: str, runs: dict[int, Result], matrix: str) -> str:
    """Returns the last row of a matrix of accuracies."""
    means = np.mean([run["scores"][matrix][-1] for run in runs.values()], axis=0)
    return row([label, *(f"{value:.2f}" for value in means), f"{means.mean():.2f}"])


def indices(found: Found) -> list[str]:
    """Returns the table of task indices; network and classes are the same for all."""
    mine = {name: runs for name, runs in found.items() if name.startswith(HCNET)}
    if not mine:
        return []
    tasks = next(iter(next(iter(mine.values())).values()))["scores"]["tasks"]
    heads = ["index", "seeds", "tasks found", *(f"of {task}" for task in tasks)]
    heads += ["ACC, task found", "minus task given", "memory, kB", "CPU s"]
    lines = [row(heads), row(["---"] * len(heads))]
    for name, runs in mine.items():
        each_task = np.mean([run["scores"]["routed"][-1] for run in runs.values()], axis=0)
        gaps = [run["summary"]["acc_estimated"] - acc(run) for run in runs.values()]
        kept = next(iter(runs.values()))["tasks"][-1]["memory"]["index"]
        cells = [f"`{name.partition('-')[2]}`", str(len(runs)), shown(each(runs, "index"))]
        cells += [f"{value:.1f}" for value in each_task]
        cells += [shown(each(runs, "acc_estimated")), shown(gaps), f"{kept / 1000:,.0f}"]
        cells.append(f"{np.mean([seconds(run, 'index') for run in runs.values()]):.0f}")
        lines.append(row(cells))
    return lines


def acc(run: Result) -> float:
    """Returns ACC with the task given."""
    return float(run["summary"]["acc"])


def each(runs: dict[int, Result], key: str) -> list[float]:
    """Returns one figure of all seeds."""
    return [run["summary"][key] for run in runs.values()]


def seconds(run: Result, part: str) -> float:
    """Returns the CPU seconds of all tasks."""
    return float(sum(task["cpu_seconds"][part] for task in run["tasks"]))


def transfer(values: list[float]) -> str:
    """Formats BWT, of which an exact 0 is told from a rounded one."""
    return "0 exactly" if not any(values) else shown(values)


def shown(values: list[float]) -> str:
    """Formats a mean with its interval, which one value has not; nothing where there is none."""
    if len(values) < 2:
        return f"{values[0]:.2f}" if values else ""
    return cell(np.array(values))


def row(cells: list[str]) -> str:
    """Returns a row of a Markdown table."""
    return "| " + " | ".join(cells) + " |"
