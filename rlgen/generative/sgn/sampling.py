"""What SGN draws while training: sym-parameters, and images out of the past."""

import numpy as np
import torch


def sample_sym(
    generator: np.random.Generator, count: int, n_domains: int, alpha: float = 0.5
) -> torch.Tensor:
    """Draws sym-parameters s ~ Dir(alpha, ..., alpha), one per image.

    Concentrations below 1 favour corners and edges of the simplex, so that pure domains are seen
    often. In float32 and exactly summing to one up to rounding.

    Args:
        generator: Source of randomness.
        count: How many.
        n_domains: d.
        alpha: Concentration of each coordinate.

    Returns:
        (count, d), each row non-negative with sum 1.
    """
    drawn = generator.dirichlet(np.full(n_domains, alpha), size=count)
    return torch.from_numpy(drawn.astype(np.float32))


class History:
    """A buffer of generated images that a discriminator is shown, each with its sym-parameter.

    Until it is full it stores and returns what it is given. Then, with probability 1/2, it returns
    a stored pair and puts the new one in its place; else it returns the new one (spec section b,
    step 5; seen in official code).

    Args:
        capacity: Pairs kept; 0 returns everything unchanged.
    """

    def __init__(self, capacity: int = 50) -> None:
        self.capacity = capacity
        self.images: list[torch.Tensor] = []
        self.syms: list[torch.Tensor] = []

    def exchange(
        self, images: torch.Tensor, syms: torch.Tensor, generator: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Puts pairs in and gets as many out.

        Args:
            images: (batch, 3, H, W); no gradient goes through the buffer.
            syms: The sym-parameters they were made with, (batch, d).
            generator: Source of randomness.

        Returns:
            Images and their sym-parameters, of the shapes given.
        """
        if self.capacity == 0:
            return images.detach(), syms
        out: list[tuple[torch.Tensor, torch.Tensor]] = []
        for image, sym in zip(images.detach(), syms, strict=True):
            if len(self.images) < self.capacity:
                self.images.append(image.clone())  # a view would keep the whole step's output
                self.syms.append(sym.clone())
                out.append((image, sym))
            elif generator.random() < 0.5:
                k = int(generator.integers(self.capacity))
                out.append((self.images[k], self.syms[k]))
                self.images[k], self.syms[k] = image.clone(), sym.clone()
            else:
                out.append((image, sym))
        return torch.stack([image for image, _ in out]), torch.stack([sym for _, sym in out])

    def state(self) -> dict[str, torch.Tensor]:
        """Returns the stored pairs; nothing while there is none."""
        if not self.images:
            return {}
        return {"images": torch.stack(self.images), "syms": torch.stack(self.syms)}

    def restore(self, state: dict[str, torch.Tensor], device: torch.device) -> None:
        """Puts pairs of :meth:`state` back."""
        self.images = [image.to(device) for image in state.get("images", ())]
        self.syms = [sym.to(device) for sym in state.get("syms", ())]
