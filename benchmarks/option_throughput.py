"""What options cost: steps/s of PPOC and A2OC against our PPO and A2C.

    python benchmarks/option_throughput.py                          # CartPole, Four Rooms
    python benchmarks/option_throughput.py envs=Breakout steps=4096 # a convolutional network
    python benchmarks/option_throughput.py n_options=8 hellinger_coef=0

All four agents learn in one process by turns, with the settings of the train command; figures are
medians over rounds, the first of which warms up. One torch thread for small networks.
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

CONSOLE = Console(width=100)
PEERS = {"ppoc": "ppo", "a2oc": "a2c"}


@dataclass
class ThroughputOptions:
    """Options of the benchmark."""

    envs: str = "CartPole-v1,FourRooms"
    agents: str = "ppoc,a2oc"
    steps: int = 8192
    rounds: int = 7
    n_options: int = 4
    hellinger_coef: float = 0.05
    precision: str = "auto"


def agent(options: ThroughputOptions, name: str, env: str) -> Any:
    """Builds an agent as the train command does."""
    arguments = [f"agent={name}", f"env={env}", f"precision={options.precision}"]
    if name in PEERS:
        arguments += [f"agent.n_options={options.n_options}"]
        arguments += [f"agent.hellinger_coef={options.hellinger_coef}"]
    config = compose_train_config(arguments)
    return build_agent(config, build_env(config))


def main(arguments: list[str]) -> int:
    """Runs the benchmark."""
    options = check_options(ThroughputOptions, arguments)
    agents = options.agents.split(",")
    for name in agents:
        if name not in PEERS:
            raise UserError(f"agents: unknown agent {name!r}; {closest(name, PEERS)}")
    title = f"steps/s, K = {options.n_options}, hellinger_coef={options.hellinger_coef}"
    table = Table(title=title)
    for column in ("environment", "agent", "steps/s", "its base", "steps/s", "ratio"):
        table.add_column(column, justify="right" if "/s" in column or column == "ratio" else "left")
    for env in options.envs.split(","):
        pairs = {name: PEERS[name] for name in agents}
        models = {n: agent(options, n, env) for n in [*pairs, *pairs.values()]}
        speeds: dict[str, list[float]] = {name: [] for name in models}
        for number in range(options.rounds + 1):
            for name, model in models.items():
                before, start = model.num_timesteps, time.perf_counter()
                model.learn(options.steps, reset_num_timesteps=False)
                speed = (model.num_timesteps - before) / (time.perf_counter() - start)
                if number:
                    speeds[name].append(speed)
        for name, base in pairs.items():
            ours, theirs = (statistics.median(speeds[n]) for n in (name, base))
            table.add_row(env, name, f"{ours:,.0f}", base, f"{theirs:,.0f}", f"{ours / theirs:.2f}")
    CONSOLE.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, lambda: __doc__, None))
