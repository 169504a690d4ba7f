"""FitNets: a regressor of the student's feature matches the teacher's hint.

Paper: A. Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015 (arXiv 1412.6550). Spec
kd_baselines, section 2. The paper trains in two stages (recalled, not seen); here is the one stage
of today's libraries (seen in third-party code): cross-entropy + 100 times

    L = mean (r(f_S) - f_T)^2    over batch, channels and pixels

at a middle layer, with r of :class:`rlgen.distill.connectors.HintRegressor`.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from rlgen.distill.base import DistillLoss, Features, Layout
from rlgen.distill.connectors import HintRegressor, through
from rlgen.distill.maps import pair_taps, widen


def hint_loss(regressed: torch.Tensor, hint: torch.Tensor) -> torch.Tensor:
    """Returns the mean squared difference of the regressed feature and the hint.

    Args:
        regressed: r(f_S), any shape.
        hint: f_T, of the same shape; detached.
    """
    return F.mse_loss(widen(regressed), widen(hint).detach())


class FitNets(DistillLoss):
    """Hint regression, the mean over taps and teachers.

    Args:
        student: Layout of the student.
        teachers: Layouts of the teachers, with as many taps each as the student.
        relu: End the regressor in a ReLU; for hints that are taken after one.

    Raises:
        UserError: If the counts of taps differ, or a regressor cannot reach the teacher's size.
    """

    name = "fitnets"

    def __init__(self, student: Layout, teachers: Sequence[Layout], *, relu: bool = True) -> None:
        super().__init__(student, teachers)
        self.pairs = pair_taps(self.name, student, teachers, align=False)
        self.regressors = nn.ModuleList(HintRegressor(*pair.shapes, relu) for pair in self.pairs)

    def forward(
        self,
        student: Features,
        teachers: Sequence[Features],
        labels: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Returns the loss; see :func:`hint_loss`."""
        terms = []
        for pair, regressor in zip(self.pairs, self.regressors, strict=True):
            ours, theirs = pair.maps(student, teachers)
            terms.append(hint_loss(through(regressor, ours), theirs))
        return torch.stack(terms).mean()
