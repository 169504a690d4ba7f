"""SB3's actor-critic policy with the action-conditional beta-VAE between states and actor.

Paper: Yang, Lee, Chang, Kwak, "Towards Governing Agent's Efficacy: Action-Conditional beta-VAE for
Deep Transparent Reinforcement Learning", ACML 2019 (arXiv 1811.04350).

Seen in it: the actor reads the concatenated means and standard deviations of the latent,
h = [mu ; sigma], never a sample; the critic has parameters of its own. It gives no layer sizes;
reconstructed: two tanh layers of 64 from h to a vector task's actions and one ReLU layer of 64 for
images; a critic with a trunk like the encoder's; the size of the latent where none is asked for.
"""

import copy
from typing import Any, ClassVar

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    FlattenExtractor,
    MlpExtractor,
)
from stable_baselines3.common.type_aliases import Schedule
from torch import nn

from rlgen.agents.disentangled.actions import ActionCoding
from rlgen.agents.disentangled.extractor import DisentangledExtractor
from rlgen.agents.disentangled.model import ActionConditionalVAE
from rlgen.agents.disentangled.network import DisentangledNetwork
from rlgen.core.errors import UserError, closest

CRITICS = ("own", "detached")
_HEAD = 64  # width of the policy head's layers


def default_latent_dim(space: spaces.Space) -> int:
    """Returns the size n of the latent for an action space; m is the size of its action vector.

    2m for continuous actions, as the paper has on MuJoCo; m + 2 for discrete ones (its Atari games
    have m + 1, m + 2 and m + 14); 2m + 2 for several three-way ones (its dSprites: 10 for m = 4).

    Raises:
        UserError: If the space has no action vector.
    """
    m = ActionCoding(space).dim
    if isinstance(space, spaces.Box):
        return 2 * m
    return m + 2 if isinstance(space, spaces.Discrete) else 2 * m + 2


class DisentangledPolicy(ActorCriticPolicy):
    """An actor on the latent of an action-conditional VAE, and a critic of its own.

    SB3's own algorithms can use it too; then nothing but the policy's loss trains the encoder,
    unless a callback does.

    Args:
        observation_space: A ``Box`` or ``Discrete`` space.
        action_space: A ``Discrete``, ``MultiDiscrete`` or ``Box`` space.
        lr_schedule: Learning rate as SB3 gives it.
        net_arch: Hidden layers of the policy head, which reads h, and of the critic; a list for
            both or ``{"pi": ..., "vf": ...}``. None: 64-64 and the encoder's for vectors, 64 and
            none for images.
        activation_fn: Of these layers; None: tanh for vectors, ReLU for images.
        latent_dim: Size n of the latent; None for :func:`default_latent_dim`.
        critic: ``own``: a trunk like the encoder's with parameters of its own; ``detached``: it
            reads h and sends no gradient back, which saves the trunk.
        features_extractor_class: :class:`DisentangledExtractor` or a subclass.
        features_extractor_kwargs: Further options of the VAE, such as ``hidden``.
        **kwargs: As SB3's ``ActorCriticPolicy`` takes them.

    Raises:
        UserError: If an argument or a space does not fit.
    """

    network_class: ClassVar[type[DisentangledNetwork]] = DisentangledNetwork
    features_extractor: DisentangledExtractor

    def __init__(
        self,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        lr_schedule: Schedule,
        net_arch: list[int] | dict[str, list[int]] | None = None,
        activation_fn: type[nn.Module] | None = None,
        *,
        latent_dim: int | None = None,
        critic: str = "own",
        features_extractor_class: type[BaseFeaturesExtractor] = DisentangledExtractor,
        features_extractor_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        _check(observation_space, action_space, features_extractor_class, critic)
        self.critic = critic
        n = default_latent_dim(action_space) if latent_dim is None else latent_dim
        self.latent_dim = n
        model = {"latent_dim": n, "action_dim": ActionCoding(action_space).dim}
        self._asked: dict[str, Any] = {"net_arch": net_arch, "activation_fn": activation_fn}
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            net_arch=[] if net_arch is None else net_arch,
            activation_fn=activation_fn or nn.Tanh,
            features_extractor_class=features_extractor_class,
            features_extractor_kwargs={**(features_extractor_kwargs or {}), **model},
            **kwargs,
        )

    @property
    def vae(self) -> ActionConditionalVAE:
        """The model between states and actor."""
        return self.features_extractor.vae

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            **super()._get_constructor_parameters(),
            **self._asked,
            "latent_dim": self.latent_dim,
            "critic": self.critic,
        }

    def _build(self, lr_schedule: Schedule) -> None:
        # SB3 would give the critic a second VAE.
        self.share_features_extractor = False
        self.pi_features_extractor = self.features_extractor
        self.vf_features_extractor = self._critic_trunk()
        super()._build(lr_schedule)

    def _critic_trunk(self) -> BaseFeaturesExtractor:
        if self.critic == "detached":
            return _DetachedLatents(self.features_extractor)
        if self.vae.network == "mlp":  # the critic's hidden layers are its trunk
            return FlattenExtractor(self.observation_space)
        return _OwnTrunk(self.features_extractor)

    def _build_mlp_extractor(self) -> None:
        """Makes the layers from h to the action head, and from the critic's features to its."""
        flat = self.vae.network == "mlp"
        if self._asked["activation_fn"] is None:
            self.activation_fn = nn.Tanh if flat else nn.ReLU
        arch = self._asked["net_arch"]
        if arch is None:
            hidden: list[int] = list(self.vae.config.hidden)
            arch = {"pi": [_HEAD] * (2 if flat else 1), "vf": hidden if flat else []}
            if self.critic == "detached":
                arch["vf"] = arch["pi"]
        if not isinstance(arch, dict):
            arch = {"pi": arch, "vf": arch}
        given = (self.activation_fn, self.device)
        self.mlp_extractor = MlpExtractor(self.features_dim, {"pi": arch.get("pi", [])}, *given)
        width = self.vf_features_extractor.features_dim
        critic = MlpExtractor(width, {"vf": arch.get("vf", [])}, *given)
        self.mlp_extractor.value_net = critic.value_net
        self.mlp_extractor.latent_dim_vf = critic.latent_dim_vf


class _OwnTrunk(BaseFeaturesExtractor):
    """A second trunk like the encoder's, for the critic."""

    def __init__(self, extractor: DisentangledExtractor) -> None:
        width = extractor.vae.encoder_head.in_features
        super().__init__(extractor._observation_space, width)
        self.trunk = copy.deepcopy(extractor.vae.encoder_trunk)
        for module in self.trunk.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                module.reset_parameters()
        self._arrange = extractor.to_model

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Maps preprocessed observations to features, (batch, width)."""
        features: torch.Tensor = self.trunk(self._arrange(observations))
        return features


class _DetachedLatents(BaseFeaturesExtractor):
    """The actor's latents without a gradient."""

    def __init__(self, extractor: DisentangledExtractor) -> None:
        super().__init__(extractor._observation_space, extractor.features_dim)
        self._extractor = (extractor,)  # in a tuple: its parameters are not this module's

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Returns h = [mu ; sigma] of preprocessed observations, (batch, 2n)."""
        with torch.no_grad():
            extractor = self._extractor[0]  # not called: what hooks it edits only the actor's
            return extractor.vae.latents(extractor.to_model(observations))


def _check(
    observation_space: spaces.Space, action_space: spaces.Space, extractor: type, critic: str
) -> None:
    if critic not in CRITICS:
        raise UserError(f"critic={critic!r} is unknown; {closest(critic, CRITICS)}")
    if not issubclass(extractor, DisentangledExtractor):
        raise UserError(
            f"DisentangledPolicy needs a DisentangledExtractor, not {extractor.__name__}; leave "
            "out features_extractor_class"
        )
    if not isinstance(observation_space, (spaces.Box, spaces.Discrete)):
        raise UserError(
            f"DisentangledPolicy cannot use {type(observation_space).__name__} observations; "
            "allowed: Box, Discrete; flatten them, for example by "
            "gymnasium.wrappers.FlattenObservation"
        )
    if not isinstance(action_space, (spaces.Box, spaces.Discrete, spaces.MultiDiscrete)):
        raise UserError(
            f"DisentangledPolicy cannot use {type(action_space).__name__} actions; allowed: Box, "
            "Discrete, MultiDiscrete"
        )
