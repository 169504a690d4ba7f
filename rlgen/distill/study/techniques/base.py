"""What a technique may change of a run; the identity changes nothing."""

from typing import ClassVar

import numpy as np
from torch import Tensor, nn

from rlgen.core.errors import UserError
from rlgen.core.registry import Registry
from rlgen.nets.classifiers import make_classifier


class Technique:
    """The second factor of the study; each of its hooks changes nothing here.

    A run has two phases of a fixed length. A technique either holds in both, or, as pruning and
    quantisation do, changes the trained network before the second one.

    Args:
        setting: What stands behind the colon; empty for the default.

    Attributes:
        name: In the registry.
        early: Whether it holds from the first step; else the first phase is that of the identity,
            and is trained once for all such techniques.
        setting: As given, or the default.
    """

    name: ClassVar[str]
    default: ClassVar[str] = ""
    early: ClassVar[bool] = False

    def __init__(self, setting: str = "") -> None:
        if setting and not self.default:
            raise UserError(f"technique {self.name}:{setting}: {self.name} has no setting")
        self.setting = setting or self.default

    @property
    def label(self) -> str:
        """Name and setting as they are typed."""
        return f"{self.name}:{self.setting}" if self.setting else self.name

    def build(self, student: str, classes: int, channels: int) -> nn.Module:
        """Builds the network to be trained, with weights from torch's global generator.

        Args:
            student: Name of the study's student.
            classes: Size of the output.
            channels: Of the pictures.
        """
        return make_classifier(student, classes, channels)

    def change(
        self, images: Tensor, labels: Tensor, classes: int, generator: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Changes a batch, once, before teacher and student see it.

        Args:
            images: (B, C, H, W).
            labels: (B,).
            classes: How many there are.
            generator: Of this step.

        Returns:
            Pictures, and classes (B,) or their probabilities (B, classes).
        """
        return images, labels

    def attach(self, network: nn.Module) -> None:
        """Changes the trained network before the second phase."""

    def detach(self, network: nn.Module) -> None:
        """Makes it a plain network again after the second phase, with the weights it acted by."""


TECHNIQUES: Registry[type[Technique]] = Registry("technique")


def weighted_layers(network: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    """Returns convolutions and linear layers in the order of registration."""
    return [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
