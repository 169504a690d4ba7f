"""What one network for all mixtures costs: images/s, memory, disk; and where training time goes.

    python benchmarks/sgn_speed.py                  # translation and training, a few minutes
    python benchmarks/sgn_speed.py width=64 blocks=9 domains=4

The peer of translation is one generator of the same width and depth per domain, whose outputs would
be mixed: a mixture of k domains takes k passes, and k files. Variants run interleaved in one
process; figures are medians. Memory is by how much a fresh process of each kind grows. Shares of
training are differences of whole steps with and without a part. VGG-16's weights are random here:
its cost does not depend on them.
"""

import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file

from rlgen.core.cli import run_command
from rlgen.core.compose import check_options
from rlgen.core.loop import make_accelerator
from rlgen.generative.job import compose_train_config
from rlgen.generative.sgn import SGNGenerator
from rlgen.generative.sgn.training import SGNTrainer

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
    precision: str = "auto"


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


def networks_of(options: SpeedOptions, alone: bool) -> list[SGNGenerator]:
    """Returns one generator for all domains, or one for each."""
    if alone:
        return [generator_of(options, 1) for _ in range(options.domains)]
    return [generator_of(options, options.domains)]


def mixture(networks: list[SGNGenerator], x: torch.Tensor) -> torch.Tensor:
    """Returns an even mixture: of sym-parameters by one network, else of several ones' outputs."""
    with torch.inference_mode():
        d = len(networks[0].domains)
        return torch.stack([network(x, torch.full((d,), 1 / d)) for network in networks]).mean(0)


def photo_of(options: SpeedOptions) -> torch.Tensor:
    x = torch.rand(1, 3, options.size, options.size)
    return x.contiguous(memory_format=torch.channels_last) * 2 - 1


def peak_memory(options: SpeedOptions, alone: bool) -> float:
    """Returns by how many megabytes a fresh process grows to make a mixture."""
    before = _high_water()
    mixture(networks_of(options, alone), photo_of(options))
    return _high_water() - before


def _high_water() -> float:
    # getrusage would give the parent's where that was larger.
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e3


def translation(options: SpeedOptions) -> None:
    """One SGN against k networks of one domain."""
    k, x = options.domains, photo_of(options)
    sides = {"SGN": networks_of(options, False), f"{k} networks": networks_of(options, True)}
    seconds = medians(
        {name: partial(mixture, networks, x) for name, networks in sides.items()}, options.rounds
    )
    table = Table(title=f"a mixture of {k} domains, {options.size} px, width {options.width}")
    for column in ("", "images/s", "parameters", "memory, MB", "disk, MB"):
        table.add_column(column, justify="right")
    fresh = multiprocessing.get_context("spawn")
    for name, networks in sides.items():
        with ProcessPoolExecutor(1, mp_context=fresh) as process:
            memory = process.submit(peak_memory, options, name != "SGN").result()
        count = sum(p.numel() for network in networks for p in network.parameters())
        disk = sum(map(size_on_disk, networks))
        table.add_row(
            name, f"{1 / seconds[name]:.2f}", f"{count:,}", f"{memory:.0f}", f"{disk:.1f}"
        )
    CONSOLE.print(table)


def training(options: SpeedOptions) -> None:
    """Whole training steps, and the shares of their parts by leaving parts out."""
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "vgg.safetensors"
        save_file(random_vgg_weights(), weights)

        def step_of(domains: str, batch: int = options.batch) -> Callable[[], object]:
            config = compose_train_config(
                [
                    "model=sgn",
                    f"domains={domains}",
                    "data.photos=synthetic:photos",
                    f"perceptual={weights}",
                    f"size={options.train_size}",
                    f"batch_size={batch}",
                    f"model.width={options.width}",
                    f"model.n_blocks={options.blocks}",
                ]
            )
            trainer = SGNTrainer(config, make_accelerator("cpu", options.precision))
            return lambda: trainer.train_step(0)

        photo, style = "photo: reconstruction", "{style: 'synthetic:night'}"
        adversarial = "{adversarial: 'synthetic:stripes'}"
        variants = {
            "all": step_of(f"{{{photo}, a: {adversarial}, b: {style}}}"),
            "no VGG-16": step_of(f"{{{photo}, a: {adversarial}, b: reconstruction}}"),
            # An adversarial domain's own images are translated too.
            "generator": step_of(
                f"{{{photo}, a: reconstruction, b: reconstruction}}", 2 * options.batch
            ),
        }
        seconds = medians(variants, options.rounds)
    whole = seconds["all"]
    shares = {
        "whole step": whole,
        "generator": seconds["generator"],
        "discriminator": seconds["no VGG-16"] - seconds["generator"],
        "VGG-16": whole - seconds["no VGG-16"],
    }
    table = Table(
        title=f"training, {options.batch} photos at {options.train_size} px, {options.precision}, "
        "an adversarial and a style domain"
    )
    for column in ("", "ms", "share", "images/s"):
        table.add_column(column, justify="right")
    for name, value in shares.items():
        speed = f"{options.batch / value:.1f}" if name == "whole step" else ""
        table.add_row(name, f"{1e3 * value:.0f}", f"{100 * value / whole:.0f} %", speed)
    CONSOLE.print(table)


def random_vgg_weights() -> dict[str, torch.Tensor]:
    """Returns weights of VGG-16's shape; only its speed is looked at."""
    widths = [3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512]
    names = ["1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3", "4_1", "4_2", "4_3"]
    weights = {}
    for name, a, b in zip(names, widths[:-1], widths[1:], strict=True):
        weights[f"conv{name}.weight"] = torch.randn(b, a, 3, 3) / (3 * a**0.5)
        weights[f"conv{name}.bias"] = torch.zeros(b)
    return weights


def main(arguments: list[str]) -> int:
    """Runs both parts."""
    options = check_options(SpeedOptions, arguments)
    CONSOLE.print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    translation(options)
    training(options)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, lambda: __doc__, None))
