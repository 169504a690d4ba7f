"""What an agent does under rules: governed episodes, and behaviours over a sweep of a coordinate.

Paper: Yang, Lee, Chang, Kwak (ACML 2019), see :mod:`rlgen.agents.disentangled.govern`. It shows
governing in pictures; the figures here are reconstructed [R]: the distribution of actions and of
simple behaviours as a function of the overwritten coordinate, and Spearman's rank correlation
between the two as a measure of how monotone the control is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from scipy.stats import spearmanr
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv

from rlgen.agents.disentangled.govern import Governor
from rlgen.agents.disentangled.rules import Overwrite

Array = npt.NDArray[np.float64]
_LARGEST_VECTOR = 64  # longer observations are pictures or the like, whose means say nothing


@dataclass(frozen=True)
class Played:
    """Steps of whole episodes, T in all, those of an episode together and in order.

    Attributes:
        episodes: Number of each step's episode, (T,).
        steps: Number of each step in its episode, (T,).
        rewards: Raw, (T,).
        latents: Means as encoded, (T, n).
        edited: Means under the rules, (T, n).
        alarms: Whether the state was outside the visited ones, (T,).
        signals: Further numbers by name, (T,): actions, observations that are vectors (raw, before
            the step), and the numbers that the environment reports.
    """

    episodes: npt.NDArray[np.int64]
    steps: npt.NDArray[np.int64]
    rewards: Array
    latents: Array
    edited: Array
    alarms: npt.NDArray[np.bool_]
    signals: dict[str, Array] = field(default_factory=dict)

    def behaviors(self) -> dict[str, Array]:
        """Returns one figure per episode, (E,): ``return``, ``length`` and means of the signals."""
        lengths = np.bincount(self.episodes).astype(np.float64)
        returns = np.asarray(np.bincount(self.episodes, self.rewards), np.float64)
        found: dict[str, Array] = {"return": returns, "length": lengths}
        for name, values in self.signals.items():
            found[name] = np.bincount(self.episodes, values) / lengths
        return found

    def rows(self) -> list[dict[str, float]]:
        """Returns one dictionary per step, for a table."""
        columns: dict[str, Any] = {
            "episode": self.episodes,
            "step": self.steps,
            "reward": self.rewards,
            "alarm": self.alarms.astype(np.int64),
            **self.signals,
            **{f"mu {i}": self.latents[:, i] for i in range(self.latents.shape[1])},
            **{f"governed mu {i}": self.edited[:, i] for i in range(self.edited.shape[1])},
        }
        listed = [values.tolist() for values in columns.values()]
        return [dict(zip(columns, row, strict=True)) for row in zip(*listed, strict=True)]


def play(governor: Governor, env: VecEnv, episodes: int, *, deterministic: bool = False) -> Played:
    """Plays whole episodes under a governor's rules.

    Args:
        governor: The governed agent.
        env: Its environments; they are reset. Episodes are dealt out to them evenly.
        episodes: How many.
        deterministic: Take the most probable action, instead of sampling.
    """
    wanted = (episodes + np.arange(env.num_envs)) // env.num_envs
    done_with = np.zeros(env.num_envs, dtype=np.int64)
    monitored = env.env_is_wrapped(Monitor)[0]
    governor.reset()
    observations, state = env.reset(), None
    starts = np.ones(env.num_envs, dtype=bool)
    records: list[dict[str, Any]] = []
    while (done_with < wanted).any():
        record: dict[str, Any] = {"episode": np.where(done_with < wanted, done_with, -1)}
        record |= _seen(env, observations)
        actions, state = governor.predict(observations, state, starts, deterministic)
        observations, rewards, starts, infos = env.step(actions)
        record |= _done(governor.model.action_space, actions)
        record |= {"step": governor.steps, "reward": np.array(rewards, np.float64)}
        record |= {"latents": governor.latents, "edited": governor.edited}
        record["alarm"] = governor.alarms if len(governor.alarms) else np.zeros(len(starts), bool)
        record |= _reported(infos)
        records.append(record)
        ended = [
            s and ("episode" in i or not monitored) for s, i in zip(starts, infos, strict=True)
        ]
        done_with += ended
    return _together(records, np.cumsum(wanted) - wanted)


def collect_latents(
    governor: Governor, env: VecEnv, steps: int, *, deterministic: bool = False
) -> Array:
    """Plays and returns the means that were visited, (N, n), those of an environment together.

    Args:
        governor: The agent; without rules, for what it visits by itself.
        env: Its environments; they are reset.
        steps: Over all environments; rounded up to a multiple of their number.
        deterministic: Take the most probable action, instead of sampling.
    """
    governor.reset()
    observations, state = env.reset(), None
    starts = np.ones(env.num_envs, dtype=bool)
    found = []
    for _ in range(-(-steps // env.num_envs)):
        actions, state = governor.predict(observations, state, starts, deterministic)
        found.append(governor.latents)
        observations, _, starts, _ = env.step(actions)
    return np.stack(found, axis=1).reshape(-1, governor.latent_dim).astype(np.float64)


@dataclass(frozen=True)
class Sweep:
    """Behaviours while one coordinate is held at each of some values.

    Attributes:
        coordinate: Which one, from 0.
        values: What it was held at, (V,).
        behaviors: By name, (V, E): one figure per value and episode. Episode e begins with the same
            seed under every value.
    """

    coordinate: int
    values: Array
    behaviors: dict[str, Array]

    def monotony(self) -> dict[str, "Monotony"]:
        """Returns how monotone each behaviour is, the clearest first."""
        found = {name: monotony(self.values, table) for name, table in self.behaviors.items()}
        return dict(sorted(found.items(), key=lambda item: -abs(item[1].pooled)))


@dataclass(frozen=True)
class Monotony:
    """Spearman's rank correlation between the value of a coordinate and a behaviour.

    Attributes:
        pooled: Over all pairs of value and episode.
        of_means: Over the values, with the mean over the episodes.
        weakest: Over the values of each episode's seed alone: that of the smallest size.
        low: Mean behaviour at the lowest value.
        high: Mean behaviour at the highest value.
    """

    pooled: float
    of_means: float
    weakest: float
    low: float
    high: float


def monotony(values: npt.ArrayLike, table: npt.ArrayLike) -> Monotony:
    """Computes rank correlations; a behaviour that never changes has 0.

    Args:
        values: In increasing order, (V,).
        table: Behaviour, (V, E).
    """
    at, figures = np.asarray(values, np.float64), np.asarray(table, np.float64)
    episodes = figures.shape[1]
    single = [_spearman(at, column) for column in figures.T]
    return Monotony(
        pooled=_spearman(np.repeat(at, episodes), figures.ravel()),
        of_means=_spearman(at, figures.mean(1)),
        weakest=min(single, key=abs),
        low=float(figures[0].mean()),
        high=float(figures[-1].mean()),
    )


def sweep(
    governor: Governor,
    env: VecEnv,
    coordinate: int,
    values: Sequence[float],
    episodes: int,
    *,
    seed: int = 0,
    deterministic: bool = False,
) -> Sweep:
    """Holds a coordinate at one value after the other, and plays the same episodes under each.

    The governor's own rules stay, before the one that holds the coordinate.

    Args:
        governor: The agent.
        env: Its environments.
        coordinate: Which one is held, from 0.
        values: At what.
        episodes: Per value.
        seed: Of the environments and of sampled actions, the same for every value.
        deterministic: Take the most probable action, instead of sampling.
    """
    own = governor.rules
    tables: dict[str, list[Array]] = {}
    try:
        for value in values:
            governor.rules = [*own, Overwrite(coordinate, float(value))]
            env.seed(seed)
            torch.manual_seed(seed)
            played = play(governor, env, episodes, deterministic=deterministic)
            for name, figures in played.behaviors().items():
                tables.setdefault(name, []).append(figures)
    finally:
        governor.rules = own
    whole = {name: np.stack(rows) for name, rows in tables.items() if len(rows) == len(values)}
    return Sweep(coordinate, np.asarray(values, np.float64), whole)


def _spearman(x: Array, y: Array) -> float:
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    return float(spearmanr(x, y).statistic)


def _seen(env: VecEnv, observations: Any) -> dict[str, Any]:
    """Returns the numbers of vector observations, as the environment gives them."""
    raw = getattr(env, "get_original_obs", lambda: observations)()  # of SB3's VecNormalize
    if isinstance(raw, dict) or np.ndim(raw) != 2 or raw.shape[1] > _LARGEST_VECTOR:
        return {}
    return {f"observation {i}": raw[:, i].astype(np.float64) for i in range(raw.shape[1])}


def _done(space: spaces.Space, actions: npt.NDArray[Any]) -> dict[str, Any]:
    """Returns the components of actions, or the share of each one of numbered actions."""
    if isinstance(space, spaces.Discrete):
        flat = actions.reshape(-1)
        chosen = range(int(space.start), int(space.start + space.n))
        return {f"action {i}": (flat == i).astype(np.float64) for i in chosen}
    table = actions.reshape(len(actions), -1).astype(np.float64)
    return {f"action {i}": column for i, column in enumerate(table.T)}


def _reported(infos: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns the numbers that all environments report, such as MuJoCo's ``x_velocity``."""
    found = {}
    for name, value in infos[0].items():
        number = isinstance(value, (float, int, np.floating, np.integer))
        if number and not isinstance(value, bool) and all(name in info for info in infos):
            column = [info[name] for info in infos]
            found[f"info {name}"] = np.array(column, dtype=np.float64)
    return found


def _together(records: list[dict[str, Any]], first: npt.NDArray[np.int64]) -> Played:
    """Stacks steps (each over the environments) into episodes, one after the other.

    Args:
        records: One per step.
        first: Number of each environment's first episode.
    """
    names = [name for name in records[0] if all(name in record for record in records)]
    stacked = {name: np.stack([record[name] for record in records], axis=1) for name in names}
    episode = stacked.pop("episode")  # (n_envs, steps), -1 after an environment's last one
    kept = episode >= 0
    parts = {name: values[kept] for name, values in stacked.items()}
    numbers = (episode + first[:, None])[kept]
    head = {name: parts.pop(name) for name in ("step", "reward", "latents", "edited", "alarm")}
    return Played(
        numbers,
        head["step"],
        head["reward"],
        head["latents"].astype(np.float64),
        head["edited"].astype(np.float64),
        head["alarm"],
        parts,
    )
