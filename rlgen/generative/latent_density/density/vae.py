"""A variational autoencoder of latents: the second stage of a two-stage VAE, as a rival.

Paper: Dai, Wipf, "Diagnosing and Enhancing VAE Models" (2019), second stage: a decoder with one
learned variance gamma^2 for all coordinates, a code as long as the latent vector, multilayer
perceptrons. Ours: sizes for a CPU and half a cosine for the rate. Its density is an integral over
codes, so there is a bound but no log-density.
"""

import math
from typing import Any

import torch
from diffusers.configuration_utils import register_to_config
from torch import nn

from rlgen.core.ranges import check_range
from rlgen.generative.latent_density.density.base import DENSITIES
from rlgen.generative.latent_density.density.draws import Generators, normal
from rlgen.generative.latent_density.density.training import GradientDensity

FLOOR = -5.0  # of log gamma: it falls without end where codes tell everything


@DENSITIES.register("vae")
class LatentVAE(GradientDensity):
    """A VAE with Gaussian encoder and decoder.

    Its temperature multiplies the standard deviation of codes and of the decoder's noise.

    Args:
        dim: D, coordinates of a latent vector.
        code: Coordinates of the code; None: D.
        hidden: Units of hidden layers.
        depth: Hidden layers of encoder and decoder.
        standardize: Learn on standardised coordinates.

    Raises:
        UserError: If an option is out of range.
    """

    has_log_prob = False
    learning_rate = 1e-3

    @register_to_config
    def __init__(
        self,
        *,
        dim: int,
        code: int | None = None,
        hidden: int = 256,
        depth: int = 3,
        standardize: bool = True,
    ) -> None:
        super().__init__(dim, standardize)
        check_range("code", code, 1, 65_536, optional=True)
        check_range("hidden", hidden, 1, 65_536)
        check_range("depth", depth, 1, 100)
        self._code = dim if code is None else code
        self.encoder: Any = _perceptron(dim, hidden, depth, 2 * self._code)
        self.decoder: Any = _perceptron(self._code, hidden, depth, dim)
        self.log_gamma = nn.Parameter(torch.zeros(()))

    def reset(self) -> None:
        """Draws fresh weights; gamma starts at 1."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                module.reset_parameters()
        nn.init.zeros_(self.log_gamma)

    def loss(self, rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Returns the negative evidence bound, one code per row, over D: nats per coordinate."""
        mean, log_scale = self.encoder(rows).chunk(2, dim=1)
        log_scale = log_scale.clamp(-10.0, 10.0)
        code = mean + log_scale.exp() * normal(tuple(mean.shape), generator, mean)
        divergence = 0.5 * (mean.square() + (2 * log_scale).exp() - 1) - log_scale
        log_gamma = self._log_gamma()
        error = (rows - self.decoder(code)) * torch.exp(-log_gamma)
        reconstruction = 0.5 * error.square() + log_gamma + 0.5 * math.log(2 * math.pi)
        return (reconstruction.sum(1) + divergence.sum(1)).mean() / self.dim

    def _log_gamma(self) -> torch.Tensor:
        return self.log_gamma.clamp(min=FLOOR)

    def _complete(self, known: torch.Tensor, generator: Generators, tau: float) -> torch.Tensor:
        drawn = tau * normal((len(known), self._code + self.dim), generator, known)
        mean = self.decoder(drawn[:, : self._code])
        return mean + self._log_gamma().exp() * drawn[:, self._code :]


def _perceptron(inputs: int, hidden: int, depth: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(inputs, hidden), nn.ReLU()]
        inputs = hidden
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))
