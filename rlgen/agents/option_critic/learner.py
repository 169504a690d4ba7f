"""What A2OC and PPOC share: options on the fast rollout, under SB3's on-policy interface.

Papers: P.-L. Bacon, J. Harb, D. Precup, "The Option-Critic Architecture", AAAI 2017 (arXiv
1609.05140); J. Harb, P.-L. Bacon, M. Klissarov, D. Precup, "When Waiting is not an Option", AAAI
2018 (arXiv 1709.04571); M. Klissarov, P.-L. Bacon, J. Harb, D. Precup, "Learnings Options
End-to-End for Continuous Action Tasks", 2017 (arXiv 1712.00004). Their losses were seen in the
authors' code. Execution is call-and-return: on entering s' the running option w ends with
probability beta_w(s'), and then another is chosen.

    V_Omega(s) = sum_w pi_Omega(w|s) Q(s, w)
    L_beta     = mean_t beta_w(s_t) [Q(s_t, w) - V_Omega(s_t) + eta + termination_reg]

with the bracket held fixed, so that a step lowers beta where w is advantageous by more than eta
costs. eta, the deliberation cost, is also subtracted from the reward of the step whose next state
ended an option, never at an episode's end.

Known quirks of the released code are options or left out: the termination loss at the current
option instead of the one that was tested (``termination_at="current"``), PPOC's rewards divided by
ten (use ``VecNormalize``), its policy over options trained by the first row of a minibatch, by the
advantage over the option's own value, whose mean is zero.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import MaybeCallback

from rlgen.agents.heads import CategoricalHead
from rlgen.agents.on_policy import AuxiliaryLoss, FastOnPolicy, PolicyOutputs
from rlgen.agents.option_critic.acting import BoolArray, IntArray, OptionOutputs
from rlgen.agents.option_critic.hellinger import HellingerRegularizer, mean_hellinger
from rlgen.agents.option_critic.network import OptionNetwork, head_under, select
from rlgen.agents.option_critic.option_replay import OptionUsage
from rlgen.agents.option_critic.policy import OptionCnnPolicy, OptionPolicy
from rlgen.agents.option_critic.samples import Entry, OptionedOutputs, OptionSamples
from rlgen.agents.option_critic.terms import (
    Array,
    acted_terms,
    array_of,
    options_first,
    termination_loss,
)
from rlgen.agents.rollout import Minibatch
from rlgen.core.errors import UserError

FloatArray = npt.NDArray[np.float32]
TERMINATION_AT = ("next", "current")
_RECORDED = ("options", "entered", "tested", "terminated")  # the fields of Entry
_NO_SLOW_ROAD = (
    "{name} has no slow road, SB3 knows no options; leave out what asks for it: {reason}"
)
_FLATTEN = "flatten them, for example by gymnasium.wrappers.FlattenObservation"


class OptionLearner(FastOnPolicy):
    """Mix-in before a fast on-policy algorithm.

    Args:
        policy: ``MlpPolicy``, ``CnnPolicy`` or an :class:`OptionPolicy` class.
        env: An environment or vector environment.
        *args: As the algorithm takes them.
        n_options: K.
        deliberation_cost: eta, in units of the reward that is learnt from.
        termination_reg: Added to the advantage in the termination loss alone.
        hellinger_coef: lambda_hd of :class:`HellingerRegularizer`; 0 for none.
        termination_at: ``next``: the loss is taken where the termination was tested, for the option
            that was tested; ``current``: for the option that then acted, as in released code.
        termination_lr: Learning rate of terminations and pi_Omega; None: the algorithm's.
        auxiliary_losses: Further ones; see :class:`FastOnPolicy`.
        **kwargs: As the algorithm takes them.

    Attributes:
        options: Option of each environment, (n_envs,).

    Raises:
        UserError: If an argument, the policy or a space does not fit.
    """

    network_class = OptionNetwork
    purposes: ClassVar[tuple[str, ...]] = (*FastOnPolicy.purposes, "options")
    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {
        "MlpPolicy": OptionPolicy,
        "CnnPolicy": OptionCnnPolicy,
    }
    policy: OptionPolicy
    network: OptionNetwork
    over_options: ClassVar[str]
    detach_terminations: ClassVar[bool]

    def __init__(
        self,
        policy: Any,
        env: Any,
        *args: Any,
        n_options: int = 4,
        deliberation_cost: float = 0.0,
        termination_reg: float = 0.0,
        hellinger_coef: float = 0.05,
        termination_at: str = "next",
        termination_lr: float | None = None,
        auxiliary_losses: Sequence[AuxiliaryLoss] = (),
        **kwargs: Any,
    ) -> None:
        self._check_policy(policy)
        if not kwargs.get("fast", True):
            name = type(self).__name__
            raise UserError(_NO_SLOW_ROAD.format(name=name, reason="fast=False"))
        for name, value in (
            ("deliberation_cost", deliberation_cost),
            ("termination_reg", termination_reg),
        ):
            if not 0 <= value < float("inf"):
                raise UserError(f"{name}={value} is no cost; type {name}=0 or more")
        if termination_at not in TERMINATION_AT:
            raise UserError(
                f"termination_at={termination_at!r} is unknown; allowed: "
                + ", ".join(TERMINATION_AT)
            )
        self.n_options = n_options
        self.deliberation_cost = deliberation_cost
        self.termination_reg = termination_reg
        self.hellinger_coef = hellinger_coef
        self.termination_at = termination_at
        self.termination_lr = termination_lr
        self.options: IntArray = np.zeros(0, dtype=np.int64)
        self._entry: Entry | None = None
        policy_kwargs = dict(kwargs.pop("policy_kwargs", None) or {})
        policy_kwargs |= {"n_options": n_options, "over_options": self.over_options}
        regularizer = HellingerRegularizer(hellinger_coef)
        super().__init__(
            policy,
            env,
            *args,
            policy_kwargs=policy_kwargs,
            auxiliary_losses=[*([regularizer] if hellinger_coef else []), *auxiliary_losses],
            **kwargs,
        )

    def _check_policy(self, policy: Any) -> None:
        name = type(self).__name__
        if policy == "MultiInputPolicy":
            raise UserError(f"{name} cannot use Dict observations; {_FLATTEN}")
        fits = issubclass(policy, OptionPolicy) if isinstance(policy, type) else True
        if not fits or (isinstance(policy, str) and policy not in self.policy_aliases):
            given = policy.__name__ if isinstance(policy, type) else repr(policy)
            raise UserError(
                f"{name} needs a policy with options, not {given}; type MlpPolicy or CnnPolicy, "
                "or derive yours from OptionPolicy"
            )

    def _setup_model(self) -> None:
        _check_space(type(self).__name__, "observation", self.observation_space)
        _check_space(type(self).__name__, "action", self.action_space)
        super()._setup_model()
        name = type(self).__name__
        if self.why_not_fast is not None:
            raise UserError(_NO_SLOW_ROAD.format(name=name, reason=self.why_not_fast))
        self._own = [p for head in self.policy.option_heads for p in head.parameters()]
        own = set(map(id, self._own))
        self._trained = [p for p in self.policy.parameters() if id(p) not in own]
        if self.termination_lr is not None:
            self._split_off(self._own)
        self.options = np.zeros(self.n_envs, dtype=np.int64)
        self._entry = None
        shape = (self.n_steps, self.n_envs)
        self._records = {name: np.zeros(shape, dtype=np.int64) for name in _RECORDED}

    def _split_off(self, parameters: list[torch.nn.Parameter]) -> None:
        """Makes a group of the optimiser, with a learning rate of its own, of some parameters."""
        optimizer = self.policy.optimizer
        rest = {**optimizer.param_groups[0], "params": self._trained}
        own = {**rest, "params": parameters}
        optimizer.param_groups[:] = [rest, own]

    def _excluded_save_params(self) -> list[str]:
        own = ["_own", "_records", "_entry", "_options", "_facts"]
        return [*super()._excluded_save_params(), *own]

    def _setup_learn(
        self, total_timesteps: int, callback: MaybeCallback = None, *args: Any, **kwargs: Any
    ) -> tuple[int, BaseCallback]:
        before = self._last_obs
        result = super()._setup_learn(total_timesteps, callback, *args, **kwargs)
        if self._last_obs is not before:  # new episodes, new options
            self._entry = None
        return result

    # Acting ---------------------------------------------------------------------------------

    def _act(self, stored: torch.Tensor) -> tuple[npt.NDArray[Any], FloatArray, FloatArray]:
        parameters, values, beta, option_log_probs = self.network.act_all(stored)
        entry = self._entry  # the states after a rollout were entered at its end
        if entry is None:
            entry = self._enter(beta, option_log_probs, np.asarray(self._last_episode_starts))
            self._charge(entry)
        self._entry = None
        t = self.rollout_buffer.pos
        for name, record in self._records.items():
            record[t] = getattr(entry, name)
        self.options = entry.options
        head = head_under(self.policy, self.options)
        chosen = select(parameters, self.options)
        actions, log_probs = head.sample(chosen, self.generators["actions"])
        return actions, select(values, self.options), log_probs

    def _enter(self, beta: FloatArray, option_log_probs: FloatArray, starts: BoolArray) -> Entry:
        """Tests terminations on entering states, and chooses options where one is needed."""
        generator = self.generators["options"]
        chance, place = generator.random((2, len(beta)), dtype=np.float32)
        entered, tested = self.options, ~starts.astype(bool)
        terminated = tested & (chance < select(beta, entered))
        cumulative = np.exp(option_log_probs).cumsum(axis=1)
        fresh = (cumulative <= (place * cumulative[:, -1])[:, None]).sum(axis=1)
        fresh = np.minimum(fresh, beta.shape[1] - 1)  # rounding can put the place on the total
        options = np.where(terminated | ~tested, fresh, entered)
        return Entry(options, entered, tested, terminated)

    def _charge(self, entry: Entry) -> None:
        """Subtracts eta from the rewards of the steps that led to a termination."""
        t = self.rollout_buffer.pos
        if self.deliberation_cost and t:
            self.rollout_buffer.rewards[t - 1] -= self.deliberation_cost * entry.terminated

    def _values_at_end(self, stored: torch.Tensor, dones: BoolArray) -> FloatArray:
        """V_Omega(s_T) where the option ended there, Q(s_T, w) where it goes on."""
        _, values, beta, option_log_probs = self.network.act_all(stored)
        self._entry = entry = self._enter(beta, option_log_probs, dones)
        self._charge(entry)
        mean = _mean_values(option_log_probs.T, values.T)
        return np.where(entry.terminated, mean, select(values, entry.options))

    def _values_where_cut(self, stored: torch.Tensor, envs: list[int]) -> FloatArray:
        """U(w, s') = (1 - beta_w(s')) Q(s', w) + beta_w(s') V_Omega(s')."""
        _, values, beta, option_log_probs = self.network.act_all(stored)
        options = self.options[envs]
        mean = _mean_values(option_log_probs.T, values.T)
        ends = select(beta, options)
        upon_arrival: FloatArray = (1 - ends) * select(values, options) + ends * mean
        return upon_arrival

    # Learning -------------------------------------------------------------------------------

    def train(self) -> None:
        """Updates the policy with the rollout just collected; see the algorithm's method."""
        self._tabulate()
        super().train()

    def _tabulate(self) -> None:
        """Puts what minibatches need of a rollout's options in one table."""
        rows = {name: self._records[name].reshape(-1) for name in _RECORDED}
        at_next = self.termination_at == "next"
        asked = rows["entered"] if at_next else rows["options"]
        chose = 1 - rows["tested"] + rows["terminated"]
        known = np.arange(self.n_options)[:, None]
        facts = (rows["options"] == known, asked == known, rows["tested"][None], chose[None])
        self._options = torch.from_numpy(rows["options"]).to(self.device)
        table = np.concatenate(facts, dtype=np.float32)
        self._facts = array_of(torch.from_numpy(table).to(self.device))

    def _evaluate(self, batch: Minibatch) -> OptionedOutputs:
        heads = self.network.evaluate_all(batch.observations)
        k = self.n_options
        acting = self._options.index_select(0, batch.index)
        # The options' rows among those of all options of all samples.
        rows = torch.arange(0, len(acting) * k, k, device=acting.device).add_(acting)
        log_prob, entropy, values = self._acted(heads, acting, rows, batch.actions)
        facts = self._facts[:, array_of(batch.index)]
        log_over, all_values = array_of(heads.option_log_probs).T, array_of(heads.values)
        return OptionedOutputs(
            policy=self.policy,
            batch=batch,
            parameters=heads.parameters,
            values=values,
            log_prob=log_prob,
            entropy=entropy,
            latent_pi=heads.latent_pi,
            latent_vf=heads.latent_vf,
            option_values=heads.values,
            heads=heads,
            samples=OptionSamples(facts[:k], facts[k:-2], facts[-2], facts[-1]),
            mean_values=_mean_values(log_over, options_first(all_values)),
        )

    def _acted(
        self, heads: OptionOutputs, acting: torch.Tensor, rows: torch.Tensor, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Returns log-probability, entropy and value under the options that acted."""
        head = head_under(self.policy, acting)
        if isinstance(head, CategoricalHead):
            return acted_terms(heads.parameters, heads.values, rows, actions)
        acted = heads.parameters.flatten(0, 1).index_select(0, rows)
        return *head.evaluate(acted, actions), heads.values.flatten().index_select(0, rows)

    def auxiliary_loss(self, outputs: PolicyOutputs) -> dict[str, torch.Tensor]:
        """Adds the termination loss; see the module and the base class."""
        assert isinstance(outputs, OptionedOutputs)
        heads, samples = outputs.heads, outputs.samples
        values = options_first(array_of(heads.values))
        advantage = (samples.asked * values).sum(0) - outputs.mean_values
        cost = samples.tested * (advantage + (self.deliberation_cost + self.termination_reg))
        latent = heads.latent_vf.detach() if self.detach_terminations else heads.latent_vf
        loss = termination_loss(latent, self.policy.termination_net, samples.asked, cost)
        return {**super().auxiliary_loss(outputs), "termination_loss": loss}

    def _descend(self, loss: torch.Tensor) -> None:
        for parameter in self._own:
            parameter.grad = None
        # Only the other weights' gradient is clipped, so that they move as without options.
        super()._descend(loss)

    def _update_learning_rate(self, optimizers: Any) -> None:
        super()._update_learning_rate(optimizers)
        if self.termination_lr is not None:
            self.policy.optimizer.param_groups[1]["lr"] = self.termination_lr

    def dump_logs(self, iteration: int = 0) -> None:
        """Logs SB3's values, and how the options of the last rollout were used."""
        records, usage = self._records, OptionUsage(self.n_options)
        started = (1 - records["tested"]).sum()
        usage.add(records["options"].reshape(-1), int(records["terminated"].sum()), int(started))
        for name, value in usage.figures().items():
            self.logger.record(f"options/{name}", value)
        self.logger.record("options/hellinger", self._distance())
        super().dump_logs(iteration)

    def _distance(self, samples: int = 128) -> float:
        """Returns Hbar on some states of the last rollout."""
        stored = self.rollout_buffer.stored.flatten(0, 1)
        stride = max(len(stored) // samples, 1)
        parameters = torch.from_numpy(self.network.act_all(stored[::stride])[0])
        with torch.no_grad():
            log_std = getattr(self.policy, "log_std", None)
            log_std = log_std.cpu() if log_std is not None else None
            return float(mean_hellinger(parameters, log_std, eps=0.0).mean())


def _mean_values(option_log_probs: Array, values: Array) -> Array:
    """V_Omega(s) = sum_w pi_Omega(w|s) Q(s, w), (batch,), of two arrays (K, batch)."""
    probs = option_log_probs.exp() if torch.is_tensor(values) else np.exp(option_log_probs)
    return (probs * values).sum(0)


def _check_space(name: str, kind: str, space: spaces.Space) -> None:
    allowed = (spaces.Box, spaces.Discrete)
    if not isinstance(space, allowed):
        shown = type(space).__name__
        raise UserError(
            f"{name} cannot use {shown} {kind}s; allowed: Box, Discrete"
            + (f"; {_FLATTEN}" if kind == "observation" else "")
        )
