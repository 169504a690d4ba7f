"""The fast computation of a policy with options: see :mod:`rlgen.agents.network`."""

from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from rlgen.agents.heads import CategoricalHead, GaussianHead
from rlgen.agents.network import ActorCriticNetwork
from rlgen.agents.option_critic.acting import OptionOutputs
from rlgen.agents.option_critic.policy import OptionPolicy
from rlgen.agents.option_critic.terms import (
    Array,
    array_of,
    linear,
    log_greedy,
    log_softmax,
    options_first,
    tensor_of,
)
from rlgen.nets.towers import two_towers

FloatArray = npt.NDArray[np.float32]


class OptionNetwork(ActorCriticNetwork):
    """All heads of an :class:`OptionPolicy`, the fast way with the same parameters."""

    policy: OptionPolicy

    def __init__(self, policy: OptionPolicy, dtype: torch.dtype) -> None:
        super().__init__(policy, dtype)
        if self.towers is not None:  # read once: the arrays are the parameters' own memory
            self._termination_head = _arrays(policy.termination_net)
        self._option_head = _arrays(policy.option_net) if policy.option_net else None

    def act_all(
        self, stored: torch.Tensor
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Returns parameters (batch, K, A), Q and beta (batch, K), and log pi_Omega (batch, K)."""
        policy = self.policy
        if self.towers is not None:
            actor, critic = self.towers
            x = stored.numpy()
            parameters, actor_kept = actor.forward_keeping(x, {})
            values, critic_kept = critic.forward_keeping(x, {})
            beta = _sigmoid(linear(critic_kept[-1], *self._termination_head))
            log_probs = self._over_options(actor_kept[-1], values)
            parameters = parameters.reshape(len(x), policy.n_options, -1)
            return parameters, values, beta.T, log_probs.T
        with torch.inference_mode():
            features = self._features(stored, self.packed.act if self.packed else None)
            outputs = policy.heads_of(*policy.mlp_extractor(features))
        assert outputs.beta is not None
        tensors = (outputs.parameters, outputs.values, outputs.beta, outputs.option_log_probs)
        return cast(
            tuple[FloatArray, FloatArray, FloatArray, FloatArray],
            tuple(tensor.float().cpu().numpy() for tensor in tensors),
        )

    def evaluate_all(self, stored: torch.Tensor) -> OptionOutputs:
        """Returns parameters and values of every option, differentiable, and what is fixed.

        Terminations are left out: their loss computes them; see
        :mod:`rlgen.agents.option_critic.terms`. The policy over options is held fixed.
        """
        policy = self.policy
        if self.towers is not None:
            parameters, values, latent_pi, latent_vf = two_towers(stored.numpy(), *self.towers, {})
        else:
            latent_pi, latent_vf = policy.mlp_extractor(self.features(stored))
            parameters, values = policy.action_net(latent_pi), policy.value_net(latent_vf)
        log_probs = tensor_of(self._over_options(array_of(latent_pi), array_of(values))).T
        parameters = parameters.view(len(values), policy.n_options, -1)
        return OptionOutputs(parameters, values, None, log_probs, latent_pi, latent_vf)

    def _over_options(self, latent_pi: Array, values: Array) -> Array:
        """Returns log pi_Omega, (K, batch)."""
        if self._option_head is not None:
            return log_softmax(linear(latent_pi, *self._option_head))
        return log_greedy(options_first(values), self.policy.option_eps)


def select(values: npt.NDArray[Any], options: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Returns the rows of the options that act: (batch, K, ...) and (batch,) to (batch, ...)."""
    return values[np.arange(len(options)), options]


def head_under(policy: OptionPolicy, options: Any) -> CategoricalHead | GaussianHead:
    """Returns the action distribution of rows that are under different options.

    Args:
        policy: Its deviations are taken, where there are any.
        options: (batch,), as array or tensor.
    """
    if not hasattr(policy, "log_std"):
        return CategoricalHead()
    log_std: Any = policy.log_std
    # One option's deviation is shared by all rows, as in the algorithm without options.
    return GaussianHead(log_std[0] if policy.n_options == 1 else log_std[torch.as_tensor(options)])


def _arrays(layer: torch.nn.Linear) -> tuple[Array, Array]:
    return array_of(layer.weight), array_of(layer.bias)


def _sigmoid(x: FloatArray) -> FloatArray:
    half: FloatArray = 0.5 * (1 + np.tanh(0.5 * x))
    return half
