"""FFL, feature fusion learning: peers and a classifier fused from their features teach each other.

Paper: J. Kim, M. Hyun, I. Chung, N. Kwak, "Feature Fusion for Online Mutual Knowledge
Distillation", ICPR 2020 (arXiv 1904.09058). Spec ffl, as seen in the official code. With z_k of the
K sub-networks, z_E their mean, z_F of the fusion module and KL(a <- b) = tau^2 KL(softmax(b / tau)
|| softmax(a / tau)), b constant:

    L = sum_k CE(z_k, y) + CE(z_F, y) + w(e) [ KL(z_F <- z_E) + sum_k KL(z_k <- z_F) ]

tau = 3; w(e) is ONE's ramp-up over 80 epochs. Here is all but the sub-networks' cross-entropies,
which are the distiller's. The fusion module's input is not detached: CE(z_F) and KL(z_F <- z_E)
train the sub-networks too. The code's 1e-7 beside target probabilities is left out. Features are
the last ones behind the ReLU. Unequal sizes are averaged to the smallest (reconstructed).
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from rlgen.distill.base import DistillLoss, Features, Layout
from rlgen.distill.connectors import FusionModule
from rlgen.distill.losses.dml import require_peers
from rlgen.distill.losses.kd import kd_loss
from rlgen.distill.losses.one import ramp_up
from rlgen.distill.maps import (
    labels_of,
    logits_of,
    require_above,
    require_choice,
    same_classes,
    tap_map,
    tap_shape,
    widen,
)


class FFLTerms(NamedTuple):
    """The terms of FFL beside the sub-networks' cross-entropies.

    Attributes:
        fused_ce: CE(z_F, y), the mean over the batch.
        ensemble_kd: KL(z_F <- z_E), not yet ramped up.
        fusion_kd: sum_k KL(z_k <- z_F), not yet ramped up.
    """

    fused_ce: torch.Tensor
    ensemble_kd: torch.Tensor
    fusion_kd: torch.Tensor


def ffl_loss(
    logits: Sequence[torch.Tensor],
    fused: torch.Tensor,
    labels: torch.Tensor,
    temperature: float = 3.0,
) -> FFLTerms:
    """Returns the terms of FFL.

    Args:
        logits: z_k of each sub-network, (batch, classes).
        fused: z_F, (batch, classes).
        labels: y, (batch,).
        temperature: tau.
    """
    ensemble = torch.stack([widen(z) for z in logits]).mean(dim=0)
    each = torch.stack([kd_loss(z, fused, temperature) for z in logits])
    return FFLTerms(
        F.cross_entropy(widen(fused), labels), kd_loss(fused, ensemble, temperature), each.sum()
    )


class FFL(DistillLoss):
    """Feature fusion learning of two peers or more.

    Args:
        student: Layout of the first peer.
        teachers: Layouts of the other peers.
        temperature: tau, above 0.
        ramp_epochs: Length of the ramp-up, 0 or more. It starts with the first :meth:`set_epoch`;
            a loop that never calls it trains with the full weight.
        tap: Which tap is fused; the deepest in the paper.
        out_channels: See :class:`rlgen.distill.connectors.FusionModule`.
        align: See there: ``"pool"``, ``"conv"`` or ``"off"``.

    Raises:
        UserError: If there is no other peer, a network has no such tap, classes differ, or maps
            cannot be aligned.
    """

    name = "ffl"
    online = True
    needs_labels = True
    tap_place = "last"
    group_options = {"weight_decay": 1e-5}  # noqa: RUF012 - typed in the base class

    def __init__(
        self,
        student: Layout,
        teachers: Sequence[Layout],
        *,
        temperature: float = 3.0,
        ramp_epochs: float = 80.0,
        tap: int = -1,
        out_channels: int | None = None,
        align: str = "pool",
    ) -> None:
        super().__init__(student, teachers)
        peers = [student, *teachers]
        require_peers(self.name, teachers)
        classes = same_classes(self.name, peers)
        require_choice(self.name, "align", align, ("pool", "conv", "off"))
        self.temperature = require_above(self.name, "temperature", temperature, 0.0)
        self.ramp_epochs = require_above(self.name, "ramp_epochs", ramp_epochs, 0.0, strict=False)
        self.tap = tap
        self.ramp = 1.0
        shapes = [tap_shape(self.name, peer, tap) for peer in peers]
        self.fusion = FusionModule(shapes, classes, out_channels=out_channels, align=align)

    def own_parameters(self) -> Iterator[nn.Parameter]:
        """Yields the fusion module's parameters; the paper decays them less."""
        return self.fusion.parameters()

    def set_epoch(self, epoch: float) -> None:
        """Sets the ramp-up to its value at an epoch, counted from 0."""
        self.ramp = ramp_up(epoch, self.ramp_epochs)

    def fused_logits(self, peers: Sequence[Features]) -> torch.Tensor:
        """Returns z_F, (batch, classes), the prediction of the fused classifier.

        Args:
            peers: Features of all peers.
        """
        maps = [tap_map(peer, self.tap) for peer in peers]
        return self.fusion([x.to(self.fusion.classify.weight.dtype) for x in maps])

    def terms(self, peers: Sequence[Features], labels: torch.Tensor) -> FFLTerms:
        """Returns the terms before they are summed; see :func:`ffl_loss`.

        Args:
            peers: Features of all peers.
            labels: y, (batch,).
        """
        logits = [logits_of(self.name, peer) for peer in peers]
        return ffl_loss(logits, self.fused_logits(peers), labels, self.temperature)

    def forward_peers(
        self, peers: Sequence[Features], labels: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Returns CE(z_F, y) + w(e) [KL(z_F <- z_E) + sum_k KL(z_k <- z_F)]."""
        terms = self.terms(peers, labels_of(self.name, labels))
        return terms.fused_ce + self.ramp * (terms.ensemble_kd + terms.fusion_kd)
