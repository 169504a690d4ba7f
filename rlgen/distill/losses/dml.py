"""DML, deep mutual learning: peers trained together follow each other's probabilities.

Paper: Y. Zhang, T. Xiang, T. Hospedales, H. Lu, "Deep Mutual Learning", CVPR 2018
(arXiv 1706.00384). Spec kd_baselines, section 6. For each of K peers

    L_k = CE(z_k, y) + 1 / (K - 1) sum_{j != k} tau^2 KL(softmax(z_j / tau) || softmax(z_k / tau))

Here is the sum over k of the second terms; cross-entropy is the distiller's. tau = 1 in the paper
is recalled, not seen. The other peer is a constant target. All peers step at once, as in third
parties' code; the paper's turns with refreshed predictions (recalled) are left out.
"""

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from rlgen.core.errors import UserError
from rlgen.distill.base import DistillLoss, Features, Layout
from rlgen.distill.losses.kd import kl_to
from rlgen.distill.maps import logits_of, require_above, same_classes, widen


def mutual_loss(
    logits: torch.Tensor, others: Sequence[torch.Tensor], temperature: float = 1.0
) -> torch.Tensor:
    """Returns the mean over the others j of tau^2 KL(softmax(z_j / tau) || softmax(z / tau)).

    Args:
        logits: z of the peer that learns, (batch, classes).
        others: z_j, (batch, classes) each; detached.
        temperature: tau.
    """
    # The mean of KL(q_j || p) over j needs log p only once.
    targets = [F.log_softmax(widen(z) / temperature, dim=-1) for z in others]
    learner = torch.cat([logits] * len(targets))
    return kl_to(learner, torch.cat(targets), temperature)


class DML(DistillLoss):
    """Mutual learning of two peers or more, summed over peers.

    Args:
        student: Layout of the first peer.
        teachers: Layouts of the other peers.
        temperature: tau, above 0.

    Raises:
        UserError: If there is no other peer, or the networks' classes differ.
    """

    name = "dml"
    online = True
    needs_taps = False

    def __init__(
        self, student: Layout, teachers: Sequence[Layout], *, temperature: float = 1.0
    ) -> None:
        super().__init__(student, teachers)
        require_peers(self.name, teachers)
        same_classes(self.name, [student, *teachers])
        self.temperature = require_above(self.name, "temperature", temperature, 0.0)

    def forward(
        self,
        student: Features,
        teachers: Sequence[Features],
        labels: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Returns the loss of one peer; see :func:`mutual_loss`."""
        others = [logits_of(self.name, peer) for peer in teachers]
        return mutual_loss(logits_of(self.name, student), others, self.temperature)

    def forward_peers(
        self, peers: Sequence[Features], labels: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Returns the sum of all peers' losses."""
        losses = [self(p, [*peers[:k], *peers[k + 1 :]]) for k, p in enumerate(peers)]
        return torch.stack(losses).sum()


def require_peers(name: str, others: Sequence[Layout]) -> None:
    """Checks that an online loss has a second network.

    Args:
        name: The loss.
        others: Layouts of all networks but the first.

    Raises:
        UserError: If there are none.
    """
    if not others:
        raise UserError(f"{name} trains two networks or more together; give peers=[first, second]")
