"""Small networks that the tests of taps and of the distiller share."""

import torch
from torch import Tensor, nn


class Net(nn.Module):
    """Two stages of 1x1 convolutions; each behaviour that taps must stand is a switch."""

    def __init__(self, width: int = 4, inplace: bool = False, adds: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 1)
        self.bn = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace)
        self.stage = nn.Sequential(nn.Conv2d(width, width, 1), nn.ReLU(inplace))
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(width, 5)
        self.adds = adds

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x))
        if self.adds:
            x += 1
        x = self.stage(self.relu(x))
        return self.fc(self.drop(x.mean((2, 3))))


def images(batch: int = 6) -> Tensor:
    return torch.randn(batch, 3, 4, 4, generator=torch.Generator().manual_seed(1))


def labels(batch: int = 6) -> Tensor:
    return torch.arange(batch) % 5


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
