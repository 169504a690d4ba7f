"""FT, factor transfer: the student's factor follows the teacher's, both of unit norm.

Paper: J. Kim, S. Park, N. Kwak, "Paraphrasing Complex Network: Network Compression via Factor
Transfer", NeurIPS 2018 (arXiv 1802.04977). Spec feed, "FT background", seen in the official code:

    L = mean | F_T / ||F_T||_2 - F_S / ||F_S||_2 |

with F_T the code of a paraphraser, an auto-encoder trained on the teacher's last map without labels
(SGD 0.1, momentum 0.9, weight decay 5e-4, six passes) and then frozen, and F_S the output of a
translator on the student's. The weight is 500 on CIFAR. The norm is over the whole map of a sample.

Ours: until :meth:`FT.prepare` ran, the paraphraser learns beside the student by its own
reconstruction error, so that the loss also serves loops that prepare nothing; its factor is
detached either way. And teachers' maps are divided by their root mean square in the first batch, as
the learning rate of the paraphraser diverges on large ones; the loss does not depend on scale.
"""

from collections.abc import Iterable, Sequence
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F

from rlgen.distill.base import DistillLoss, Features, Layout
from rlgen.distill.connectors import Paraphraser, Translator, factor_channels, through
from rlgen.distill.maps import (
    EPS,
    common_size,
    pool_to,
    require_above,
    tap_map,
    tap_shape,
    unit,
)


def normalized_l1(
    student: torch.Tensor, teacher: torch.Tensor, reduction: str = "mean"
) -> torch.Tensor:
    """Returns | t / ||t||_2 - s / ||s||_2 |, the norms per sample over the whole map.

    Args:
        student: s, (batch, ...).
        teacher: t, of the same shape; detached.
        reduction: ``"mean"`` over all elements, 0 to 2 / sqrt(D) with D elements a sample, or
            ``"sum"`` over elements and the mean over the batch, 0 to 2 sqrt(D).
    """
    apart = (unit(student.flatten(1)) - unit(teacher.detach().flatten(1))).abs()
    return apart.mean() if reduction == "mean" else apart.sum(dim=1).mean()


class FT(DistillLoss):
    """Factor transfer at one tap, the mean over teachers.

    Args:
        student: Layout of the student.
        teachers: Layouts of the teachers.
        rate: k, channels of the factor by channels of the teacher; above 0.
        tap: Which tap is compared; the deepest in the paper.
        epochs: Passes of :meth:`prepare` over its batches.
        learning_rate: Of the paraphraser's SGD in :meth:`prepare`.
        joint: Weight of the reconstruction error until :meth:`prepare` ran. Under the usual
            weight of 500 the default is a weight of 1.

    Raises:
        UserError: If a network has no such tap.
    """

    name = "ft"
    tap_place = "last"
    prepared: torch.Tensor
    scales: torch.Tensor

    def __init__(
        self,
        student: Layout,
        teachers: Sequence[Layout],
        *,
        rate: float = 0.5,
        tap: int = -1,
        epochs: int = 6,
        learning_rate: float = 0.1,
        joint: float = 0.002,
    ) -> None:
        super().__init__(student, teachers)
        require_above(self.name, "rate", rate, 0.0)
        self.epochs = int(require_above(self.name, "epochs", epochs, 1, strict=False))
        self.learning_rate = require_above(self.name, "learning_rate", learning_rate, 0.0)
        self.joint = require_above(self.name, "joint", joint, 0.0, strict=False)
        self.tap = tap
        ours = tap_shape(self.name, student, tap)
        theirs = [tap_shape(self.name, teacher, tap) for teacher in teachers]
        self.sizes = [common_size(self.name, ours, shape) for shape in theirs]
        self.paraphrasers = nn.ModuleList(Paraphraser(shape[0], rate) for shape in theirs)
        self.translators = nn.ModuleList(
            Translator(ours[0], factor_channels(shape[0], rate)) for shape in theirs
        )
        self.register_buffer("scales", torch.zeros(len(theirs)))  # 0: not seen yet
        self.register_buffer("prepared", torch.tensor(False))
        self.frozen = False
        # A resumed run must not train what was frozen; reading a flag on the device each step
        # would wait for it.
        self.register_load_state_dict_post_hook(_freeze_if_prepared)

    def prepare(self, batches: Iterable[Sequence[Features]]) -> None:
        """Trains the paraphrasers to reconstruct the teachers' maps, then freezes them.

        Args:
            batches: For each batch the features of all teachers; iterated ``epochs`` times.
        """
        optimizer = torch.optim.SGD(
            self.paraphrasers.parameters(), self.learning_rate, momentum=0.9, weight_decay=5e-4
        )
        self.scales.zero_()
        with torch.enable_grad():
            for _ in range(self.epochs):
                for teachers in batches:
                    optimizer.zero_grad()
                    self._reconstruction(self._maps(teachers, keep=True)).backward()
                    optimizer.step()
        optimizer.zero_grad()
        self.prepared.fill_(True)
        _freeze_if_prepared(self)

    def forward(
        self,
        student: Features,
        teachers: Sequence[Features],
        labels: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Returns the loss; see :func:`normalized_l1`."""
        ours = tap_map(student, self.tap)
        maps = self._maps(teachers, keep=self.training)
        dtype = next(self.paraphrasers.parameters()).dtype
        paraphrasers = [cast(Paraphraser, module) for module in self.paraphrasers]
        modules = zip(maps, paraphrasers, self.translators, self.sizes, strict=True)
        terms = []
        for theirs, paraphraser, translator, size in modules:
            with torch.no_grad():
                factor = paraphraser.encode(theirs.to(dtype))
            terms.append(
                normalized_l1(pool_to(through(translator, ours), size), pool_to(factor, size))
            )
        loss = torch.stack(terms).mean()
        if self.frozen or not self.training:
            return loss
        return loss + self.joint * self._reconstruction(maps)

    @torch.no_grad()
    def _maps(self, teachers: Sequence[Features], keep: bool) -> list[torch.Tensor]:
        """Returns the teachers' maps in their unit of scale, which the first batch sets if kept."""
        maps = [tap_map(teacher, self.tap) for teacher in teachers]
        rms = torch.stack([x.square().mean().sqrt().clamp(min=EPS) for x in maps])
        scales = torch.where(self.scales > 0, self.scales, rms)
        if keep:
            self.scales.copy_(scales)
        return [x / scale for x, scale in zip(maps, scales, strict=True)]

    def _reconstruction(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Returns the mean absolute error of the paraphrasers, summed over teachers."""
        errors = [
            F.l1_loss(through(paraphraser, theirs).to(theirs.dtype), theirs)
            for paraphraser, theirs in zip(self.paraphrasers, maps, strict=True)
        ]
        return torch.stack(errors).sum()


def _freeze_if_prepared(loss: nn.Module, _: Any = None) -> None:
    assert isinstance(loss, FT)
    loss.frozen = bool(loss.prepared)
    loss.paraphrasers.requires_grad_(not loss.frozen)
