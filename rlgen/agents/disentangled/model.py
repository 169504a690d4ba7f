"""The action-conditional beta-VAE, as a diffusers model.

Paper: Yang, Lee, Chang, Kwak, "Towards Governing Agent's Efficacy: Action-Conditional beta-VAE for
Deep Transparent Reinforcement Learning", ACML 2019 (arXiv 1811.04350).

An encoder turns a state into the mean and the standard deviation of a Gaussian latent with n
coordinates. The action taken, m < n numbers, is *added* to the first m coordinates of a sample,
and the decoder predicts the *next* state from the sum. As the action reaches the decoder by no
other road, its effects are mapped onto those coordinates (all seen in the paper).

Reconstructed here: layer sizes (see :mod:`rlgen.agents.disentangled.layers`); the standard
deviation as exp(logvar / 2) with logvar within [-10, 4]; one new frame as the target where frames
are stacked; targets that are vectors standardised by running statistics; Bernoulli pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn
from torch.nn import functional as F

from rlgen.agents.disentangled.layers import (
    ACTIVATIONS,
    build_decoder,
    build_trunk,
    choose_network,
    default_channels,
    default_hidden,
    flat_for,
)
from rlgen.core.errors import UserError, closest

LOGVAR_RANGE = (-10.0, 4.0)
LIKELIHOODS = ("gaussian", "bernoulli")
CLIP_TARGET = 10.0  # standard deviations, as SB3's VecNormalize clips


@dataclass(frozen=True)
class VAEOutputs:
    """What one pass through the model gives; axis 0 is the batch.

    Attributes:
        mu: Means of the latent, (batch, n).
        sigma: Standard deviations of the latent, (batch, n), positive.
        z: Sample of the latent *before* the action is added, (batch, n).
        prediction: Of the next state, (batch, *target_shape): logits for Bernoulli pixels, means
            in standardised units for Gaussian targets.
    """

    mu: torch.Tensor
    sigma: torch.Tensor
    z: torch.Tensor
    prediction: torch.Tensor


class ActionConditionalVAE(ModelMixin, ConfigMixin):
    """Encoder, action mapping and decoder.

    Args:
        observation_shape: Of one observation: (D,), or (channels, height, width).
        action_dim: Size m of the action vector; 0 makes an ordinary next-state beta-VAE.
        latent_dim: Size n of the latent, greater than m.
        target_shape: Of what is predicted; None for the observation's own shape, or, with the
            ``nature`` network, for its newest frame: the last channel, or the last three where
            the channels are a multiple of three.
        network: ``mlp``, ``nature`` (84x84 frames), ``conv`` (images of any size) or ``auto``.
        hidden: Widths of the encoder's fully connected layers, which the decoder has backwards;
            None for (64, 64), (512,) and (256,) in the order of the networks above.
        activation: ``tanh`` or ``relu``, for the ``mlp``; the others have ReLU.
        likelihood: ``gaussian``, ``bernoulli`` (targets within 0..1) or ``auto``: Bernoulli for
            images, Gaussian for the rest.
        channels: Of the ``conv`` network, one number per halving of the image; None for 32 each,
            down to 4 pixels.

    Attributes:
        action_dim: m.
        latent_dim: n.
        observation_shape: As given, a tuple of integers.
        target_shape: As resolved.
        network: As resolved.
        likelihood: As resolved.
        encoder_trunk: From observations (flat ones for the ``mlp``) to features.
        encoder_head: From features to mu and logvar, 2n numbers.
        decoder: From z plus the mapped action to the prediction.

    Raises:
        UserError: If m is not below n, or a name or a size is not valid.
    """

    @register_to_config
    def __init__(
        self,
        observation_shape: Sequence[int],
        action_dim: int,
        latent_dim: int,
        target_shape: Sequence[int] | None = None,
        network: str = "auto",
        hidden: Sequence[int] | None = None,
        activation: str = "tanh",
        likelihood: str = "auto",
        channels: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        _check_names(action_dim, latent_dim, activation, likelihood)
        self.observation_shape = _shape("observation_shape", observation_shape)
        self.network = choose_network(network, self.observation_shape)
        self.target_shape = (
            self._newest_frame_shape()
            if target_shape is None
            else _shape("target_shape", target_shape)
        )
        self._check_target()
        self.action_dim, self.latent_dim = int(action_dim), int(latent_dim)
        is_image = len(self.target_shape) == 3
        self.likelihood = (
            ("bernoulli" if is_image else "gaussian") if likelihood == "auto" else likelihood
        )
        widths = default_hidden(self.network) if hidden is None else _shape("hidden", hidden)
        if not widths and self.network == "nature":
            raise UserError("hidden=() is too short for network='nature'; type hidden=(512,)")
        stages: tuple[int, ...] = ()
        if self.network == "conv":
            stages = (
                default_channels(self.observation_shape)
                if channels is None
                else _shape("channels", channels)
            )
        trunk, width = build_trunk(
            self.network, self.observation_shape, widths, stages, ACTIVATIONS[activation]
        )
        self.encoder_trunk = trunk
        self.encoder_head = nn.Linear(width, 2 * self.latent_dim)
        self.decoder = build_decoder(
            self.network,
            self.latent_dim,
            self.target_shape,
            widths,
            stages,
            ACTIVATIONS[activation],
        )
        gaussian_shape = self.target_shape if self.likelihood == "gaussian" else (1,)
        self.register_buffer("target_mean", torch.zeros(gaussian_shape))
        self.register_buffer("target_var", torch.ones(gaussian_shape))
        self.register_buffer("target_count", torch.zeros((), dtype=torch.int64))
        # diffusers takes what was given by position for a default, and leaves it out of copies.
        self.register_to_config(
            observation_shape=list(self.observation_shape),
            target_shape=list(self.target_shape),
            hidden=list(widths),
            channels=list(stages) if stages else None,
            network=self.network,
            likelihood=self.likelihood,
            _use_default_values=[],
        )

    def _newest_frame_shape(self) -> tuple[int, ...]:
        if self.network != "nature":
            return self.observation_shape
        channels, height, width = self.observation_shape
        return (1 if channels % 3 else 3, height, width)

    def _check_target(self) -> None:
        if self.network == "mlp" or self.target_shape[1:] == self.observation_shape[1:]:
            return
        raise UserError(
            f"target_shape={self.target_shape} does not fit observations of shape "
            f"{self.observation_shape} with network={self.network!r}; only the number of channels "
            "may differ"
        )

    def encode(self, observations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the Gaussian latent of observations.

        Args:
            observations: (batch, *observation_shape), float; images within 0..1.

        Returns:
            Means and standard deviations, (batch, n) each.
        """
        features = self.encoder_trunk(flat_for(self.network, observations))
        mu, logvar = self.encoder_head(features).chunk(2, dim=1)
        return mu, torch.exp(0.5 * logvar.clamp(*LOGVAR_RANGE))

    def latents(self, observations: torch.Tensor) -> torch.Tensor:
        """Returns what the policy head reads, h = [mu ; sigma], (batch, 2n)."""
        return torch.cat(self.encode(observations), dim=1)

    def sample(self, mu: torch.Tensor, sigma: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
        """Returns z = mu + sigma * eps for standard normal noise of the same shape."""
        return mu + sigma * eps

    def map_action(self, actions: torch.Tensor) -> torch.Tensor:
        """Returns a_map = [a ; 0], (batch, n), for action vectors (batch, m).

        Raises:
            UserError: If the actions are not (batch, m).
        """
        if actions.dim() != 2 or actions.shape[1] != self.action_dim:
            raise UserError(
                f"actions of shape {tuple(actions.shape)}; (batch, {self.action_dim}) is needed, "
                "as ActionCoding makes them"
            )
        return F.pad(actions, (0, self.latent_dim - self.action_dim))

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Returns the prediction from z + a_map, (batch, n).

        Returns:
            (batch, *target_shape): logits, or means in standardised units.
        """
        prediction: torch.Tensor = self.decoder(z)
        return prediction

    def predict(self, z: torch.Tensor) -> torch.Tensor:
        """As :meth:`decode`, in the data's own range: probabilities, or means in its units."""
        prediction = self.decode(z)
        if self.likelihood == "bernoulli":
            return torch.sigmoid(prediction)
        return prediction * self._target_std() + self.target_mean

    def forward(
        self,
        observations: torch.Tensor,
        actions: torch.Tensor,
        eps: torch.Tensor | None = None,
    ) -> VAEOutputs:
        """Encodes, samples, adds the action and decodes.

        Args:
            observations: (batch, *observation_shape), float; images within 0..1.
            actions: (batch, m).
            eps: Standard normal noise, (batch, n); None draws it from torch's own generator.
        """
        mu, sigma = self.encode(observations)
        z = self.sample(mu, sigma, torch.randn_like(mu) if eps is None else eps)
        return VAEOutputs(mu, sigma, z, self.decode(z + self.map_action(actions)))

    def targets(self, next_observations: torch.Tensor) -> torch.Tensor:
        """Returns what :meth:`decode` should have said.

        Args:
            next_observations: (batch, *observation_shape) or (batch, *target_shape), float.

        Returns:
            (batch, *target_shape): the newest frame where frames are stacked; standardised for
            the Gaussian likelihood, and clipped at 10 standard deviations.
        """
        newest = self._newest(next_observations)
        if self.likelihood == "bernoulli":
            return newest
        standard = (newest - self.target_mean) / self._target_std()
        return standard.clamp(-CLIP_TARGET, CLIP_TARGET)

    @torch.no_grad()
    def update_target_statistics(self, targets: torch.Tensor) -> None:
        """Takes a batch into the running mean and variance; Bernoulli models have none.

        Args:
            targets: (batch, *target_shape) or (batch, *observation_shape), in the data's units.
        """
        if self.likelihood == "bernoulli" or not len(targets):
            return
        newest = self._newest(targets)
        var, mean = torch.var_mean(newest, dim=0, correction=0)
        # Chan, Golub, LeVeque (1983): merges the moments of two sets of a and b samples.
        a, b = int(self.target_count), len(newest)
        share = b / (a + b)
        delta = mean - self.target_mean
        between = share * (1 - share) * delta**2
        self.target_var.copy_((1 - share) * self.target_var + share * var + between)
        self.target_mean.add_(share * delta)
        self.target_count.add_(b)

    def _target_std(self) -> torch.Tensor:
        return torch.sqrt(self.target_var + 1e-8)

    def _newest(self, observations: torch.Tensor) -> torch.Tensor:
        shape = tuple(observations.shape[1:])
        if shape == self.target_shape:
            return observations
        if shape == self.observation_shape:
            if shape[1:] == self.target_shape[1:] and len(shape) == 3:
                return observations[:, -self.target_shape[0] :]
            if math.prod(shape) == math.prod(self.target_shape):
                return observations.reshape(-1, *self.target_shape)
        raise UserError(
            f"next observations of shape {tuple(observations.shape)}; (batch, "
            f"{', '.join(map(str, self.target_shape))}) is needed"
        )


def _check_names(action_dim: int, latent_dim: int, activation: str, likelihood: str) -> None:
    if action_dim < 0:
        raise UserError(f"action_dim={action_dim} is negative; type 0 or more")
    if latent_dim <= action_dim:
        raise UserError(
            f"latent_dim={latent_dim} is too small for an action of {action_dim} numbers; type "
            f"latent_dim={action_dim + 1} or more"
        )
    if activation not in ACTIVATIONS:
        raise UserError(f"activation={activation!r} is unknown; {closest(activation, ACTIVATIONS)}")
    if likelihood not in ("auto", *LIKELIHOODS):
        raise UserError(
            f"likelihood={likelihood!r} is unknown; {closest(likelihood, ('auto', *LIKELIHOODS))}"
        )


def _shape(name: str, sizes: Any) -> tuple[int, ...]:
    shape = tuple(int(size) for size in sizes)
    if any(size < 1 for size in shape) or (not shape and name != "hidden"):
        raise UserError(f"{name}={shape}: positive sizes are needed")
    return shape
