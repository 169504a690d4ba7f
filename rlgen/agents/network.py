"""An SB3 actor-critic policy, computed the fast way with the same parameters.

Three roads, chosen by the policy's parts:

* NatureCNN: convolutions on packed images (:class:`rlgen.nets.PackedNatureCNN`);
* an MLP on a vector, on the CPU: NumPy on the memory of the torch parameters
  (:class:`rlgen.nets.Tower`), because for few rows a torch call costs more than its arithmetic;
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

from rlgen.agents.heads import Head, head_of
from rlgen.nets.nature import PackedNatureCNN
from rlgen.nets.towers import Gates, Tower, two_towers

FloatArray = npt.NDArray[np.float32]

_POLICY_METHODS = (
    "forward",
    "evaluate_actions",
    "extract_features",
    "get_distribution",
    "predict_values",
    "_get_action_dist_from_latent",
)


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
    return own_code(policy)


def own_code(policy: ActorCriticPolicy) -> str | None:
    """Tells which computation a user's class does in its own way; the fast path would miss it."""
    for part, names in (
        (policy, _POLICY_METHODS),
        (policy.mlp_extractor, ("forward", "forward_actor", "forward_critic")),
    ):
        for name in names:
            module = getattr(type(part), name).__module__
            if not module.startswith(("stable_baselines3.", "rlgen.")):
                return f"own {name} of {type(part).__name__}"
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

    @staticmethod
    def why_unsupported(policy: ActorCriticPolicy) -> str | None:
        """Tells why a policy cannot take the fast path, or None where it can."""
        return why_unsupported(policy)

    @staticmethod
    def is_convolutional(policy: ActorCriticPolicy) -> bool:
        """Tells whether a policy's network is large: it may compute in bf16, on many threads."""
        return policy.features_extractor_class.__name__ != "FlattenExtractor"

    def __init__(self, policy: ActorCriticPolicy, dtype: torch.dtype) -> None:
        head = head_of(policy)
        assert head is not None, why_unsupported(policy)
        self.policy = policy
        self.dtype = dtype
        self.head: Head = head
        space = policy.observation_space
        self.packed: PackedNatureCNN | None = None
        self.towers: tuple[Tower, Tower] | None = None
        self.one_hot = False
        self.stored_shape: tuple[int, ...] = space.shape or ()
        self.stored_dtype = torch.from_numpy(np.zeros(1, dtype=space.dtype)).dtype
        if PackedNatureCNN.fits(policy.features_extractor):
            scale = 1 / 255 if policy.normalize_images else 1.0
            self.packed = PackedNatureCNN(policy.features_extractor, scale, dtype)  # type: ignore[arg-type]
            self.stored_shape, self.stored_dtype = self.packed.packed_shape, torch.uint8
        elif self._is_plain_mlp(space):
            # Numbers of states are kept as SB3 feeds them to the network: one-hot.
            self.one_hot = isinstance(space, spaces.Discrete)
            width = (
                int(space.n) if isinstance(space, spaces.Discrete) else np.prod(space.shape or ())
            )
            self.stored_shape = (int(width),)
            self.stored_dtype = torch.float32
            if policy.device.type == "cpu":
                self.towers = self._read_towers()

    def _is_plain_mlp(self, space: spaces.Space) -> bool:
        if isinstance(space, spaces.Discrete):
            return type(self.policy.features_extractor) is FlattenExtractor
        return (
            isinstance(space, spaces.Box)
            and not (self.policy.normalize_images and is_image_space(space))
            and type(self.policy.features_extractor) is FlattenExtractor
        )

    def _read_towers(self) -> tuple[Tower, Tower] | None:
        extractor: Any = self.policy.mlp_extractor
        action_net: Any = self.policy.action_net
        actor = Tower.read(extractor.policy_net, action_net)
        value_net: Any = self.policy.value_net
        critic = Tower.read(extractor.value_net, value_net)
        return (actor, critic) if actor is not None and critic is not None else None

    def store(self, observations: npt.NDArray[Any], out: torch.Tensor) -> None:
        """Writes a step's observations (environments on axis 0) the way the rollout keeps them."""
        if self.packed is not None:
            source = torch.as_tensor(observations, device=out.device)
            self.packed.pack(source, out)
        elif self.one_hot:
            start = self.policy.observation_space.start  # type: ignore[attr-defined]
            states = torch.as_tensor(observations - start, device=out.device)
            out.zero_().scatter_(1, states.reshape(-1, 1), 1.0)
        else:
            out.copy_(torch.as_tensor(observations).reshape(out.shape))

    def prepare_rollout(self) -> None:
        """Takes what acting needs from the current weights; call before each rollout."""
        if self.packed is not None:
            self.packed.take_snapshot()

    def act(self, stored: torch.Tensor) -> tuple[FloatArray, FloatArray]:
        """Returns action parameters (batch, ...) and values (batch,) for acting.

        A gated policy acts with the gates of each environment; see :mod:`rlgen.agents.g2n`.
        """
        gates = self._acting_gates(len(stored))
        if self.towers is not None:
            actor, critic = self.towers
            x = stored.numpy()
            return actor.forward(x, self._split(gates)), critic.forward(x)[:, 0]
        with torch.inference_mode():
            features = self._features(stored, self.packed.act if self.packed else None)
            extractor: Any = self.policy.mlp_extractor
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
        if self.towers is not None:
            return self.towers[1].forward(stored.numpy())[:, 0]
        with torch.inference_mode():
            features = self._features(stored, self.packed.act if self.packed else None)
            latent = self.policy.mlp_extractor.forward_critic(features)
            return self.policy.value_net(latent).flatten().float().cpu().numpy()

    def features(self, stored: torch.Tensor) -> torch.Tensor:
        """Returns the features (batch, width) that actor and critic share, differentiable."""
        return self._features(stored, self.packed.forward if self.packed else None)

    def evaluate(self, stored: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns action parameters (batch, ...) and values (batch,), differentiable.

        A gated policy uses the elite's gates.
        """
        if self.towers is not None:
            elite = getattr(self.policy.mlp_extractor, "elite", None)
            outputs = two_towers(stored.numpy(), *self.towers, self._split(elite))
            return outputs[0], outputs[1].flatten()
        features = self.features(stored)
        latent_pi, latent_vf = self.policy.mlp_extractor(features)
        return self.policy.action_net(latent_pi), self.policy.value_net(latent_vf).flatten()

    def _features(
        self, stored: torch.Tensor, packed: Callable[[torch.Tensor], torch.Tensor] | None
    ) -> torch.Tensor:
        if packed is not None:
            return packed(stored)
        if self.one_hot:
            return stored  # the preprocessing is done
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

    def _split(self, gates: torch.Tensor | None) -> Gates:
        extractor: Any = self.policy.mlp_extractor
        return {} if gates is None else extractor.split(gates.numpy())
