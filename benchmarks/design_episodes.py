"""Recorded episodes of the design environment, which our environment and its peers play."""

from dataclasses import dataclass

import numpy as np
from design_peers import Call
from numpy.typing import NDArray

from rlgen.envs.design.encodings import decode, sample
from rlgen.envs.design.env import DesignEnv
from rlgen.envs.design.shape.operations import FINISH, canonical, physical

LENGTH = 10  # actions before finish


@dataclass
class Episode:
    """A recorded episode.

    Attributes:
        actions: int64 (8,) each, as the environment takes them; the last one finishes.
        calls: The same in physical units, for the peers.
        volumes: mm3 after each of them.
    """

    actions: list[NDArray[np.int64]]
    calls: list[Call]
    volumes: list[float]


@dataclass
class Played:
    """What playing took."""

    steps: int
    seconds: float
    latencies: list[float]
    volumes: list[float]
    known: float = 0.0  # share of the measurements that the cache answered
    given_up: int = 0

    @property
    def rate(self) -> float:
        """Steps per second."""
        return self.steps / self.seconds


def record(count: int, seed: int, allowed: tuple[str, ...] | None = None) -> list[Episode]:
    """Draws episodes."""
    env = DesignEnv("Mast", reward="sparse", allowed=allowed)
    rng, finish = np.random.default_rng(seed), np.zeros(8, np.int64)
    finish[0] = FINISH
    episodes = []
    for _ in range(count):
        env.reset(seed=0)
        episode = Episode([], [], [])
        for number in range(LENGTH + 1):
            mask = env.mask.copy()
            mask[FINISH] = False
            raw = sample(env.action_space, mask, rng) if number < LENGTH else finish
            action, bounds = canonical(decode(raw, env.action_space, env.mask)), env.design.solid
            values = physical(action, bounds.bounds)
            info = env.step(raw)[4]
            episode.actions.append(raw)
            name, mode = action.name, action.mode_name
            episode.calls.append(Call(name, mode, values, "refused" not in info))
            episode.volumes.append(env.design.solid.volume)
        episodes.append(episode)
    return episodes
