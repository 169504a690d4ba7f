"""G2PPO: PPO with genetic gates; see :mod:`rlgen.agents.g2n.genetic` for scope and sources."""

from typing import Any

import torch

from rlgen.agents.g2n.genetic import GeneticGates
from rlgen.agents.ppo import PPO
from rlgen.agents.registry import AGENTS


@AGENTS.register("g2ppo")
class G2PPO(GeneticGates, PPO):
    """Proximal policy optimisation of a population of gated actors.

    The loss is PPO's with the elite's gates and, as denominator of the ratio, the probability under
    the gates that acted: rho_t = pi(a_t | s_t; mu_elite) / pi_old(a_t | s_t; mu_acting).

    Args:
        policy: ``MlpPolicy``, ``CnnPolicy`` or a :class:`GatedActorCriticPolicy` class.
        env: An environment or vector environment; use several environments, the population is
            evaluated side by side.
        **kwargs: Those of :class:`GeneticGates`, of :class:`rlgen.agents.PPO` and of SB3's PPO.

    Example:
        >>> from rlgen.agents import G2PPO
        >>> from rlgen.envs import make_vec
        >>> model = G2PPO("MlpPolicy", make_vec("CartPole-v1", 8), n_steps=32, population_size=16)
        >>> model.learn(10_000)  # doctest: +SKIP
    """

    def __init__(self, policy: Any, env: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(policy, env, *args, **kwargs)

    def clipped(self, ratio: torch.Tensor) -> torch.Tensor:
        """Tells which ratios lie outside 1 +- eps."""
        eps = float(self.clip_range(self._current_progress_remaining))  # type: ignore[operator]
        return (ratio - 1).abs() > eps
