"""A feature extractor for the observations of the design environment."""

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

_MASK = "action_mask"


class DesignExtractor(BaseFeaturesExtractor):
    """Geometry by a small network of its own kind, everything else flat, then one common layer.

    Grids (heights, voxels with height as channels, pictures) pass three strided convolutions;
    points a layer each and a maximum over them (Qi et al., "PointNet", 2017).

    Args:
        observation_space: A dictionary with ``geometry``; a mask of operations is left out.
        features_dim: Units of the common layer.
    """

    def __init__(self, observation_space: spaces.Dict, features_dim: int = 256) -> None:
        super().__init__(observation_space, features_dim)
        shape = observation_space["geometry"].shape
        assert shape is not None
        # SB3 hands pictures over with the channels in front.
        channels_last = len(shape) == 3 and shape[-1] in (1, 3) and shape[0] not in (1, 3)
        self.channels_last = channels_last
        self.geometry = (
            _points(shape[1])
            if len(shape) == 2
            else _grid(shape[-1] if channels_last else shape[0])
        )
        self.keys = [key for key in observation_space.spaces if key not in ("geometry", _MASK)]
        with torch.no_grad():
            empty = self._geometry(torch.zeros(1, *shape))
        flat = sum(spaces.flatdim(observation_space[key]) for key in self.keys)
        self.common = nn.Sequential(nn.Linear(empty.shape[1] + flat, features_dim), nn.ReLU())

    def _geometry(self, geometry: torch.Tensor) -> torch.Tensor:
        if self.channels_last:
            geometry = geometry.movedim(-1, 1)
        features: torch.Tensor = self.geometry(geometry)
        return features.amax(1) if geometry.dim() == 3 else features

    def forward(self, observations: dict[str, torch.Tensor]) -> torch.Tensor:
        """Maps observations, batch on axis 0, to (batch, features_dim)."""
        parts = [self._geometry(observations["geometry"].float())]
        parts += [observations[key].float().flatten(1) for key in self.keys]
        features: torch.Tensor = self.common(torch.cat(parts, dim=1))
        return features


def _grid(channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (16, 32, 32):
        layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, nn.Flatten())


def _points(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 64), nn.ReLU(), nn.Linear(64, 128), nn.ReLU())
