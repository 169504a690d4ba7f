"""What one network for all mixtures costs: images/s, memory, disk; and where training time goes.

    python benchmarks/sgn_speed.py                  # translation and training, a few minutes
    python benchmarks/sgn_speed.py width=64 blocks=9 domains=4

The peer of translation is one generator of the same width and depth per domain, whose outputs would
be mixed: a mixture of k domains takes k passes, and k files. Variants run interleaved in one
process; figures are medians. VGG-16's weights are random here: its cost does not depend on them.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from rlgen.core.compose import check_options
from rlgen.generative.sgn import SGNGenerator
from rlgen.generative.sgn.domains import Perception
from rlgen.nets.patch_discriminator import PatchDiscriminator
from rlgen.nets.perceptual import VGG16Features

CONSOLE = Console(width=100)


@dataclass
class SpeedOptions:
    """Options of the benchmark."""

    width: int = 32
    blocks: int = 5
    domains: int = 4
    size: int = 256
    train_size: int = 96
    batch: int = 4
    rounds: int = 5


def medians(variants: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Returns the median seconds of each variant over interleaved rounds, after one to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(rounds + 1):
        for name, run in variants.items():
            start = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def size_on_disk(generator: SGNGenerator) -> float:
    """Returns the megabytes of a saved network."""
    with tempfile.TemporaryDirectory() as folder:
        generator.save_pretrained(folder)
        return sum(path.stat().st_size for path in Path(folder).iterdir()) / 1e6


def generator_of(options: SpeedOptions, domains: int) -> SGNGenerator:
    names = [f"domain{k}" for k in range(domains)]
    network = SGNGenerator(domains=names, width=options.width, n_blocks=options.blocks)
    return network.to(memory_format=torch.channels_last).eval()


def translation(options: SpeedOptions) -> None:
    """One SGN against k networks."""
    k = options.domains
    one = generator_of(options, k)
    many = [generator_of(options, 2) for _ in range(k)]  # two domains are the fewest
    x = torch.rand(1, 3, options.size, options.size).contiguous(memory_format=torch.channels_last)

    def mixed_outputs() -> torch.Tensor:
        outputs = [network(x * 2 - 1, torch.tensor([0.0, 1.0])) for network in many]
        return torch.stack(outputs).mean(0)

    variants: dict[str, Callable[[], object]] = {
        "SGN": lambda: one(x * 2 - 1, torch.full((k,), 1 / k)),
        f"{k} networks": mixed_outputs,
    }
    with torch.inference_mode():
        seconds = medians(variants, options.rounds)
    table = Table(title=f"a mixture of {k} domains, {options.size} px, width {options.width}")
    for column in ("", "images/s", "parameters", "disk, MB"):
        table.add_column(column, justify="right")
    disk = {"SGN": size_on_disk(one), f"{k} networks": sum(map(size_on_disk, many))}
    counts = {
        "SGN": sum(p.numel() for p in one.parameters()),
        f"{k} networks": sum(p.numel() for network in many for p in network.parameters()),
    }
    for name, value in seconds.items():
        table.add_row(name, f"{1 / value:.2f}", f"{counts[name]:,}", f"{disk[name]:.1f}")
    CONSOLE.print(table)


def training(options: SpeedOptions) -> None:
    """Seconds of the parts of a training step."""
    size, batch = options.train_size, options.batch
    generator = generator_of(options, options.domains).train()
    discriminator = PatchDiscriminator().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    vgg = random_vgg()
    x = torch.rand(batch, 3, size, size).contiguous(memory_format=torch.channels_last) * 2 - 1
    sym = torch.full((batch, options.domains), 1 / options.domains)
    bf16 = torch.autocast("cpu", torch.bfloat16)

    def of_generator() -> None:
        with bf16:
            out = generator(x, sym)
        out.square().mean().backward()

    def of_discriminator() -> None:
        with bf16:
            scores = discriminator(torch.cat([x, x]))
        scores.square().mean().backward()

    def of_features() -> None:
        output = x.clone().requires_grad_()
        with bf16:
            seen = Perception(vgg(output))
            with torch.no_grad():
                vgg(x, upto="relu2_2")
            loss = sum(seen.gram(layer).square().mean() for layer in seen.features)
        loss.backward()

    parts: dict[str, Callable[[], object]] = {
        "generator": of_generator,
        "discriminator": of_discriminator,
        "VGG-16": of_features,
    }
    seconds = medians(parts, options.rounds)
    table = Table(title=f"a training step, {batch} photos at {size} px, bf16, forward and backward")
    for column in ("", "ms", "images/s alone"):
        table.add_column(column, justify="right")
    for name, value in seconds.items():
        table.add_row(name, f"{1e3 * value:.0f}", f"{batch / value:.1f}")
    CONSOLE.print(table)


def random_vgg() -> VGG16Features:
    """Returns a trunk of VGG-16's shape; only its speed is looked at."""
    widths = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512]
    names = ["1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3", "4_1", "4_2", "4_3"]
    weights = {}
    for name, a, b in zip(names, widths[:-1], widths[1:], strict=True):
        weights[f"conv{name}.weight"] = torch.randn(b, a, 3, 3) / (3 * a**0.5)
        weights[f"conv{name}.bias"] = torch.zeros(b)
    return VGG16Features(weights).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def main() -> None:
    """Runs both parts."""
    options = check_options(SpeedOptions, sys.argv[1:])
    CONSOLE.print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    translation(options)
    training(options)


if __name__ == "__main__":
    main()
