"""Toy latents whose density is known."""

from collections.abc import Callable

import pytest
import torch


@pytest.fixture(scope="session")
def clusters() -> Callable[[int, int], torch.Tensor]:
    """Two bent clusters in the plane: x = 5 + 3 (+-2 + 0.4 e), y = 0.1 (x - 5)^2 / 9 + 0.2 e."""

    def draw(count: int, seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        side = 2 * torch.randint(0, 2, (count,), generator=generator) - 1
        noise = torch.randn(count, 2, generator=generator)
        x = 2 * side + 0.4 * noise[:, 0]
        y = 0.1 * x.square() + 0.2 * noise[:, 1]
        return torch.stack([5 + 3 * x, y], dim=1)

    return draw


@pytest.fixture(scope="session")
def tilted() -> Callable[[int, int], torch.Tensor]:
    """A Gaussian in 3-D, with mean (1, -2, 30) and covariance A A^T of the A below."""
    factor = torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [-3.0, 2.0, 2.0]])

    def draw(count: int, seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(count, 3, generator=generator)
        return torch.tensor([1.0, -2.0, 30.0]) + noise @ factor.T

    return draw
