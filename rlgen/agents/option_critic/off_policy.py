"""Policies with options for discrete actions, as off-policy learners use them.

Networks: the trunk is SB3's (``MlpPolicy``: 64-64 ReLU as its DQN has, ``CnnPolicy``: NatureCNN,
which is the network seen in the authors' code), and every head is one linear layer:

    value_net        (K)    Q(s, w), and a target copy of trunk and head
    termination_net  (K)    beta_w(s) = sigmoid, weights 0 at the start, hence 1/2
    action_net       (K A)  logits of every option's policy pi_w(a|s), divided by a temperature

The released code draws the options' weights uniformly from -1 to 1; here they begin as torch's
linear layers do, small and different from each other.
"""

import copy
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    FlattenExtractor,
    NatureCNN,
    create_mlp,
)
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn
from torch.nn import functional as F

from rlgen.agents.option_critic.acting import ActsWithOptions, BoolArray, OptionOutputs, State
from rlgen.core.errors import UserError

TERMINATION_AT = ("next", "current")
_COSTS = ("deliberation_cost", "termination_reg", "lr_critic", "lr_intra", "lr_term", "ent_coef")
_SHARES = ("option_eps", "option_eps_start", "exploration_fraction")
_RANGES = dict.fromkeys(_COSTS, float("inf")) | dict.fromkeys(_SHARES, 1.0)


class DiscreteOptionPolicy(ActsWithOptions):
    """K policies over discrete actions, and a choice of options by their values.

    Args:
        *args: As SB3's ``BasePolicy`` takes them.
        n_options: K, 1 or more.
        temperature: Of the options' softmax policies.
        **kwargs: As SB3's ``BasePolicy`` takes them.

    Attributes:
        observations: Spaces of observations it can take.
        optimizer: As SB3 expects one.

    Raises:
        UserError: If an argument is out of its range.
    """

    observations: ClassVar[tuple[type[spaces.Space], ...]] = (spaces.Box, spaces.Discrete)
    optimizer: torch.optim.Optimizer

    def __init__(
        self, *args: Any, n_options: int = 4, temperature: float = 1.0, **kwargs: Any
    ) -> None:
        if n_options < 1:
            raise UserError(f"n_options={n_options} is too small; type n_options=1 or more")
        if not temperature > 0:
            raise UserError(f"temperature={temperature} is too small; type a number above 0")
        super().__init__(*args, **kwargs)
        self.n_options = n_options
        self.temperature = temperature
        space: Any = self.action_space
        self.n_actions = int(space.n)
        self.first_action = int(space.start)

    @classmethod
    def check_spaces(cls, observations: spaces.Space, actions: spaces.Space) -> None:
        """Checks the spaces of an environment.

        Raises:
            UserError: If they do not fit.
        """
        if not isinstance(actions, spaces.Discrete):
            raise UserError(
                f"option_critic needs discrete actions, these are {type(actions).__name__}; "
                "type agent=ppoc"
            )
        if not isinstance(observations, cls.observations):
            hint = "flatten them, for example by gymnasium.wrappers.FlattenObservation"
            if isinstance(observations, spaces.Box):
                hint = "type policy=MlpPolicy or CnnPolicy"
            allowed = ", ".join(space.__name__ for space in cls.observations)
            raise UserError(
                f"{cls.__name__} cannot use {type(observations).__name__} observations; "
                f"allowed: {allowed}; {hint}"
            )

    def _get_constructor_parameters(self) -> dict[str, Any]:
        own = {"n_options": self.n_options, "temperature": self.temperature}
        return {**super()._get_constructor_parameters(), **own}

    def act(
        self, outputs: OptionOutputs, state: State, episode_start: Any, deterministic: bool
    ) -> tuple[npt.NDArray[Any], tuple[npt.NDArray[Any], ...], BoolArray]:
        """Returns actions counted from 0, the next state, and which options ended."""
        options, terminated = self.enter(outputs, state, episode_start, deterministic)
        logits = outputs.parameters.cpu()[torch.arange(len(options)), torch.from_numpy(options)]
        actions = logits.argmax(1)
        if not deterministic:
            actions = torch.multinomial(logits.softmax(1), 1)[:, 0]
        return actions.numpy(), (options,), terminated

    def within_bounds(self, actions: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Returns actions as environments count them."""
        return actions + self.first_action

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> torch.Tensor:
        outputs = self.option_outputs(observation)
        return torch.from_numpy(self.act(outputs, None, None, deterministic)[0])


class DeepOptionPolicy(DiscreteOptionPolicy):
    """``MlpPolicy``: a trunk, heads for K options, and a target copy of trunk and values.

    Args:
        observation_space: Of the environment.
        action_space: Of the environment, discrete.
        lr_schedule: Learning rate by remaining progress.
        net_arch: Hidden layers after the features; None: SB3's.
        activation_fn: Between them.
        option_eps: Exploration of the greedy choice over options in ``predict``.
        features_extractor_class: As in SB3.
        **kwargs: As :class:`DiscreteOptionPolicy` takes them.

    Attributes:
        optimizer: Of trunk and values.
        option_optimizer: Of the options' policies and terminations.
    """

    def __init__(
        self,
        observation_space: Any,
        action_space: Any,
        lr_schedule: Schedule,
        net_arch: list[int] | None = None,
        activation_fn: type[nn.Module] = nn.ReLU,
        option_eps: float = 0.1,
        features_extractor_class: type[BaseFeaturesExtractor] = FlattenExtractor,
        **kwargs: Any,
    ) -> None:
        super().__init__(observation_space, action_space, features_extractor_class, **kwargs)
        if net_arch is None:
            net_arch = [] if features_extractor_class is NatureCNN else [64, 64]
        self.net_arch, self.activation_fn, self.option_eps = net_arch, activation_fn, option_eps
        self.features_extractor = self.make_features_extractor()
        features = self.features_extractor.features_dim
        self.trunk = nn.Sequential(*create_mlp(features, -1, net_arch, activation_fn))
        width = net_arch[-1] if net_arch else features
        self.value_net = nn.Linear(width, self.n_options)
        self.action_net = nn.Linear(width, self.n_options * self.n_actions)
        self.termination_net = nn.Linear(width, self.n_options)
        nn.init.zeros_(self.termination_net.weight)
        nn.init.zeros_(self.termination_net.bias)
        self.target = copy.deepcopy(self.critic).requires_grad_(False)
        heads = [*self.action_net.parameters(), *self.termination_net.parameters()]
        optimizer_class: Any = self.optimizer_class
        self.optimizer, self.option_optimizer = (
            optimizer_class(parameters, lr=lr_schedule(1), **self.optimizer_kwargs)
            for parameters in (list(self.critic.parameters()), heads)
        )

    def _get_constructor_parameters(self) -> dict[str, Any]:
        own = {
            "lr_schedule": self._dummy_schedule,
            "net_arch": self.net_arch,
            "activation_fn": self.activation_fn,
            "option_eps": self.option_eps,
            "features_extractor_class": self.features_extractor_class,
            "features_extractor_kwargs": self.features_extractor_kwargs,
            "optimizer_class": self.optimizer_class,
            "optimizer_kwargs": self.optimizer_kwargs,
        }
        return {**super()._get_constructor_parameters(), **own}

    def set_training_mode(self, mode: bool) -> None:
        """Switches all but the target network."""
        self.train(mode)
        self.target.train(False)

    @property
    def critic(self) -> nn.ModuleList:
        """Features, trunk and values; not a part of its own, or weights would be saved twice."""
        return nn.ModuleList([self.features_extractor, self.trunk, self.value_net])

    def update_target(self) -> None:
        """Copies trunk and values to the target network."""
        self.target.load_state_dict(self.critic.state_dict())

    def latent(self, obs: PyTorchObs) -> torch.Tensor:
        """Returns what the heads read, (batch, width)."""
        return self.trunk(self.extract_features(obs, self.features_extractor))

    def logits(self, latent: torch.Tensor) -> torch.Tensor:
        """Returns the logits of all options' policies, (batch, K, A)."""
        return self.action_net(latent).unflatten(1, (self.n_options, -1)) / self.temperature

    def beta(self, latent: torch.Tensor) -> torch.Tensor:
        """Returns termination probabilities, (batch, K)."""
        return torch.sigmoid(self.termination_net(latent))

    def target_values(self, obs: PyTorchObs) -> torch.Tensor:
        """Returns Q'(s, w) of the target network, (batch, K)."""
        extractor: Any = self.target[0]
        return self.target[2](self.target[1](self.extract_features(obs, extractor)))

    def option_outputs(self, obs: PyTorchObs) -> OptionOutputs:
        """Returns what the policy says of observations (batch, ...) under every option."""
        latent = self.latent(obs)
        values = self.value_net(latent)
        best = F.one_hot(values.argmax(1), self.n_options).to(values.dtype)
        choice = torch.log((1 - self.option_eps) * best + self.option_eps / self.n_options)
        logits, beta = self.logits(latent), self.beta(latent)
        return OptionOutputs(logits, values, beta, choice, latent, latent)


class DeepOptionCnnPolicy(DeepOptionPolicy):
    """``CnnPolicy``: NatureCNN and the heads."""

    def __init__(
        self,
        *args: Any,
        features_extractor_class: type[BaseFeaturesExtractor] = NatureCNN,
        **kwargs: Any,
    ) -> None:
        kwargs["features_extractor_class"] = features_extractor_class
        super().__init__(*args, **kwargs)


def check_policy(policy: Any, known: Mapping[str, type[BasePolicy]]) -> type[DiscreteOptionPolicy]:
    """Returns the class of a policy.

    Args:
        policy: A class, or a name.
        known: Classes by name.

    Raises:
        UserError: If it is no policy with options.
    """
    found = known.get(policy) if isinstance(policy, str) else policy
    if not (isinstance(found, type) and issubclass(found, DiscreteOptionPolicy)):
        given = policy if isinstance(policy, str) else getattr(policy, "__name__", repr(policy))
        raise UserError(
            f"OptionCritic cannot use the policy {given}; type {', '.join(known)}, or derive yours "
            "from DiscreteOptionPolicy"
        )
    return found


def check_options(given: Mapping[str, Any]) -> None:
    """Checks the numbers that an option-critic takes, by their names.

    Raises:
        UserError: If one is out of its range.
    """
    for name, most in _RANGES.items():
        if not 0 <= given[name] <= most or given[name] == float("inf"):
            allowed = "0 or more" if most > 1 else "0 to 1"
            raise UserError(f"{name}={given[name]} is not valid; allowed: {allowed}")
    coef, at = given["hellinger_coef"], given["termination_at"]
    if not abs(coef) < float("inf"):
        raise UserError(f"hellinger_coef={coef} is not a finite number; type 0.05, or 0 for none")
    if at not in TERMINATION_AT:
        raise UserError(f"termination_at={at!r} is unknown; allowed: {', '.join(TERMINATION_AT)}")
