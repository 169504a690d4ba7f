"""SB3's actor-critic policy with several options, and its fast computation.

Networks: those of A2OC and PPOC (seen in the authors' code) have heads per option on shared trunks.
Here the trunks are SB3's (``MlpPolicy``: two towers of 64-64 tanh, as PPOC; ``CnnPolicy``:
NatureCNN, larger than A2OC's), and every head is one linear layer:

    action_net       (K A)  logits or means of every option's policy pi_w(a|s)
    value_net        (K)    Q(s, w)
    termination_net  (K)    beta_w(s) = sigmoid, weights 0 at the start, hence 1/2
    option_net       (K)    logits of the policy over options pi_Omega(w|s); PPOC only

With K = 1 the first two are exactly SB3's, weights included.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, NatureCNN
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn
from torch.nn import functional as F

from rlgen.agents.option_critic.acting import (
    ActsWithOptions,
    BoolArray,
    OptionOutputs,
    State,
)
from rlgen.core.errors import UserError

OVER_OPTIONS = ("softmax", "greedy")


class OptionPolicy(ActsWithOptions, ActorCriticPolicy):
    """``MlpPolicy`` with K options.

    Args:
        *args: As SB3's ``ActorCriticPolicy`` takes them.
        n_options: K, 1 or more.
        over_options: ``softmax``: a learned pi_Omega, as in PPOC; ``greedy``: the option of the
            highest value, with probability ``option_eps`` any, as in A2OC.
        option_eps: Exploration of the greedy choice.
        **kwargs: As SB3's ``ActorCriticPolicy`` takes them.

    Raises:
        UserError: If an argument is out of its range.
    """

    def __init__(
        self,
        *args: Any,
        n_options: int = 4,
        over_options: str = "softmax",
        option_eps: float = 0.1,
        **kwargs: Any,
    ) -> None:
        if n_options < 1:
            raise UserError(f"n_options={n_options} is too small; type n_options=1 or more")
        if over_options not in OVER_OPTIONS:
            raise UserError(
                f"over_options={over_options!r} is unknown; allowed: {', '.join(OVER_OPTIONS)}"
            )
        if not 0 <= option_eps <= 1:
            raise UserError(f"option_eps={option_eps} is no probability; allowed: 0 to 1")
        self.n_options = n_options
        self.over_options = over_options
        self.option_eps = option_eps
        super().__init__(*args, **kwargs)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            **super()._get_constructor_parameters(),
            "n_options": self.n_options,
            "over_options": self.over_options,
            "option_eps": self.option_eps,
        }

    def _build(self, lr_schedule: Schedule) -> None:
        super()._build(lr_schedule)  # the first option's heads
        action_net: Any = self.action_net
        self.action_net = _repeat(action_net, self.n_options, 0.01 if self.ortho_init else None)
        self.value_net = _repeat(self.value_net, self.n_options, 1.0 if self.ortho_init else None)
        if hasattr(self, "log_std"):
            self.log_std: nn.Parameter = nn.Parameter(
                self.log_std.detach().repeat(self.n_options, 1)
            )
        latent_pi, latent_vf = action_net.in_features, self.value_net.in_features
        self.termination_net = _zero_linear(latent_vf, self.n_options)
        self.option_net: nn.Linear | None = None
        if self.over_options == "softmax":
            self.option_net = _zero_linear(latent_pi, self.n_options)
        optimizer_class: Any = self.optimizer_class
        self.optimizer = optimizer_class(
            self.parameters(), lr=lr_schedule(1), **self.optimizer_kwargs
        )

    @property
    def option_heads(self) -> list[nn.Linear]:
        """The heads of the terminations and of pi_Omega."""
        return [self.termination_net, *([self.option_net] if self.option_net else [])]

    def heads_of(self, latent_pi: torch.Tensor, latent_vf: torch.Tensor) -> OptionOutputs:
        """Computes all heads, without the stop-gradients of any learner."""
        parameters = self.action_net(latent_pi).unflatten(1, (self.n_options, -1))
        values = self.value_net(latent_vf)
        beta = torch.sigmoid(self.termination_net(latent_vf))
        log_probs = self.option_log_probs(latent_pi, values)
        return OptionOutputs(parameters, values, beta, log_probs, latent_pi, latent_vf)

    def option_log_probs(self, latent_pi: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Returns log pi_Omega(w|s), (batch, K); of the greedy choice too, with its exploration."""
        if self.option_net is not None:
            return F.log_softmax(self.option_net(latent_pi), dim=1)
        k = self.n_options
        best = F.one_hot(values.argmax(1), k).to(values.dtype)
        return torch.log((1 - self.option_eps) * best + self.option_eps / k)

    def option_outputs(self, obs: PyTorchObs) -> OptionOutputs:
        """Returns what the policy says of observations (batch, ...) under every option."""
        features = self.extract_features(obs)
        latent_pi, latent_vf = self.mlp_extractor(features)
        return self.heads_of(latent_pi, latent_vf)

    def get_distribution(
        self, obs: PyTorchObs, options: torch.Tensor | None = None
    ) -> Distribution:
        """Returns the action distribution of one option per row.

        Args:
            obs: (batch, ...).
            options: int64 (batch,); None: the most probable option of each state.
        """
        outputs = self.option_outputs(obs)
        if options is None:
            options = outputs.option_log_probs.argmax(1)
        return self._distribution(outputs.parameters, options)

    def _distribution(self, parameters: torch.Tensor, options: torch.Tensor) -> Distribution:
        rows = torch.arange(len(options), device=parameters.device)
        chosen = parameters[rows, options]
        dist: Any = self.action_dist
        if hasattr(self, "log_std"):
            return dist.proba_distribution(chosen, self.log_std[options])
        return dist.proba_distribution(action_logits=chosen)

    def predict_values(self, obs: PyTorchObs) -> torch.Tensor:
        """Returns V_Omega(s) = sum_w pi_Omega(w|s) Q(s, w), (batch, 1)."""
        outputs = self.option_outputs(obs)
        return (outputs.option_log_probs.exp() * outputs.values).sum(1, keepdim=True)

    def evaluate_actions(  # type: ignore[override]
        self, obs: PyTorchObs, actions: torch.Tensor, options: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Returns values, log-probabilities and entropies of actions under options, (batch,)."""
        outputs = self.option_outputs(obs)
        distribution = self._distribution(outputs.parameters, options)
        values = outputs.values.gather(1, options.unsqueeze(1))
        return values, distribution.log_prob(actions), distribution.entropy()

    def act(
        self, outputs: OptionOutputs, state: State, episode_start: Any, deterministic: bool
    ) -> tuple[npt.NDArray[Any], tuple[npt.NDArray[Any], ...], BoolArray]:
        """Returns actions before they are clipped, the next state, and which options ended."""
        options, terminated = self.enter(outputs, state, episode_start, deterministic)
        with torch.no_grad():
            picked = torch.from_numpy(options).to(self.device)
            distribution = self._distribution(outputs.parameters, picked)
            actions: Any = distribution.get_actions(deterministic=deterministic)
        actions = actions.cpu().numpy().reshape((-1, *(self.action_space.shape or ())))
        return actions, (options,), terminated

    def within_bounds(self, actions: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Returns actions as environments take them: continuous ones clipped to their space."""
        space = self.action_space
        if not isinstance(space, spaces.Box):
            return actions + int(getattr(space, "start", 0))
        clipped: npt.NDArray[Any] = np.clip(actions, space.low, space.high)
        return clipped


class OptionCnnPolicy(OptionPolicy):
    """``CnnPolicy`` with K options: NatureCNN and the heads."""

    def __init__(
        self,
        *args: Any,
        features_extractor_class: type[BaseFeaturesExtractor] = NatureCNN,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, features_extractor_class=features_extractor_class, **kwargs)


def _repeat(net: Any, count: int, gain: float | None) -> nn.Linear:
    """Returns a layer with ``count`` heads like ``net``: itself, then others drawn as it was."""
    heads = [net]
    for _ in range(count - 1):
        head = nn.Linear(net.in_features, net.out_features, device=net.weight.device)
        if gain is not None:
            ActorCriticPolicy.init_weights(head, gain=gain)
        heads.append(head)
    if count == 1:
        return heads[0]
    together = nn.Linear(net.in_features, count * net.out_features, device=net.weight.device)
    with torch.no_grad():
        together.weight.copy_(torch.cat([head.weight for head in heads]))
        together.bias.copy_(torch.cat([head.bias for head in heads]))
    return together


def _zero_linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
