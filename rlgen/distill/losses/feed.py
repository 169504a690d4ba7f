"""FEED: the student's last map, through one transform per teacher, follows each teacher's map.

Paper: S. Park, N. Kwak, "FEED: Feature-level Ensemble for Knowledge Distillation", ECAI 2020
(arXiv 1909.10754). Spec feed. Seen: the loss of N fixed teachers,

    L_FEED_n = || t_n / ||t_n||_2 - NTL_n(s) / ||NTL_n(s)||_2 ||_1,    L = CE + beta sum_n L_FEED_n

with raw teacher maps as targets, and three 3x3 convolutions per transform (readers' notes).
Reconstructed after FT, by the same authors: channels and leaky ReLUs of the transforms, the mean
over elements in place of the sum, and beta (500, or 500 / N where cross-entropy stalls).

pFEED is this loss with all teachers at once. sFEED is a chain of runs with one teacher each, where
a trained student becomes the next one's teacher: each of its stages is this loss with N = 1.
"""

from collections.abc import Sequence

import torch
from torch import nn

from rlgen.distill.base import DistillLoss, Features, Layout
from rlgen.distill.connectors import Translator, through
from rlgen.distill.losses.ft import normalized_l1
from rlgen.distill.maps import common_size, pool_to, require_choice, tap_map, tap_shape

REDUCTIONS = ("mean", "sum")


def feed_loss(
    transformed: Sequence[torch.Tensor],
    teachers: Sequence[torch.Tensor],
    reduction: str = "mean",
    teacher_reduction: str = "sum",
) -> torch.Tensor:
    """Returns the distances of transformed student maps to their teachers' maps.

    Args:
        transformed: NTL_n(s) of each teacher n, (batch, C_n, H, W).
        teachers: t_n, of the same shapes; detached.
        reduction: ``"mean"`` over elements as FT's code, or ``"sum"``, the equation's L1 norm
            averaged over the batch; ``"sum"`` is C H W times ``"mean"``.
        teacher_reduction: ``"sum"`` over teachers as the equation, or ``"mean"``.
    """
    terms = torch.stack(
        [normalized_l1(s, t, reduction) for s, t in zip(transformed, teachers, strict=True)]
    )
    return terms.sum() if teacher_reduction == "sum" else terms.mean()


class FEED(DistillLoss):
    """Feature-level ensemble of fixed teachers at one tap.

    Args:
        student: Layout of the student.
        teachers: Layouts of the teachers; their widths may differ.
        reduction: See :func:`feed_loss`.
        teacher_reduction: See :func:`feed_loss`.
        tap: Which tap is compared; the deepest in the paper.
        batch_norm: Normalise inside the transforms.

    Raises:
        UserError: If a network has no such tap, or a reduction is unknown.
    """

    name = "feed"
    tap_place = "last"

    def __init__(
        self,
        student: Layout,
        teachers: Sequence[Layout],
        *,
        reduction: str = "mean",
        teacher_reduction: str = "sum",
        tap: int = -1,
        batch_norm: bool = False,
    ) -> None:
        super().__init__(student, teachers)
        self.reduction = require_choice(self.name, "reduction", reduction, REDUCTIONS)
        self.teacher_reduction = require_choice(
            self.name, "teacher_reduction", teacher_reduction, REDUCTIONS
        )
        self.tap = tap
        ours = tap_shape(self.name, student, tap)
        theirs = [tap_shape(self.name, teacher, tap) for teacher in teachers]
        self.sizes = [common_size(self.name, ours, shape) for shape in theirs]
        self.transforms = nn.ModuleList(
            Translator(ours[0], shape[0], batch_norm=batch_norm) for shape in theirs
        )

    def forward(
        self,
        student: Features,
        teachers: Sequence[Features],
        labels: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Returns the loss; see :func:`feed_loss`."""
        ours = tap_map(student, self.tap)
        transformed = [
            pool_to(through(transform, ours), size)
            for transform, size in zip(self.transforms, self.sizes, strict=True)
        ]
        maps = [
            pool_to(tap_map(teacher, self.tap), size)
            for teacher, size in zip(teachers, self.sizes, strict=True)
        ]
        return feed_loss(transformed, maps, self.reduction, self.teacher_reduction)
