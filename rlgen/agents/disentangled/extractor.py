"""The encoder of the action-conditional VAE as a features extractor of any SB3 algorithm.

Paper: Yang, Lee, Chang, Kwak, ACML 2019 (arXiv 1811.04350). Seen in it: the policy head reads the
mean *and* the standard deviation of the latent, side by side, and no sample, so that acting has no
noise of the auto-encoder. Feeding the standard deviation and not its logarithm is how the paper
writes it. The extractor holds the whole model; :mod:`rlgen.agents.disentangled.callback` trains it
beside the algorithm's own loss.
"""

from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import get_flattened_obs_dim
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from rlgen.agents.disentangled.model import ActionConditionalVAE
from rlgen.core.errors import UserError


def channels_last(space: spaces.Space) -> bool:
    """Tells whether observations are images whose channels are the last axis.

    SB3 turns uint8 images channel-first; MinAtar's, which are no uint8 images, stay channel-last.
    Where all three sides are equal the channels are taken to be last.
    """
    if not isinstance(space, spaces.Box) or len(space.shape) != 3:
        return False
    return space.shape[0] >= space.shape[2]


def model_shape(space: spaces.Space) -> tuple[int, ...]:
    """Returns the shape in which the model takes observations of a space.

    Channel-first for images; discrete spaces become one-hot vectors, as SB3 makes them.

    Raises:
        UserError: If the space is a dictionary or another one without a single array.
    """
    if isinstance(space, spaces.Box):
        if channels_last(space):
            height, width, channels = space.shape
            return channels, height, width
        return space.shape
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        return (get_flattened_obs_dim(space),)
    raise UserError(
        f"observations of {type(space).__name__} are not one array, which the model needs; wrap "
        "the environment with gymnasium.wrappers.FlattenObservation"
    )


def model_layout(observations: torch.Tensor, space: spaces.Space) -> torch.Tensor:
    """Returns a batch as the model takes it: images channel-first, one-hot vectors flat.

    Args:
        observations: (batch, ...), one-hot for discrete spaces, as SB3's ``preprocess_obs`` gives.
        space: Of one observation.
    """
    if not isinstance(space, spaces.Box):
        return observations.flatten(1)
    return observations.movedim(-1, 1) if channels_last(space) else observations


class DisentangledExtractor(BaseFeaturesExtractor):
    """Features [mu ; sigma] of the observation.

    Use it as ``policy_kwargs={"features_extractor_class": DisentangledExtractor,
    "features_extractor_kwargs": {"latent_dim": n, "action_dim": m}}``.

    Args:
        observation_space: As SB3 hands it; Box, Discrete, MultiDiscrete or MultiBinary.
        latent_dim: Size n of the latent.
        action_dim: Size m of the action vector, ``ActionCoding(action_space).dim``.
        **vae: Further options of :class:`ActionConditionalVAE`; ``likelihood`` is Bernoulli by
            itself for images and for spaces that are not Box.

    Attributes:
        vae: The model.

    Raises:
        UserError: If the space or an option is not valid.
    """

    def __init__(
        self, observation_space: spaces.Space, latent_dim: int, action_dim: int, **vae: Any
    ) -> None:
        shape = model_shape(observation_space)
        if not isinstance(observation_space, spaces.Box):
            vae = {"likelihood": "bernoulli"} | vae
        super().__init__(observation_space, features_dim=2 * latent_dim)
        self.vae = ActionConditionalVAE(shape, action_dim, latent_dim, **vae)

    def to_model(self, observations: torch.Tensor) -> torch.Tensor:
        """Returns observations that SB3 preprocessed in the model's layout; see model_layout."""
        return model_layout(observations, self._observation_space)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Maps preprocessed observations (batch, ...) to [mu ; sigma], (batch, 2n)."""
        return self.vae.latents(self.to_model(observations))


def acting_extractor(policy: nn.Module) -> DisentangledExtractor:
    """Returns the extractor through which a policy of SB3 acts.

    Args:
        policy: Of PPO, A2C, DQN, SAC, TD3 or another algorithm whose acting network is called
            ``actor`` or ``q_net``.

    Raises:
        UserError: If it acts through another one.
    """
    for owner in (policy, getattr(policy, "actor", None), getattr(policy, "q_net", None)):
        for name in ("pi_features_extractor", "features_extractor"):
            found = getattr(owner, name, None)
            if isinstance(found, DisentangledExtractor):
                return found
    raise UserError(
        f"{type(policy).__name__} has no DisentangledExtractor; make the model with policy_kwargs="
        "{'features_extractor_class': DisentangledExtractor, ...}"
    )
