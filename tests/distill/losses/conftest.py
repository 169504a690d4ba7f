"""Made-up networks for the losses: layouts, and features that fit them."""

from collections.abc import Callable

import pytest
import torch

from rlgen.distill.base import Features, Layout

Network = Callable[..., tuple[Layout, Features]]


@pytest.fixture
def network() -> Network:
    """Returns a maker of (layout, features) of one network; maps and logits are leaves."""

    def make(
        *shapes: tuple[int, ...],
        classes: int | None = 5,
        batch: int = 4,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> tuple[Layout, Features]:
        generator = torch.Generator().manual_seed(seed)

        def leaf(*shape: int) -> torch.Tensor:
            values = torch.randn(batch, *shape, generator=generator, dtype=torch.float32)
            return values.to(dtype).requires_grad_()

        logits = None if classes is None else leaf(classes)
        return Layout(classes, shapes), Features(logits, tuple(leaf(*shape) for shape in shapes))

    return make
