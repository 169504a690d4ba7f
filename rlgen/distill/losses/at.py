"""AT, attention transfer: where the student's features are large follows the teacher.

Paper: S. Zagoruyko, N. Komodakis, "Paying More Attention to Attention", ICLR 2017
(arXiv 1612.03928). Spec kd_baselines, section 3, as seen in the authors' code:

    Q(f) = mean over channels of f^2,    q = Q / ||Q||_2 per sample
    L = sum over taps of mean (q_S - q_T)^2,    mean over batch and pixels

with a weight of 1000. The paper's own form, ||q_S - q_T||_2 with beta / 2, is left out. There is no
connector: channels may differ. Averaging maps of unequal size is ours and third parties'.
"""

from collections.abc import Sequence

import torch

from rlgen.distill.base import DistillLoss, Features, Layout
from rlgen.distill.maps import pair_taps, unit, widen


def attention_map(features: torch.Tensor) -> torch.Tensor:
    """Returns q (batch, H W): squares averaged over channels, of unit norm per sample.

    Args:
        features: (batch, C, H, W).
    """
    return unit(widen(features).square().mean(dim=1).flatten(1))


def at_loss(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Returns mean (q_S - q_T)^2 of one tap, 0 to 2 / (H W).

    Args:
        student: (batch, C_S, H, W).
        teacher: (batch, C_T, H, W); detached.
    """
    return (attention_map(student) - attention_map(teacher.detach())).square().mean()


class AT(DistillLoss):
    """Attention transfer: summed over taps, the mean over teachers.

    Args:
        student: Layout of the student.
        teachers: Layouts of the teachers, with as many taps each as the student.

    Raises:
        UserError: If the counts of taps differ.
    """

    name = "at"

    def __init__(self, student: Layout, teachers: Sequence[Layout]) -> None:
        super().__init__(student, teachers)
        self.pairs = pair_taps(self.name, student, teachers)

    def forward(
        self,
        student: Features,
        teachers: Sequence[Features],
        labels: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Returns the loss; see :func:`at_loss`."""
        terms = [at_loss(*pair.maps(student, teachers)) for pair in self.pairs]
        return torch.stack(terms).sum() / len(teachers)
