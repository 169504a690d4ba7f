"""An efficient network in the student's place.

Spec kd_orthogonality, recipe 4: MobileNetV2 and the like, or depthwise-separable convolutions, the
"cheap convolution" of the abstract. Which networks the paper used is not known.
"""

from torch import nn

from rlgen.core.errors import UserError, closest
from rlgen.distill.study.techniques.base import TECHNIQUES, Technique
from rlgen.nets.classifiers import CLASSIFIERS, make_classifier

SEPARABLE = "separable"


class Small(Technique):
    """Another classifier in both phases.

    Args:
        setting: Its name, or separable for the student with cheap convolutions.

    Raises:
        UserError: If there is none of this name.
    """

    name = "small"
    default = "mobilenetv2-half"
    early = True

    def __init__(self, setting: str = "") -> None:
        super().__init__(setting)
        if self.setting != SEPARABLE and self.setting not in CLASSIFIERS:
            hint = closest(self.setting, [SEPARABLE, *CLASSIFIERS])
            raise UserError(f"technique {self.label}: no such classifier; {hint}")

    def build(self, student: str, classes: int, channels: int) -> nn.Module:
        """Builds the efficient network; see :class:`Technique`."""
        if self.setting != SEPARABLE:
            return make_classifier(self.setting, classes, channels)
        return make_separable(make_classifier(student, classes, channels))


def make_separable(network: nn.Module) -> nn.Module:
    """Replaces 3x3 convolutions by a depthwise one and a 1x1 one behind it, in place.

    The stem, which has the picture's few channels, and convolutions that have groups stay as they
    are. Layers keep their names, and so the places to tap.

    Args:
        network: Is changed and returned.
    """
    stem = next((m for m in network.modules() if isinstance(m, nn.Conv2d)), None)
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Conv2d) and child is not stem and _is_dense(child):
                setattr(parent, name, _separable(child))
    return network


def _is_dense(layer: nn.Conv2d) -> bool:
    return (layer.kernel_size, layer.padding, layer.groups) == ((3, 3), (1, 1), 1)


def _separable(layer: nn.Conv2d) -> nn.Sequential:
    inputs, outputs = layer.in_channels, layer.out_channels
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, layer.stride, 1, groups=inputs, bias=False),  # type: ignore[arg-type]
        nn.Conv2d(inputs, outputs, 1, bias=layer.bias is not None),
    )


TECHNIQUES.register(Small.name)(Small)
