"""An SB3 actor-critic policy, computed the fast way with the same parameters.

Three roads, chosen by the policy's parts:

* NatureCNN: convolutions on packed images (:class:`rlgen.nets.PackedNatureCNN`);
* an MLP on a vector, on the CPU: acting in NumPy on the memory of the torch parameters, because
  for a handful of rows each torch call costs more than its arithmetic;
* anything else: the policy's own modules.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import nn

from rlgen.agents.heads import Head, head_of
from rlgen.nets.nature import PackedNatureCNN

FloatArray = npt.NDArray[np.float32]
_ACTIVATIONS: dict[type[nn.Module], Callable[..., FloatArray]] = {
    nn.Tanh: lambda x: np.tanh(x, out=x),
    nn.ReLU: lambda x: np.maximum(x, 0, out=x),
}
# One linear layer and its activation, as NumPy sees them.
_Layer = tuple[FloatArray, FloatArray, Callable[..., FloatArray]]


def why_unsupported(policy: ActorCriticPolicy) -> str | None:
    """Tells why a policy cannot take the fast path, or None where it can."""
    if policy.use_sde:
        return "state-dependent exploration"
    if not isinstance(policy.observation_space, (spaces.Box, spaces.Discrete)):
        return f"{type(policy.observation_space).__name__} observations"
    if head_of(policy) is None:
        return f"{type(policy.action_space).__name__} actions"
    if not policy.share_features_extractor:
        return "separate features extractors"
    return None


class ActorCriticNetwork:
    """Features, latents, values and action parameters of a policy.

    Args:
        policy: The policy; its parameters are used, never copied for longer than a rollout.
        dtype: Precision of convolutions and large products.

    Attributes:
        head: The action distribution.
        stored_shape: Shape of one observation as the rollout keeps it.
        stored_dtype: Its dtype: uint8 pixels, or float32.
    """

    def __init__(self, policy: ActorCriticPolicy, dtype: torch.dtype) -> None:
        head = head_of(policy)
        assert head is not None, why_unsupported(policy)
        self.policy = policy
        self.dtype = dtype
        self.head: Head = head
        space = policy.observation_space
        self.packed: PackedNatureCNN | None = None
        self.numpy_layers: tuple[list[_Layer], list[_Layer]] | None = None
        self.stored_shape: tuple[int, ...] = space.shape or ()
        self.stored_dtype = torch.from_numpy(np.zeros(1, dtype=space.dtype)).dtype
        if PackedNatureCNN.fits(policy.features_extractor):
            scale = 1 / 255 if policy.normalize_images else 1.0
            self.packed = PackedNatureCNN(policy.features_extractor, scale, dtype)  # type: ignore[arg-type]
            self.stored_shape, self.stored_dtype = self.packed.packed_shape, torch.uint8
        elif self._is_plain_mlp(space):
            self.stored_shape = (int(np.prod(space.shape or ())),)
            self.stored_dtype = torch.float32
            if policy.device.type == "cpu":
                self.numpy_layers = self._read_layers()

    def _is_plain_mlp(self, space: spaces.Space) -> bool:
        return (
            isinstance(space, spaces.Box)
            and not (self.policy.normalize_images and is_image_space(space))
            and type(self.policy.features_extractor) is FlattenExtractor
        )

    def _read_layers(self) -> tuple[list[_Layer], list[_Layer]] | None:
        extractor = self.policy.mlp_extractor
        pi, vf = _numpy_layers(extractor.policy_net), _numpy_layers(extractor.value_net)
        return (pi, vf) if pi is not None and vf is not None else None

    def store(self, observations: npt.NDArray[Any], out: torch.Tensor) -> None:
        """Writes a step's observations (environments on axis 0) the way the rollout keeps them."""
        if self.packed is not None:
            source = torch.as_tensor(observations, device=out.device)
            self.packed.pack(source, out)
        else:
            out.copy_(torch.as_tensor(observations).view(out.shape))

    def prepare_rollout(self) -> None:
        """Takes what acting needs from the current weights; call before each rollout."""
        if self.packed is not None:
            self.packed.take_snapshot()

    def act(self, stored: torch.Tensor) -> tuple[FloatArray, FloatArray]:
        """Returns action parameters (batch, ...) and values (batch,) for acting.

        A gated policy acts with the gates of each environment; see :mod:`rlgen.agents.g2n`.
        """
        gates = self._acting_gates(len(stored))
        if self.numpy_layers is not None:
            return self._act_numpy(stored.numpy(), gates)
        with torch.inference_mode():
            features = self._features(stored, self.packed.act if self.packed else None)
            extractor = self.policy.mlp_extractor
            latent_pi = (
                extractor.forward_actor(features, gates)
                if gates is not None
                else extractor.forward_actor(features)
            )
            parameters = self.policy.action_net(latent_pi)
            values = self.policy.value_net(extractor.forward_critic(features)).flatten()
        return parameters.float().cpu().numpy(), values.float().cpu().numpy()

    def values(self, stored: torch.Tensor) -> FloatArray:
        """Returns the values of observations, (batch,), with the acting weights."""
        if self.numpy_layers is not None:
            return self._numpy_values(stored.numpy())
        with torch.inference_mode():
            features = self._features(stored, self.packed.act if self.packed else None)
            latent = self.policy.mlp_extractor.forward_critic(features)
            return self.policy.value_net(latent).flatten().float().cpu().numpy()

    def features(self, stored: torch.Tensor) -> torch.Tensor:
        """Returns the features (batch, width) that actor and critic share, differentiable."""
        return self._features(stored, self.packed.forward if self.packed else None)

    def evaluate(self, stored: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns action parameters (batch, ...) and values (batch,), differentiable."""
        features = self.features(stored)
        latent_pi, latent_vf = self.policy.mlp_extractor(features)
        return self.policy.action_net(latent_pi), self.policy.value_net(latent_vf).flatten()

    def _features(
        self, stored: torch.Tensor, packed: Callable[[torch.Tensor], torch.Tensor] | None
    ) -> torch.Tensor:
        if packed is not None:
            return packed(stored)
        if self.dtype is torch.float32:
            context: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
        else:
            context = torch.autocast(stored.device.type, self.dtype)
        with context:
            features = self.policy.extract_features(stored)
        return features.float()  # type: ignore[union-attr]

    def _acting_gates(self, rows: int) -> Any:
        gates_of = getattr(self.policy.mlp_extractor, "gates_for", None)
        return gates_of(rows) if gates_of is not None else None

    def _act_numpy(self, x: FloatArray, gates: Any) -> tuple[FloatArray, FloatArray]:
        assert self.numpy_layers is not None
        per_layer = {} if gates is None else self.policy.mlp_extractor.split(gates.numpy())
        latent = _run(x, self.numpy_layers[0], per_layer)
        head = self.policy.action_net
        parameters = latent @ head.weight.detach().numpy().T + head.bias.detach().numpy()
        return parameters, self._numpy_values(x)

    def _numpy_values(self, x: FloatArray) -> FloatArray:
        assert self.numpy_layers is not None
        latent = _run(x, self.numpy_layers[1], {})
        head = self.policy.value_net
        return (latent @ head.weight.detach().numpy().T + head.bias.detach().numpy())[:, 0]


def _numpy_layers(net: nn.Sequential) -> list[_Layer] | None:
    """Views the layers of an MLP as NumPy arrays on the same memory; None if it has other parts."""
    modules = list(net)
    layers: list[_Layer] = []
    for linear, activation in zip(modules[::2], modules[1::2], strict=True):
        if type(linear) is not nn.Linear or type(activation) not in _ACTIVATIONS:
            return None
        weight, bias = linear.weight.detach().numpy(), linear.bias.detach().numpy()
        layers.append((weight.T, bias, _ACTIVATIONS[type(activation)]))
    return layers


def _run(x: FloatArray, layers: list[_Layer], gates: dict[int, FloatArray]) -> FloatArray:
    if 0 in gates:
        x = x * gates[0]
    for position, (weight, bias, activation) in enumerate(layers, start=1):
        x = activation(x @ weight + bias)
        if position in gates:
            x *= gates[position]
    return x
