"""Collecting states: the teacher plays, later the student too, and the teacher labels.

States of the teacher alone leave a student without advice where its own mistakes lead (S. Ross,
G. Gordon, J. A. Bagnell, "A Reduction of Imitation Learning and Structured Prediction to No-Regret
Online Learning", AISTATS 2011: DAgger). Here a share of the environments is played by the student
from the second collection on, and all states are kept together.

Every collection begins new episodes and has random numbers of its own, from the run's seed and its
number: what a run does after a resume is what it would have done.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.vec_env import VecEnv

from rlgen.policy_distillation.teacher import Teacher


class Collector:
    """Plays environments and asks the teacher.

    Args:
        env: Whole episodes, observations as the policies take them.
        teacher: The teacher.
        student: Returns rows (batch, P) of observations.
        device: Of both.
        seed: Of the run.
    """

    def __init__(
        self,
        env: VecEnv,
        teacher: Teacher,
        student: Callable[[torch.Tensor], torch.Tensor],
        device: torch.device,
        seed: int,
    ) -> None:
        self.env, self.teacher, self.student = env, teacher, student
        self.device, self.seed = device, seed

    @torch.no_grad()
    def collect(
        self, count: int, share: float, number: int
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32]]:
        """Plays new episodes.

        Args:
            count: States, rounded up to whole steps of all environments.
            share: Share of the environments that the student plays, the last ones, rounded.
            number: Of the collection, for its random numbers.

        Returns:
            Observations (n, ...) and targets (n, P).
        """
        generator = np.random.default_rng([self.seed, number])
        env_seed, torch_seed = (int(s) for s in generator.integers(2**31, size=2))
        n_envs = self.env.num_envs
        first = n_envs - round(share * n_envs)  # the first environment of the student
        steps = math.ceil(count / n_envs)
        observations, targets = [], []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(torch_seed)
            self.env.seed(env_seed)
            seen: Any = self.env.reset()
            self.teacher.begin(n_envs)
            starts = np.ones(n_envs, dtype=bool)
            for _ in range(steps):
                tensor = torch.as_tensor(seen, device=self.device)
                acting, target = self.teacher.label(tensor, starts)
                if first < n_envs:
                    acting = torch.cat([acting[:first], self.student(tensor[first:])])
                observations.append(np.array(seen))
                targets.append(target.cpu().numpy())
                actions = self.teacher.distribution.sample(acting, generator)
                seen, _, starts, _ = self.env.step(actions)
        return np.concatenate(observations), np.concatenate(targets).astype(np.float32)
