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


class _ClippedSurrogate(torch.autograd.Function):
    """See :func:`clipped_surrogate`; one node of the graph instead of nine."""

    @staticmethod
    def forward(
        ctx: Any,
        log_prob: torch.Tensor,
        old_log_prob: torch.Tensor,
        advantages: torch.Tensor,
        clip_range: float,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        log_ratio = log_prob - old_log_prob
        ratio = log_ratio.exp()
        clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
        unclipped_term, clipped_term = advantages * ratio, advantages * clipped
        inside = clipped == ratio
        # The minimum has a gradient where it is the unclipped term, or where nothing is clipped.
        passes = inside.logical_or(unclipped_term < clipped_term)
        ctx.save_for_backward(unclipped_term * passes)
        loss = -torch.minimum(unclipped_term, clipped_term).mean()
        approx_kl = (ratio - 1 - log_ratio).mean()
        clip_fraction = 1 - inside.float().mean()
        ctx.mark_non_differentiable(approx_kl, clip_fraction)
        return loss, approx_kl, clip_fraction

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        (terms,) = ctx.saved_tensors
        return terms * (-grads[0] / len(terms)), None, None, None


def clipped_surrogate(
    log_prob: torch.Tensor, old_log_prob: torch.Tensor, advantages: torch.Tensor, clip_range: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns PPO's policy loss -E[min(rho A, clip(rho, 1 - eps, 1 + eps) A)].

    Args:
        log_prob: log pi(a | s) of the current policy, (batch,).
        old_log_prob: The same of the policy that acted; rho is the ratio of the two.
        advantages: A, (batch,).
        clip_range: eps.

    Returns:
        The loss, differentiable in ``log_prob``; the approximate KL divergence
        E[rho - 1 - log rho]; the share of samples whose ratio is clipped.
    """
    loss, approx_kl, clip_fraction = _ClippedSurrogate.apply(
        log_prob, old_log_prob, advantages, clip_range
    )
    return loss, approx_kl, clip_fraction


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

    def __init__(self, policy: Any, env: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(policy, env, *args, **kwargs)

    def train(self) -> None:
        """Updates the policy with the rollout just collected.

        Raises:
            NonFiniteLossError: If a loss term becomes NaN or infinite.
        """
        if self.why_not_fast is not None:
            self.train_by_sb3(super().train)
        else:
            self._train_fast()
        self.stop_if_not_finite()

    def _train_fast(self) -> None:
        rollout = self.rollout_buffer
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
                outputs = self._evaluate(batch)
                log_prob, values = outputs.log_prob, outputs.values

                advantages = batch.advantages
                if self.normalize_advantage and len(advantages) > 1:
                    std, mean = torch.std_mean(advantages)
                    advantages = (advantages - mean) / (std + 1e-8)

                policy_loss, approx_kl, clip_fraction = clipped_surrogate(
                    log_prob, batch.old_log_prob, advantages, clip_range
                )

                if clip_range_vf is not None:
                    change = (values - batch.old_values).clamp(-clip_range_vf, clip_range_vf)
                    values = batch.old_values + change
                value_loss = F.mse_loss(batch.returns, values)
                entropy_loss = -outputs.entropy.mean()
                loss = policy_loss + self.ent_coef * entropy_loss + self.vf_coef * value_loss
                further = self.auxiliary_loss(outputs)
                loss = sum(further.values(), loss)

                terms.add(
                    policy_gradient_loss=policy_loss,
                    value_loss=value_loss,
                    entropy_loss=entropy_loss,
                    loss=loss,
                    approx_kl=approx_kl,
                    clip_fraction=clip_fraction,
                    **further,
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
