"""Techniques by name, one file each; ``TECHNIQUES`` is their registry."""

from rlgen.distill.study.techniques.augmentation import Augmentation
from rlgen.distill.study.techniques.base import TECHNIQUES, Technique, weighted_layers
from rlgen.distill.study.techniques.identity import Identity
from rlgen.distill.study.techniques.pruning import Pruning
from rlgen.distill.study.techniques.quantization import Int2, Int4, Int8, Quantization
from rlgen.distill.study.techniques.small import Small

__all__ = [
    "TECHNIQUES",
    "Augmentation",
    "Identity",
    "Int2",
    "Int4",
    "Int8",
    "Pruning",
    "Quantization",
    "Small",
    "Technique",
    "parse_technique",
    "weighted_layers",
]


def parse_technique(text: str, alpha: float = 1.0) -> Technique:
    """Reads a technique as it is typed: ``pruning``, or ``pruning:90`` with a setting.

    Args:
        text: Name and setting.
        alpha: Of mixup and CutMix.

    Raises:
        UserError: If there is no such technique or setting.
    """
    name, _, setting = text.partition(":")
    technique = TECHNIQUES[name](setting)
    if isinstance(technique, Augmentation):
        technique.alpha = alpha
    return technique
