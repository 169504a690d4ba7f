"""Wide residual networks WRN-d-k, with the activation before the convolution.

Paper: S. Zagoruyko, N. Komodakis, "Wide Residual Networks", BMVC 2016. Three stages of 16k, 32k
and 64k channels; depth d = 6n + 4. No dropout.
"""

from functools import partial

from torch import Tensor, nn

from rlgen.core.errors import UserError
from rlgen.nets.classifiers.staged import CLASSIFIERS, StagedClassifier, pool, start_weights


class PreactivationBlock(nn.Module):
    """Batch norm, ReLU, 3x3 convolution, twice; nothing after the sum.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        stride: Of the first convolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shortcut: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        active = self.relu1(self.bn1(x))
        # A shortcut with weights reads the activated value, an identity the raw one.
        shortcut = x if self.shortcut is None else self.shortcut(active)
        out: Tensor = self.conv2(self.relu2(self.bn2(self.conv1(active)))) + shortcut
        return out


class WideResNet(StagedClassifier):
    """WRN-d-k; layers ``conv1 layer1 layer2 layer3 bn relu classifier``.

    A stage's output is a sum that the next batch norm normalises; the value before the ReLU is
    that norm's output, in the first block of the next stage (spec ofd, section c).

    Args:
        depth: d = 6n + 4: 10, 16, 22, 28, 34, 40, ...
        widen: k.
        classes: Size of the output.
        channels: Channels of the pictures.

    Raises:
        UserError: If the depth is not 6n + 4, or k is below 1.
    """

    def __init__(self, depth: int, widen: int, classes: int = 10, channels: int = 3) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 4, 6)
        if rest or blocks < 1:
            raise UserError(f"depth={depth}: a WRN has 6n + 4 layers: 10, 16, 22, 28, 34, 40, ...")
        if widen < 1:
            raise UserError(f"widen={widen}: the factor on the channels is 1 or more")
        widths = [16 * widen, 32 * widen, 64 * widen]
        self.conv1 = nn.Conv2d(channels, 16, 3, 1, 1, bias=False)
        self.layer1 = _stage(16, widths[0], blocks, 1)
        self.layer2 = _stage(widths[0], widths[1], blocks, 2)
        self.layer3 = _stage(widths[1], widths[2], blocks, 2)
        self.bn = nn.BatchNorm2d(widths[2])
        self.relu = nn.ReLU()
        self.classifier = nn.Linear(widths[2], classes)
        self.width = widths[2]
        self.places = {
            "stages": ("layer1", "layer2", "layer3"),
            "preactivation": ("layer2.0.bn1", "layer3.0.bn1", "bn"),
            "last": ("relu",),
        }
        start_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Maps pictures (B, channels, H, W) to logits (B, classes)."""
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        logits: Tensor = self.classifier(pool(self.relu(self.bn(x))))
        return logits


def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    rest = [PreactivationBlock(outputs, outputs) for _ in range(blocks - 1)]
    return nn.Sequential(PreactivationBlock(inputs, outputs, stride), *rest)


for _depth in (10, 16, 22, 28, 40):
    for _widen in (1, 2, 4, 8, 10):
        CLASSIFIERS.register(f"wrn-{_depth}-{_widen}")(partial(WideResNet, _depth, _widen))
