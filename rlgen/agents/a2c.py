"""A2C: SB3's algorithm on the fast path.

Paper: Mnih et al., "Asynchronous Methods for Deep Reinforcement Learning", 2016, in its
synchronous form. The update is SB3's, with its names; ``fast=False`` runs SB3's code itself.
"""

from typing import Any, ClassVar

import torch
from stable_baselines3 import A2C as SB3A2C
from stable_baselines3.common.policies import BasePolicy
from torch.nn import functional as F

from rlgen.agents.on_policy import FastOnPolicy, TermLog
from rlgen.agents.registry import AGENTS


@AGENTS.register("a2c")
class A2C(FastOnPolicy, SB3A2C):
    """Advantage actor-critic.

    Args:
        policy: ``MlpPolicy``, ``CnnPolicy``, ``MultiInputPolicy`` or a policy class.
        env: An environment or vector environment.
        **kwargs: Those of :class:`stable_baselines3.A2C` and of
            :class:`rlgen.agents.on_policy.FastOnPolicy`.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = SB3A2C.policy_aliases
    # Cap of the importance weight of samples that another policy took; None: no weight.
    is_clip: float | None = None

    def __init__(self, policy: Any, env: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(policy, env, *args, **kwargs)

    def train(self) -> None:
        """Takes one gradient step on the rollout just collected.

        Raises:
            NonFiniteLossError: If a loss term becomes NaN or infinite.
        """
        if self.why_not_fast is not None:
            self.train_by_sb3(super().train)
        else:
            self._train_fast()
        self.stop_if_not_finite()

    def _train_fast(self) -> None:
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        keep = self.training_positions()
        if keep is not None and len(keep) < 2:
            return
        terms = TermLog()
        for batch in self.rollout_buffer.minibatches(None, self.generators["minibatches"], keep):
            outputs = self._evaluate(batch)
            log_prob, values = outputs.log_prob, outputs.values

            advantages = batch.advantages
            if self.normalize_advantage:
                advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
            if self.is_clip is not None:
                ratio = torch.exp(log_prob.detach() - batch.old_log_prob)
                advantages = ratio.clamp(max=self.is_clip) * advantages

            policy_loss = -(advantages * log_prob).mean()
            value_loss = F.mse_loss(batch.returns, values)
            entropy_loss = -outputs.entropy.mean()
            loss = policy_loss + self.ent_coef * entropy_loss + self.vf_coef * value_loss
            further = self.auxiliary_loss(outputs)
            loss = sum(further.values(), loss)
            terms.add(
                policy_loss=policy_loss,
                value_loss=value_loss,
                entropy_loss=entropy_loss,
                **further,
            )
            self._descend(loss)
        self._n_updates += 1
        self._log_update(terms)
