"""How fast are latent vectors drawn? The estimator with its cache and without, and rivals.

    python benchmarks/latent_density_speed.py dims=[16,64,128] count=512

Weights are those of the start: time does not depend on them. Each sampler draws once to warm up,
then ``repeats`` times; told is the median. Samplers take turns, so that other work on the machine
meets all alike. pythae's rows need pythae (see :mod:`latent_density_rivals`).
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

import torch
from latent_density_rivals import PYTHAE, PythaeSampler, has_pythae

from rlgen.core.cli import run_command
from rlgen.core.compose import check_options
from rlgen.generative.latent_density.density import DENSITIES, LDE

CACHED, NAIVE = "lde", "lde, naive"
AT_ONCE = 512  # vectors per call of the naive sampler


@dataclass
class SpeedOptions:
    """Options of the measurement."""

    dims: list[int] = field(default_factory=lambda: [16, 64])
    count: int = 512
    repeats: int = 5
    naive: bool = True
    max_width: int | None = None  # of the estimator; null: as in the paper
    threads: int = 2


def samplers(options: SpeedOptions, dim: int) -> dict[str, Callable[[], object]]:
    """Returns what draws ``count`` vectors, by name."""
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(400, dim, generator=generator)
    made: dict[str, Callable[[], object]] = {}
    for name in DENSITIES:
        given = {"max_width": options.max_width} if name == CACHED else {}
        density = DENSITIES[name](dim=dim, **given)
        density.fit(latents, steps=1)
        made[name] = lambda d=density: d.sample(options.count, generator=generator)
        if isinstance(density, LDE) and options.naive:
            made[NAIVE] = lambda d=density: draw_naively(d, options.count, generator)
    for name in PYTHAE if has_pythae() else ():
        sampler = PythaeSampler(name, dim)
        sampler.fit(latents, 1, 100, 0)
        made[name] = lambda s=sampler: s.sample(options.count, 0)
    return made


def draw_naively(density: LDE, count: int, generator: torch.Generator) -> list[torch.Tensor]:
    """Draws vectors as the paper does, the whole network for every coordinate."""
    sizes = [min(AT_ONCE, count - start) for start in range(0, count, AT_ONCE)]
    return [density.sample_naive(size, generator=generator) for size in sizes]


def measure(options: SpeedOptions, dim: int) -> dict[str, float]:
    """Returns the median seconds of each sampler."""
    made = samplers(options, dim)
    seconds: dict[str, list[float]] = {name: [] for name in made}
    for turn in range(options.repeats + 1):
        for name, draw in made.items():
            start = time.perf_counter()
            draw()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in seconds.items()}


def main(arguments: list[str]) -> int:
    """Measures and prints a table."""
    options = check_options(SpeedOptions, arguments)
    torch.set_num_threads(options.threads)
    if not has_pythae():
        print("pythae is not installed; its rows are left out (see latent_density_rivals.py)")
    print(f"vectors a second, {options.count} at a time, {options.threads} threads\n")
    found = {dim: measure(options, dim) for dim in options.dims}
    print("| sampler | " + " | ".join(f"D={d} | lde is faster by" for d in found) + " |")
    print("| --- |" + " --- | --- |" * len(found))
    for name in next(iter(found.values())):
        cells = [
            f"{options.count / times[name]:,.0f} | {times[name] / times[CACHED]:.2f}"
            for times in found.values()
        ]
        print(f"| {name} | " + " | ".join(cells) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, lambda: __doc__, None))
