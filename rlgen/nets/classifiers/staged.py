"""What all classifiers here share: named stages, places to tap, one start of the weights."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from rlgen.core.errors import UserError, closest
from rlgen.core.registry import Registry


class StagedClassifier(nn.Module):
    """A classifier whose stages are children with names.

    Activations are modules and never work in place, so that the value before each of them can be
    read without a copy.

    Attributes:
        places: Tap names, shallow to deep, by what a distillation method wants: ``"stages"``, the
            output of each stage; ``"preactivation"``, the same before its last ReLU;
            ``"last"``, the map that is pooled and classified.
        width: Channels of that last map.
    """

    width: int
    places: Mapping[str, tuple[str, ...]]

    def tap_names(self, place: str) -> tuple[str, ...]:
        """Returns the tap names of a place.

        Raises:
            UserError: If there is no such place.
        """
        if place not in self.places:
            raise UserError(f"unknown place {place!r} to tap; {closest(place, self.places)}")
        return self.places[place]


CLASSIFIERS: Registry[Callable[[int, int], StagedClassifier]] = Registry("classifier")


def make_classifier(name: str, classes: int = 10, channels: int = 3) -> StagedClassifier:
    """Builds a classifier by its registered name, such as ``"resnet20"`` or ``"wrn-16-2"``.

    Args:
        name: A name of ``CLASSIFIERS``.
        classes: Size of the output, 2 or more.
        channels: Channels of the pictures.

    Raises:
        UserError: If the name is unknown or a size is out of range.
    """
    build = CLASSIFIERS[name]
    if classes < 2:
        raise UserError(f"classes={classes}: a classifier needs 2 or more")
    if channels < 1:
        raise UserError(f"channels={channels}: pictures have 1 or more, 3 in colour")
    return build(classes, channels)


def start_weights(model: nn.Module) -> None:
    """Draws convolutions from N(0, 2 / (k k C_out)); batch norms start at weight 1 and bias 0."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)


def pool(maps: Tensor) -> Tensor:
    """Averages maps (B, C, H, W) over their pixels to (B, C)."""
    return maps.mean((2, 3))
