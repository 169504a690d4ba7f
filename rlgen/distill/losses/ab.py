"""AB, activation boundaries: the student's neurons switch on and off where the teacher's do.

Paper: B. Heo, M. Lee, S. Yun, J. Y. Choi, "Knowledge Transfer via Distillation of Activation
Boundaries Formed by Hidden Neurons", AAAI 2019 (arXiv 1811.03233). Spec kd_baselines, section 5, as
seen in the authors' code. On features before the ReLU, with u = r(f_S), t = f_T and m = 1:

    A(u, t) = sum [ (u + m)^2 1(u > -m, t <= 0) + (u - m)^2 1(u <= m, t > 0) ]
    L = 1/B sum_l A(u_l, t_l) / 2^(L - l)

with a weight of 0.003 on CIFAR. The paper trains in two phases: first this loss alone, to start the
student, then cross-entropy or KD alone; the phases are two runs. The teacher normalises by batch
statistics in the first. r is the identity where the channels are equal, else 1x1 convolution and
batch norm.
"""

from collections.abc import Sequence

import torch
from torch import nn

from rlgen.distill.base import DistillLoss, Features, Layout, TeacherBN
from rlgen.distill.connectors import ConvNormConnector, through
from rlgen.distill.maps import pair_taps, require_above, require_choice, widen


def stage_weight(depth: int) -> float:
    """Returns 1 / 2^(L - l): 1 for the deepest stage, half for the one before, and so on.

    Args:
        depth: L - l, 0 for the deepest.
    """
    return 0.5**depth


def activation_boundary(
    student: torch.Tensor, teacher: torch.Tensor, margin: float = 1.0
) -> torch.Tensor:
    """Returns A(u, t) / B of one tap.

    Args:
        student: u before the ReLU, (batch, ...).
        teacher: t before the ReLU, of the same shape; only its sign matters, 0 is off.
        margin: m.
    """
    u, on = widen(student), teacher.detach() > 0
    low = (u + margin).clamp(min=0).square()  # (u + m)^2 where u > -m
    high = (u - margin).clamp(max=0).square()  # (u - m)^2 where u <= m
    return torch.where(on, high, low).sum() / len(u)


def activation_agreement(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Returns the share of neurons on which both agree whether they are on, 0 to 1.

    Args:
        student: u before the ReLU.
        teacher: t before the ReLU, of the same shape.
    """
    return ((student > 0) == (teacher > 0)).float().mean()


class AB(DistillLoss):
    """Activation boundaries: weighted over taps, the mean over teachers.

    Where the counts of taps differ, the deepest are paired.

    Args:
        student: Layout of the student.
        teachers: Layouts of the teachers.
        margin: m, above 0.
        teacher_bn: ``"batch"`` as in the paper, or ``"running"``: which statistics the teachers
            normalise by.

    Raises:
        UserError: If a network has no tap, or an option is out of range.
    """

    name = "ab"
    tap_place = "preactivation"

    def __init__(
        self,
        student: Layout,
        teachers: Sequence[Layout],
        *,
        margin: float = 1.0,
        teacher_bn: TeacherBN = "batch",
    ) -> None:
        super().__init__(student, teachers)
        self.margin = require_above(self.name, "margin", margin, 0.0)
        require_choice(self.name, "teacher_bn", teacher_bn, ("batch", "running"))
        self.teacher_bn = teacher_bn
        self.pairs = pair_taps(self.name, student, teachers, from_deepest=True)
        self.connectors = nn.ModuleList(_connector(*pair.shapes) for pair in self.pairs)

    def forward(
        self,
        student: Features,
        teachers: Sequence[Features],
        labels: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Returns the loss; see :func:`activation_boundary`."""
        terms = []
        for pair, connector in zip(self.pairs, self.connectors, strict=True):
            ours, theirs = pair.maps(student, teachers)
            boundary = activation_boundary(through(connector, ours), theirs, self.margin)
            terms.append(stage_weight(pair.depth) * boundary)
        return torch.stack(terms).sum() / len(teachers)


def _connector(student: tuple[int, int, int], teacher: tuple[int, int, int]) -> nn.Module:
    return nn.Identity() if student[0] == teacher[0] else ConvNormConnector(student, teacher)
