"""The fast computation of a policy on an action-conditional VAE: see :mod:`rlgen.agents.network`.

Three roads: vectors on the CPU in NumPy (:mod:`rlgen.agents.disentangled.fused`); NatureCNN trunks
on packed images; the policy's own modules for anything else.
"""

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space, preprocess_obs
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import nn

from rlgen.agents.disentangled.fused import LatentTowers
from rlgen.agents.disentangled.model import LOGVAR_RANGE
from rlgen.agents.disentangled.packed import PackedDecoder, unpack_frames
from rlgen.agents.heads import MultiCategoricalHead, head_of
from rlgen.agents.network import ActorCriticNetwork, own_code
from rlgen.nets.nature import BLOCK, PackedNatureCNN
from rlgen.nets.towers import Tower

if TYPE_CHECKING:  # the policy names this module's class
    from rlgen.agents.disentangled.policy import DisentangledPolicy

FloatArray = npt.NDArray[np.float32]


class DisentangledNetwork(ActorCriticNetwork):
    """Latents, values and action parameters of a :class:`DisentangledPolicy`.

    Args:
        policy: The policy.
        dtype: Precision of convolutions and large products.

    Attributes:
        fused: The networks of a vector task on the CPU, or None.
    """

    policy: "DisentangledPolicy"

    @staticmethod
    def why_unsupported(policy: Any) -> str | None:
        """Tells why a policy cannot take the fast path, or None where it can."""
        return "state-dependent exploration" if policy.use_sde else own_code(policy)

    @staticmethod
    def is_convolutional(policy: Any) -> bool:
        """Tells whether a policy's network is large."""
        return policy.vae.network != "mlp" or len(policy.vae.observation_shape) > 1

    def __init__(self, policy: "DisentangledPolicy", dtype: torch.dtype) -> None:
        self.policy = policy
        self.dtype = dtype
        self.head = head_of(policy) or MultiCategoricalHead(policy.action_space.nvec)  # type: ignore[attr-defined]
        self.packed: PackedNatureCNN | None = None
        self.packed_critic: PackedNatureCNN | None = None
        self.packed_decoder: PackedDecoder | None = None
        self.towers = None
        self.fused: LatentTowers | None = None
        space = policy.observation_space
        self.one_hot = isinstance(space, spaces.Discrete)
        self.stored_shape = space.shape or ()
        self.stored_dtype = torch.from_numpy(np.zeros(1, dtype=space.dtype)).dtype
        trunk = policy.vae.encoder_trunk
        if self._packs(trunk):
            self._pack(trunk)
        elif policy.vae.network == "mlp" and not is_image_space(space):
            self.stored_shape = (int(np.prod(policy.vae.observation_shape)),)
            self.stored_dtype = torch.float32
            if policy.device.type == "cpu":
                self.fused = self._read_fused()

    def _packs(self, trunk: nn.Module) -> bool:
        """Tells whether images can be kept packed: a frame must be whole in that form."""
        space, policy = self.policy.observation_space, self.policy
        fits = PackedNatureCNN.fits(trunk) and policy.normalize_images and is_image_space(space)
        return fits and (space.shape or (0, 0))[1] % BLOCK == 0

    def _pack(self, trunk: nn.Module) -> None:
        self.packed = PackedNatureCNN(trunk, 1 / 255, self.dtype)  # type: ignore[arg-type]
        self.stored_shape, self.stored_dtype = self.packed.packed_shape, torch.uint8
        vae = self.policy.vae
        if vae.likelihood == "bernoulli" and PackedDecoder.fits(vae.decoder):
            self.packed_decoder = PackedDecoder(vae.decoder)
        if self.policy.critic == "own":
            critic: Any = self.policy.vf_features_extractor
            self.packed_critic = PackedNatureCNN(critic.trunk, 1 / 255, self.dtype)

    def _read_fused(self) -> LatentTowers | None:
        policy: Any = self.policy
        vae = policy.vae
        if policy.critic == "own" and type(policy.vf_features_extractor) is not FlattenExtractor:
            return None
        *layers, last, _ = vae.decoder  # its end puts the prediction in shape
        towers = (
            Tower.read(vae.encoder_trunk, vae.encoder_head),
            Tower.read(policy.mlp_extractor.policy_net, policy.action_net),
            Tower.read(policy.mlp_extractor.value_net, policy.value_net),
            Tower.read(nn.Sequential(*layers), last),
        )
        if any(tower is None for tower in towers):
            return None
        return LatentTowers(*towers, detached=policy.critic == "detached")  # type: ignore[arg-type]

    def prepare_rollout(self) -> None:
        """Takes what acting needs from the current weights; call before each rollout."""
        for packed in (self.packed, self.packed_critic):
            if packed is not None:
                packed.take_snapshot()

    def act(self, stored: torch.Tensor) -> tuple[FloatArray, FloatArray]:
        """Returns action parameters (batch, ...) and values (batch,) for acting."""
        if self.fused is not None:
            return self.fused.act(stored.numpy())
        policy = self.policy
        with torch.inference_mode():
            h = self._latents(stored, acting=True)
            parameters = policy.action_net(policy.mlp_extractor.forward_actor(h))
            values = self._value(stored, h, acting=True)
        return parameters.float().cpu().numpy(), values.float().cpu().numpy()

    def values(self, stored: torch.Tensor) -> FloatArray:
        """Returns the values of observations, (batch,), with the acting weights."""
        if self.fused is not None:
            return self.fused.values(stored.numpy())
        with torch.inference_mode():
            detached = self.policy.critic == "detached"
            h = self._latents(stored, acting=True) if detached else None
            return self._value(stored, h, acting=True).float().cpu().numpy()

    def evaluate(self, stored: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns action parameters (batch, ...) and values (batch,), differentiable."""
        parameters, values, _ = self.evaluate_all(stored)
        return parameters, values

    def evaluate_all(self, stored: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """As :meth:`evaluate`, and h = [mu ; sigma], (batch, 2n), which the model's loss reads."""
        if self.fused is not None:
            parameters, values, h = self.fused.evaluate(stored.numpy())
            return parameters, values.flatten(), h
        policy = self.policy
        h = self.latents(stored)
        parameters = policy.action_net(policy.mlp_extractor.forward_actor(h))
        return parameters, self._value(stored, h, acting=False), h

    def latents(self, stored: torch.Tensor) -> torch.Tensor:
        """Returns h, (batch, 2n), differentiable but on the NumPy road."""
        if self.fused is not None:
            return torch.from_numpy(self.fused.latents(stored.numpy()))
        return self._latents(stored, acting=False)

    def _latents(self, stored: torch.Tensor, acting: bool) -> torch.Tensor:
        extractor: Any = self.policy.features_extractor
        if self.packed is None:
            with self.precision():
                h = extractor.vae.latents(extractor.to_model(self._preprocessed(stored)))
            return h.float()
        features = self.packed.act(stored) if acting else self.packed.forward(stored)
        mu, logvar = extractor.vae.encoder_head(features).chunk(2, dim=1)
        return torch.cat([mu, torch.exp(0.5 * logvar.clamp(*LOGVAR_RANGE))], dim=1)

    def _value(self, stored: torch.Tensor, h: torch.Tensor | None, acting: bool) -> torch.Tensor:
        policy = self.policy
        if policy.critic == "detached":
            assert h is not None
            features = h.detach()
        elif self.packed_critic is not None:
            cnn = self.packed_critic
            features = cnn.act(stored) if acting else cnn.forward(stored)
        else:
            with self.precision():
                features = policy.vf_features_extractor(self._preprocessed(stored)).float()
        return policy.value_net(policy.mlp_extractor.forward_critic(features)).flatten()

    def precision(self) -> contextlib.AbstractContextManager[Any]:
        """Returns the context in which large networks are computed."""
        if self.dtype is torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.policy.device.type, self.dtype)

    def _preprocessed(self, stored: torch.Tensor) -> torch.Tensor:
        if self.one_hot:
            return stored
        policy = self.policy
        observations = stored.reshape(len(stored), *(policy.observation_space.shape or ()))
        prepared: Any = preprocess_obs(
            observations, policy.observation_space, normalize_images=policy.normalize_images
        )
        return prepared

    # What the model should have predicted -----------------------------------------------------

    def next_frames(self, stored: torch.Tensor) -> torch.Tensor:
        """Returns the part of stored observations that is predicted, as it is stored.

        Args:
            stored: (..., *stored_shape).

        Returns:
            (..., rows, columns, frames * 16), contiguous, of packed images, else as given.
        """
        if self.packed is None:
            return stored
        return stored[..., -self.policy.vae.target_shape[0] * BLOCK**2 :].contiguous()

    def as_targets(self, frames: torch.Tensor) -> torch.Tensor:
        """Returns what the decoder should say, (batch, *target_shape), of :meth:`next_frames`."""
        return self.policy.vae.targets(self.as_floats(frames))

    def as_floats(self, frames: torch.Tensor) -> torch.Tensor:
        """Returns :meth:`next_frames` as the model takes observations: images within 0..1."""
        if self.packed is None:
            return self.model_input(frames)
        return unpack_frames(frames, self.policy.vae.target_shape[0]).float() / 255

    def predict(self, z: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns what the decoder says, and what it should say, in the same layout.

        Args:
            z: Latents with the actions added, (batch, n).
            targets: :meth:`next_frames`, or what the decoder should say if it is Gaussian.
        """
        vae = self.policy.vae
        with self.precision():
            decode = vae.decode if self.packed_decoder is None else self.packed_decoder
            prediction = decode(z).float()
        if self.packed_decoder is not None:
            return prediction, targets.permute(0, 3, 1, 2).float() / 255
        return prediction, targets if vae.likelihood == "gaussian" else self.as_targets(targets)

    def model_input(self, stored: torch.Tensor) -> torch.Tensor:
        """Returns unpacked stored observations as the model takes them."""
        prepared: torch.Tensor = self.policy.features_extractor.to_model(self._preprocessed(stored))
        return prepared
