"""The deep option-critic's losses and gradient steps; see
:mod:`rlgen.agents.option_critic.option_critic` for their formulas and sources.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.vec_env import VecNormalize
from torch.nn import functional as F

from rlgen.agents.on_policy import clip_grad_norm
from rlgen.agents.option_critic.hellinger import mean_hellinger
from rlgen.agents.option_critic.network import select
from rlgen.agents.option_critic.off_policy import DeepOptionPolicy
from rlgen.agents.option_critic.option_replay import OptionBatch, OptionReplay

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass
class DeepRules:
    """How networks act and learn.

    Attributes:
        policy: Whose networks are trained.
        gamma: Discount factor.
        baseline: Subtract Q(s, w) from what trains the options' policies.
        deliberation_cost: eta.
        termination_reg: Added to the advantage in the termination loss alone.
        hellinger_coef: Weight of the distance between options.
        at_next: Terminations are learnt at s', where they were tested, else at s.
        generators: The random numbers of ``options``, ``actions`` and ``replay``.
        ent_coef: Weight of the entropy of the options' policies.
        max_grad_norm: Gradients are clipped to this norm, those of the heads on their own.
    """

    policy: DeepOptionPolicy
    gamma: float
    baseline: bool
    deliberation_cost: float
    termination_reg: float
    hellinger_coef: float
    at_next: bool
    generators: dict[str, np.random.Generator]
    ent_coef: float
    max_grad_norm: float

    def enter(
        self, obs: torch.Tensor, options: IntArray, starts: BoolArray, eps: float
    ) -> tuple[IntArray, IntArray, BoolArray]:
        """Tests running options on entering states, and chooses what comes next.

        Args:
            obs: The states.
            options: The running options, (n_envs,).
            starts: Where an episode begins: there an option is chosen without a test.
            eps: Probability of any option instead of the best.

        Returns:
            The options from here on, their actions, and whether the running ones ended.
        """
        policy = self.policy
        with torch.no_grad():
            latent = policy.latent(obs)
            heads = (policy.beta(latent), policy.value_net(latent), policy.logits(latent))
            beta, values, logits = (head.cpu().numpy() for head in heads)
        generator = self.generators["options"]
        ends, explores = generator.random((2, len(beta)))
        any_option = generator.integers(policy.n_options, size=len(beta))
        fresh = np.where(explores < eps, any_option, values.argmax(axis=1))
        terminated = ~starts & (ends < select(beta, options))
        options = np.where(terminated | starts, fresh, options)
        chosen = select(logits, options)
        # The largest of logits with Gumbel noise is a draw from their softmax.
        noise = self.generators["actions"].gumbel(size=chosen.shape)
        return options, (chosen + noise).argmax(axis=1), terminated

    def learn(
        self,
        replay: OptionReplay,
        fresh: int,
        gradient_steps: int,
        batch_size: int,
        norm: VecNormalize | None = None,
    ) -> dict[str, float]:
        """Takes gradient steps on the values, and one on the heads.

        Args:
            replay: Transitions.
            fresh: Steps of every environment that the heads have not learnt from.
            gradient_steps: Steps on the values.
            batch_size: Transitions of each.
            norm: Normalises transitions.

        Returns:
            The losses by name, that of the values as a mean over its steps.
        """
        policy = self.policy
        # One pass for the targets of all steps: target network and terminations wait meanwhile.
        many = replay.draw(self.generators["replay"], gradient_steps * batch_size, norm)
        with torch.no_grad():
            beta = policy.beta(policy.latent(many.next_observations))
        parts = (many.observations, many.options, self.targets(many, beta))
        total = 0.0
        for batch in zip(*(part.split(batch_size) for part in parts), strict=True):
            loss = self.value_loss(*batch)
            total += loss.item()
            self._descend(policy.optimizer, loss)
        losses = {"value_loss": total / gradient_steps}
        terms = self.head_losses(replay.newest(fresh, norm))
        losses |= {name: term.item() for name, term in terms.items()}
        self._descend(policy.option_optimizer, torch.stack([*terms.values()]).sum())
        return losses

    def targets(self, batch: OptionBatch, beta: torch.Tensor) -> torch.Tensor:
        """Returns y of each transition, without a gradient.

        Args:
            batch: Transitions.
            beta: Terminations at s', (batch, K).
        """
        with torch.no_grad():
            values = self.policy.target_values(batch.next_observations)
            ends, best = _of(beta, batch.options), values.max(1).values - self.deliberation_cost
            upon_arrival = (1 - ends) * _of(values, batch.options) + ends * best
            return batch.rewards + (1 - batch.terminal) * self.gamma * upon_arrival

    def value_loss(
        self, observations: torch.Tensor, options: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        """Returns L_Q, which trains trunk and value head; targets are y, (batch,)."""
        values = self.policy.value_net(self.policy.latent(observations))
        return F.smooth_l1_loss(_of(values, options), targets)

    def head_losses(self, batch: OptionBatch) -> dict[str, torch.Tensor]:
        """Returns the terms that train the heads of policies and terminations, by name."""
        policy, options = self.policy, batch.options
        with torch.no_grad():  # so that no term reaches the trunk
            both = torch.cat([batch.observations, batch.next_observations])
            latent, next_latent = policy.latent(both).chunk(2)
            values, next_values = policy.value_net(latent), policy.value_net(next_latent)
        logits, beta = policy.logits(latent), policy.beta(next_latent)
        gain = self.targets(batch, beta)
        if self.baseline:
            gain = gain - _of(values, options)
        rows = torch.arange(len(options), device=options.device)
        log_probs = F.log_softmax(logits[rows, options], dim=1)
        terms = {"policy_loss": -(_of(log_probs, batch.actions) * gain).mean()}
        if self.ent_coef:
            terms["entropy_loss"] = self.ent_coef * (log_probs.exp() * log_probs).sum(1).mean()
        if self.hellinger_coef and policy.n_options > 1:
            terms["hellinger_loss"] = -self.hellinger_coef * mean_hellinger(logits).mean()
        counted = batch.tested
        if not self.at_next:
            beta, next_values, counted = policy.beta(latent), values, torch.ones_like(counted)
        advantage = _of(next_values, options) - next_values.max(1).values
        cost = advantage + self.deliberation_cost + self.termination_reg
        terms["termination_loss"] = (counted * _of(beta, options) * cost).mean()
        return terms

    def _descend(self, optimizer: Any, loss: torch.Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        grads = [p.grad for g in optimizer.param_groups for p in g["params"] if p.grad is not None]
        clip_grad_norm(grads, self.max_grad_norm)
        optimizer.step()


def _of(values: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Returns one entry of each row, (batch, n) and (batch,) to (batch,)."""
    return values.gather(1, chosen.unsqueeze(1)).squeeze(1)
