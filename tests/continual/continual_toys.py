"""Small nets and small tasks for the tests of continual learning."""

import numpy as np
import torch
from torch import nn

from rlgen.continual.experience import Experience
from rlgen.continual.recipe import Recipe
from rlgen.data.classification import LabelledImages
from rlgen.nets.classifiers import make_classifier

SHAPE = (3, 8, 8)
RECIPE = Recipe(total_steps=4, batch_size=16, lr=0.05)


class Plain(nn.Module):
    """Convolutions with biases, no batch norm, a flattened map, dropout, a hidden linear layer."""

    def __init__(self, width=8):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.drop = nn.Dropout(0.5)
        self.hidden = nn.Linear(width * 16, 12)
        self.head = nn.Linear(12, 10)

    def forward(self, x):
        x = torch.relu(self.conv1(x))
        x = nn.functional.max_pool2d(torch.relu(self.conv2(x)), 2)
        return self.head(torch.relu(self.hidden(self.drop(torch.flatten(x, 1)))))


class Residual(nn.Module):
    """Batch norm, a shortcut, a depth-wise convolution, dropout."""

    def __init__(self, width=8):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width))
        self.conv = nn.Conv2d(width, width, 3, 1, 1, groups=width)
        self.mix = nn.Conv2d(width, width, 1)
        self.norm = nn.BatchNorm2d(width)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        x = self.stem(x).relu()
        x = x + self.norm(self.mix(self.conv(x)))
        return self.head(self.drop(x.relu().mean((2, 3))))


NETWORKS = {
    "plain": Plain,
    "residual": Residual,
    "resnet8": lambda: make_classifier("resnet8"),
    "wrn-10-1": lambda: make_classifier("wrn-10-1"),
}


def network(name="residual", seed=0):
    torch.manual_seed(seed)
    return NETWORKS[name]()


def pictures(count, classes, seed, shape=SHAPE, noise=8.0):
    """Noisy pictures around one coloured pattern for each class."""
    drawn = np.random.default_rng([seed, 0])
    colours = drawn.uniform(40, 215, (classes, 1, 1, shape[0]))
    patterns = colours + drawn.uniform(-40, 40, (classes, *shape[1:], shape[0]))
    generator = np.random.default_rng([seed, 1, count])
    labels = np.arange(count) % classes
    values = patterns[labels] + generator.normal(0, noise, (count, *shape[1:], shape[0]))
    return LabelledImages(values.clip(0, 255).astype(np.uint8), labels.astype(np.int64))


def task(number, classes=3, shape=SHAPE, count=48):
    """Task number 0, 1, 2, ..."""
    parts = (pictures(n, classes, number, shape) for n in (count, count // 2))
    return Experience(f"task{number}", *parts, tuple("abcdefgh"[:classes]))


def batch(seed=0, count=10):
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(seed))
