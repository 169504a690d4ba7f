"""G2AC: A2C with genetic gates; see :mod:`rlgen.agents.g2n.genetic` for scope and sources."""

from typing import Any

import torch

from rlgen.agents.a2c import A2C
from rlgen.agents.g2n.genetic import GeneticGates
from rlgen.agents.registry import AGENTS
from rlgen.core.errors import UserError


@AGENTS.register("g2ac")
class G2AC(GeneticGates, A2C):
    """Advantage actor-critic of a population of gated actors.

    Args:
        policy: ``MlpPolicy``, ``CnnPolicy`` or a :class:`GatedActorCriticPolicy` class.
        env: An environment or vector environment; use several environments.
        is_clip: Weight the policy term of each sample by min(is_clip, rho_t), where rho_t is the
            elite's probability of the action over that of the individual that acted, taken as a
            constant; None for the plain gradient.
        **kwargs: Those of :class:`GeneticGates`, of :class:`rlgen.agents.A2C` and of SB3's A2C.

    Raises:
        UserError: If an option does not fit.
    """

    def __init__(
        self, policy: Any, env: Any, *args: Any, is_clip: float | None = None, **kwargs: Any
    ) -> None:
        if is_clip is not None and not is_clip > 0:
            raise UserError(f"is_clip={is_clip} is not positive; type is_clip=1.0, or leave it out")
        self.is_clip = is_clip
        kwargs.setdefault("stats_samples", 32)
        super().__init__(policy, env, *args, **kwargs)

    def _setup_model(self) -> None:
        super()._setup_model()
        if self.is_clip is not None and self.why_not_fast is not None:
            raise UserError(f"is_clip needs the fast path, which is off ({self.why_not_fast})")

    def clipped(self, ratio: torch.Tensor) -> torch.Tensor:
        """Tells which ratios lie above the cap; none without one."""
        return ratio > (self.is_clip or float("inf"))
