"""Random numbers from one generator, or from one generator for each row.

With one generator per row an image is its seed's alone, whatever else is in the batch.
"""

from collections.abc import Callable, Sequence

import torch

from rlgen.core.errors import UserError

Generators = torch.Generator | Sequence[torch.Generator]


def normal(shape: tuple[int, ...], generator: Generators, like: torch.Tensor) -> torch.Tensor:
    """Draws standard normal numbers.

    Args:
        shape: Of the result, rows first.
        generator: One for all, or one for each row.
        like: Gives type and device of the result; numbers are drawn where the generator is.

    Raises:
        UserError: If there are not as many generators as rows.
    """
    return _draw(torch.randn, shape, generator, like)


def uniform(shape: tuple[int, ...], generator: Generators, like: torch.Tensor) -> torch.Tensor:
    """Draws numbers from [0, 1); arguments and errors are those of :func:`normal`."""
    return _draw(torch.rand, shape, generator, like)


def part(generator: Generators, start: int, stop: int) -> Generators:
    """Returns the generators of the rows from ``start`` to ``stop``."""
    return generator if isinstance(generator, torch.Generator) else generator[start:stop]


def check_generators(generator: Generators, rows: int) -> None:
    """Checks that there is one generator, or one for each row.

    Raises:
        UserError: If not.
    """
    if not isinstance(generator, torch.Generator) and len(generator) != rows:
        raise UserError(
            f"{len(generator)} generators for {rows} rows; give one for all or one for each row"
        )


def _draw(
    source: Callable[..., torch.Tensor],
    shape: tuple[int, ...],
    generator: Generators,
    like: torch.Tensor,
) -> torch.Tensor:
    check_generators(generator, shape[0])
    if isinstance(generator, torch.Generator):
        drawn = source(shape, generator=generator, device=generator.device, dtype=like.dtype)
        return drawn.to(like.device)
    if not generator:
        return like.new_zeros(shape)
    rows = [
        source(shape[1:], generator=one, device=one.device, dtype=like.dtype) for one in generator
    ]
    return torch.stack([row.to(like.device) for row in rows])
