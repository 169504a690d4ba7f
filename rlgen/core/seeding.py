"""Random generators that can be handed around, saved as JSON and restored exactly."""

from typing import Any

import numpy as np


def spawn_generators(seed: int | None, *names: str) -> dict[str, np.random.Generator]:
    """Returns one independent generator per name, all derived from one seed.

    A purpose owns its generator, so drawing more numbers for one never shifts another.

    Args:
        seed: Seed of the family, or None for fresh entropy.
        *names: Purposes, in a fixed order: the order decides which stream each one gets.
    """
    children = np.random.SeedSequence(seed).spawn(len(names))
    return {name: np.random.default_rng(child) for name, child in zip(names, children, strict=True)}


def step_seed(seed: int, step: int) -> int:
    """Returns the seed of a step's random numbers, which any generator of torch takes.

    Args:
        seed: 0 or more, of any size.
        step: 0 or more.
    """
    return (seed * 1_000_003 + step) % 2**63


def generator_state(generator: np.random.Generator) -> dict[str, Any]:
    """Returns the state of a PCG64 generator as plain Python values (JSON writes them exactly)."""
    return dict(generator.bit_generator.state)


def restore_generator(generator: np.random.Generator, state: dict[str, Any]) -> None:
    """Puts a state from :func:`generator_state` back into a generator, in place."""
    generator.bit_generator.state = state
