"""VGG with batch norm for pictures of 32x32.

Paper: K. Simonyan, A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
Recognition", ICLR 2015. Five stages of 3x3 convolutions with maximum pooling before the second,
third and fourth; an average over pixels and one linear layer instead of the paper's three, as the
distillation literature does for CIFAR. VGG-8 is that literature's own.
"""

from functools import partial

from torch import Tensor, nn

from rlgen.core.errors import UserError
from rlgen.nets.classifiers.staged import CLASSIFIERS, StagedClassifier, pool, start_weights

WIDTHS = (64, 128, 256, 512, 512)
# Convolutions of each stage; the name counts them and the paper's three linear layers.
CONVOLUTIONS = {
    8: (1, 1, 1, 1, 1),
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}


class VGG(StagedClassifier):
    """VGG-8, 11, 13, 16 or 19; layers ``stage1 pool1 stage2 pool2 ... stage5 classifier``.

    Args:
        depth: Its number.
        classes: Size of the output.
        channels: Channels of the pictures.

    Raises:
        UserError: If there is no such VGG.
    """

    def __init__(self, depth: int, classes: int = 10, channels: int = 3) -> None:
        super().__init__()
        if depth not in CONVOLUTIONS:
            allowed = ", ".join(map(str, CONVOLUTIONS))
            raise UserError(f"depth={depth}: there is no such VGG; allowed: {allowed}")
        for number, (width, count) in enumerate(zip(WIDTHS, CONVOLUTIONS[depth], strict=True), 1):
            self.add_module(f"stage{number}", _stage(channels, width, count))
            if number <= 3:
                self.add_module(f"pool{number}", nn.MaxPool2d(2))
            channels = width
        self.classifier = nn.Linear(WIDTHS[-1], classes)
        self.width = WIDTHS[-1]
        stages = tuple(f"stage{number}" for number in range(1, 6))
        norms = (3 * count - 2 for count in CONVOLUTIONS[depth])  # the last norm of a stage
        self.places = {
            "stages": stages,
            "preactivation": tuple(f"{s}.{n}" for s, n in zip(stages, norms, strict=True)),
            "last": stages[-1:],
        }
        start_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Maps pictures (B, channels, H, W), 8 pixels or more, to logits (B, classes)."""
        for name, layer in self.named_children():
            if name != "classifier":
                x = layer(x)
        logits: Tensor = self.classifier(pool(x))
        return logits


def _stage(inputs: int, outputs: int, count: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for index in range(count):
        conv = nn.Conv2d(inputs if index == 0 else outputs, outputs, 3, 1, 1, bias=False)
        layers += [conv, nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


for _depth in CONVOLUTIONS:
    CLASSIFIERS.register(f"vgg{_depth}")(partial(VGG, _depth))
