"""MobileNetV2 for pictures of 32x32: inverted residuals with linear bottlenecks.

Paper: M. Sandler, A. Howard, M. Zhu, A. Zhmoginov, L.-C. Chen, "MobileNetV2: Inverted Residuals and
Linear Bottlenecks", CVPR 2018, table 2. For small pictures the stem and the stage of 24 channels
keep the resolution, which leaves 4x4 of 32x32 at the end (common practice, not in the paper).
"""

from functools import partial

from torch import Tensor, nn

from rlgen.core.errors import UserError
from rlgen.nets.classifiers.staged import CLASSIFIERS, StagedClassifier, pool, start_weights

# Expansion, channels, blocks, stride of the first; the paper's table 2 with two strides at 1.
PLAN = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
SEAMS = (1, 2, 4, 6)  # the stages before a change of resolution, and the last
HEAD = 1280


class InvertedResidual(nn.Module):
    """1x1 convolution up, depth-wise 3x3, 1x1 down; the sum is linear.

    Args:
        inputs: Channels in.
        outputs: Channels out.
        stride: Of the depth-wise convolution.
        expansion: Factor on the channels inside.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        inside = inputs * expansion
        self.expand: nn.Module = nn.Identity()
        if expansion != 1:
            self.expand = _conv(inputs, inside, 1)
        self.depthwise = _conv(inside, inside, 3, stride, inside)
        self.project = nn.Conv2d(inside, outputs, 1, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        out: Tensor = self.bn(self.project(self.depthwise(self.expand(x))))
        return x + out if self.residual else out


class MobileNetV2(StagedClassifier):
    """MobileNetV2; layers ``stem stage1 ... stage7 head classifier``.

    Stages end in linear bottlenecks, so their outputs are values before an activation already;
    only the head has one.

    Args:
        classes: Size of the output.
        channels: Channels of the pictures.
        widen: Factor on all channels but the head's; above 0.

    Raises:
        UserError: If the factor is not above 0.
    """

    def __init__(self, classes: int = 10, channels: int = 3, widen: float = 1.0) -> None:
        super().__init__()
        if widen <= 0:
            raise UserError(f"widen={widen}: the factor on the channels is above 0")
        width = _multiple(32 * widen)
        self.stem = _conv(channels, width, 3)
        for number, (expansion, plain, blocks, stride) in enumerate(PLAN, 1):
            outputs = _multiple(plain * widen)
            stage = [InvertedResidual(width, outputs, stride, expansion)]
            stage += [InvertedResidual(outputs, outputs, 1, expansion) for _ in range(blocks - 1)]
            self.add_module(f"stage{number}", nn.Sequential(*stage))
            width = outputs
        self.head = _conv(width, HEAD, 1)
        self.classifier = nn.Linear(HEAD, classes)
        self.width = HEAD
        seams = tuple(f"stage{index + 1}" for index in SEAMS)
        self.places = {"stages": seams, "preactivation": seams, "last": ("head",)}
        start_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Maps pictures (B, channels, H, W) to logits (B, classes)."""
        x = self.stem(x)
        for number in range(1, len(PLAN) + 1):
            x = self.get_submodule(f"stage{number}")(x)
        logits: Tensor = self.classifier(pool(self.head(x)))
        return logits


def _conv(inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(),
    )


def _multiple(channels: float, of: int = 8) -> int:
    """Rounds to the nearest multiple of 8, never down by more than a tenth."""
    rounded = max(of, int(channels + of / 2) // of * of)
    return rounded + of if rounded < 0.9 * channels else rounded


CLASSIFIERS.register("mobilenetv2")(MobileNetV2)
CLASSIFIERS.register("mobilenetv2-half")(partial(MobileNetV2, widen=0.5))
