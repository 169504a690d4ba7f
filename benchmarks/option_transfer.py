"""Do options help when the goal moves? Four Rooms in tables, with options and without.

    python benchmarks/option_transfer.py seeds=10
    python benchmarks/option_transfer.py seeds=3 tune=true

All agents play the same environments (one per seed, the goal moves after ``goal_after`` episodes),
with the same discount and equal numbers of episodes:

* option-critic: ``OptionCritic("TabularPolicy")`` with the step sizes of the released code;
* Q-learning over primitive actions, epsilon-greedy;
* one-step actor-critic over primitive actions, softmax, with a table of state values.

Step sizes of the last two are the best of ``GRIDS`` in the mean steps of all episodes on three
seeds of their own (``tune=true`` does it again); of the option-critic only the temperature was
tried there: 0.01 was better over all episodes than 0.03 and 0.1. Printed: mean steps per episode in
each window, over seeds, with 95 % bootstrap interval, and the paired difference to the
option-critic: positive where options are faster.
"""

import functools
import itertools
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from stable_baselines3.common.callbacks import BaseCallback

from rlgen.agents.option_critic.option_critic import OptionCritic
from rlgen.core.compose import check_options
from rlgen.core.stats import bootstrap_interval
from rlgen.envs import make_vec
from rlgen.envs.four_rooms import ACTIONS, CELLS, FourRoomsEnv

Array = npt.NDArray[np.float64]
LIMIT = 1000  # steps after which an episode is cut, as the registered environment does
TUNING_SEED = 1000  # far from those of the comparison
GRIDS: dict[str, dict[str, tuple[float, ...]]] = {
    "Q-learning": {"step_size": (0.1, 0.25, 0.5, 0.9), "eps": (0.01, 0.05, 0.1)},
    "actor-critic": {
        "lr_critic": (0.25, 0.5),
        "lr_actor": (0.1, 0.25, 0.5),
        "temperature": (0.01, 0.03, 0.1, 0.3),
    },
}
TUNED: dict[str, dict[str, float]] = {
    "Q-learning": {"step_size": 0.25, "eps": 0.05},
    "actor-critic": {"lr_critic": 0.5, "lr_actor": 0.5, "temperature": 0.3},
}


@dataclass
class TransferOptions:
    """Options of the comparison."""

    seeds: int = 10
    goal_after: int = 1000
    episodes: int = 1500
    n_options: int = 4
    temperature: float = 0.01
    gamma: float = 0.99
    window: int = 20  # episodes that a point of the curves averages
    out: str = "runs/option-transfer.png"
    tune: bool = False


class Lengths(BaseCallback):
    """Collects the lengths of episodes, and stops after a number of them."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.lengths: list[int] = []

    def _on_step(self) -> bool:
        infos = self.locals["infos"]
        self.lengths += [info["episode"]["l"] for info in infos if "episode" in info]
        return len(self.lengths) < self.count


def option_critic(options: TransferOptions, seed: int) -> list[int]:
    """Returns the length of each episode of the option-critic."""
    env = make_vec("FourRooms", 1, seed=seed, env_kwargs={"goal_after": options.goal_after})
    model = OptionCritic(
        "TabularPolicy",
        env,
        n_options=options.n_options,
        temperature=options.temperature,
        gamma=options.gamma,
        seed=seed,
    )
    counted = Lengths(options.episodes)
    model.learn(LIMIT * options.episodes, counted, log_interval=options.episodes)
    return counted.lengths


Act = Callable[[int], int]
Learn = Callable[[int, int, float, int, bool], None]  # s, a, r, s', whether s' is the goal


def play(options: TransferOptions, seed: int, act: Act, learn: Learn) -> list[int]:
    """Returns the length of each episode of an agent over primitive actions."""
    env = FourRoomsEnv(goal_after=options.goal_after)
    state, _ = env.reset(seed=seed)
    lengths = []
    for _ in range(options.episodes):
        steps, ended = 0, False
        while not ended and steps < LIMIT:
            action = act(state)
            after, reward, ended, _, _ = env.step(action)
            learn(state, action, reward, after, ended)
            state, steps = after, steps + 1
        lengths.append(steps)
        state, _ = env.reset()
    return lengths


def q_learning(options: TransferOptions, seed: int, step_size: float, eps: float) -> list[int]:
    """Watkins' Q-learning; ties are broken at random, or the first action would be preferred."""
    generator, q = np.random.default_rng(seed), np.zeros((len(CELLS), len(ACTIONS)))

    def act(state: int) -> int:
        if generator.random() < eps:
            return int(generator.integers(len(ACTIONS)))
        best = np.flatnonzero(q[state] == q[state].max())
        return int(best[int(generator.random() * len(best))])

    def learn(state: int, action: int, reward: float, after: int, ended: bool) -> None:
        target = reward + (0.0 if ended else options.gamma * q[after].max())
        q[state, action] += step_size * (target - q[state, action])

    return play(options, seed, act, learn)


def actor_critic(
    options: TransferOptions, seed: int, lr_critic: float, lr_actor: float, temperature: float
) -> list[int]:
    """One-step actor-critic; as in the option-critic, the temperature is not divided out."""
    generator, values = np.random.default_rng(seed), np.zeros(len(CELLS))
    theta = np.zeros((len(CELLS), len(ACTIONS)))

    def probabilities(state: int) -> Array:
        weights: Array = np.exp((theta[state] - theta[state].max()) / temperature)
        return weights / weights.sum()

    def act(state: int) -> int:
        place = probabilities(state).cumsum().searchsorted(generator.random(), side="right")
        return min(int(place), len(ACTIONS) - 1)

    def learn(state: int, action: int, reward: float, after: int, ended: bool) -> None:
        error = reward + (0.0 if ended else options.gamma * values[after]) - values[state]
        values[state] += lr_critic * error
        step = -probabilities(state)
        step[action] += 1
        theta[state] += lr_actor * error * step

    return play(options, seed, act, learn)


PRIMITIVE: dict[str, Callable[..., list[int]]] = {
    "Q-learning": q_learning,
    "actor-critic": actor_critic,
}


def tune(options: TransferOptions) -> None:
    """Prints the best step sizes of each grid."""
    for name, grid in GRIDS.items():
        scored: list[tuple[float, dict[str, float]]] = []
        for values in itertools.product(*grid.values()):
            sizes = dict(zip(grid, values, strict=True))
            runs = [PRIMITIVE[name](options, TUNING_SEED + s, **sizes) for s in range(3)]
            scored.append((float(np.mean(runs)), sizes))
        scored.sort(key=lambda pair: pair[0])
        print(f"{name}: " + "; ".join(f"{mean:.1f} {sizes}" for mean, sizes in scored[:3]))


def windows(options: TransferOptions) -> dict[str, slice]:
    """Returns the windows of episodes by their names; those that were not played are left out."""
    moved = options.goal_after
    known = {
        "0-20": slice(0, 20),
        "400-500": slice(400, 500),
        "900-1000": slice(900, 1000),
        "first 50 after": slice(moved, moved + 50),
        "200-500 after": slice(moved + 200, moved + 500),
    }
    return {name: part for name, part in known.items() if part.stop <= options.episodes}


def cell(values: Array) -> str:
    """Formats a mean with its bootstrap interval."""
    low, high = bootstrap_interval(values)
    return f"{values.mean():.1f} [{low:.1f}, {high:.1f}]"


def report(lengths: dict[str, Array], options: TransferOptions) -> list[str]:
    """Returns the lines of a Markdown table; lengths are (seeds, episodes)."""
    parts = windows(options)
    base, *others = lengths
    lines = [
        f"| steps per episode, {options.seeds} seeds | " + " | ".join(parts) + " |",
        "| --- |" + " --- |" * len(parts),
    ]
    for name, runs in lengths.items():
        cells = [cell(runs[:, part].mean(1)) for part in parts.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    for name in others:
        apart = [cell((lengths[name] - lengths[base])[:, part].mean(1)) for part in parts.values()]
        lines.append(f"| {name} - {base} | " + " | ".join(apart) + " |")
    return lines


def draw(lengths: dict[str, Array], options: TransferOptions) -> Path:
    """Draws smoothed steps per episode, with bootstrap bands over seeds."""
    from matplotlib.figure import Figure  # no pyplot: no global state, no display

    figure = Figure(figsize=(8, 4), layout="constrained")
    axes: Any = figure.subplots()
    kernel = np.ones(options.window) / options.window
    for number, (name, runs) in enumerate(lengths.items()):
        curves = np.stack([np.convolve(run, kernel, mode="valid") for run in runs])
        episodes = np.arange(curves.shape[1]) + options.window
        low, high = bootstrap_interval(curves, resamples=500)
        axes.plot(episodes, curves.mean(0), color=f"C{number}", label=name, lw=1.2)
        axes.fill_between(episodes, low, high, color=f"C{number}", alpha=0.2, lw=0)
    axes.axvline(options.goal_after, color="gray", ls=":", lw=1)
    axes.set(xlabel="episode", ylabel="steps per episode", yscale="log")
    axes.set_title(f"the goal moves after {options.goal_after} episodes; {options.seeds} seeds")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    path = Path(options.out)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return path


def main() -> None:
    """Runs the comparison, prints the table and draws the curves."""
    options = check_options(TransferOptions, sys.argv[1:])
    if options.tune:
        tune(options)
        return
    agents: dict[str, Callable[[int], list[int]]] = {
        "option-critic": lambda seed: option_critic(options, seed)
    }
    for name, sizes in TUNED.items():
        agents[name] = functools.partial(PRIMITIVE[name], options, **sizes)
    lengths = {}
    for name, run in agents.items():
        begin = time.perf_counter()
        lengths[name] = np.array([run(seed) for seed in range(options.seeds)], dtype=np.float64)
        rate = lengths[name].sum() / (time.perf_counter() - begin)
        print(f"{name}: {lengths[name].sum():,.0f} steps, {rate:,.0f} a second")
    used = "; ".join(f"{name} {values}" for name, values in TUNED.items())
    print("\n".join(["", *report(lengths, options), "", f"step sizes: {used}"]))
    print(f"picture: {draw(lengths, options)}")


if __name__ == "__main__":
    main()
