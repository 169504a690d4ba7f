"""Steps per second of the design environment, and of the loops one would write without it.

    python benchmarks/design_throughput.py                          # everything, about 5 minutes
    python benchmarks/design_throughput.py peers=false              # ours alone
    python benchmarks/design_throughput.py tasks=Vessel+Mast rounds=3 episodes=12

Episodes are recorded once: ten random actions that the mask allows (finish left out), then finish.
All tasks and variants play the same ones. A round plays every variant once, each with nothing
known of any design (a new cache), so that a busy moment hits all alike; figures are medians over
rounds. Beginning an episode is part of its time. Prototype figures are those of the design study,
measured on a machine with other work.

The peers (``design_peers.py``) are plain loops with trimesh and, where it is installed
(``pip install cadquery``), cadquery. They play sequences of those operations that they have, and
so does our environment beside them, in the same rounds and with everything switched on.
"""

import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from design_episodes import LENGTH, Episode, Played, record
from design_guarded import Guarded
from design_peers import COMMON, EXACT, Loop, TrimeshKernel
from rich.console import Console
from rich.table import Table

from rlgen.core.cli import run_command
from rlgen.core.compose import check_options
from rlgen.core.errors import UserError
from rlgen.envs.design.appraisal import Cache
from rlgen.envs.design.env import DesignEnv
from rlgen.envs.design.task.presets import TASK_NAMES, make_task
from rlgen.envs.design.vector import design_vector

CONSOLE = Console(width=118)
WORKERS = 2
# steps/s of the design study, lowest and highest, scored at every step and at the end
PROTOTYPE: dict[str, dict[str, tuple[float, float]]] = {
    "Mast": {"dense": (236, 268), "sparse": (282, 349)},
    "Vessel": {"dense": (77, 85), "sparse": (183, 248)},
    "Stool": {"dense": (247, 247)},
    "NestCup": {"dense": (95, 128), "sparse": (154, 175)},
    "Reach": {"dense": (290, 290)},
    "PrintCup": {"dense": (132, 132)},
}


@dataclass
class ThroughputOptions:
    """Options of the benchmark."""

    tasks: str = "+".join(PROTOTYPE)
    rounds: int = 5
    episodes: int = 40
    seed: int = 0
    processes: bool = True
    peers: bool = True
    peer_episodes: int = 8
    peer_limit: float = 20.0  # seconds after which a step of cadquery is given up


# Ours -----------------------------------------------------------------------------------------


def play(task: str, reward: str, episodes: list[Episode]) -> Played:
    """Plays in one environment that knows nothing yet."""
    env = DesignEnv(task, reward=reward)
    latencies, volumes = [], []
    start = time.perf_counter()
    for episode in episodes:
        env.reset(seed=0)
        for action in episode.actions:
            before = time.perf_counter()
            env.step(action)
            latencies.append(time.perf_counter() - before)
            volumes.append(env.design.solid.volume)
    seconds = time.perf_counter() - start
    known = env.cache.hits / max(env.cache.hits + env.cache.misses, 1)
    return Played(len(latencies), seconds, latencies, volumes, known)


def play_vector(vector: Any, task: str, reward: str, episodes: list[Episode]) -> Played:
    """Plays in spawned processes, each with a share of the episodes and nothing known."""
    vector.set_attr("task", make_task(task))
    vector.set_attr("reward", reward)
    vector.set_attr("cache", [Cache() for _ in range(vector.num_envs)])
    vector.reset(seed=0)
    shares = [episodes[i :: vector.num_envs] for i in range(vector.num_envs)]
    batches = [
        np.stack(actions)
        for together in zip(*shares, strict=True)
        for actions in zip(*(episode.actions for episode in together), strict=True)
    ]
    latencies = []
    start = time.perf_counter()
    for batch in batches:
        before = time.perf_counter()
        vector.step(batch)
        latencies.append(time.perf_counter() - before)
    seconds = time.perf_counter() - start
    return Played(len(batches) * vector.num_envs, seconds, latencies, [])


# Peers ----------------------------------------------------------------------------------------


def play_loop(loop: Loop, episodes: list[Episode]) -> Played:
    """Plays in a loop of a peer."""
    latencies, volumes = [], []
    start = time.perf_counter()
    for episode in episodes:
        loop.reset()
        for call in episode.calls:
            before = time.perf_counter()
            loop.step(call)
            latencies.append(time.perf_counter() - before)
            volumes.append(loop.volume)
    return Played(len(latencies), time.perf_counter() - start, latencies, volumes)


# Tables ---------------------------------------------------------------------------------------


Variants = dict[str, Callable[[], Played]]


def measure(variants: Variants, rounds: int) -> dict[str, list[Played]]:
    """Plays every variant once per round."""
    found: dict[str, list[Played]] = defaultdict(list)
    for _ in range(rounds):
        for name, run in variants.items():
            found[name].append(run())
    return found


def rate(runs: list[Played]) -> float:
    """Returns the median steps/s over rounds."""
    return statistics.median(run.rate for run in runs)


def milliseconds(runs: list[Played]) -> tuple[str, str, str]:
    """Returns median, 95th percentile and maximum of a step, over all rounds."""
    values = 1e3 * np.concatenate([run.latencies for run in runs])
    return f"{np.median(values):.1f}", f"{np.quantile(values, 0.95):.1f}", f"{values.max():.0f}"


def plain(title: str, left: int, columns: Iterable[str]) -> Table:
    """Returns a table whose columns but the first few are numbers."""
    table = Table(title=title)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < left else "right")
    return table


def against(found: float, task: str, reward: str) -> tuple[str, str]:
    """Returns the prototype's figures and the ratio to its middle."""
    if reward not in PROTOTYPE.get(task, {}):
        return "-", "-"
    low, high = PROTOTYPE[task][reward]
    told = f"{low:.0f}" if low == high else f"{low:.0f}-{high:.0f}"
    return told, f"{2 * found / (low + high):.2f}"


def ours(options: ThroughputOptions, tasks: list[str]) -> None:
    """Measures our environment alone."""
    episodes = record(options.episodes, options.seed)
    vector = design_vector(WORKERS, mode="async") if options.processes else None
    variants: Variants = {}
    for task in tasks:
        for reward in ("dense", "sparse"):
            variants[f"{task} {reward} 1"] = lambda t=task, r=reward: play(t, r, episodes)
            if vector is not None:
                variants[f"{task} {reward} {WORKERS}"] = lambda t=task, r=reward: play_vector(
                    vector, t, r, episodes
                )
    for name in list(variants)[: WORKERS + 1]:  # the first use of everything is not counted
        variants[name]()
    found = measure(variants, options.rounds)
    if vector is not None:
        vector.close()
    table = plain(
        f"design environment, steps/s, {options.episodes} episodes of {LENGTH + 1} steps",
        2,
        (
            *("task", "scored", "1 process", f"{WORKERS} processes", "prototype, 1", "ratio"),
            *("ms median", "p95", "max", "known"),
        ),
    )
    for task in tasks:
        for reward, scored in (("dense", "every step"), ("sparse", "at the end")):
            runs = found[f"{task} {reward} 1"]
            both = found.get(f"{task} {reward} {WORKERS}")
            known = f"{100 * runs[-1].known:.0f} %" if reward == "dense" else "-"
            table.add_row(
                task,
                scored,
                f"{rate(runs):.0f}",
                f"{rate(both):.0f}" if both else "-",
                *against(rate(runs), task, reward),
                *milliseconds(runs),
                known,
            )
    CONSOLE.print(table)
    CONSOLE.print(
        "known: share of the measurements answered by the cache, which starts empty every round"
    )


def beside(options: ThroughputOptions) -> None:
    """Measures the peers, and our environment on the same sequences."""
    common = record(options.peer_episodes, options.seed, COMMON)
    exact = record(options.peer_episodes, options.seed, EXACT)
    variants: dict[str, tuple[str, str, list[Episode], Callable[[], Played]]] = {}

    def add(group: str, who: str, episodes: list[Episode], run: Callable[[], Played]) -> None:
        variants[f"{group}, {who}"] = (group, who, episodes, run)

    if find_spec("trimesh") is None:
        CONSOLE.print("trimesh is not installed: pip install trimesh")
    else:
        kernel = TrimeshKernel()
        for task in ("Mast", "Vessel"):
            loop, group = Loop(kernel, make_task(task)), f"{task}, common operations"
            add(group, "rlgen", common, lambda t=task: play(t, "dense", common))
            add(group, "trimesh", common, lambda looped=loop: play_loop(looped, common))
    guarded = None
    if find_spec("cadquery") is None:
        CONSOLE.print("cadquery is not installed: pip install cadquery (1.8 GB)")
    else:
        guarded = Guarded("Mast", options.peer_limit)
        group = "Mast, parts and cuts"
        add(group, "rlgen", exact, lambda: play("Mast", "dense", exact))
        if find_spec("trimesh") is not None:
            loop = Loop(TrimeshKernel(), make_task("Mast"))
            add(group, "trimesh", exact, lambda looped=loop: play_loop(looped, exact))
            add("Mast, common operations", "cadquery", common, lambda: guarded.play(common))
        add(group, "cadquery", exact, lambda: guarded.play(exact))
    for _, who, _, run in variants.values():  # the first use of everything is not counted
        if who != "cadquery":
            run()
    found = measure({name: entry[3] for name, entry in variants.items()}, options.rounds)
    if guarded is not None:
        guarded.close()
    show_peers(variants, found, options.peer_episodes)


def show_peers(variants: dict[str, Any], found: dict[str, list[Played]], count: int) -> None:
    """Prints the peers beside us."""
    table = plain(
        f"the same {count} episodes, scored at every step, 1 process",
        2,
        (
            *("task and sequences", "loop", "steps/s", "ours faster by", "ms median", "p95", "max"),
            *("same design", "given up"),
        ),
    )
    for name, (group, who, episodes, _) in variants.items():
        runs = found[name]
        base = rate(found[f"{group}, rlgen"])
        wanted = np.concatenate([episode.volumes for episode in episodes])
        same = np.isclose(runs[-1].volumes, wanted, rtol=0.02, atol=1.0).mean()
        table.add_row(
            group,
            who,
            f"{rate(runs):.1f}",
            f"{base / rate(runs):.1f}",
            *milliseconds(runs),
            f"{100 * same:.0f} %",
            str(sum(run.given_up for run in runs)),
        )
    CONSOLE.print(table)
    CONSOLE.print(
        "same design: share of the steps after which volumes agree to 2 % (a 32-gon has 0.6 % less "
        "area than its circle); given up: steps of cadquery that reached the time limit, with the "
        "rest of their episodes left out, so that its steps/s are an upper bound"
    )


def main(arguments: list[str]) -> int:
    """Runs the benchmark."""
    options = check_options(ThroughputOptions, arguments)
    tasks = options.tasks.split("+")
    for task in tasks:
        if task not in TASK_NAMES[:-1]:
            raise UserError(f"tasks={options.tasks}: there is no {task}; join names by +")
    if options.episodes % WORKERS or options.episodes < WORKERS:
        raise UserError(f"episodes={options.episodes}: give a multiple of {WORKERS}")
    if options.rounds < 1 or options.peer_episodes < 1:
        raise UserError("rounds and peer_episodes are 1 or more")
    ours(options, tasks)
    if options.peers:
        beside(options)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, lambda: __doc__, None))
