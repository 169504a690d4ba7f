"""What G2PPO and G2AC share: the population beside an on-policy algorithm.

Paper: S. Chang, J. Yang, J. Choi, N. Kwak, "Genetic-Gated Networks for Deep Reinforcement
Learning", NeurIPS 2018 (arXiv 1903.01886).

Seen in the paper or its public review: binary genes multiply hidden units; one set of weights and
N chromosomes give N actors; gradients train the weights and a genetic algorithm the gates; a phase
in which the best actor acts and learns by the ordinary rule alternates with one in which all
actors collect experience, which scores them and trains the elite. Reconstructed: everything else
(operators, probabilities, population size, credit of episodes, phase lengths, the place of the
gates), each an option here. No result of the paper is reproduced or claimed.

The losses are those of the base algorithm, always evaluated with the elite's gates. Samples of
other individuals enter with the log-probability of the individual that acted, so PPO's ratio is the
right one; A2C uses them uncorrected unless ``is_clip`` is set.
"""

from dataclasses import fields
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.callbacks import BaseCallback, ConvertCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import MaybeCallback
from stable_baselines3.common.utils import obs_as_tensor
from stable_baselines3.common.vec_env import VecMonitor, is_vecenv_wrapped

from rlgen.agents.g2n.evolution import Evolution
from rlgen.agents.g2n.gates import GatedMlpExtractor
from rlgen.agents.g2n.policy import (
    GatedActorCriticCnnPolicy,
    GatedActorCriticPolicy,
    GatedMultiInputPolicy,
)
from rlgen.agents.heads import head_of
from rlgen.agents.on_policy import FastOnPolicy
from rlgen.agents.options import GeneticOptions
from rlgen.core.errors import UserError, closest

TRAIN_ON = ("all", "elite")


class GeneticGates(FastOnPolicy):
    """Mix-in before a fast on-policy algorithm.

    Args:
        *args: As the algorithm takes them.
        population_size: Individuals N.
        train_on: Samples that train the weights in the evolving phase: ``all``, or the ``elite``'s.
        gate_layers: Gated hidden layers of the actor, -1 for the last.
        genetic_kwargs: Further fields of :class:`GeneticOptions`.
        stats_samples: Samples per update on which the statistics of foreign data are computed.
        **kwargs: As the algorithm takes them.

    Attributes:
        evolution: The population and its bookkeeping.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": GatedActorCriticPolicy,
        "CnnPolicy": GatedActorCriticCnnPolicy,
        "MultiInputPolicy": GatedMultiInputPolicy,
    }
    policy: GatedActorCriticPolicy

    def __init__(
        self,
        *args: Any,
        population_size: int = 16,
        train_on: str = "all",
        gate_layers: tuple[int, ...] = (-1,),
        genetic_kwargs: dict[str, Any] | None = None,
        stats_samples: int = 256,
        **kwargs: Any,
    ) -> None:
        if train_on not in TRAIN_ON:
            raise UserError(f"train_on={train_on!r} is unknown; allowed: {', '.join(TRAIN_ON)}")
        self.train_on = train_on
        known = {option.name for option in fields(GeneticOptions)} - {"population_size"}
        for name in genetic_kwargs or {}:
            if name not in known:
                raise UserError(f"unknown genetic_kwargs {name!r}; {closest(name, known)}")
        self.genetic_options = GeneticOptions(population_size, **(genetic_kwargs or {}))
        self.stats_samples = stats_samples
        self.evolution: Evolution | None = None
        policy_kwargs = dict(kwargs.pop("policy_kwargs", None) or {})
        if tuple(gate_layers) != (-1,):
            policy_kwargs["gate_layers"] = tuple(gate_layers)
        super().__init__(*args, policy_kwargs=policy_kwargs, **kwargs)

    def _setup_model(self) -> None:
        super()._setup_model()
        if not isinstance(self.policy, GatedActorCriticPolicy):
            raise UserError(
                f"{type(self).__name__} needs a gated policy, not {type(self.policy).__name__}; "
                "type MlpPolicy or CnnPolicy, or derive yours from GatedActorCriticPolicy"
            )
        if self.train_on == "elite" and self.why_not_fast is not None:
            raise UserError(
                f"train_on=elite needs the fast path, which is off ({self.why_not_fast})"
            )
        self.genetic_options.check(self.n_envs)
        if self.evolution is None:
            self.evolution = Evolution(
                self.genetic_options, self.gates.n_gates, self.n_envs, self.generators["genes"]
            )
        else:  # loaded from a file, perhaps with another number of environments
            self.evolution.generator = self.generators["genes"]
            self.evolution.restart_episodes(self.n_envs)
        self._gate_log = np.zeros((self.n_steps, self.n_envs, self.gates.n_gates), dtype=np.uint8)
        self.publish_gates()

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_gate_log"]

    @property
    def gates(self) -> GatedMlpExtractor:
        """The gated part of the policy."""
        return self.policy.mlp_extractor

    def publish_gates(self, elite: bool = True) -> None:
        """Hands the evolution's gates to the policy: each environment's, and the elite's."""
        assert self.evolution is not None
        gates = self.gates
        # On the CPU this is the evolution's own memory; elsewhere a copy.
        gates.acting = torch.as_tensor(self.evolution.acting, device=gates.elite.device)
        if elite:
            gates.elite.copy_(torch.from_numpy(self.evolution.elite_gates))

    def _setup_learn(
        self, total_timesteps: int, callback: MaybeCallback = None, *args: Any, **kwargs: Any
    ) -> tuple[int, BaseCallback]:
        reset = args[0] if args else kwargs.get("reset_num_timesteps", True)
        begins_anew = reset or self._last_obs is None
        own: list[BaseCallback] = [_EvolutionCallback()]
        if callback is not None:
            given = callback if isinstance(callback, list) else [callback]
            own += [c if isinstance(c, BaseCallback) else ConvertCallback(c) for c in given]
        result = super()._setup_learn(total_timesteps, own, *args, **kwargs)
        assert self.evolution is not None
        if begins_anew:
            self.evolution.restart_episodes(self.n_envs)
            self.publish_gates()
        return result

    def set_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Sets the weights; see SB3's method. The gates among them become the elite's."""
        super().set_parameters(*args, **kwargs)
        assert self.evolution is not None
        self.evolution.population[self.evolution.elite] = self.gates.elite.cpu().numpy()
        self.publish_gates()

    def training_positions(self) -> npt.NDArray[np.int64] | None:
        """Returns the positions whose actions the elite took, if only they train."""
        return None if self.train_on == "all" else np.flatnonzero(self._taken_by_elite())

    def _taken_by_elite(self) -> npt.NDArray[np.bool_]:
        assert self.evolution is not None
        own: npt.NDArray[np.bool_] = (self._gate_log == self.evolution.elite_gates).all(axis=2)
        return own.reshape(-1)

    def train(self) -> None:
        """Updates the weights with the elite's gates; see the base algorithm.

        Raises:
            NonFiniteLossError: If a loss term becomes NaN or infinite.
        """
        own = self._taken_by_elite()
        if not own.all():
            for name, value in self._foreign_statistics(own).items():
                self.logger.record(f"g2n/{name}", value)
        super().train()

    def clipped(self, ratio: torch.Tensor) -> torch.Tensor:
        """Tells which ratios of probabilities the loss clips."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it clips")

    @torch.no_grad()
    def _foreign_statistics(self, own: npt.NDArray[np.bool_]) -> dict[str, float]:
        """Compares the elite with the individuals that acted, before the update."""
        head = head_of(self.policy)
        if head is None:
            return {}
        generator = self.generators["statistics"]
        count = min(self.stats_samples, len(own))
        positions = np.sort(generator.choice(len(own), size=count, replace=False))
        features, actions, old_log_prob, advantages = self._samples(positions)
        gates = self._gate_log.reshape(len(own), -1)[positions].astype(np.float32)
        latent = self.gates.forward_actor(features, torch.as_tensor(gates, device=self.device))
        individual = self.policy.action_net(latent)
        elite = self.policy.action_net(self.gates.forward_actor(features))
        log_prob, _ = head.evaluate(elite, actions)
        ratio = torch.exp(log_prob - old_log_prob)
        objective = -(ratio * advantages)
        mine = torch.as_tensor(own[positions], device=self.device)
        statistics = {
            "kl_elite_individuals": head.kl(elite, individual).mean(),
            "ratio_mean": ratio.mean(),
            "ratio_max": ratio.max(),
            "ratio_clipped": self.clipped(ratio).float().mean(),
        }
        if mine.any():
            statistics["policy_loss_own"] = objective[mine].mean()
        if not mine.all():
            statistics["policy_loss_foreign"] = objective[~mine].mean()
        return {name: float(value) for name, value in statistics.items()}

    def _samples(self, positions: npt.NDArray[np.int64]) -> tuple[torch.Tensor, ...]:
        """Returns features, actions, old log-probabilities and advantages at some positions."""
        if self.why_not_fast is None:
            batch = self.rollout_buffer.at(positions)
            shared = self.network.features(batch.observations)
            return shared, batch.actions, batch.old_log_prob, batch.advantages
        buffer: Any = self.rollout_buffer
        steps, envs = np.divmod(positions, self.n_envs)
        stored = buffer.observations
        if isinstance(stored, dict):
            picked: Any = {key: value[steps, envs] for key, value in stored.items()}
        else:
            picked = stored[steps, envs]
        obs = obs_as_tensor(picked, self.device)
        features: Any = self.policy.extract_features(obs)
        if not self.policy.share_features_extractor:
            features, _ = features  # the actor's and the critic's
        rest = (buffer.actions, buffer.log_probs, buffer.advantages)
        actions, *others = (torch.as_tensor(a[steps, envs], device=self.device) for a in rest)
        discrete = actions.dtype is torch.int64
        return features, actions.flatten() if discrete else actions, *others


class _EvolutionCallback(BaseCallback):
    """Tells the evolution what happens, and the policy and the logger what it decides."""

    model: GeneticGates

    def _on_training_start(self) -> None:
        env = self.training_env
        self._monitored = is_vecenv_wrapped(env, VecMonitor) or any(env.env_is_wrapped(Monitor))

    def _on_rollout_start(self) -> None:
        model, evolution = self.model, self.model.evolution
        assert evolution is not None
        self._t = 0
        bred = evolution.begin_rollout()
        model.publish_gates()
        for name, value in (bred or {}).items():
            model.logger.record(f"g2n/{name}", value)
        if bred:
            overlap = float(evolution.elite_gates.mean())  # with the first elite, all open
            model.logger.record("g2n/elite_overlap_initial", overlap)
        model.logger.record("g2n/evolving", int(evolution.evolving))
        model.logger.record("g2n/elite_steps", evolution.elite_steps)
        model.logger.record("g2n/evolve_steps", evolution.evolve_steps)

    def _on_step(self) -> bool:
        model, evolution = self.model, self.model.evolution
        assert evolution is not None
        model._gate_log[self._t] = evolution.acting
        self._t += 1
        rewards, dones, infos = (self.locals[k] for k in ("rewards", "dones", "infos"))
        ended: dict[int, float] = {}
        for env in map(int, np.flatnonzero(dones)):
            if not self._monitored:
                ended[env] = float(evolution.partial_return[env] + rewards[env])
            elif "episode" in infos[env]:
                ended[env] = float(infos[env]["episode"]["r"])
        running = getattr(self.training_env.unwrapped, "episode_returns", None)
        if evolution.step(rewards, ended, running):
            model.publish_gates(elite=False)
        return True
