"""LSFD-style: local feature distances for super-resolution, where the student still errs.

Paper: S. Park, N. Kwak, "Local-Selective Feature Distillation for Single Image Super-Resolution",
2021 (arXiv 2111.10988). Spec lsfd. This is a reconstruction. Seen, in the abstract and the
introduction's opening: a FitNets-style feature loss that concentrates on local information, with a
soft attention over pixels from the difference between teacher and student, and no parameters at
test time. All formulas are ours:

    u(p), v(p) = r(f_S)(p), f_T(p), each of unit norm over channels, at each pixel p
    d(p) = ||u(p) - v(p)||_1 / C_T
    A(p) = a(p) / mean_p a(p),    a(p) = mean of |SR_T - SR_S| over the block of p
    L = mean over batch, taps and pixels of A(p) d(p)

A is detached, clipped at 10, and 1 where a is 0 everywhere. The pixel terms, after FAKD, are
:func:`pixel_loss`; FAKD's weight of its feature loss is 10.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from rlgen.core.errors import UserError
from rlgen.distill.base import DistillLoss, Features, Layout
from rlgen.distill.connectors import through
from rlgen.distill.maps import (
    EPS,
    pair_taps,
    pool_to,
    require_above,
    require_choice,
    unit,
    widen,
)

LOCAL = ("pixel", "patch", "off")
ATTENTION = ("ratio", "softmax", "topk")
SOURCES = ("auto", "output", "feature")
DISTANCES = ("l1", "l2")


def pixel_loss(
    student: torch.Tensor, teacher: torch.Tensor, target: torch.Tensor, alpha: float = 0.5
) -> torch.Tensor:
    """Returns (1 - alpha) mean|SR_S - y| + alpha mean|SR_S - SR_T|, FAKD's pixel part.

    Args:
        student: SR_S, (batch, C, H, W).
        teacher: SR_T, of the same shape; detached.
        target: y, of the same shape.
        alpha: Share of the teacher, 0 to 1.
    """
    to_target = F.l1_loss(widen(student), widen(target))
    return (1 - alpha) * to_target + alpha * F.l1_loss(widen(student), widen(teacher).detach())


def local_distance(
    student: torch.Tensor, teacher: torch.Tensor, local: str = "pixel", distance: str = "l1"
) -> torch.Tensor:
    """Returns d(p), (batch, H, W).

    Args:
        student: r(f_S), (batch, C, H, W).
        teacher: f_T, of the same shape; detached.
        local: ``"pixel"``: unit norm over channels at each pixel; ``"patch"``: less the mean of
            its 3x3 neighbourhood; ``"off"``: raw, as FitNets.
        distance: ``"l1"`` by channels, or ``"l2"``: the square of the difference, summed over
            channels where they have unit norm, else averaged.
    """
    u, v = (_localize(widen(x), local) for x in (student, teacher.detach()))
    if distance == "l1":
        return (u - v).abs().mean(dim=1)
    square = (u - v).square()
    return square.sum(dim=1) if local == "pixel" else square.mean(dim=1)


def _localize(features: torch.Tensor, local: str) -> torch.Tensor:
    if local == "pixel":
        return unit(features)
    if local == "patch":
        around = F.avg_pool2d(features, 3, stride=1, padding=1, count_include_pad=False)
        return features - around
    return features


def output_difference(
    student: torch.Tensor, teacher: torch.Tensor, size: tuple[int, int]
) -> torch.Tensor:
    """Returns a(p): |SR_T - SR_S|, averaged over colours and over each pixel's block, detached.

    Args:
        student: SR_S, (batch, colours, s h, s w).
        teacher: SR_T, of the same shape.
        size: (h, w).

    Returns:
        (batch, h, w).

    Raises:
        UserError: If the pictures are no whole multiple of the features.
    """
    height, width = student.shape[-2:]
    if height % size[0] or width % size[1]:
        raise UserError(
            f"lsfd pools differences of {height}x{width} pictures over blocks and the features are "
            f"{size[0]}x{size[1]}; tap layers before the upsampling, or use source=feature"
        )
    apart = (widen(student) - widen(teacher)).detach().abs().mean(dim=1, keepdim=True)
    return pool_to(apart, size).squeeze(1)


def selective_attention(
    difference: torch.Tensor,
    attention: str = "ratio",
    temperature: float = 1.0,
    keep: float = 0.25,
    clip: float = 10.0,
) -> torch.Tensor:
    """Returns A(p), 0 or more, detached; its mean over a sample's pixels is 1 before the clip.

    Args:
        difference: a(p), (batch, H, W), 0 or more.
        attention: ``"ratio"``: a / mean a; ``"softmax"``: H W softmax(a / temperature);
            ``"topk"``: equal weights where a is among the largest, none elsewhere.
        temperature: Of the softmax, in the units of a.
        keep: Share of pixels kept by ``"topk"``, 0 to 1.
        clip: Largest A.

    Returns:
        (batch, H, W); 1 everywhere in samples where a is 0 everywhere.
    """
    a = widen(difference).detach().flatten(1)
    mean = a.mean(dim=1, keepdim=True)
    pixels = a.shape[1]
    if attention == "ratio":
        weights = a / mean.clamp(min=EPS)
    elif attention == "softmax":
        weights = pixels * torch.softmax(a / temperature, dim=1)
    else:
        count = max(round(keep * pixels), 1)
        chosen = a.topk(count, dim=1).indices
        weights = torch.zeros_like(a).scatter(1, chosen, pixels / count)
    weights = torch.where(mean > EPS, weights, 1.0).clamp(max=clip)
    return weights.view_as(difference)


def lsfd_loss(
    distances: Sequence[torch.Tensor], attentions: Sequence[torch.Tensor]
) -> torch.Tensor:
    """Returns the mean over taps, batch and pixels of A(p) d(p).

    Args:
        distances: d of each tap, (batch, H, W).
        attentions: A of each tap, of the same shapes.
    """
    return torch.stack(
        [(a.detach() * d).mean() for d, a in zip(distances, attentions, strict=True)]
    ).mean()


class LSFD(DistillLoss):
    """Local-selective feature distances; the mean over taps and teachers.

    Args:
        student: Layout of the student.
        teachers: Layouts of the teachers, with as many taps each as the student.
        local: See :func:`local_distance`.
        distance: See :func:`local_distance`.
        selective: Weight pixels by the attention; False weights all by 1.
        source: What the attention compares: ``"output"`` pictures, ``"feature"`` maps after
            :func:`local_distance`, or ``"auto"``: pictures unless the networks are classifiers.
        attention: See :func:`selective_attention`.
        temperature: See there; above 0.
        keep: See there; above 0.
        clip: See there; above 0.
        regressor: 1x1 convolution on the student's maps; None: where the channels differ.

    Raises:
        UserError: If the counts of taps differ, or an option is unknown or out of range.
    """

    name = "lsfd"

    def __init__(
        self,
        student: Layout,
        teachers: Sequence[Layout],
        *,
        local: str = "pixel",
        distance: str = "l1",
        selective: bool = True,
        source: str = "auto",
        attention: str = "ratio",
        temperature: float = 1.0,
        keep: float = 0.25,
        clip: float = 10.0,
        regressor: bool | None = None,
    ) -> None:
        super().__init__(student, teachers)
        self.local = require_choice(self.name, "local", local, LOCAL)
        self.distance = require_choice(self.name, "distance", distance, DISTANCES)
        self.selective = selective
        source = require_choice(self.name, "source", source, SOURCES)
        self.source = source if source != "auto" else _source_for(student)
        self.attention = require_choice(self.name, "attention", attention, ATTENTION)
        self.temperature = require_above(self.name, "temperature", temperature, 0.0)
        self.keep = require_above(self.name, "keep", keep, 0.0)
        self.clip = require_above(self.name, "clip", clip, 0.0)
        self.pairs = pair_taps(self.name, student, teachers)
        self.regressors = nn.ModuleList(_regressor(*pair.shapes, regressor) for pair in self.pairs)

    def forward(
        self,
        student: Features,
        teachers: Sequence[Features],
        labels: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Returns the loss; see :func:`lsfd_loss`."""
        distances, attentions = [], []
        for pair, regressor in zip(self.pairs, self.regressors, strict=True):
            ours, theirs = pair.maps(student, teachers)
            ours = through(regressor, ours)
            distance = local_distance(ours, theirs, self.local, self.distance)
            distances.append(distance)
            attentions.append(self._attention(student, teachers[pair.teacher], distance))
        return lsfd_loss(distances, attentions)

    def _attention(
        self, student: Features, teacher: Features, distance: torch.Tensor
    ) -> torch.Tensor:
        """Returns A of one tap, of the shape of its distances (batch, h, w)."""
        if not self.selective:
            return torch.ones_like(distance)
        difference = distance
        if self.source == "output":
            size = (distance.shape[1], distance.shape[2])
            difference = output_difference(_picture(student), _picture(teacher), size)
        return selective_attention(
            difference, self.attention, self.temperature, self.keep, self.clip
        )


def _source_for(student: Layout) -> str:
    return "output" if student.classes is None else "feature"


def _picture(features: Features) -> torch.Tensor:
    if features.logits is None or features.logits.dim() != 4:
        raise UserError(
            "lsfd compares output pictures (batch, colours, H, W) and a network gave none; use "
            "source=feature"
        )
    return features.logits


def _regressor(
    student: tuple[int, int, int], teacher: tuple[int, int, int], wanted: bool | None
) -> nn.Module:
    ours, theirs = student[0], teacher[0]
    if wanted is False and ours != theirs:
        raise UserError(
            f"lsfd cannot compare {ours} channels with {theirs} without a regressor; leave the "
            "option regressor out"
        )
    needed = ours != theirs if wanted is None else wanted
    return nn.Conv2d(ours, theirs, 1) if needed else nn.Identity()
