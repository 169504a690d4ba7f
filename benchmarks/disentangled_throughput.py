"""What the model costs: steps/s of disentangled PPO against PPO.

    python benchmarks/disentangled_throughput.py                       # CartPole, HalfCheetah
    python benchmarks/disentangled_throughput.py envs=Breakout steps=2048 rounds=3
    python benchmarks/disentangled_throughput.py base=a2c critic=detached clock=cpu

Three agents learn in one process by turns, with the settings of the train command: the disentangled
one, the same policy without the model (alpha = 0: the same trunks, heads and latent), and the plain
agent, which has half the layers on vectors and one shared trunk on images. Figures are medians over
rounds, the first of which warms up. ``clock=cpu`` counts this process's own seconds, for machines
that are busy with other work.
"""

import statistics
import sys
import time
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from rlgen.agents.build import build_agent, build_env
from rlgen.agents.job import compose_train_config
from rlgen.core.cli import run_command
from rlgen.core.compose import check_options
from rlgen.core.errors import UserError, closest

CONSOLE = Console(width=110)
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


@dataclass
class ThroughputOptions:
    """Options of the benchmark."""

    envs: str = "CartPole-v1+HalfCheetah-v5"  # separated by +
    base: str = "ppo"
    steps: int = 4096
    rounds: int = 5
    critic: str = "own"
    device: str = "auto"
    precision: str = "auto"
    clock: str = "wall"


def agents(options: ThroughputOptions, env: str) -> dict[str, Any]:
    """Builds the agents as the train command does."""
    latent = ["agent=disentangled", f"agent.base={options.base}", f"agent.critic={options.critic}"]
    variants = {
        "disentangled": latent,
        "same policy, no model": [*latent, "agent.alpha=0"],
        f"plain {options.base}": [f"agent={options.base}"],
    }
    built = {}
    for name, arguments in variants.items():
        settings = [f"device={options.device}", f"precision={options.precision}"]
        config = compose_train_config([*arguments, f"env={env}", *settings])
        built[name] = build_agent(config, build_env(config))
    return built


def speeds(options: ThroughputOptions, env: str) -> dict[str, float]:
    """Returns the median steps/s of each agent."""
    clock = CLOCKS[options.clock]
    models = agents(options, env)
    seen: dict[str, list[float]] = {name: [] for name in models}
    for number in range(options.rounds + 1):
        for name, model in models.items():
            before, start = model.num_timesteps, clock()
            model.learn(options.steps, reset_num_timesteps=False)
            if number:
                seen[name].append((model.num_timesteps - before) / (clock() - start))
    return {name: statistics.median(values) for name, values in seen.items()}


def main(arguments: list[str]) -> int:
    """Runs the benchmark."""
    options = check_options(ThroughputOptions, arguments)
    if options.clock not in CLOCKS:
        raise UserError(f"clock={options.clock} is unknown; {closest(options.clock, CLOCKS)}")
    table = Table(title=f"steps/s ({options.clock} clock), critic={options.critic}")
    for column in ("environment", "disentangled", "same policy", "ratio", "plain", "ratio"):
        table.add_column(column, justify="left" if column == "environment" else "right")
    for env in options.envs.split("+"):
        ours, same, plain = speeds(options, env).values()
        cells = (f"{ours:,.0f}", f"{same:,.0f}", f"{ours / same:.2f}")
        table.add_row(env, *cells, f"{plain:,.0f}", f"{ours / plain:.2f}")
    CONSOLE.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, lambda: __doc__, None))
