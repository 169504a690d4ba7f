"""Trains the auxiliary model of any SB3 algorithm beside the algorithm's own loss.

Paper: Yang, Lee, Chang, Kwak, ACML 2019 (arXiv 1811.04350). Seen in it: the total objective of
encoder, actor and decoder, J_policy + alpha J_ac, with a small alpha (0.001 on Atari); the critic
is not part of it. Reconstructed: that one optimiser takes both parts, as an optimiser like Adam
would undo the scale of alpha if the auxiliary loss had one of its own. So the callback adds alpha
times the auxiliary gradient to the policy's gradient, right before the optimiser's own step; a
target network, a value loss or a replay buffer stay as SB3 made them.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn

from rlgen.agents.disentangled.actions import ActionCoding
from rlgen.agents.disentangled.extractor import DisentangledExtractor, acting_extractor
from rlgen.agents.disentangled.indicators import next_state_errors
from rlgen.agents.disentangled.loss import Objective
from rlgen.agents.disentangled.transitions import Batch, replay_steps, whole_steps
from rlgen.agents.on_policy import TermLog, clip_grad_norm
from rlgen.core.errors import NonFiniteLossError, UserError
from rlgen.core.seeding import spawn_generators

Array = npt.NDArray[Any]

_UPDATES_PER_REPORT = 50


class DisentangleCallback(BaseCallback):
    """Adds alpha * (NLL of the next state + beta KL) to what an algorithm minimises.

    The policy must act through a :class:`DisentangledExtractor`; PPO, A2C, DQN, SAC and TD3 are
    known to work. An on-policy algorithm trains the model on its rollout, an off-policy one on its
    replay buffer; both on random minibatches drawn from a generator of the callback's own, so
    that the algorithm's random numbers are those it would have had without. It logs
    ``disentangled/*``.

    Args:
        alpha: Weight of the auxiliary loss; 0 changes nothing at all.
        beta: Weight of the KL in the ``beta`` objective.
        objective: ``beta`` or ``capacity``.
        gamma_c: Weight in the ``capacity`` objective.
        capacity: Nats that its C rises to.
        capacity_steps: Auxiliary updates in which it does.
        every: Steps of the optimiser per auxiliary gradient.
        batch_size: Tuples per auxiliary gradient.
        max_grad_norm: The auxiliary gradient, alpha included, is clipped to this norm.
        ternary: As :class:`ActionCoding` takes it.
        seed: Of the minibatches and of the noise.

    Attributes:
        updates: Auxiliary gradients so far.

    Raises:
        NonFiniteLossError: While training, if the auxiliary loss becomes NaN or infinite.
        UserError: If a number is not valid or, at the start of training, if the policy has no
            such extractor, its model takes other actions, or the algorithm is of a third kind.
    """

    def __init__(
        self,
        alpha: float = 1e-3,
        beta: float = 4.0,
        *,
        objective: str = "beta",
        gamma_c: float = 1000.0,
        capacity: float = 25.0,
        capacity_steps: int = 100_000,
        every: int = 1,
        batch_size: int = 64,
        max_grad_norm: float = 0.5,
        ternary: bool | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if alpha < 0:
            raise UserError(f"alpha={alpha} is negative; type 0 or more")
        for name, value in (("every", every), ("batch_size", batch_size)):
            if value < 1:
                raise UserError(f"{name}={value} is too small; type {name}=1 or more")
        self.alpha = alpha
        self.objective = Objective(objective, beta, gamma_c, capacity, capacity_steps)
        self.every = every
        self.batch_size = batch_size
        self.max_grad_norm = max_grad_norm
        self.ternary = ternary
        self.updates = 0
        generators = spawn_generators(seed, "tuples", "noise")
        self._draws, self._noise = generators["tuples"], generators["noise"]
        self._steps = 0  # of the optimiser
        self._rollout: list[tuple[Array, Array, Array]] = []
        self._tuples_of_rollout: tuple[Array, Array, Array] | None = None
        self._reported = 0  # updates at the last report
        self._last: Batch | None = None
        self._log = TermLog()
        self._hook: Any = None

    def _init_callback(self) -> None:
        self.extractor = acting_extractor(self.model.policy)
        self.coding = ActionCoding(self.model.action_space, self.ternary, from_zero=True)
        m = self.extractor.vae.action_dim
        if self.coding.dim != m:
            raise UserError(
                f"the extractor has action_dim={m}, but {self.model.action_space} needs "
                f"{self.coding.dim}; type action_dim={self.coding.dim}"
            )
        if not isinstance(self.model, OnPolicyAlgorithm | OffPolicyAlgorithm):
            raise UserError(
                f"{type(self.model).__name__} is neither an on-policy nor an off-policy algorithm"
            )
        self._optimizer = _optimizer_of(self.model.policy, self.extractor)

    def _on_training_start(self) -> None:
        self._unhook()  # of a training that an error ended
        if self.alpha:
            self._hook = self._optimizer.register_step_pre_hook(self._before_step)

    def _on_training_end(self) -> None:
        self._unhook()
        self._report()

    def _unhook(self) -> None:
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def _on_rollout_start(self) -> None:
        self._rollout.clear()
        if self.updates - self._reported >= _UPDATES_PER_REPORT:
            self._report()

    def _on_step(self) -> bool:
        if self.alpha and isinstance(self.model, OnPolicyAlgorithm):
            found = self.locals
            after = (found[name] for name in ("actions", "new_obs", "dones", "infos"))
            states: Any = self.model._last_obs  # SB3 replaces it after its callbacks
            self._rollout.append(whole_steps(states, *after))
        return True

    def _on_rollout_end(self) -> None:
        if self._rollout:
            parts = zip(*self._rollout, strict=True)
            states, actions, after = (np.concatenate(part) for part in parts)
            self._tuples_of_rollout = states, actions, after

    def _before_step(self, *_: Any) -> None:
        """Adds the auxiliary gradient; torch calls it before each step of the optimiser."""
        self._steps += 1
        if self._steps % self.every:
            return
        batch = self._draw()
        if batch is None:
            return
        vae = self.extractor.vae
        vae.update_target_statistics(batch[2])
        shape = (len(batch[0]), vae.latent_dim)
        eps = torch.from_numpy(self._noise.standard_normal(shape, dtype=np.float32))
        with torch.enable_grad():
            outputs = vae(batch[0], batch[1], eps.to(batch[0].device))
            terms = self.objective(
                outputs.prediction,
                vae.targets(batch[2]),
                outputs.mu,
                outputs.sigma,
                likelihood=vae.likelihood,
                step=self.updates,
            )
            if not bool(terms.loss.isfinite()):
                raise NonFiniteLossError("disentangled/loss", self.num_timesteps)
            trained = [p for p in vae.parameters() if p.requires_grad]
            grads = list(torch.autograd.grad(self.alpha * terms.loss, trained))
        clip_grad_norm(grads, self.max_grad_norm)
        for parameter, grad in zip(trained, grads, strict=True):
            parameter.grad = grad if parameter.grad is None else parameter.grad.add_(grad)
        self.updates += 1
        self._last = batch
        m = vae.action_dim
        self._log.add(
            nll=terms.nll,
            kl=terms.kl,
            kl_mapped=terms.kl_per_coordinate[:m].sum(),
            kl_unmapped=terms.kl_per_coordinate[m:].sum(),
            sigma=outputs.sigma.mean(),
        )

    def _draw(self) -> Batch | None:
        """Returns a random minibatch as the model takes it, or None while there is nothing."""
        if isinstance(self.model, OffPolicyAlgorithm):
            raw = self._from_replay(self.model)
        else:
            raw = self._from_rollout()
        if raw is None or not len(raw[0]):
            return None
        states, actions, after = raw
        vectors = self.coding.encode(actions, self.model.device)
        return self._to_model(states), vectors, self._to_model(after)

    def _from_rollout(self) -> tuple[Array, Array, Array] | None:
        if self._tuples_of_rollout is None:
            return None
        states, actions, after = self._tuples_of_rollout
        index = self._draws.integers(len(states), size=min(self.batch_size, len(states)))
        return states[index], actions[index], after[index]

    def _from_replay(self, model: OffPolicyAlgorithm) -> tuple[Array, Array, Array] | None:
        buffer = model.replay_buffer
        if buffer is None or not buffer.size():
            return None
        rows = self._draws.integers(buffer.size(), size=self.batch_size)
        if buffer.full and buffer.optimize_memory_usage:
            # The place of the next step holds the newest one's target: it begins no step.
            rows = (1 + rows % (buffer.buffer_size - 1) + buffer.pos) % buffer.buffer_size
        envs = self._draws.integers(buffer.n_envs, size=self.batch_size)
        states, actions, after = replay_steps(buffer, rows, envs)
        if isinstance(model.action_space, spaces.Box):
            actions = model.policy.unscale_action(actions)  # the buffer has them within -1..1
        scale = model.get_vec_normalize_env()
        return _normalized(buffer, states, scale), actions, _normalized(buffer, after, scale)

    def _to_model(self, observations: Array) -> torch.Tensor:
        """Returns observations as the policy's extractor hands them to its model."""
        tensor = torch.as_tensor(observations, device=self.model.device)
        space, policy = self.model.observation_space, self.model.policy
        ready = preprocess_obs(tensor, space, normalize_images=policy.normalize_images)
        return self.extractor.to_model(ready)  # type: ignore[arg-type]  # no dictionaries

    def _report(self) -> None:
        """Logs means since the last report, and what the true action is worth to the decoder."""
        if self._last is None or self.updates == self._reported:
            return
        self._reported = self.updates
        means = self._log.means()
        self._log = TermLog()
        if len(self._last[0]) > 1:
            means["action_gain"] = next_state_errors(self.extractor.vae, *self._last).gain
        for name, value in means.items():
            self.logger.record(f"disentangled/{name}", value)
        self.logger.record("disentangled/n_updates", self.updates, exclude="tensorboard")


def _normalized(buffer: ReplayBuffer, observations: Array, scale: VecNormalize | None) -> Array:
    """Returns stored observations as SB3's ``VecNormalize`` shows them to the policy."""
    normalized: Any = buffer._normalize_obs(observations, scale)
    return np.asarray(normalized)


def _optimizer_of(policy: nn.Module, extractor: DisentangledExtractor) -> torch.optim.Optimizer:
    """Returns the optimiser that trains an extractor's encoder."""
    weight = extractor.vae.encoder_head.weight
    for owner in (policy, getattr(policy, "actor", None), getattr(policy, "q_net", None)):
        optimizer = getattr(owner, "optimizer", None)
        if isinstance(optimizer, torch.optim.Optimizer) and any(
            parameter is weight for group in optimizer.param_groups for parameter in group["params"]
        ):
            return optimizer
    raise UserError(f"no optimiser of {type(policy).__name__} trains its DisentangledExtractor")
