"""The option-critic in tables, for numbered states: the form in which Four Rooms was first solved.

Seen in the authors' code: the rules of :class:`TabularRules` and their step sizes, tables that
begin at 0, a softmax over the option values as the policy over options, and that the next option
and action are chosen before a step is learnt from. Corrected: terminations are learnt for the
option that was tested (``termination_at="current"`` takes the one that acts next, as the code
does), the first step of an episode trains its option's policy (the code leaves it out), and an
episode that a time limit cut goes on in the target.

Ours, off by default: policies that learn by the error of the step (``policy_gradient="td"``, as an
actor-critic and as the deep variant do), and values of every option from every step
(``intra_option``), after R. S. Sutton, D. Precup, S. Singh, "Between MDPs and semi-MDPs",
Artificial Intelligence 112, 1999.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn
from torch.nn import functional as F

from rlgen.agents.option_critic.acting import OptionOutputs
from rlgen.agents.option_critic.off_policy import DiscreteOptionPolicy
from rlgen.core.errors import UserError, closest

FloatArray = npt.NDArray[np.float64]
POLICY_GRADIENTS = ("value", "td")
_TINY = float(np.finfo(np.float64).tiny)


def check_rules(policy_gradient: str, intra_option: bool, tabular: bool) -> None:
    """Checks the options that choose among the rules of tables.

    Args:
        policy_gradient: ``value`` or ``td``.
        intra_option: Whether every option's values learn from every step.
        tabular: Whether the agent has tables; networks have one rule each.

    Raises:
        UserError: If a name is unknown, or the agent has no tables.
    """
    if policy_gradient not in POLICY_GRADIENTS:
        hint = closest(str(policy_gradient), POLICY_GRADIENTS)
        raise UserError(f"policy_gradient={policy_gradient!r} is unknown; {hint}")
    if tabular:
        return
    if policy_gradient != "value":
        raise UserError(
            f"policy_gradient={policy_gradient!r} is for tables, and networks learn so anyway; "
            "leave it out, or type policy=TabularPolicy with numbered states"
        )
    if intra_option:
        raise UserError(
            "intra_option=True is for tables; leave it out, or type policy=TabularPolicy with "
            "numbered states"
        )


class TabularPolicy(DiscreteOptionPolicy):
    """Tables over numbered states, float64, changed in place by :class:`TabularRules`.

    Args:
        observation_space: Of the environment, discrete.
        action_space: Of the environment, discrete.
        lr_schedule: Unused; SB3 passes it.
        temperature: Of the options' policies and of the choice of options.
        **kwargs: As :class:`DiscreteOptionPolicy` takes them.

    Attributes:
        observations: Spaces of observations it can take.
        option_values: Q(s, w), (S, K).
        action_values: Q_U(s, w, a), (S, K, A).
        preferences: theta, (S, K, A): pi_w(a|s) = softmax(theta / temperature).
        terminations: vartheta, (S, K): beta_w(s) = sigmoid(vartheta).
    """

    observations: ClassVar[tuple[type[spaces.Space], ...]] = (spaces.Discrete,)

    def __init__(
        self,
        observation_space: Any,
        action_space: Any,
        lr_schedule: Schedule,
        temperature: float = 1e-2,
        **kwargs: Any,
    ) -> None:
        super().__init__(observation_space, action_space, temperature=temperature, **kwargs)
        states, k, a = int(observation_space.n), self.n_options, self.n_actions
        self.first_state = int(observation_space.start)

        def table(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(shape, dtype=torch.float64), requires_grad=False)

        self.option_values, self.terminations = table(states, k), table(states, k)
        self.action_values, self.preferences = table(states, k, a), table(states, k, a)
        # Never stepped: SB3 expects every policy to have one.
        self.optimizer = torch.optim.SGD(self.parameters(), lr=lr_schedule(1))

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "lr_schedule": self._dummy_schedule}

    def set_training_mode(self, mode: bool) -> None:
        """Does nothing, at each step: tables have no modes."""

    def numbers(self, observations: Any) -> Any:
        """Returns numbered states, counted from 0, as plain integers."""
        return (np.asarray(observations) - self.first_state).tolist()

    def option_outputs(self, obs: PyTorchObs) -> OptionOutputs:
        """Returns what the tables say of states (batch,) under every option."""
        assert isinstance(obs, torch.Tensor)
        states = obs.long().reshape(-1) - self.first_state
        values = self.option_values[states]
        one_hot = F.one_hot(states, len(self.option_values))
        return OptionOutputs(
            self.preferences[states] / self.temperature,
            values,
            torch.sigmoid(self.terminations[states]),
            F.log_softmax(values / self.temperature, dim=1),
            one_hot,
            one_hot,
        )


class TabularStep(NamedTuple):
    """A step between numbered states.

    Attributes:
        state: Where it began.
        reward: What it earned.
        after: Where it led, also where an episode ended there.
        terminal: Whether there is no future: a time limit is no such end.
    """

    state: int
    reward: float
    after: int
    terminal: bool


def steps_between(
    policy: TabularPolicy,
    before: npt.NDArray[Any],
    rewards: npt.NDArray[Any],
    after: npt.NDArray[Any],
    dones: npt.NDArray[np.bool_],
    infos: Sequence[dict[str, Any]],
) -> list[TabularStep]:
    """Returns the step of each environment, from what SB3's environments return."""
    places, terminal = policy.numbers(after), dones.tolist()
    for env in np.flatnonzero(dones).tolist():
        places[env] = policy.numbers(infos[env]["terminal_observation"])
        terminal[env] = not infos[env].get("TimeLimit.truncated", False)
    steps = zip(policy.numbers(before), rewards.tolist(), places, terminal, strict=True)
    return [TabularStep(*step) for step in steps]


@dataclass
class TabularRules:
    """The learning rules, one table entry or row at a time.

        y = r + gamma [(1 - beta_w(s')) Q(s', w) + beta_w(s') (max_k Q(s', k) - eta)]
        Q(s, w)       += lr_critic (y - Q(s, w)),  Q_U(s, w, a) += lr_critic (y - Q_U(s, w, a))
        theta_w(s)    += lr_intra (Q_U(s, w, a) - Q(s, w)) (onehot(a) - pi_w(.|s))
        vartheta_w(s) -= lr_term beta (1 - beta) (Q(s, w) - max_k Q(s, k) + eta + termination_reg)

    with y = r at a terminal state. The rule of theta is for the option and the action that come
    next, at their state. As in the released code, the temperature is not divided out of the
    gradient of theta. With ``policy_gradient="td"`` that rule is for the step just taken,

        theta_w(s)    += lr_intra (y - Q(s, w)) (onehot(a) - pi_w(.|s))

    with the Q before it moved: the form of the deep variant; with one option that never ends it is
    a one-step actor-critic. With ``intra_option`` the rules of Q and Q_U are for every option k,

        y_k = r + gamma [(1 - beta_k(s')) Q(s', k) + beta_k(s') (max_j Q(s', j) - eta)]
        Q(s, k)       += lr_critic rho_k (y_k - Q(s, k)),  rho_k = min(1, pi_k(a|s) / pi_w(a|s))
        Q_U(s, k, a)  += lr_critic (y_k - Q_U(s, k, a))

    An option that would not have taken the action does not learn Q from it. The ratio is cut at 1,
    so that no step is larger than lr_critic. That is a slight bias: actions that k takes more often
    than w does count less in Q(s, k) than k would have it.

    Attributes:
        policy: Whose tables are changed.
        lr_critic: Step size of both values.
        lr_intra: Step size of the options' policies.
        lr_term: Step size of the terminations.
        gamma: Discount factor.
        baseline: Subtract Q(s, w) in the rule of theta, in either form.
        deliberation_cost: eta.
        termination_reg: Added to the advantage of the last rule alone.
        at_next: The last rule is for the option that was tested, else for the one that acts next.
        hellinger_coef: Weight of a step of theta_w(s), all w, up the gradient of their mean
            Hellinger distance, in units of the policy gradient and at its state.
        policy_gradient: ``value``, the rule of theta above, or ``td``.
        intra_option: Values of all options learn from each step.
        generators: The random numbers of ``options`` and of ``actions``.
    """

    policy: TabularPolicy
    lr_critic: float
    lr_intra: float
    lr_term: float
    gamma: float
    baseline: bool
    deliberation_cost: float
    termination_reg: float
    hellinger_coef: float
    at_next: bool
    policy_gradient: str
    intra_option: bool
    generators: dict[str, np.random.Generator]

    def __post_init__(self) -> None:
        # Views of the same memory: NumPy reads single entries far faster than torch.
        policy = self.policy
        self.q: FloatArray = policy.option_values.numpy()
        self.q_u: FloatArray = policy.action_values.numpy()
        self.theta: FloatArray = policy.preferences.numpy()
        self.vartheta: FloatArray = policy.terminations.numpy()

    def beta(self, state: int, option: int) -> float:
        """Returns beta_w(s)."""
        return 0.5 * (1 + math.tanh(0.5 * float(self.vartheta[state, option])))

    def probabilities(self, state: int, option: int) -> FloatArray:
        """Returns pi_w(.|s), (A,)."""
        weights = _weights(self.theta[state, option], self.policy.temperature)
        return weights / np.add.reduce(weights)

    def enter(self, state: int, option: int, start: bool) -> tuple[int, int, bool]:
        """Tests the running option on entering a state, and chooses what comes next.

        Args:
            state: The state.
            option: The running option.
            start: Whether an episode begins here: then an option is chosen without a test.

        Returns:
            The option from here on, its action, and whether the running one ended.
        """
        random = self.generators["options"].random
        temperature = self.policy.temperature
        terminated = not start and random() < self.beta(state, option)
        if start or terminated:
            option = _pick(_weights(self.q[state], temperature), random())
        place = self.generators["actions"].random()
        action = _pick(_weights(self.theta[state, option], temperature), place)
        return option, action, terminated

    def learn(
        self, step: TabularStep, option: int, action: int, state: int, start: bool
    ) -> tuple[int, int, bool, float]:
        """Chooses what to do next, and learns from the step before.

        Args:
            step: What happened.
            option: The option that did it.
            action: Its action.
            state: Where the agent is now: after an episode's end, where the next one begins.
            start: Whether the step was an episode's last.

        Returns:
            As :meth:`enter`, and the error of Q before.
        """
        acting, following, terminated = self.enter(state, option, start)
        before = float(self.q[step.state, option])
        learn = self.learn_all_values if self.intra_option else self.learn_values
        error = learn(step.state, option, action, step.reward, step.after, step.terminal)
        if self.policy_gradient == "td":
            gain = error if self.baseline else error + before
            self.improve_policy(step.state, option, action, gain)
        else:
            self.improve_policy(state, acting, following, self.advantage(state, acting, following))
        if not start:
            self.learn_termination(state, option if self.at_next else acting)
        return acting, following, terminated, error

    def learn_values(
        self, state: int, option: int, action: int, reward: float, after: int, terminal: bool
    ) -> float:
        """Moves Q and Q_U towards the target; returns the error of Q before."""
        target = reward
        if not terminal:
            beta, values = self.beta(after, option), self.q[after]
            best = float(np.maximum.reduce(values)) - self.deliberation_cost
            target += self.gamma * ((1 - beta) * float(values[option]) + beta * best)
        error = target - float(self.q[state, option])
        self.q[state, option] += self.lr_critic * error
        at = (state, option, action)
        self.q_u[at] += self.lr_critic * (target - self.q_u[at])
        return error

    def learn_all_values(
        self, state: int, option: int, action: int, reward: float, after: int, terminal: bool
    ) -> float:
        """Moves Q and Q_U of every option; returns the error of the acting option's Q before."""
        targets = np.full(self.policy.n_options, float(reward))
        if not terminal:
            betas, values = 0.5 * (1 + np.tanh(0.5 * self.vartheta[after])), self.q[after]
            best = np.maximum.reduce(values) - self.deliberation_cost
            targets += self.gamma * ((1 - betas) * values + betas * best)
        weights = _weights(self.theta[state], self.policy.temperature)
        chances = weights[:, action] / np.add.reduce(weights, axis=1)  # pi_k(a|s), (K,)
        ratios = np.minimum(1.0, chances / max(chances[option], _TINY))
        ratios[option] = 1.0
        errors = targets - self.q[state]
        self.q[state] += self.lr_critic * ratios * errors
        values_of_action = self.q_u[state, :, action]
        values_of_action += self.lr_critic * (targets - values_of_action)
        return float(errors[option])

    def advantage(self, state: int, option: int, action: int) -> float:
        """Returns Q_U(s, w, a), less Q(s, w) with a baseline."""
        gain = float(self.q_u[state, option, action])
        return gain - float(self.q[state, option]) if self.baseline else gain

    def improve_policy(self, state: int, option: int, action: int, gain: float) -> None:
        """Moves an option's policy towards an action that gains something, else away from it."""
        step = (-self.lr_intra * gain) * self.probabilities(state, option)
        step[action] += self.lr_intra * gain
        if self.hellinger_coef and self.policy.n_options > 1:
            slope = hellinger_gradient(self.theta[state] / self.policy.temperature)
            self.theta[state] += self.lr_intra * self.hellinger_coef * slope
        self.theta[state, option] += step

    def learn_termination(self, state: int, option: int) -> None:
        """Moves beta down where the option is advantageous by more than the costs."""
        values, beta = self.q[state], self.beta(state, option)
        advantage = float(values[option]) - float(np.maximum.reduce(values))
        advantage += self.deliberation_cost + self.termination_reg
        self.vartheta[state, option] -= self.lr_term * beta * (1 - beta) * advantage


def hellinger_gradient(logits: FloatArray, eps: float = 1e-8) -> FloatArray:
    """Returns the gradient of Hbar(s) by logits (K, A), as autograd of ``mean_hellinger`` would."""
    k = len(logits)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    roots = np.sqrt(p)
    apart = roots[:, None] - roots  # (K, K, A)
    distances = np.sqrt(0.5 * np.square(apart).sum(-1) + eps)
    # Hbar = 2 / (K (K - 1)) sum_{i<j} H_ij, and dH_ij / d roots_i = apart_ij / (2 H_ij).
    slope = roots * (apart / distances[..., None]).sum(1) / (k * (k - 1))
    gradient: FloatArray = 0.5 * (slope - p * slope.sum(1, keepdims=True))
    return gradient


def _weights(preferences: FloatArray, temperature: float) -> FloatArray:
    """Returns a softmax over the last axis that is not normalised."""
    highest = np.maximum.reduce(preferences, axis=-1, keepdims=True)
    weights: FloatArray = np.exp((preferences - highest) / temperature)
    return weights


def _pick(weights: FloatArray, place: float) -> int:
    """Returns the entry at a place from 0 to 1 of the total weight."""
    cumulative = np.add.accumulate(weights)
    index = int(cumulative.searchsorted(place * cumulative[-1], side="right"))
    return min(index, len(cumulative) - 1)  # rounding can put the place on the total
