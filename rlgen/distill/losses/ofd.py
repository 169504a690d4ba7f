"""OFD: features before the ReLU, with a margin below and no pull where both are off.

Paper: B. Heo et al., "A Comprehensive Overhaul of Feature Distillation", ICCV 2019
(arXiv 1904.01866). Spec ofd, as seen in the official code. With u = r(f_S) (1x1 convolution and
batch norm), t = f_T, both before the ReLU, and v = max(t, m):

    d(u, v) = sum (u - v)^2 1(u > v or v > 0)
    L = 1/B sum_l d(u_l, v_l) / 2^(L - l)

with a weight of 1e-3 on CIFAR, 1e-4 on ImageNet. The margin m < 0 of a channel is the mean of its
negative values. Where a batch norm with weight gamma and bias beta gave the value, it is taken as
N(mu, sigma^2) with mu = beta, sigma = |gamma|:

    m = mu - sigma phi(mu / sigma) / Phi(-mu / sigma);   -3 sigma where Phi(-mu / sigma) <= 0.001

For a residual sum the closed form of the branch's last batch norm ignores the shortcut, as the
official code does. Without batch norm the mean is taken from data, as the first author advises.
Ours: before :meth:`OFD.prepare` ran, the mean is over the batches seen so far.

The paper's teacher normalises by batch statistics while it teaches.
"""

import math
from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import nn

from rlgen.core.errors import UserError
from rlgen.distill.base import DistillLoss, Features, Layout, TeacherBN
from rlgen.distill.connectors import ConvNormConnector, through
from rlgen.distill.losses.ab import stage_weight
from rlgen.distill.maps import TapPair, pair_taps, require_choice, tap_map, widen

_RARE = 0.001  # below this chance of a negative value the code falls back on -3 sigma
_SMALLEST = 1e-8  # a channel of no spread still gets a margin below 0


def normal_margin(mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """Returns E[x | x < 0] of N(mu, sigma^2), or -3 sigma where x < 0 is rare.

    Args:
        mean: mu, any shape.
        std: sigma, of the same shape; its sign is ignored.

    Returns:
        Margins below 0, of the same shape and dtype.
    """
    mu, sigma = mean.detach().double(), std.detach().double().abs().clamp(min=_SMALLEST)
    ratio = mu / sigma
    below = torch.special.ndtr(-ratio)
    density = torch.exp(-0.5 * ratio.square()) / math.sqrt(2 * math.pi)
    margin = mu - sigma * density / below.clamp(min=_RARE)
    return torch.where(below > _RARE, margin, -3.0 * sigma).to(mean.dtype)


def margins_from_bn(bn: nn.Module) -> torch.Tensor:
    """Returns the margins (channels,) of what a batch norm gives.

    Args:
        bn: A batch normalisation layer; without weight and bias it gives N(0, 1).

    Raises:
        UserError: If it is another layer.
    """
    if not isinstance(bn, nn.modules.batchnorm._BatchNorm):
        raise UserError(
            f"margins in closed form need a batch norm, given {type(bn).__name__}; take them from "
            "data with the option margin=data"
        )
    if not bn.affine:
        shape = (bn.num_features,)
        return normal_margin(torch.zeros(shape), torch.ones(shape))
    return normal_margin(bn.bias, bn.weight)


def partial_l2(
    student: torch.Tensor, teacher: torch.Tensor, margin: torch.Tensor | float
) -> torch.Tensor:
    """Returns d(u, max(t, m)) / B of one tap.

    Args:
        student: u before the ReLU, (batch, ...).
        teacher: t before the ReLU, of the same shape; detached.
        margin: m, of a shape that broadcasts.
    """
    u = widen(student)
    v = torch.maximum(widen(teacher.detach()), torch.as_tensor(margin, dtype=u.dtype).to(u.device))
    pulled = (u > v) | (v > 0)
    return torch.where(pulled, u - v, 0.0).square().sum() / len(u)


class Margin(nn.Module):
    """Margins of one tap's channels: set in closed form, or the mean of negatives in data.

    A channel that never was below 0 in data has the margin 0: there is nothing to clip.

    Args:
        channels: Number of channels.
    """

    value: torch.Tensor
    count: torch.Tensor
    frozen: torch.Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.closed = False
        self.register_buffer("value", torch.zeros(channels))
        self.register_buffer("count", torch.zeros(channels))
        self.register_buffer("frozen", torch.tensor(0.0))

    def restart(self) -> None:
        """Forgets all data."""
        for buffer in (self.value, self.count, self.frozen):
            buffer.zero_()

    def fix(self, value: torch.Tensor) -> None:
        """Sets margins that no data changes.

        Args:
            value: (channels,).
        """
        self.value.copy_(value)
        self.closed = True

    @torch.no_grad()
    def update(self, features: torch.Tensor) -> None:
        """Adds a batch to the mean of negative values, unless the margins are settled.

        Args:
            features: The teacher's map, (batch, channels, H, W).
        """
        if self.closed:
            return
        negatives = (features < 0).sum(dim=(0, 2, 3))
        mean = features.clamp(max=0).sum(dim=(0, 2, 3)) / negatives.clamp(min=1)
        # The flag as a factor: to branch on it would wait for the device each step.
        added = negatives * (1.0 - self.frozen)
        self.count += added
        self.value += (mean - self.value) * added / self.count.clamp(min=1)

    def forward(self) -> torch.Tensor:
        """Returns the margins (1, channels, 1, 1)."""
        return self.value[None, :, None, None]


class OFD(DistillLoss):
    """The overhaul: weighted over taps, the mean over teachers.

    Where the counts of taps differ, the deepest are paired.

    Args:
        student: Layout of the student.
        teachers: Layouts of the teachers.
        margin: ``"auto"``: in closed form where a batch norm precedes the tap, else from data;
            ``"data"``: always from data, which also counts shortcuts.
        teacher_bn: ``"batch"`` as in the paper, or ``"running"``: which statistics the teachers
            normalise by.

    Raises:
        UserError: If a network has no tap, or an option is unknown.
    """

    name = "ofd"
    tap_place = "preactivation"

    def __init__(
        self,
        student: Layout,
        teachers: Sequence[Layout],
        *,
        margin: str = "auto",
        teacher_bn: TeacherBN = "batch",
    ) -> None:
        super().__init__(student, teachers)
        self.margin = require_choice(self.name, "margin", margin, ("auto", "data"))
        require_choice(self.name, "teacher_bn", teacher_bn, ("batch", "running"))
        self.teacher_bn = teacher_bn
        self.pairs = pair_taps(self.name, student, teachers, from_deepest=True)
        self.connectors = nn.ModuleList(ConvNormConnector(*pair.shapes) for pair in self.pairs)
        self.margins = nn.ModuleList(Margin(pair.shapes[1][0]) for pair in self.pairs)

    def read_norms(self, norms: Sequence[Sequence[nn.Module | None]]) -> None:
        """Computes margins in closed form from the batch norms behind the teachers' taps.

        Args:
            norms: For each teacher and each of its taps the batch norm, or None.
        """
        if self.margin == "data":
            return
        for pair, margin in self._stages():
            layer = norms[pair.teacher][pair.taps[1]]
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                margin.fix(margins_from_bn(layer))

    def prepare(self, batches: Iterable[Sequence[Features]]) -> None:
        """Takes the margins that are not in closed form from the teachers' features, for good.

        Args:
            batches: For each batch the features of all teachers; iterated once.
        """
        from_data = [(pair, margin) for pair, margin in self._stages() if not margin.closed]
        if not from_data:
            return
        for _, margin in from_data:
            margin.restart()
        for teachers in batches:
            for pair, margin in from_data:
                margin.update(tap_map(teachers[pair.teacher], pair.taps[1]))
        for _, margin in from_data:
            margin.frozen.fill_(1.0)

    def forward(
        self,
        student: Features,
        teachers: Sequence[Features],
        labels: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Returns the loss; see :func:`partial_l2`."""
        terms = []
        for (pair, margin), connector in zip(self._stages(), self.connectors, strict=True):
            if self.training:
                margin.update(tap_map(teachers[pair.teacher], pair.taps[1]))
            ours, theirs = pair.maps(student, teachers)
            distance = partial_l2(through(connector, ours), theirs, margin())
            terms.append(stage_weight(pair.depth) * distance)
        return torch.stack(terms).sum() / len(teachers)

    def _stages(self) -> list[tuple[TapPair, Margin]]:
        margins = [cast(Margin, margin) for margin in self.margins]
        return list(zip(self.pairs, margins, strict=True))
