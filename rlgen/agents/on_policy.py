"""The fast rollout under SB3's on-policy interface, shared by all our on-policy agents.

Scope: an ``OnPolicyAlgorithm`` keeps its constructor, callbacks, logger, ``learn``, ``save`` and
``load``; only how a rollout is collected (and, in the subclasses, how an update is computed)
changes. ``fast=False`` runs SB3's own code, line for line. Policies that the fast path does not
know (state-dependent exploration, dictionary observations, multi-discrete or binary actions,
separate extractors) take SB3's road by themselves; ``why_not_fast`` tells why.

What the fast path computes differs from SB3 by rounding only; it draws actions and minibatches
from its own NumPy generators, so the same seed gives other samples of the same distributions.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.common.utils import explained_variance
from stable_baselines3.common.vec_env import VecEnv

from rlgen.agents.network import ActorCriticNetwork
from rlgen.agents.rollout import Minibatch, TensorRollout
from rlgen.core.device import keep_large_blocks, resolve_precision, torch_threads
from rlgen.core.errors import NonFiniteLossError, UserError
from rlgen.core.seeding import spawn_generators

Self = TypeVar("Self", bound="FastOnPolicy")


@dataclass(frozen=True)
class PolicyOutputs:
    """What a policy says of a minibatch, differentiable; axis 0 is the batch.

    Attributes:
        policy: The policy.
        batch: The samples.
        parameters: Of the action distributions: (batch, A), with an option axis (batch, K, A).
        values: Value of each sample's state, under its option where there are options, (batch,).
        log_prob: Log-probability of the action taken, (batch,).
        entropy: Of the action distribution, (batch,).
        latent_pi: What the action head reads, (batch, width), where the network hands it out.
        latent_vf: What the value head reads, likewise.
        option_values: Values under every option, (batch, K), or None.
    """

    policy: ActorCriticPolicy
    batch: Minibatch
    parameters: torch.Tensor
    values: torch.Tensor
    log_prob: torch.Tensor
    entropy: torch.Tensor
    latent_pi: torch.Tensor | None = None
    latent_vf: torch.Tensor | None = None
    option_values: torch.Tensor | None = None


AuxiliaryLoss = Callable[[PolicyOutputs], dict[str, torch.Tensor]]


class FastOnPolicy(OnPolicyAlgorithm):
    """Mix-in before one of SB3's on-policy algorithms.

    Args:
        *args: As the SB3 algorithm takes them.
        fast: Use the fast path where the policy allows it; False runs SB3's code unchanged.
        precision: ``fp32``, ``bf16`` or ``auto`` (bf16 where this machine gains from it), for
            convolutional networks; small networks always compute in fp32.
        n_threads: Torch threads while learning; None: one for small networks on the CPU, else
            torch's own setting.
        auxiliary_losses: Further terms of every gradient step; see :meth:`auxiliary_loss`. One
            with a method ``check(policy)`` is asked once whether it fits.
        **kwargs: As the SB3 algorithm takes them.

    Attributes:
        why_not_fast: Why SB3's road is taken, or None on the fast path.
        generators: The NumPy generators, one for each of ``purposes``.

    Raises:
        UserError: If an auxiliary loss does not fit the policy, or needs the fast path where it
            cannot be taken.
    """

    rollout_buffer: TensorRollout
    network_class: ClassVar[type[ActorCriticNetwork]] = ActorCriticNetwork
    # In this order: a purpose that is added at the end leaves the others' numbers as they were.
    purposes: ClassVar[tuple[str, ...]] = ("actions", "minibatches", "genes", "statistics")

    def __init__(
        self,
        *args: Any,
        fast: bool = True,
        precision: str = "auto",
        n_threads: int | None = None,
        auxiliary_losses: Sequence[AuxiliaryLoss] = (),
        **kwargs: Any,
    ) -> None:
        self.fast = fast
        self.auxiliary_losses = list(auxiliary_losses)
        self.precision = precision
        self.n_threads = n_threads
        self.why_not_fast: str | None = None
        self.generators: dict[str, np.random.Generator] = {}
        super().__init__(*args, **kwargs)

    def _setup_model(self) -> None:
        super()._setup_model()
        if not self.generators:  # a loaded model brings its own, in the state it had
            self.generators = spawn_generators(self.seed, *self.purposes)
        # A policy of another make than SB3's may bring the network that computes it.
        network_class = getattr(self.policy, "network_class", self.network_class)
        self.why_not_fast = (
            network_class.why_unsupported(self.policy) if self.fast else "fast=False"
        )
        if self.rollout_buffer_class is not None and not issubclass(
            self.rollout_buffer_class, TensorRollout
        ):
            standard = self.rollout_buffer_class.__name__ in ("RolloutBuffer", "DictRolloutBuffer")
            self.why_not_fast = self.why_not_fast or (None if standard else "own rollout buffer")
        for loss in self.auxiliary_losses:
            if hasattr(loss, "check"):
                loss.check(self.policy)
        if self.why_not_fast is not None:
            if self.auxiliary_losses:
                raise UserError(
                    f"auxiliary_losses need the fast path, which is off ({self.why_not_fast})"
                )
            return
        convolutional = network_class.is_convolutional(self.policy)
        dtype = resolve_precision(self.precision, self.device) if convolutional else torch.float32
        self.network = network_class(self.policy, dtype)
        self.rollout_buffer = TensorRollout(
            self.network,
            self.n_steps,
            self.n_envs,
            self.observation_space,
            self.action_space,
            device=self.device,
            gamma=self.gamma,
            gae_lambda=self.gae_lambda,
        )
        if self.n_threads is None and self.device.type == "cpu" and not convolutional:
            self.n_threads = 1
        if convolutional:
            keep_large_blocks()
        fuse(self.policy.optimizer)
        self._trained = list(self.policy.parameters())

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "network", "_trained"]

    def learn(
        self: Self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int | None = None,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> Self:
        """Trains the agent; see SB3's ``learn``, whose defaults stand where None is given.

        Raises:
            NonFiniteLossError: If a loss term becomes NaN or infinite.
        """
        options: dict[str, Any] = {"tb_log_name": tb_log_name or type(self).__name__}
        if log_interval is not None:
            options["log_interval"] = log_interval
        with torch_threads(self.n_threads):
            return super().learn(
                total_timesteps,
                callback,
                reset_num_timesteps=reset_num_timesteps,
                progress_bar=progress_bar,
                **options,
            )

    def collect_rollouts(
        self,
        env: VecEnv,
        callback: BaseCallback,
        rollout_buffer: Any,
        n_rollout_steps: int,
    ) -> bool:
        """Collects one rollout with the current policy; see SB3's method of that name.

        Returns:
            False if a callback asked to stop.
        """
        if self.why_not_fast is not None:
            return super().collect_rollouts(env, callback, rollout_buffer, n_rollout_steps)
        assert self._last_obs is not None
        self.policy.set_training_mode(False)
        self.network.prepare_rollout()
        rollout_buffer.reset()
        callback.on_rollout_start()
        dones = np.zeros(env.num_envs, dtype=bool)
        new_obs: Any = self._last_obs
        for _ in range(n_rollout_steps):
            obs_tensor = rollout_buffer.put_observations(self._last_obs)
            actions, values, log_probs = self._act(obs_tensor)
            new_obs, rewards, dones, infos = env.step(self._for_env(actions))
            self.num_timesteps += env.num_envs
            callback.update_locals(locals())
            if not callback.on_step():
                return False
            self._update_info_buffer(infos, dones)
            if dones.any():
                self._note_ends(dones, infos)
                rewards = self._bootstrap_cut_episodes(rewards, dones, infos)
            rollout_buffer.put(actions, rewards, self._last_episode_starts, values, log_probs)
            self._last_obs = new_obs
            self._last_episode_starts = dones
        values = self._values_at_end(rollout_buffer.pack(new_obs), dones)
        rollout_buffer.compute_advantages(values, dones)
        callback.update_locals(locals())
        callback.on_rollout_end()
        return True

    def _act(
        self, stored: torch.Tensor
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Chooses actions for the observations of a step; returns them, values, log-probs."""
        parameters, values = self.network.act(stored)
        actions, log_probs = self.network.head.sample(parameters, self.generators["actions"])
        return actions, values, log_probs

    def _note_ends(self, dones: npt.NDArray[np.bool_], infos: list[dict[str, Any]]) -> None:
        """Called where the current step ended episodes, before it is put into the rollout."""

    def _values_at_end(
        self, stored: torch.Tensor, dones: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.float32]:
        """Returns the values of the observations after a rollout's last step, (n_envs,)."""
        return self.network.values(stored)

    def _values_where_cut(self, stored: torch.Tensor, envs: list[int]) -> npt.NDArray[np.float32]:
        """Returns the values of the last observations of episodes that a time limit cut."""
        return self.network.values(stored)

    def _for_env(self, actions: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if isinstance(self.action_space, spaces.Box):
            actions = actions.reshape(len(actions), *self.action_space.shape)
            return np.clip(actions, self.action_space.low, self.action_space.high)
        return actions + getattr(self.action_space, "start", 0)

    def _bootstrap_cut_episodes(
        self, rewards: npt.NDArray[Any], dones: npt.NDArray[np.bool_], infos: list[dict[str, Any]]
    ) -> npt.NDArray[Any]:
        """Adds gamma V(last observation) to the reward where a time limit cut an episode."""
        cut = [int(i) for i in np.flatnonzero(dones) if infos[i].get("TimeLimit.truncated", False)]
        if not cut:
            return rewards
        last = np.stack([infos[i]["terminal_observation"] for i in cut])
        rewards = np.array(rewards)
        rewards[cut] += self.gamma * self._values_where_cut(self.rollout_buffer.pack(last), cut)
        return rewards

    def training_positions(self) -> npt.NDArray[np.int64] | None:
        """Returns which positions of the rollout train the network; None for all of them."""
        return None

    def _evaluate(self, batch: Minibatch) -> PolicyOutputs:
        """Evaluates the policy on a minibatch."""
        parameters, values = self.network.evaluate(batch.observations)
        log_prob, entropy = self.network.head.evaluate(parameters, batch.actions)
        return PolicyOutputs(self.policy, batch, parameters, values, log_prob, entropy)

    def auxiliary_loss(self, outputs: PolicyOutputs) -> dict[str, torch.Tensor]:
        """Returns further terms of the loss by name; each is added as it is, and logged.

        A subclass adds its own terms to those of ``auxiliary_losses``, the plug-ins: callables
        from :class:`PolicyOutputs` to named scalars, weighted, to be minimised. They are computed
        anew in every gradient step, on that step's minibatch.
        """
        terms: dict[str, torch.Tensor] = {}
        for loss in self.auxiliary_losses:
            terms |= loss(outputs)
        return terms

    def _descend(self, loss: torch.Tensor) -> None:
        """One optimiser step on a loss, with the gradient clipped."""
        for parameter in self._trained:
            parameter.grad = None
        loss.backward()
        clip_grad_norm([p.grad for p in self._trained if p.grad is not None], self.max_grad_norm)
        self.policy.optimizer.step()

    def _log_update(self, terms: "TermLog") -> None:
        """Logs the means of an update's terms, and what SB3 logs beside them."""
        for name, value in terms.means().items():
            self.logger.record(f"train/{name}", value)
        variance = explained_variance(
            self.rollout_buffer.values.flatten(), self.rollout_buffer.returns.flatten()
        )
        self.logger.record("train/explained_variance", float(variance))
        if hasattr(self.policy, "log_std"):
            std = torch.exp(self.policy.log_std).mean().item()
            self.logger.record("train/std", std)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")

    def train_by_sb3(self, train: Callable[[], None]) -> None:
        """Runs SB3's own update; its distributions refuse NaN before any loss is logged.

        Args:
            train: SB3's ``train``.

        Raises:
            NonFiniteLossError: If the policy's output is not a number.
        """
        try:
            train()
        except ValueError as error:
            if all(bool(p.isfinite().all()) for p in self.policy.parameters()):
                raise
            raise NonFiniteLossError("train/loss", self.num_timesteps) from error

    def stop_if_not_finite(self) -> None:
        """Checks the loss terms logged by the last update.

        Raises:
            NonFiniteLossError: If one is NaN or infinite.
        """
        for key, value in self.logger.name_to_value.items():
            if key.startswith("train/") and "loss" in key and not np.isfinite(value):
                raise NonFiniteLossError(key, self.num_timesteps)


class TermLog:
    """Collects named scalars of many gradient steps without waiting for the device."""

    def __init__(self) -> None:
        self._terms: dict[str, list[torch.Tensor]] = defaultdict(list)

    def add(self, **terms: torch.Tensor) -> None:
        """Adds one value per name."""
        for name, value in terms.items():
            self._terms[name].append(value.detach())

    def means(self) -> dict[str, float]:
        """Returns the mean of each name."""
        return {name: float(torch.stack(v).float().mean()) for name, v in self._terms.items()}


def clip_grad_norm(grads: list[torch.Tensor], max_norm: float) -> None:
    """``torch.nn.utils.clip_grad_norm_`` without its per-call sorting of tensors by device."""
    norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))
    scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    if scale.is_cuda or scale < 1:  # on the CPU looking costs nothing, multiplying does
        torch._foreach_mul_(grads, scale)


def fuse(optimizer: torch.optim.Optimizer) -> None:
    """Switches an Adam optimiser to its fused kernel: the same update in one pass."""
    if type(optimizer) in (torch.optim.Adam, torch.optim.AdamW):
        for group in optimizer.param_groups:
            group["fused"], group["foreach"] = True, False
    else:
        for group in optimizer.param_groups:
            if "foreach" in group:
                group["foreach"] = True
