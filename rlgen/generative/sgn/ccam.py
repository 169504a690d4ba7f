"""CCAM, the conditional channel attention module of SGN.

Spec section c, seen in official code; the initialisation is ours.
"""

import torch
from torch import nn
from torch.nn import functional as F


class CCAM(nn.Module):
    """Scales channels by gates that depend on the image and on the sym-parameter.

    With U (batch, C, H, W) and s (batch, d): a = mean of U over space, b = ReLU(W_s s),
    h = ReLU(W_h [a, b]), g = sigmoid(W_g h), and the output is g * U. There is no path around the
    gate.

    Args:
        channels: C.
        n_domains: d.
        reduction: How many times narrower the hidden layer is than C.
    """

    def __init__(self, channels: int, n_domains: int, reduction: int = 4) -> None:
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.condition = nn.Linear(n_domains, channels)
        self.squeeze = nn.Linear(2 * channels, hidden)
        self.excite = nn.Linear(hidden, channels)
        # Ours: under torch's default the gates of two corners differ by about 0.01 at first, and
        # training takes thousands of steps to tell domains apart; like this, by about 0.3.
        for layer, gain in ((self.condition, 1.0), (self.squeeze, 1.0), (self.excite, 2.0)):
            nn.init.normal_(layer.weight, std=gain * (2 / layer.in_features) ** 0.5)
            nn.init.zeros_(layer.bias)

    def gates(self, pooled: torch.Tensor, sym: torch.Tensor) -> torch.Tensor:
        """Returns the gates (batch, C), each in (0, 1).

        Args:
            pooled: Mean of the features over space, (batch, C).
            sym: Sym-parameters, (batch, d).
        """
        condition = F.relu(self.condition(sym.to(pooled.dtype)))
        hidden = F.relu(self.squeeze(torch.cat([pooled, condition], dim=1)))
        return torch.sigmoid(self.excite(hidden))

    def forward(
        self, features: torch.Tensor, sym: torch.Tensor, pooled: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Returns gated features.

        Args:
            features: (batch, C, H, W).
            sym: Sym-parameters, (batch, d); any real numbers.
            pooled: Use this mean (batch, C) in place of the features' own, for tiles of one image.
        """
        if pooled is None:
            pooled = features.mean(dim=(2, 3))
        return features * self.gates(pooled, sym)[:, :, None, None]
