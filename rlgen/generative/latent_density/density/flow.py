"""A masked autoregressive flow, a rival of the estimator.

Paper: Papamakarios, Pavlakou, Murray, "Masked Autoregressive Flow for Density Estimation" (2017):
layers u_i = (x_i - mu_i(x_<i)) exp(-alpha_i(x_<i)), each a masked network (MADE, Germain et al.
2015), the order of the coordinates turned round between layers. Ours: sizes for a CPU, alpha kept
between -3 and 3 by a tanh, no batch normalisation between layers, half a cosine for the rate.
"""

from itertools import pairwise
from typing import Any, ClassVar

import torch
from diffusers.configuration_utils import register_to_config
from torch import nn
from torch.nn import functional as F

from rlgen.core.ranges import check_range
from rlgen.generative.latent_density.density.base import DENSITIES
from rlgen.generative.latent_density.density.draws import Generators, normal
from rlgen.generative.latent_density.density.gaussian import standard_log_prob
from rlgen.generative.latent_density.density.training import GradientDensity

LIMIT = 3.0  # of alpha, either way


class MaskedLinear(nn.Linear):
    """A linear layer some of whose weights are held at 0.

    Args:
        mask: (out, in), 1 where a weight may be.
    """

    mask: torch.Tensor

    def __init__(self, mask: torch.Tensor) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Applies the layer to (..., in)."""
        return F.linear(x, self.weight * self.mask, self.bias)


class MADE(nn.Module):
    """A network whose outputs at i depend on the inputs before i alone.

    Args:
        dim: D, inputs.
        hidden: Units of each hidden layer.
        depth: Hidden layers.
    """

    def __init__(self, dim: int, hidden: int, depth: int) -> None:
        super().__init__()
        inputs = torch.arange(1, dim + 1)
        units = torch.arange(hidden) % max(dim - 1, 1) + 1
        degrees = [inputs, *[units] * depth]
        layers: list[nn.Module] = []
        for before, after in pairwise(degrees):
            layers += [MaskedLinear((after[:, None] >= before).float()), nn.ReLU()]
        layers.append(MaskedLinear((inputs.repeat(2)[:, None] > degrees[-1]).float()))
        self.layers: Any = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns mu and alpha, (B, D) each, of x (B, D)."""
        mu, alpha = self.layers(x).chunk(2, dim=1)
        return mu, LIMIT * torch.tanh(alpha / LIMIT)

    def reset(self) -> None:
        """Draws fresh weights; the layer starts as the identity."""
        for layer in self.layers:
            if isinstance(layer, MaskedLinear):
                layer.reset_parameters()
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)


@DENSITIES.register("flow")
class MAF(GradientDensity):
    """A masked autoregressive flow. Scoring is one pass; sampling is D passes of each layer.

    Its temperature multiplies the standard deviation of the base noise.

    Args:
        dim: D, coordinates of a latent vector.
        n_layers: MADE networks.
        hidden: Units of their hidden layers.
        depth: Hidden layers of each.
        standardize: Learn on standardised coordinates.

    Raises:
        UserError: If an option is out of range.
    """

    learning_rate = 3e-3
    max_grad_norm: ClassVar[float | None] = 5.0

    @register_to_config
    def __init__(
        self,
        *,
        dim: int,
        n_layers: int = 5,
        hidden: int = 256,
        depth: int = 2,
        standardize: bool = True,
    ) -> None:
        super().__init__(dim, standardize)
        for name, value in (("n_layers", n_layers), ("hidden", hidden), ("depth", depth)):
            check_range(name, value, 1, 65_536)
        self.flows: Any = nn.ModuleList(MADE(dim, hidden, depth) for _ in range(n_layers))
        self.reset()

    def reset(self) -> None:
        """Draws fresh weights; the flow starts as the identity."""
        for flow in self.flows:
            flow.reset()

    def loss(self, rows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Returns -mean log p(u) / D."""
        return -self._log_prob(rows).mean() / self.dim

    def _log_prob(self, u: torch.Tensor) -> torch.Tensor:
        log_det = u.new_zeros(len(u))
        for flow in self.flows:
            mu, alpha = flow(u)
            u = ((u - mu) * torch.exp(-alpha)).flip(1)
            log_det = log_det - alpha.sum(1)
        return standard_log_prob(u) + log_det

    def _complete(self, known: torch.Tensor, generator: Generators, tau: float) -> torch.Tensor:
        x = tau * normal((len(known), self.dim), generator, known)
        for flow in reversed(self.flows):
            noise, x = x.flip(1), torch.zeros_like(x)
            for i in range(self.dim):
                mu, alpha = flow(x)
                x[:, i] = noise[:, i] * torch.exp(alpha[:, i]) + mu[:, i]
        return x
