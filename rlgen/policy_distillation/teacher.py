"""Trained agents as teachers: what they say of states, and what their networks compute on the way.

Three kinds: one actor (PPO, A2C, disentangled agents, G2N's elite), a population of gated actors,
and agents with options.

**Options.** Which option runs is hidden from a student that sees states alone. For any agent there
is one memoryless policy that visits states and takes actions as often as the agent does: the mean
of the running option's policy over all visits of a state, E[pi_w(.|s) | s]. KL to the *active*
option's policy along the played trajectory has exactly this minimiser, hence the default. The
*marginal* sum_w pi_Omega(w|s) pi_w(.|s) has no such noise, but describes an agent that chooses an
option anew at each step; both are the same where options end at once. Ours.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy

from rlgen.agents.option_critic.acting import ActsWithOptions, OptionOutputs
from rlgen.agents.option_critic.tabular import TabularPolicy
from rlgen.core.errors import UserError
from rlgen.policy_distillation.distributions import ActionDistribution

BoolArray = npt.NDArray[np.bool_]
Labels = tuple[torch.Tensor, torch.Tensor]


def actor_latent(policy: ActorCriticPolicy, observations: torch.Tensor) -> torch.Tensor:
    """Returns what an actor's head reads, (batch, width); G2N's with the elite's gates."""
    features = BasePolicy.extract_features(policy, observations, policy.pi_features_extractor)
    return policy.mlp_extractor.forward_actor(features)


class Teacher(ABC):
    """A trained agent; nothing here has a gradient but :meth:`acting_outputs`.

    Args:
        policy: Its policy.
        distribution: Of its actions.
        temperature: tau of the distributions that are learnt; it acts by its own.

    Attributes:
        members: Networks M whose features FEED reads.
    """

    members: int = 1

    def __init__(
        self, policy: Any, distribution: ActionDistribution, *, temperature: float = 1.0
    ) -> None:
        policy.set_training_mode(False)
        self.policy = policy
        self.distribution = distribution
        self.temperature = temperature

    def soften(self, rows: torch.Tensor) -> torch.Tensor:
        """Returns rows at the temperature."""
        if self.temperature == 1:
            return rows
        return self.distribution.soften(rows, self.temperature)

    def begin(self, n_envs: int) -> None:
        """Called before environments that all begin new episodes are played."""
        return

    @abstractmethod
    def label(self, observations: torch.Tensor, starts: BoolArray) -> Labels:
        """Returns how the teacher acts in states and what is to be learnt of them, rows (batch, P).

        It is called once per step of all environments, in their order.

        Args:
            observations: One per environment.
            starts: Where an episode begins, (batch,).
        """

    @abstractmethod
    def features(self, observations: torch.Tensor) -> torch.Tensor:
        """Returns what each member's action head reads, (batch, M, width)."""

    @abstractmethod
    def acting_outputs(self, observations: torch.Tensor) -> list[torch.Tensor]:
        """Returns all that acting needs to be computed, with its graph."""


class ActorTeacher(Teacher):
    """One actor; where a population is given, it is the elite and FEED reads all members.

    Args:
        policy: An SB3 actor-critic policy.
        distribution: Of its actions.
        population: Chromosomes of all members, (M, d), of 0 and 1; None: the policy is ungated.
        temperature: See :class:`Teacher`.
    """

    policy: Any

    def __init__(
        self,
        policy: ActorCriticPolicy,
        distribution: ActionDistribution,
        population: npt.NDArray[np.uint8] | None = None,
        *,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(policy, distribution, temperature=temperature)
        self.gates: torch.Tensor | None = None
        if population is not None:
            self.gates = torch.as_tensor(population, dtype=torch.float32, device=policy.device)
            self.members = len(population)

    def rows_of(self, latent: torch.Tensor) -> torch.Tensor:
        """Returns rows (..., P) of latents (..., width)."""
        log_std = getattr(self.policy, "log_std", None)
        return self.distribution.rows(self.policy.action_net(latent), log_std)

    def label(self, observations: torch.Tensor, starts: BoolArray) -> Labels:
        """See :meth:`Teacher.label`."""
        rows = self.rows_of(actor_latent(self.policy, observations))
        return rows, self.soften(rows)

    def features(self, observations: torch.Tensor) -> torch.Tensor:
        """See :meth:`Teacher.features`."""
        if self.gates is None:
            return actor_latent(self.policy, observations).unsqueeze(1)
        return self.gated(observations, self.gates.expand(len(observations), -1, -1))

    def gated(self, observations: torch.Tensor, gates: torch.Tensor) -> torch.Tensor:
        """Returns latents under several chromosomes per state.

        Args:
            observations: (batch, ...).
            gates: (batch, m, d).

        Returns:
            (batch, m, width).
        """
        policy, count = self.policy, gates.shape[1]
        features = BasePolicy.extract_features(policy, observations, policy.pi_features_extractor)
        each = features.repeat_interleave(count, dim=0)
        latent = policy.mlp_extractor.forward_actor(each, gates.flatten(0, 1))
        return latent.unflatten(0, (-1, count))

    def acting_outputs(self, observations: torch.Tensor) -> list[torch.Tensor]:
        """See :meth:`Teacher.acting_outputs`."""
        return [self.rows_of(actor_latent(self.policy, observations))]


class PopulationTeacher(ActorTeacher):
    """All members of a population play, in turn, and teach.

    Args:
        policy: A gated policy.
        distribution: Of its actions.
        population: Chromosomes, (M, d).
        mean: The target is the mean of all members' distributions, else the player's own.
        temperature: See :class:`Teacher`; the members' distributions are averaged behind it.
    """

    def __init__(
        self,
        policy: ActorCriticPolicy,
        distribution: ActionDistribution,
        population: npt.NDArray[np.uint8],
        *,
        mean: bool,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(policy, distribution, population, temperature=temperature)
        self.mean = mean
        self.begin(0)

    def begin(self, n_envs: int) -> None:
        """Lets the first members play."""
        self.playing = np.arange(n_envs) % self.members
        self._next = n_envs % self.members
        self._fresh = True

    def label(self, observations: torch.Tensor, starts: BoolArray) -> Labels:
        """See :meth:`Teacher.label`; where an episode begins, the next member takes over."""
        for env in np.flatnonzero(starts) if not self._fresh else ():
            self.playing[env] = self._next
            self._next = (self._next + 1) % self.members
        self._fresh = False
        assert self.gates is not None
        if not self.mean:
            rows = self.rows_of(self.gated(observations, self.gates[self.playing].unsqueeze(1)))
            return rows[:, 0], self.soften(rows[:, 0])
        rows = self.rows_of(self.features(observations))
        weights = torch.full(rows.shape[:2], 1 / self.members, device=rows.device)
        target = self.distribution.mixture(self.soften(rows), weights)
        return rows[np.arange(len(rows)), self.playing], target


class OptionTeacher(Teacher):
    """An agent with options; see the module's docstring for what it teaches.

    Args:
        policy: Of an option-critic, PPOC or A2OC.
        distribution: Of its actions.
        marginal: The target is the marginal over options, else the active option's policy.
        temperature: See :class:`Teacher`.
    """

    policy: ActsWithOptions

    def __init__(
        self,
        policy: ActsWithOptions,
        distribution: ActionDistribution,
        *,
        marginal: bool,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(policy, distribution, temperature=temperature)
        self.marginal = marginal
        self._state: Sequence[npt.NDArray[Any]] | None = None

    def begin(self, n_envs: int) -> None:
        """Forgets the running options."""
        self._state = None

    def _rows(self, outputs: OptionOutputs) -> torch.Tensor:
        """Returns the rows of all options, (batch, K, P)."""
        log_std: Any = getattr(self.policy, "log_std", None)  # (K, dimensions)
        return self.distribution.rows(outputs.parameters.float(), log_std)

    def label(self, observations: torch.Tensor, starts: BoolArray) -> Labels:
        """See :meth:`Teacher.label`; options go on and end along what is played."""
        outputs = self.policy.option_outputs(observations)
        options, _ = self.policy.enter(outputs, self._state, starts, False)
        self._state = (options,)
        rows = self._rows(outputs)
        active = rows[np.arange(len(rows)), options]
        if not self.marginal:
            return active, self.soften(active)
        weights = outputs.option_log_probs.exp().float()
        return active, self.distribution.mixture(self.soften(rows), weights)

    def features(self, observations: torch.Tensor) -> torch.Tensor:
        """See :meth:`Teacher.features`.

        Raises:
            UserError: If the agent has tables.
        """
        if isinstance(self.policy, TabularPolicy):
            raise UserError("a teacher with tables has no features; type distiller.feed_weight=0")
        return self.policy.option_outputs(observations).latent_pi.unsqueeze(1)

    def acting_outputs(self, observations: torch.Tensor) -> list[torch.Tensor]:
        """See :meth:`Teacher.acting_outputs`; values count where options are chosen by them."""
        outputs = self.policy.option_outputs(observations)
        assert outputs.beta is not None
        needed = [self._rows(outputs), outputs.beta, outputs.option_log_probs]
        learned = getattr(self.policy, "option_net", None) is not None
        return needed if learned else [*needed, outputs.values]


def make_teacher(
    policy: Any,
    distribution: ActionDistribution,
    options: dict[str, Any],
    population: npt.NDArray[np.uint8] | None,
) -> Teacher:
    """Returns the teacher that a policy is.

    Args:
        policy: Trained.
        distribution: Of its actions.
        options: Those under ``distiller.``.
        population: Chromosomes (M, d) of a gated policy, else None.
    """
    tau = float(options["temperature"])
    if isinstance(policy, ActsWithOptions):
        marginal = options["option_target"] == "marginal"
        return OptionTeacher(policy, distribution, marginal=marginal, temperature=tau)
    if population is None or options["teachers"] == "elite":
        return ActorTeacher(policy, distribution, population, temperature=tau)
    mean = options["teachers"] == "mean"
    return PopulationTeacher(policy, distribution, population, mean=mean, temperature=tau)
