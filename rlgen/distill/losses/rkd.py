"""RKD: distances and angles between the samples of a batch follow the teacher's.

Paper: W. Park, D. Kim, Y. Lu, M. Cho, "Relational Knowledge Distillation", CVPR 2019
(arXiv 1904.05068). No spec of ours; the forms are those of public third-party code. With vectors
x_i, mu the mean of the non-zero distances in the batch, h Huber's loss with threshold 1 and
e_ij = (x_i - x_j) / ||x_i - x_j||_2:

    L_D = mean over (i, j) of h( ||s_i - s_j|| / mu_S, ||t_i - t_j|| / mu_T )
    L_A = mean over (i, j, k) of h( e_ij . e_ik of s, e_ij . e_ik of t )
    L = 25 L_D + 50 L_A

The means run over all pairs and triplets, those of equal samples included, which give 0. Maps are
averaged over pixels to vectors, as third parties do. Widths and sizes may differ: no connector.
"""

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from rlgen.distill.base import DistillLoss, Features, Layout
from rlgen.distill.maps import EPS, require_above, tap_map, tap_shape, unit, widen


def pair_distances(vectors: torch.Tensor) -> torch.Tensor:
    """Returns all distances divided by the mean of the non-zero ones, (batch, batch).

    Args:
        vectors: (batch, width).
    """
    # Without the matrix product, which leaves noise where the distance is 0.
    distances = torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist")
    apart = (distances > 0).sum().clamp(min=1)
    return distances / (distances.sum() / apart).clamp(min=EPS)


def triplet_cosines(vectors: torch.Tensor) -> torch.Tensor:
    """Returns cosines of the angles at i between j and k, (batch, batch, batch); 0 where i = j.

    Args:
        vectors: (batch, width); batch^2 width numbers are held.
    """
    directions = unit(vectors[:, None] - vectors[None], dim=2)
    return torch.bmm(directions, directions.transpose(1, 2))


def rkd_loss(
    student: torch.Tensor, teacher: torch.Tensor, distance: float = 25.0, angle: float = 50.0
) -> torch.Tensor:
    """Returns distance L_D + angle L_A.

    Args:
        student: s, (batch, C_S).
        teacher: t, (batch, C_T); detached.
        distance: Weight of L_D.
        angle: Weight of L_A; 0 saves the triplets.
    """
    ours, theirs = widen(student), widen(teacher).detach()
    loss = ours.new_zeros(())
    if distance:
        loss = loss + distance * F.smooth_l1_loss(pair_distances(ours), pair_distances(theirs))
    if angle:
        loss = loss + angle * F.smooth_l1_loss(triplet_cosines(ours), triplet_cosines(theirs))
    return loss


class RKD(DistillLoss):
    """Relations between samples at one tap, the mean over teachers.

    Args:
        student: Layout of the student.
        teachers: Layouts of the teachers.
        distance: Weight of the distances, 0 or more.
        angle: Weight of the angles, 0 or more.
        tap: Which tap is compared.

    Raises:
        UserError: If a network has no such tap, or a weight is negative.
    """

    name = "rkd"
    tap_place = "last"

    def __init__(
        self,
        student: Layout,
        teachers: Sequence[Layout],
        *,
        distance: float = 25.0,
        angle: float = 50.0,
        tap: int = -1,
    ) -> None:
        super().__init__(student, teachers)
        self.distance = require_above(self.name, "distance", distance, 0.0, strict=False)
        self.angle = require_above(self.name, "angle", angle, 0.0, strict=False)
        self.tap = tap
        for layout in (student, *teachers):
            tap_shape(self.name, layout, tap)

    def forward(
        self,
        student: Features,
        teachers: Sequence[Features],
        labels: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Returns the loss; see :func:`rkd_loss`."""
        ours = tap_map(student, self.tap).mean(dim=(2, 3))
        terms = [
            rkd_loss(ours, tap_map(t, self.tap).mean(dim=(2, 3)), self.distance, self.angle)
            for t in teachers
        ]
        return torch.stack(terms).mean()
