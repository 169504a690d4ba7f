"""Steps per second of our road against SB3's, in interleaved runs on one machine.

    python benchmarks/rl_throughput.py                        # everything, about 15 minutes
    python benchmarks/rl_throughput.py sections=stepping+cartpole rounds=5

Peers: SB3's own PPO, A2C and ``make_atari_env`` with the better of its two vector environments, and
envpool for stepping. All variants of a section live in one process; each round runs every variant
once, and the figures are medians over rounds, so that a busy moment hits all of them alike.

Atari: 8 environments, 128 steps, minibatches of 256, 4 epochs. A step is an agent's step, four
frames of the emulator. "Floor" is native stepping alone plus the products of the network alone
(convolutions and linear layers, forward and backward, nothing else), measured in the same process.
"""

import gc
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rlgen.core.cli import share_the_cores

share_the_cores()  # as the training command does, for our road and the peers', before torch loads

# ruff: noqa: E402
import numpy as np
import stable_baselines3 as sb3
import torch
from rich.console import Console
from rich.table import Table
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import SubprocVecEnv, VecFrameStack
from torch.nn import functional as F

from rlgen.agents import A2C, G2AC, G2PPO, PPO
from rlgen.core.cli import run_command
from rlgen.core.compose import check_options
from rlgen.core.device import bf16_pays, torch_threads
from rlgen.core.errors import UserError, closest
from rlgen.envs import make_vec
from rlgen.envs.make import make_atari_sb3

ATARI = {
    "n_steps": 128,
    "batch_size": 256,
    "n_epochs": 4,
    "learning_rate": 2.5e-4,
    "clip_range": 0.1,
    "ent_coef": 0.01,
}
ZOO_CARTPOLE = {
    "n_steps": 32,
    "batch_size": 256,
    "n_epochs": 20,
    "gamma": 0.98,
    "gae_lambda": 0.8,
    "learning_rate": 1e-3,
}
CONSOLE = Console(width=110)


@dataclass
class ThroughputOptions:
    """Options of the benchmark."""

    sections: str = "stepping+ppo+a2c+cartpole"
    rounds: int = 7
    game: str = "Breakout"
    steps: int = 2048
    device: str = "cpu"


Variant = Callable[[int], None]  # runs about so many steps


def measure(variants: dict[str, Variant], rounds: int, steps: dict[str, int]) -> dict[str, float]:
    """Returns the median steps/s of each variant over interleaved rounds, after one to warm up."""
    rates: dict[str, list[float]] = defaultdict(list)
    for number in range(rounds + 1):
        for name, run in variants.items():
            start = time.perf_counter()
            run(steps[name])
            rate = steps[name] / (time.perf_counter() - start)
            if number:
                rates[name].append(rate)
    return {name: statistics.median(values) for name, values in rates.items()}


def show(title: str, rates: dict[str, float], peer: str) -> None:
    """Prints rates and their ratio to a peer."""
    table = Table(title=title)
    table.add_column("variant")
    table.add_column("steps/s", justify="right")
    table.add_column(f"ratio to {peer}", justify="right")
    for name, rate in rates.items():
        table.add_row(name, f"{rate:,.0f}", f"{rate / rates[peer]:.2f}")
    CONSOLE.print(table)


def learner(model: Any) -> Variant:
    """Continues the training of a model."""
    return lambda steps: model.learn(steps, reset_num_timesteps=False)


def atari_subproc(game: str) -> VecFrameStack:
    """SB3's Atari road in one process per environment."""
    import ale_py
    from stable_baselines3.common.env_util import make_atari_env

    assert ale_py  # its import registers the games in the worker processes
    vec = make_atari_env(
        f"ale_py:ALE/{game}-v5",
        8,
        vec_env_cls=SubprocVecEnv,
        env_kwargs={"frameskip": 1, "repeat_action_probability": 0.0},
    )
    return VecFrameStack(vec, n_stack=4)


def stepper(env: Any, n_actions: int) -> Variant:
    """Steps an SB3 vector environment with random actions."""
    env.reset()
    generator = np.random.default_rng(0)

    def run(steps: int) -> None:
        for _ in range(steps // 8):
            env.step(generator.integers(n_actions, size=8))

    return run


def stepping(options: ThroughputOptions) -> None:
    """Environment stepping alone."""
    game = options.game
    envs: dict[str, Any] = {
        "SB3 DummyVecEnv": make_atari_sb3(f"ALE/{game}-v5", 8, True),
        "SB3 SubprocVecEnv": atari_subproc(game),
        "rlgen make_vec": make_vec(game, 8, seed=0),
    }
    try:
        import envpool

        pool = envpool.make_gymnasium(f"{game}-v5", num_envs=8, num_threads=2, episodic_life=True)
        envs["envpool, 2 threads"] = pool
    except ImportError:
        CONSOLE.print("envpool is not installed: pip install -e '.[benchmark]'")
    n_actions = int(envs["rlgen make_vec"].action_space.n)
    variants = {name: stepper(env, n_actions) for name, env in envs.items()}
    rates = measure(variants, options.rounds, dict.fromkeys(variants, 4000))
    show(f"stepping, {game}, 8 environments", rates, best_of(rates, "SB3"))
    for env in envs.values():
        env.close()


def best_of(rates: dict[str, float], prefix: str) -> str:
    """Returns the fastest variant whose name begins so."""
    return max((name for name in rates if name.startswith(prefix)), key=lambda name: rates[name])


def atari(options: ThroughputOptions, family: str) -> None:
    """PPO or A2C on Atari."""
    game, device = options.game, options.device
    plain, ours, gated = (sb3.PPO, PPO, G2PPO) if family == "ppo" else (sb3.A2C, A2C, G2AC)
    n_envs = 8 if family == "ppo" else 16
    kwargs: dict[str, Any] = ATARI if family == "ppo" else {"ent_coef": 0.01}
    models: dict[str, Any] = {
        f"SB3 {plain.__name__}, DummyVecEnv": plain(
            "CnnPolicy", make_atari_sb3(f"ALE/{game}-v5", n_envs, True), device=device, **kwargs
        ),
    }
    if family == "ppo":
        models["SB3 PPO, SubprocVecEnv"] = plain(
            "CnnPolicy", atari_subproc(game), device=device, **kwargs
        )
    for precision in ("fp32", "bf16"):
        for algorithm, more in ((ours, {}), (gated, {"population_size": 64})):
            models[f"rlgen {algorithm.__name__}, {precision}"] = algorithm(
                "CnnPolicy",
                make_vec(game, n_envs, seed=0),
                precision=precision,
                seed=0,
                device=device,
                **kwargs,
                **more,
            )
    variants = {name: learner(model) for name, model in models.items()}
    rates = measure(variants, options.rounds, dict.fromkeys(variants, options.steps))
    show(f"{family.upper()} on {game}, {n_envs} environments", rates, best_of(rates, "SB3"))
    if family == "ppo":
        for precision in ("fp32", "bf16"):
            parts(models[f"rlgen PPO, {precision}"], rates[f"rlgen PPO, {precision}"], precision)
    for model in models.values():
        model.env.close()
    gc.collect()


def parts(model: Any, rate: float, precision: str) -> None:
    """Prints where the time of our PPO goes, and the distance to the floor."""
    spent: dict[str, float] = defaultdict(float)
    timed(model.env, "step", spent, "environment")
    timed(model.network, "act", spent, "acting")
    timed(model, "train", spent, "update")
    start = time.perf_counter()
    model.learn(4096, reset_num_timesteps=False)
    total = time.perf_counter() - start
    spent["rest (storing, advantages, callbacks)"] = total - sum(spent.values())
    for owner, name in ((model.env, "step"), (model.network, "act"), (model, "train")):
        delattr(owner, name)
    shares = ", ".join(f"{name} {100 * seconds / total:.0f} %" for name, seconds in spent.items())
    floor = stepping_seconds(model.env) + product_seconds(model)
    CONSOLE.print(
        f"{precision}: {shares}; floor {1e3 * floor:.2f} ms per step ({1 / floor:,.0f} steps/s), "
        f"reached {100 * rate * floor:.0f} % of it"
    )


def timed(owner: Any, name: str, spent: dict[str, float], part: str) -> None:
    """Adds the time of a method to a part, until the attribute is deleted."""
    method = getattr(owner, name)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        try:
            return method(*args, **kwargs)
        finally:
            spent[part] += time.perf_counter() - start

    setattr(owner, name, wrapper)


def stepping_seconds(env: Any) -> float:
    """Returns the seconds of one step of one environment, the native environment alone."""
    native = env.env.env  # below GymVecEnv and the FIRE wrapper
    actions = np.zeros(env.num_envs, dtype=np.int64)
    rates = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(100):
            native.step(actions)
        rates.append((time.perf_counter() - start) / (100 * env.num_envs))
    return statistics.median(rates)


def product_seconds(model: Any) -> float:
    """Returns the seconds per step of the network's products, in acting and in all epochs."""
    packed = model.network.packed
    weights = [w.detach().requires_grad_() for w in packed.weights()]
    layers = list(zip(weights[::2], weights[1::2], strict=True))

    def products(batch: int, backward: bool) -> float:
        x = torch.rand(batch, *packed.packed_shape, device=model.device).to(packed.dtype)
        inputs, h = [], x.permute(0, 3, 1, 2)
        strides: list[Any] = [1, (2, 1), 1]
        with torch.no_grad():
            for (weight, bias), stride in zip(layers[:3], strides, strict=True):
                inputs.append(h)
                h = F.conv2d(h, weight, bias, stride=stride)
                if len(inputs) == 1:  # pairs of columns, as the fast network reads them
                    h = h.permute(0, 2, 3, 1).unflatten(2, (-1, 2)).flatten(3)
                    h = h.permute(0, 3, 1, 2)
            inputs.append(h.flatten(1))
        total = 0.0
        for k, ((weight, bias), x_in) in enumerate(zip(layers, inputs, strict=True)):
            operand = x_in.detach().requires_grad_(backward and k > 0)  # pixels need no gradient
            with torch.set_grad_enabled(backward):
                start = time.perf_counter()
                if k < 3:
                    out = F.conv2d(operand, weight, bias, stride=strides[k])
                else:
                    out = F.linear(operand, weight, bias)
                total += time.perf_counter() - start
            if backward:
                gradient = torch.ones_like(out)
                start = time.perf_counter()
                out.backward(gradient)
                total += time.perf_counter() - start
        return total

    update = statistics.median(products(model.batch_size, True) for _ in range(9))
    act = statistics.median(products(model.n_envs, False) for _ in range(50))
    return update * model.n_epochs / model.batch_size + act / model.n_envs


def cartpole(options: ThroughputOptions) -> None:
    """PPO on CartPole, SB3's defaults and the Zoo's settings; one torch thread for both."""
    for title, n_envs, kwargs in (
        ("SB3's defaults, 1 environment", 1, {}),
        ("the Zoo's settings, 8 environments", 8, ZOO_CARTPOLE),
    ):
        models = {
            "SB3 PPO": sb3.PPO(
                "MlpPolicy", make_vec_env("CartPole-v1", n_envs, seed=0), device="cpu", **kwargs
            ),
            "rlgen PPO": PPO(
                "MlpPolicy", make_vec("CartPole-v1", n_envs, seed=0), device="cpu", **kwargs
            ),
            "rlgen G2PPO": G2PPO(
                "MlpPolicy", make_vec("CartPole-v1", n_envs, seed=0), device="cpu", **kwargs
            ),
        }
        variants = {name: learner(model) for name, model in models.items()}
        with torch_threads(1):
            rates = measure(variants, options.rounds, dict.fromkeys(variants, 4096))
        show(f"PPO on CartPole-v1, {title}", rates, "SB3 PPO")


def main(arguments: list[str]) -> int:
    """Runs the chosen sections."""
    options = check_options(ThroughputOptions, arguments)
    sections: dict[str, Callable[[ThroughputOptions], None]] = {
        "stepping": stepping,
        "ppo": lambda given: atari(given, "ppo"),
        "a2c": lambda given: atari(given, "a2c"),
        "cartpole": cartpole,
    }
    wanted = options.sections.split("+")
    for name in wanted:
        if name not in sections:
            raise UserError(f"sections: unknown section {name!r}; {closest(name, sections)}")
    CONSOLE.print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, device {options.device}, "
        f"bf16 pays on this CPU: {bf16_pays()}"
    )
    for name in wanted:
        sections[name](options)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, lambda: __doc__, None))
