"""MinAtar's network: one convolution and one hidden layer on images with the channels last."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn
from torch.nn import functional as F

from rlgen.nets import MinAtarCNN


def binary_images(channels: int, batch: int = 3) -> torch.Tensor:
    pixels = np.random.default_rng(0).integers(0, 2, (batch, 10, 10, channels))
    return torch.from_numpy(pixels).float()


@pytest.mark.parametrize("channels", [4, 10])
def test_computes_a_convolution_and_a_layer(channels: int) -> None:
    torch.manual_seed(0)
    net = MinAtarCNN(spaces.Box(0, 1, (10, 10, channels), bool))
    x = binary_images(channels)
    conv, linear = net.conv[0], net.linear[0]
    first = F.relu(F.conv2d(x.permute(0, 3, 1, 2), conv.weight, conv.bias))
    expected = F.relu(first.reshape(3, -1) @ linear.weight.T + linear.bias)
    torch.testing.assert_close(net(x), expected)


def test_sizes_are_the_papers() -> None:
    net = MinAtarCNN(spaces.Box(0, 1, (10, 10, 6), bool))
    assert net.conv[0].weight.shape == (16, 6, 3, 3)
    assert net.linear[0].weight.shape == (128, 16 * 8 * 8)
    assert net.features_dim == 128
    assert [type(m) for m in net.linear] == [nn.Linear, nn.ReLU]


def test_width_is_an_option() -> None:
    net = MinAtarCNN(spaces.Box(0, 1, (8, 6, 2), bool), features_dim=32)
    assert net(torch.zeros(2, 8, 6, 2)).shape == (2, 32)
