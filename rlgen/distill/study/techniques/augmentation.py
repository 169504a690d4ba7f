"""Augmentation: mixup, CutMix or cutout, on top of the crops and flips that every run has.

Spec kd_orthogonality, recipe 1: teacher and student see the same changed tensor in one forward,
cross-entropy takes mixed labels, KL needs none. Papers: H. Zhang et al., "mixup: Beyond Empirical
Risk Minimization", ICLR 2018; S. Yun et al., "CutMix", ICCV 2019; T. DeVries, G. Taylor, "Improved
Regularization of Convolutional Neural Networks with Cutout", 2017. Their details are recalled, not
seen: lambda from Beta(alpha, alpha) once per batch, CutMix's box of area 1 - lambda with its centre
anywhere, cutout's square of half the side.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rlgen.core.errors import UserError, closest
from rlgen.distill.study.techniques.base import TECHNIQUES, Technique


class Augmentation(Technique):
    """One of the three, in both phases.

    Args:
        setting: mixup, cutmix or cutout.

    Attributes:
        alpha: Of the beta distribution; the study sets it.

    Raises:
        UserError: If the setting is none of these.
    """

    name = "augment"
    default = "mixup"
    early = True
    alpha: float = 1.0

    def __init__(self, setting: str = "") -> None:
        super().__init__(setting)
        kinds = ("mixup", "cutmix", "cutout")
        if self.setting not in kinds:
            raise UserError(f"technique {self.label} is unknown; {closest(self.setting, kinds)}")

    def change(
        self, images: Tensor, labels: Tensor, classes: int, generator: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Changes a batch; see :class:`Technique`."""
        if self.setting == "cutout":
            return cutout(images, generator), labels
        share = float(generator.beta(self.alpha, self.alpha))
        other = torch.from_numpy(generator.permutation(len(images))).to(images.device)
        if self.setting == "mixup":
            mixed = share * images + (1 - share) * images[other]
        else:
            mixed, share = cutmix(images, images[other], share, generator)
        chances = F.one_hot(labels, classes).to(images.dtype)
        return mixed, share * chances + (1 - share) * chances[other]


def cutmix(
    images: Tensor, others: Tensor, share: float, generator: np.random.Generator
) -> tuple[Tensor, float]:
    """Puts a box of other pictures into pictures, the same box in all of them.

    Args:
        images: (B, C, H, W).
        others: Of the same shape.
        share: Of the pictures that should stay; the box is cut at the border.
        generator: Where its centre is drawn from.

    Returns:
        The pictures, and the share that did stay.
    """
    height, width = images.shape[2:]
    side = float(np.sqrt(1 - share))
    top, bottom = _span(int(generator.integers(height)), side * height, height)
    left, right = _span(int(generator.integers(width)), side * width, width)
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = others[:, :, top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)


def cutout(images: Tensor, generator: np.random.Generator) -> Tensor:
    """Sets a square of half the side to 0, the mean, in each picture; its centre may be anywhere.

    Args:
        images: (B, C, H, W), normalised.
        generator: Where the centres are drawn from.
    """
    kept = torch.ones(len(images), *images.shape[2:], dtype=torch.bool)
    inside = []
    for side in images.shape[2:]:
        centres = generator.integers(side, size=len(images))
        offset = torch.arange(side) - torch.from_numpy(centres)[:, None]
        inside.append((offset >= -(side // 4)) & (offset < side // 2 - side // 4))
    kept &= ~(inside[0][:, :, None] & inside[1][:, None, :])
    return images * kept[:, None].to(images.device, images.dtype)


def _span(centre: int, length: float, side: int) -> tuple[int, int]:
    first = round(centre - length / 2)
    return max(first, 0), min(max(first + round(length), 0), side)


TECHNIQUES.register(Augmentation.name)(Augmentation)
