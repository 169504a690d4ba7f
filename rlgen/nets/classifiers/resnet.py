"""CIFAR ResNets of depth 6n + 2, with basic blocks at every depth.

Paper: K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image Recognition", CVPR 2016,
section 4.2. Three stages of 16, 32 and 64 channels, the later two at half the resolution. The
shortcut of a block that changes the shape is a 1x1 convolution with batch norm, as in the
distillation literature's code (spec ffl), and not the paper's padding with zeros.
"""

from functools import partial

from torch import Tensor, nn

from rlgen.core.errors import UserError
from rlgen.nets.classifiers.staged import CLASSIFIERS, StagedClassifier, pool, start_weights


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; the ReLU comes after the sum.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        stride: Of the first convolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        shortcut = self.shortcut(x)
        x = self.relu1(self.bn1(self.conv1(x)))
        out: Tensor = self.relu2(self.bn2(self.conv2(x)) + shortcut)
        return out


class ResNet(StagedClassifier):
    """A CIFAR ResNet; layers ``conv1 bn1 relu1 layer1 layer2 layer3 classifier``.

    Args:
        depth: 6n + 2: 8, 14, 20, 32, 44, 56, 110, ...
        classes: Size of the output.
        channels: Channels of the pictures.
        widen: Factor on the channels of the stages; 4 in the ``x4`` nets.

    Raises:
        UserError: If the depth is not 6n + 2.
    """

    def __init__(self, depth: int, classes: int = 10, channels: int = 3, widen: int = 1) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 2, 6)
        if rest or blocks < 1:
            raise UserError(f"depth={depth}: a CIFAR ResNet has 6n + 2 layers: 8, 14, 20, 32, ...")
        # The x4 nets of the distillation literature have a stem of 32 channels.
        stem = 16 if widen == 1 else 32
        self.conv1 = nn.Conv2d(channels, stem, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.relu1 = nn.ReLU()
        widths = [16 * widen, 32 * widen, 64 * widen]
        self.layer1 = _stage(stem, widths[0], blocks, 1)
        self.layer2 = _stage(widths[0], widths[1], blocks, 2)
        self.layer3 = _stage(widths[1], widths[2], blocks, 2)
        self.classifier = nn.Linear(widths[2], classes)
        self.width = widths[2]
        stages = ("layer1", "layer2", "layer3")
        self.places = {
            "stages": stages,
            "preactivation": tuple(f"{stage}.{blocks - 1}.relu2:input" for stage in stages),
            "last": stages[-1:],
        }
        start_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Maps pictures (B, channels, H, W) to logits (B, classes)."""
        x = self.relu1(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.classifier(pool(x))
        return logits


def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    rest = [BasicBlock(outputs, outputs) for _ in range(blocks - 1)]
    return nn.Sequential(BasicBlock(inputs, outputs, stride), *rest)


for _depth in (8, 14, 20, 32, 44, 56, 110):
    CLASSIFIERS.register(f"resnet{_depth}")(partial(ResNet, _depth))
for _depth in (8, 14, 20, 32):
    CLASSIFIERS.register(f"resnet{_depth}x4")(partial(ResNet, _depth, widen=4))
