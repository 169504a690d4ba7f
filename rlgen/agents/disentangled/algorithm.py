"""PPO, A2C and a random policy that train an action-conditional beta-VAE beside their own loss.

Paper: Yang, Lee, Chang, Kwak, "Towards Governing Agent's Efficacy: Action-Conditional beta-VAE for
Deep Transparent Reinforcement Learning", ACML 2019 (arXiv 1811.04350).

Seen in it: the actor reads h = [mu ; sigma]; a sample z of the latent plus the action in its first
m coordinates predicts the next state; the total is

    L = L_policy + alpha [ NLL(s' ; Dec(z + [a ; 0])) + beta KL(q(z|s) || N(0, I)) ],

and the critic's loss apart, with alpha small (0.001); A2C on Atari, PPO on MuJoCo; dSprites under a
random policy, without a reward. The action and the next state are constants. One of its figures has
the objective of Burgess et al. (2018) instead, gamma_c |KL - C|.

Reconstructed: PPO's clipped surrogate (the paper's formula and text contradict each other); the
minibatches and passes of the policy's loss for the model's too; the last observation of an episode
as the target there, never a reset state. The decoder, which the second term alone trains, gets its
gradient without the factor alpha and outside of the clipping: Adam would divide the factor out
again but for its epsilon, and the model's size shall not shrink the policy's steps.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecEnv

from rlgen.agents.a2c import A2C
from rlgen.agents.disentangled.actions import ActionCoding
from rlgen.agents.disentangled.fused import model_loss
from rlgen.agents.disentangled.loss import Objective, capacity_at, kl_divergence, reconstruction_nll
from rlgen.agents.disentangled.network import DisentangledNetwork
from rlgen.agents.disentangled.next_states import NextStates
from rlgen.agents.disentangled.policy import DisentangledPolicy
from rlgen.agents.on_policy import FastOnPolicy, PolicyOutputs
from rlgen.agents.ppo import PPO
from rlgen.agents.registry import AGENTS
from rlgen.agents.rollout import Minibatch
from rlgen.core.errors import UserError

FloatArray = npt.NDArray[np.float32]
_LOGGED = 128  # samples of a rollout on which the model is described


@dataclass(frozen=True)
class LatentOutputs(PolicyOutputs):
    """What a policy with a latent says of a minibatch.

    Attributes:
        latents: h = [mu ; sigma], (batch, 2n), differentiable.
    """

    latents: torch.Tensor | None = None


class DisentangledLearner(FastOnPolicy):
    """Mix-in before a fast on-policy algorithm.

    Args:
        policy: ``MlpPolicy`` or ``CnnPolicy``, which are the same here, or a
            :class:`DisentangledPolicy` class.
        env: An environment or vector environment.
        *args: As the algorithm takes them.
        latent_dim: Size n of the latent; None for a size by the action space.
        alpha: Weight of the model's objective; 0 leaves the base algorithm on the same policy.
        beta: Weight of the KL in the ``beta`` objective.
        objective: ``beta``, or ``capacity``: gamma_c |KL - C|.
        gamma_c: Weight in the ``capacity`` objective.
        capacity: Nats that C rises to, from 0.
        capacity_steps: Gradient steps in which it does.
        critic: ``own`` trunk or ``detached``; see :class:`DisentangledPolicy`.
        network: Of the VAE: ``mlp``, ``nature``, ``conv`` or ``auto``.
        hidden: Widths of its fully connected layers; None for its own defaults.
        **kwargs: As the algorithm takes them.

    Raises:
        UserError: If an argument, the policy or a space does not fit.
    """

    purposes: ClassVar[tuple[str, ...]] = (*FastOnPolicy.purposes, "noise")
    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": DisentangledPolicy,
        "CnnPolicy": DisentangledPolicy,
    }
    policy: DisentangledPolicy
    network: DisentangledNetwork

    def __init__(
        self,
        policy: Any,
        env: Any,
        *args: Any,
        latent_dim: int | None = None,
        alpha: float = 1e-3,
        beta: float = 4.0,
        objective: str = "beta",
        gamma_c: float = 1000.0,
        capacity: float = 25.0,
        capacity_steps: int = 100_000,
        critic: str = "own",
        network: str = "auto",
        hidden: list[int] | None = None,
        **kwargs: Any,
    ) -> None:
        self._check_policy(policy)
        if not kwargs.get("fast", True):
            raise UserError(f"{type(self).__name__} has no slow road; leave out fast=False")
        if not 0 <= alpha < float("inf"):
            raise UserError(f"alpha={alpha} is no weight; type alpha=0 or more")
        self.alpha = alpha
        self.objective_options = {
            "name": objective,
            "beta": beta,
            "gamma_c": gamma_c,
            "capacity": capacity,
            "capacity_steps": capacity_steps,
        }
        Objective(**self.objective_options)  # type: ignore[arg-type]  # checks them
        policy_kwargs = dict(kwargs.pop("policy_kwargs", None) or {})
        model = {"network": network, "hidden": hidden}
        model |= policy_kwargs.get("features_extractor_kwargs") or {}
        own = {"latent_dim": latent_dim, "critic": critic, "features_extractor_kwargs": model}
        super().__init__(
            policy,
            env,
            *args,
            policy_kwargs={**own, **policy_kwargs, "features_extractor_kwargs": model},
            **kwargs,
        )

    def _check_policy(self, policy: Any) -> None:
        name = type(self).__name__
        if policy == "MultiInputPolicy":
            raise UserError(
                f"{name} cannot use Dict observations; flatten them, for example by "
                "gymnasium.wrappers.FlattenObservation"
            )
        fits = issubclass(policy, DisentangledPolicy) if isinstance(policy, type) else True
        if not fits or (isinstance(policy, str) and policy not in self.policy_aliases):
            given = policy.__name__ if isinstance(policy, type) else repr(policy)
            raise UserError(
                f"{name} needs a policy with a latent, not {given}; type MlpPolicy or CnnPolicy, "
                "or derive yours from DisentangledPolicy"
            )

    def _setup_model(self) -> None:
        super()._setup_model()
        if self.why_not_fast is not None:
            raise UserError(f"{type(self).__name__} has no slow road ({self.why_not_fast})")
        self._objective = Objective(**self.objective_options)  # type: ignore[arg-type]
        self._coding = ActionCoding(self.action_space, from_zero=True)
        self._vae = self.policy.vae  # found once: modules look attributes up slowly
        own = {id(p) for p in self.policy.vae.decoder.parameters()}
        learnt = self._learnt()
        self._decoding = [p for p in learnt if id(p) in own]
        self._trained = [p for p in learnt if id(p) not in own]
        # What never learns has no moments, and a checkpoint shall not look for them.
        self.policy.optimizer.param_groups[0]["params"] = learnt
        self._next = NextStates()

    def _learnt(self) -> list[torch.nn.Parameter]:
        """Returns the parameters that any term of the loss trains, in the policy's order."""
        resting = set() if self.alpha else {id(p) for p in self.policy.vae.decoder.parameters()}
        return [p for p in self.policy.parameters() if id(p) not in resting]

    def _excluded_save_params(self) -> list[str]:
        own = ["_objective", "_coding", "_decoding", "_next", "_vae", "_vectors", "_targets"]
        return [*super()._excluded_save_params(), *own]

    # Collecting -----------------------------------------------------------------------------

    def collect_rollouts(
        self,
        env: VecEnv,
        callback: BaseCallback,
        rollout_buffer: RolloutBuffer,
        n_rollout_steps: int,
    ) -> bool:
        """Collects one rollout, and what followed each of its steps; see SB3's method."""
        self._next.begin()
        complete = super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps)
        if complete and self.alpha:
            self._tabulate()
        return complete

    def _note_ends(self, dones: npt.NDArray[np.bool_], infos: list[dict[str, Any]]) -> None:
        if self.alpha:
            self._next.note_ends(self.rollout_buffer, dones, infos)

    def _values_at_end(self, stored: torch.Tensor, dones: npt.NDArray[np.bool_]) -> FloatArray:
        self._next.end(stored)
        return super()._values_at_end(stored, dones)

    def _tabulate(self) -> None:
        """Makes the tables of action vectors, (samples, m), and of what the decoder should say."""
        rollout, vae = self.rollout_buffer, self.policy.vae
        actions = rollout.actions.reshape(rollout.buffer_size * rollout.n_envs, -1)
        self._vectors = self._coding.encode(actions, self.device)
        self._targets = self._next.frames(rollout, self.network)
        if vae.likelihood == "gaussian":
            following = self.network.as_floats(self._targets)
            vae.update_target_statistics(following)
            self._targets = vae.targets(following)

    # Learning -------------------------------------------------------------------------------

    def updates_done(self) -> int:
        """Returns how many gradient steps the model has had; the capacity depends on it."""
        return self._n_updates

    def _evaluate(self, batch: Minibatch) -> LatentOutputs:
        parameters, values, h = self.network.evaluate_all(batch.observations)
        log_prob, entropy = self.network.head.evaluate(parameters, batch.actions)
        return LatentOutputs(self.policy, batch, parameters, values, log_prob, entropy, latents=h)

    def auxiliary_loss(self, outputs: PolicyOutputs) -> dict[str, torch.Tensor]:
        """Adds the model's objective; see the module and the base class."""
        terms = super().auxiliary_loss(outputs)
        if self.alpha:
            assert isinstance(outputs, LatentOutputs)
            assert outputs.latents is not None
            terms["model_loss"] = self.model_loss(outputs.latents, outputs.batch.index)
        return terms

    def model_loss(self, latents: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """Returns alpha times the objective, a scalar, with new noise.

        Args:
            latents: h of the samples, (batch, 2n).
            index: Their positions in the rollout, (batch,).
        """
        vae, step = self._vae, self.updates_done()
        shape = (len(index), vae.latent_dim)
        eps = self.generators["noise"].standard_normal(shape, dtype=np.float32)
        actions = self._vectors.index_select(0, index)
        target = self._targets.index_select(0, index)
        fused = self.network.fused
        if fused is not None:
            if vae.likelihood != "gaussian":
                target = self.network.as_targets(target)
            return model_loss(
                latents,
                fused.decoder,
                eps,
                actions.numpy(),
                target.numpy().reshape(len(index), -1),
                alpha=self.alpha,
                objective=self._objective,
                likelihood=vae.likelihood,
                step=step,
            )
        mu, sigma = _Weighted.apply(latents, self.alpha).chunk(2, dim=1)
        z = vae.sample(mu, sigma, torch.from_numpy(eps).to(self.device))
        prediction, target = self.network.predict(z + vae.map_action(actions), target)
        loss = self._objective(
            prediction, target, mu, sigma, likelihood=vae.likelihood, step=step
        ).loss
        return loss + (self.alpha - 1) * loss.detach()  # the value alone is weighted once more

    def _descend(self, loss: torch.Tensor) -> None:
        for parameter in self._decoding:
            parameter.grad = None
        super()._descend(loss)

    def dump_logs(self, iteration: int = 0) -> None:
        """Logs SB3's values, and what the model makes of the last rollout."""
        if self.alpha:
            for name, value in self.describe_model().items():
                self.logger.record(f"disentangled/{name}", value)
        super().dump_logs(iteration)

    @torch.no_grad()
    def describe_model(self, samples: int = _LOGGED) -> dict[str, float]:
        """Returns figures of the model on some states of the last rollout.

        Args:
            samples: At most so many states.

        Returns:
            ``nll`` and ``kl`` in nats, the latter also by its ``kl_mapped`` and ``kl_unmapped``
            coordinates (sums), the mean ``sigma``, and ``action_gain``: by how many nats the next
            state is predicted better with the true actions than with shuffled ones.
        """
        vae, rollout = self.policy.vae, self.rollout_buffer
        total = rollout.buffer_size * rollout.n_envs
        rows = torch.arange(0, total, max(total // samples, 1), device=self.device)[:samples]
        h = self.network.latents(rollout.stored.flatten(0, 1).index_select(0, rows))
        mu, sigma = h.chunk(2, dim=1)
        own = np.random.default_rng(0)  # logging more often shall not change the training
        eps = torch.from_numpy(own.standard_normal(mu.shape, dtype=np.float32)).to(self.device)
        target, actions = self._targets[rows], self._vectors[rows]
        if vae.likelihood != "gaussian":
            target = self.network.as_targets(target)
        z = vae.sample(mu, sigma, eps)
        shuffled = actions[torch.from_numpy(own.permutation(len(rows))).to(self.device)]
        nll, without = (
            reconstruction_nll(vae.decode(z + vae.map_action(a)), target, vae.likelihood).mean()
            for a in (actions, shuffled)
        )
        kl, m = kl_divergence(mu, sigma).mean(dim=0), vae.action_dim
        parts = {"kl": kl.sum(), "kl_mapped": kl[:m].sum(), "kl_unmapped": kl[m:].sum()}
        parts |= {"nll": nll, "sigma": sigma.mean(), "action_gain": without - nll}
        figures = {name: float(value) for name, value in parts.items()}
        if self._objective.name == "capacity":
            steps, last = self._objective.capacity_steps, self._objective.capacity
            figures["capacity"] = capacity_at(self.updates_done(), steps=steps, last=last)
        return figures


class _Weighted(torch.autograd.Function):
    """The same tensor, whose gradient is multiplied by a weight."""

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, weight: float) -> torch.Tensor:
        ctx.weight = weight
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        return grads[0] * ctx.weight, None


@AGENTS.register("disentangled_ppo")
class DisentangledPPO(DisentangledLearner, PPO):
    """PPO on a disentangled latent.

    Args:
        policy: See :class:`DisentangledLearner`.
        env: An environment or vector environment.
        **kwargs: Those of :class:`DisentangledLearner`, of :class:`rlgen.agents.PPO` and of SB3's.

    Example:
        >>> from rlgen.agents import DisentangledPPO
        >>> from rlgen.envs import make_vec
        >>> model = DisentangledPPO("MlpPolicy", make_vec("CartPole-v1", 8), n_steps=32)
        >>> model.learn(10_000)  # doctest: +SKIP
    """

    def updates_done(self) -> int:
        """See :class:`DisentangledLearner`; SB3 counts PPO's passes, not its steps."""
        return self._n_updates * -(-self.n_steps * self.n_envs // self.batch_size)


@AGENTS.register("disentangled_a2c")
class DisentangledA2C(DisentangledLearner, A2C):
    """A2C on a disentangled latent; arguments as :class:`DisentangledPPO`, with A2C's own."""
