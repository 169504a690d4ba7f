"""ONE, on-the-fly native ensemble: branches follow the gated mean of their own logits.

Paper: X. Lan, X. Zhu, S. Gong, "Knowledge Distillation by On-the-Fly Native Ensemble", NeurIPS 2018
(arXiv 1806.04606). Spec kd_baselines, section 7, as seen in the authors' code. With branches m, the
gate g = softmax(ReLU(BN(FC(GAP(feature))))) and z_e = sum_m g_m z_m:

    L = sum_m CE(z_m, y) + CE(z_e, y)
        + w(e) sum_m tau^2 KL(softmax(z_e / tau) || softmax(z_m / tau))

with z_e constant in the KL, tau = 3 and the ramp-up w(e) = exp(-5 (1 - min(e, R) / R)^2), R = 80
epochs. Here are the last two terms; the peers' cross-entropies are the distiller's.

The paper's branches share their lower layers and the gate reads the shared feature. Peers of this
library may share nothing, so the gate reads the pooled features of all of them side by side (ours);
with a shared feature at the tap that is the paper's gate, its weights repeated.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from rlgen.distill.base import DistillLoss, Features, Layout
from rlgen.distill.connectors import through
from rlgen.distill.losses.dml import require_peers
from rlgen.distill.losses.kd import kd_loss
from rlgen.distill.maps import (
    labels_of,
    logits_of,
    require_above,
    same_classes,
    tap_map,
    tap_shape,
    widen,
)


def ramp_up(epoch: float, length: float = 80.0) -> float:
    """Returns w(e) = exp(-5 (1 - min(e, R) / R)^2), from exp(-5) at 0 to 1 at R and after.

    Args:
        epoch: e, from 0.
        length: R in epochs; 0 gives 1 always.
    """
    if length <= 0:
        return 1.0
    return math.exp(-5.0 * (1.0 - min(max(epoch, 0.0), length) / length) ** 2)


class ONETerms(NamedTuple):
    """The two terms of ONE beside the branches' cross-entropies.

    Attributes:
        ensemble_ce: CE(z_e, y), the mean over the batch.
        ensemble_kd: sum_m tau^2 KL(z_e || z_m), not yet ramped up.
    """

    ensemble_ce: torch.Tensor
    ensemble_kd: torch.Tensor


def one_loss(
    logits: Sequence[torch.Tensor],
    gate: torch.Tensor,
    labels: torch.Tensor,
    temperature: float = 3.0,
) -> ONETerms:
    """Returns the terms of ONE.

    Args:
        logits: z_m of each branch, (batch, classes).
        gate: g, (batch, branches), each row sums to 1.
        labels: y, (batch,).
        temperature: tau.
    """
    ensemble = gated_logits(logits, gate)
    distances = torch.stack([kd_loss(z, ensemble, temperature) for z in logits])
    return ONETerms(F.cross_entropy(ensemble, labels), distances.sum())


def gated_logits(logits: Sequence[torch.Tensor], gate: torch.Tensor) -> torch.Tensor:
    """Returns z_e = sum_m g_m z_m, (batch, classes).

    Args:
        logits: z_m of each branch, (batch, classes).
        gate: g, (batch, branches).
    """
    return torch.einsum("bm,bmn->bn", gate, widen(torch.stack(list(logits), dim=1)))


class Gate(nn.Module):
    """softmax(ReLU(BN(FC(feature)))): how much each branch counts for a sample.

    Args:
        width: Of the pooled features of all branches together.
        branches: Number of branches.
    """

    def __init__(self, width: int, branches: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, branches)
        self.norm = nn.BatchNorm1d(branches)

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        """Maps (batch, width) to weights (batch, branches) that sum to 1 per sample."""
        return torch.softmax(widen(F.relu(self.norm(self.linear(pooled)))), dim=1)


class ONE(DistillLoss):
    """On-the-fly native ensemble of two peers or more.

    Args:
        student: Layout of the first peer.
        teachers: Layouts of the other peers.
        temperature: tau, above 0.
        ramp_epochs: R, 0 or more. The ramp-up starts with the first :meth:`set_epoch`; a loop that
            never calls it trains with the full weight.
        tap: Which tap the gate reads; in the paper the feature behind the last shared layer.

    Raises:
        UserError: If there is no other peer, a network has no such tap, or classes differ.
    """

    name = "one"
    online = True
    needs_labels = True
    tap_place = "last"

    def __init__(
        self,
        student: Layout,
        teachers: Sequence[Layout],
        *,
        temperature: float = 3.0,
        ramp_epochs: float = 80.0,
        tap: int = -1,
    ) -> None:
        super().__init__(student, teachers)
        peers = [student, *teachers]
        require_peers(self.name, teachers)
        same_classes(self.name, peers)
        self.temperature = require_above(self.name, "temperature", temperature, 0.0)
        self.ramp_epochs = require_above(self.name, "ramp_epochs", ramp_epochs, 0.0, strict=False)
        self.tap = tap
        self.ramp = 1.0
        width = sum(tap_shape(self.name, peer, tap)[0] for peer in peers)
        self.gate = Gate(width, len(peers))

    def set_epoch(self, epoch: float) -> None:
        """Sets the ramp-up to its value at an epoch, counted from 0."""
        self.ramp = ramp_up(epoch, self.ramp_epochs)

    def gate_weights(self, peers: Sequence[Features]) -> torch.Tensor:
        """Returns g, (batch, peers).

        Args:
            peers: Features of all peers.
        """
        pooled = [tap_map(peer, self.tap).mean(dim=(2, 3)) for peer in peers]
        return through(self.gate, torch.cat(pooled, dim=1))

    def ensemble_logits(self, peers: Sequence[Features]) -> torch.Tensor:
        """Returns z_e, (batch, classes), the prediction of the gated ensemble (ONE-E).

        Args:
            peers: Features of all peers.
        """
        logits = [logits_of(self.name, peer) for peer in peers]
        return gated_logits(logits, self.gate_weights(peers))

    def forward_peers(
        self, peers: Sequence[Features], labels: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Returns CE(z_e, y) + w(e) sum_m KL; see :func:`one_loss`."""
        logits = [logits_of(self.name, peer) for peer in peers]
        y = labels_of(self.name, labels)
        terms = one_loss(logits, self.gate_weights(peers), y, self.temperature)
        return terms.ensemble_ce + self.ramp * terms.ensemble_kd
