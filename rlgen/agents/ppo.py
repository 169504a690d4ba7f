"""PPO: SB3's algorithm on the fast path.

Paper: Schulman et al., "Proximal Policy Optimization Algorithms", 2017. The update is SB3's, term
for term and with its names; ``fast=False`` runs SB3's code itself.
"""

from typing import Any, ClassVar

import torch
from stable_baselines3 import PPO as SB3PPO
from stable_baselines3.common.policies import BasePolicy
from torch.nn import functional as F

from rlgen.agents.on_policy import FastOnPolicy, TermLog
from rlgen.agents.registry import AGENTS


@AGENTS.register("ppo")
class PPO(FastOnPolicy, SB3PPO):
    """Proximal policy optimisation.

    Args:
        policy: ``MlpPolicy``, ``CnnPolicy``, ``MultiInputPolicy`` or a policy class.
        env: An environment or vector environment.
        **kwargs: Those of :class:`stable_baselines3.PPO` and of
            :class:`rlgen.agents.on_policy.FastOnPolicy`.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = SB3PPO.policy_aliases

    def __init__(self, policy: Any, env: Any, **kwargs: Any) -> None:
        super().__init__(policy, env, **kwargs)

    def train(self) -> None:
        """Updates the policy with the rollout just collected.

        Raises:
            NonFiniteLossError: If a loss term becomes NaN or infinite.
        """
        if self.why_not_fast is not None:
            super().train()
        else:
            self._train_fast()
        self.stop_if_not_finite()

    def _train_fast(self) -> None:
        network, rollout = self.network, self.rollout_buffer
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        clip_range = self.clip_range(self._current_progress_remaining)  # type: ignore[operator]
        clip_range_vf = self._clip_range_vf()
        keep = self.training_positions()
        if keep is not None and len(keep) < 2:
            return
        terms = TermLog()
        too_far = False
        for _ in range(self.n_epochs):
            for batch in rollout.minibatches(self.batch_size, self.generators["minibatches"], keep):
                parameters, values = network.evaluate(batch.observations)
                log_prob, entropy = network.head.evaluate(parameters, batch.actions)

                advantages = batch.advantages
                if self.normalize_advantage and len(advantages) > 1:
                    advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)

                # L^CLIP = E[min(rho A, clip(rho, 1 - eps, 1 + eps) A)]
                log_ratio = log_prob - batch.old_log_prob
                ratio = torch.exp(log_ratio)
                clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
                policy_loss = -torch.min(advantages * ratio, advantages * clipped).mean()

                if clip_range_vf is not None:
                    change = (values - batch.old_values).clamp(-clip_range_vf, clip_range_vf)
                    values = batch.old_values + change
                value_loss = F.mse_loss(batch.returns, values)
                entropy_loss = -entropy.mean()
                loss = policy_loss + self.ent_coef * entropy_loss + self.vf_coef * value_loss

                with torch.no_grad():
                    approx_kl = ((ratio - 1) - log_ratio).mean()
                    clip_fraction = ((ratio - 1).abs() > clip_range).float().mean()
                terms.add(
                    policy_gradient_loss=policy_loss,
                    value_loss=value_loss,
                    entropy_loss=entropy_loss,
                    loss=loss,
                    approx_kl=approx_kl,
                    clip_fraction=clip_fraction,
                )
                if self.target_kl is not None and approx_kl.item() > 1.5 * self.target_kl:
                    too_far = True
                    break
                self._descend(loss)
            self._n_updates += 1
            if too_far:
                break
        self._log_update(terms)
        self.logger.record("train/clip_range", clip_range)
        if clip_range_vf is not None:
            self.logger.record("train/clip_range_vf", clip_range_vf)

    def _clip_range_vf(self) -> float | None:
        if self.clip_range_vf is None:
            return None
        return float(self.clip_range_vf(self._current_progress_remaining))  # type: ignore[operator]
