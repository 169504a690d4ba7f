"""A feature extractor for MinAtar's 10x10 binary images."""

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn


class MinAtarCNN(BaseFeaturesExtractor):
    """One 3x3 convolution of 16 channels and a layer of 128 units, as in the MinAtar paper.

    Args:
        observation_space: Binary images (height, width, channels), channels last as MinAtar gives.
        features_dim: Units of the hidden layer.
    """

    def __init__(self, observation_space: spaces.Box, features_dim: int = 128) -> None:
        super().__init__(observation_space, features_dim)
        height, width, channels = observation_space.shape
        self.conv = nn.Sequential(nn.Conv2d(channels, 16, 3), nn.ReLU(), nn.Flatten())
        self.linear = nn.Sequential(
            nn.Linear(16 * (height - 2) * (width - 2), features_dim), nn.ReLU()
        )

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Maps (batch, height, width, channels) to (batch, features_dim)."""
        features: torch.Tensor = self.linear(self.conv(observations.movedim(-1, 1)))
        return features
