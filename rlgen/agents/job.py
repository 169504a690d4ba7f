"""The training job of an agent: its options, its configuration, its session.

Heavy libraries are imported where they are used, so that ``--help`` and mistakes answer at once.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlgen.core.errors import UserError, closest

if TYPE_CHECKING:  # they bring torch, which --help does not need
    from rlgen.core.job import Once, Session

# What agent=g2n is, where it is not G2PPO: the base that measured better; see docs/methods/g2n.md.
G2N_BASE = {"atari": "g2ac"}
# What agent=disentangled stands on, where it is not PPO: the paper's choice.
DISENTANGLED_BASE = {"atari": "a2c"}
BASES = ("ppo", "a2c", "random")


@dataclass
class TrainOptions:
    """Options of every training run; an agent's own are under ``agent.``.

    Attributes:
        agent: The agent's options.
        env: Environment: Breakout, ALE/Breakout-v5, CartPole-v1, my_package:MyEnv-v0 ...
        env_kwargs: Keyword arguments of the environment.
        backend: How copies are stepped: auto, native, sync, async, sb3.
        n_envs: Copies of the environment.
        total_timesteps: Environment steps of the whole run.
        seed: Seed of everything random.
        device: auto, cpu, cuda, cuda:1 ...
        precision: auto, fp32, bf16; of convolutional networks.
        threads: Torch threads; null for the right number.
        run_root: Folder of all runs.
        run_dir: Folder of this run; null for a new one under run_root.
        resume: latest, or a run folder, to go on with it.
        preset: full, or smoke: a short run that leaves everything a real one does.
        log_every: Updates between rows of progress.csv; null for SB3's own.
        checkpoint_every: Environment steps between checkpoints.
        eval_every: Environment steps between evaluations; 0 for none.
        eval_episodes: Episodes of an evaluation.
        eval_deterministic: Whether evaluations take the most probable action.
        eval_max_steps: Steps after which an evaluation episode is cut; null for never.
        video: Whether a video of the final agent is made.
        video_steps: Its longest length, in steps.
    """

    agent: Any = None
    env: str = "Breakout"
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    backend: str = "auto"
    n_envs: int = 8
    total_timesteps: int = 1_000_000
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    run_root: str = "runs"
    run_dir: str | None = None
    resume: str | None = None
    preset: str = "full"
    log_every: int | None = None
    checkpoint_every: int = 50_000
    eval_every: int = 100_000
    eval_episodes: int = 10
    eval_deterministic: bool = False
    eval_max_steps: int | None = None
    video: bool = True
    video_steps: int = 2000


def compose_train_config(arguments: Sequence[str]) -> dict[str, Any]:
    """Composes the configuration of a new run from the groups and the user's arguments.

    The agent's base and the environment's family decide which default settings apply.

    Args:
        arguments: ``key=value`` items as typed.

    Raises:
        UserError: If an argument is wrong.
    """
    from rlgen.agents.options import SCHEMAS
    from rlgen.core.compose import CONF, compose_config, given, load_yaml, options
    from rlgen.envs.names import resolve_env

    schemas = {"train_schema": TrainOptions, **SCHEMAS}
    typed = given(arguments)
    preset = typed.get("preset", "full")
    family = resolve_env(typed.get("env", TrainOptions.env)).family
    if typed.get("agent", "g2n") == "g2n":
        others = [argument for argument in arguments if not argument.startswith("agent=")]
        arguments = [f"agent={G2N_BASE.get(family, 'g2ppo')}", *others]
    if typed.get("agent") == "disentangled":
        arguments = _on_its_base(arguments, typed.get("agent.base"), family)
    plain = compose_config("train", [a for a in arguments if a.startswith("agent=")], schemas)
    base, gated = plain["agent"]["base"], "population_size" in plain["agent"]
    groups = [f"settings/{base}={family}"] + ([f"settings/gates={family}"] if gated else [])
    if "latent_dim" in plain["agent"] and base != "random":  # whose settings are its own alone
        groups.append(f"settings/latent={family}")
    if preset not in options("presets"):
        raise UserError(f"unknown preset {preset!r}; {closest(preset, options('presets'))}")
    sections = load_yaml(CONF / "presets" / f"{preset}.yaml")
    wanted = ["all", base, *(["gates"] if gated else [])]
    short = [f"{k}={v}" for name in wanted for k, v in sections.get(name, {}).items()]
    return compose_config("train", [*groups, *short, *arguments], schemas)


def _on_its_base(arguments: Sequence[str], base: str | None, family: str) -> list[str]:
    """Returns arguments with ``agent=disentangled`` as the agent of a base."""
    base = base or DISENTANGLED_BASE.get(family, "ppo")
    if base not in BASES:
        raise UserError(f"agent.base={base} is unknown; {closest(base, BASES)}")
    others = [a for a in arguments if not a.startswith(("agent=", "agent.base="))]
    return [f"agent=disentangled_{base}", *others]


def job_name(config: dict[str, Any]) -> str:
    """Returns the name of the folder that holds runs of this agent on this environment."""
    from rlgen.envs.names import resolve_env

    return f"{config['agent']['name']}-{resolve_env(config['env']).short}"


def check_config(config: dict[str, Any]) -> None:
    """Checks sizes that the types of the options leave open.

    Raises:
        UserError: If a value is wrong, or the configuration is not that of an agent's run.
    """
    absent = sorted({f.name for f in fields(TrainOptions)} - set(config))
    if absent or not isinstance(config["agent"], dict):
        raise UserError(f"config.yaml is not that of a training run: {' '.join(absent) or 'agent'}")
    least = {"total_timesteps": 1, "n_envs": 1, "checkpoint_every": 1, "eval_every": 0}
    least |= {"eval_episodes": 1, "video_steps": 1, "seed": 0}
    least |= {"eval_max_steps": 1, "threads": 1, "log_every": 1}  # these may be null
    for key, smallest in least.items():
        if config[key] is not None and config[key] < smallest:
            raise UserError(f"{key}={config[key]} is too small; type {key}={smallest} or more")
    if any(width < 1 for width in config["agent"].get("net_arch") or []):
        raise UserError("agent.net_arch holds widths, 1 or more each, such as [64,64]")
    if (config["threads"] or 1) > (os.cpu_count() or 1):
        raise UserError(f"threads={config['threads']} is more than the {os.cpu_count()} cores here")


@contextlib.contextmanager
def opened(config: dict[str, Any]) -> "Iterator[tuple[Callable[[Path], Session], Once]]":
    """Builds environment and agent; inside the block a run folder makes a session of them.

    Yields:
        What makes the session, and what does something once for all processes of the run: here
        there is one.

    Raises:
        UserError: If they do not fit each other.
    """
    from rlgen.agents.build import build_agent, build_env
    from rlgen.agents.session import TrainingSession

    env = build_env(config)
    try:
        model = build_agent(config, env)
        yield lambda folder: TrainingSession(folder, config, env, model), lambda work: work()
    finally:
        env.close()
