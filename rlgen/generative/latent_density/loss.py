"""The autoencoder's loss: squared error, and perceptual error where it is asked for.

    L = mean (x~ - x)^2 + weight * 1/2 sum_l mean (phi_l(x~) - phi_l(x))^2

The paper's release takes relu1_1, relu2_1 and relu3_1 of VGG-19 (spec section b, seen). Here phi_l
are relu1_2, relu2_2 and relu3_3 of VGG-16, which rlgen has already: a deviation, so weights do not
carry over exactly.
"""

import torch
from torch import nn
from torch.nn import functional as F

from rlgen.nets.perceptual import VGG16Features

LAYERS = ("relu1_2", "relu2_2", "relu3_3")


def to_rgb(x: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Returns images (B, 3, H, W) in -1 to 1 from grey or RGB ones in ``low`` to ``high``."""
    scaled = (x - low) * (2 / (high - low)) - 1
    return scaled.expand(-1, 3, -1, -1)


def perceptual_error(
    features: VGG16Features, output: torch.Tensor, target: torch.Tensor
) -> torch.Tensor:
    """Returns 1/2 sum_l mean (phi_l(output) - phi_l(target))^2, a scalar.

    Args:
        features: The frozen network.
        output: (B, 3, H, W), -1 to 1, 16 pixels a side or more.
        target: Likewise; no gradient reaches it.
    """
    with torch.no_grad():
        wanted = features(target, upto=LAYERS[-1])
    seen = features(output, upto=LAYERS[-1])
    errors = [F.mse_loss(seen[layer].float(), wanted[layer].float()) for layer in LAYERS]
    return 0.5 * torch.stack(errors).sum()


class ReconstructionLoss(nn.Module):
    """Named terms of the autoencoder's loss, weighted; their sum is minimised.

    Args:
        features: The perceptual network; None where ``weight`` is 0.
        weight: lambda_perc; lambda_mse is 1.
        output_range: Least and greatest value of a pixel.
    """

    def __init__(
        self,
        features: VGG16Features | None = None,
        weight: float = 0.0,
        output_range: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        super().__init__()
        self.features, self.weight, self.output_range = features, weight, output_range

    def forward(self, output: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
        """Returns ``mse`` and, where it has a weight, ``perceptual``; scalars.

        Args:
            output: x~, (B, channels, n, n) in the output range.
            target: x, likewise.
        """
        terms = {"mse": F.mse_loss(output.float(), target)}
        if self.features is not None and self.weight:
            pair = (to_rgb(x, *self.output_range) for x in (output, target))
            terms["perceptual"] = self.weight * perceptual_error(self.features, *pair)
        return terms
