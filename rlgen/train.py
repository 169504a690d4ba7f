"""``python -m rlgen.train agent=g2n env=Breakout``: one door to every training job.

Heavy libraries are imported where they are used, so that ``--help`` and mistakes answer at once.
"""

import errno
import os
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from rlgen.core.cli import EXIT_INTERRUPTED, RunFailed, run_command, tell
from rlgen.core.errors import NonFiniteLossError, UserError, closest


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


HELP = """usage: python -m rlgen.train [-m] [key=value ...]

  agent=g2n|g2ppo|g2ac|ppo|a2c   the learner (g2n: genetic-gated PPO)
  env=Breakout                   any Atari game, Gymnasium id, or module:Id-v0
  total_timesteps=1_000_000  seed=0  n_envs=8  device=auto  precision=auto|fp32|bf16
  run_dir=PATH                   instead of a new folder under runs/
  resume=latest|PATH             go on with a run
  preset=smoke                   a minute-long run that leaves everything a real one does
  agent.KEY=VALUE                an option of the agent, such as agent.learning_rate=1e-3
  -m                             sweep: seed=0,1,2 or 'seed=range(0,5)', one run after another

examples:
  python -m rlgen.train agent=g2n env=Breakout
  python -m rlgen.train agent=g2ac env=CartPole-v1 total_timesteps=200_000 seed=1
  python -m rlgen.train -m agent=ppo,g2ppo env=MinAtar/Breakout-v1 'seed=range(0,5)'
  python -m rlgen.train resume=latest total_timesteps=20_000_000

all options: {options}
options of g2ppo (under agent.): {agent_options}
a run leaves config.yaml, progress.csv, episodes.csv, TensorBoard events, checkpoints/, best/,
learning_curve.png, video/ and card.md; see also: python -m rlgen evaluate --help, plot --help"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code: 0, 1 (failed), 2 (user's mistake) or 130."""
    return run_command(_work, _help, argv)


def _help() -> str:
    from rlgen.agents.options import G2PPOOptions

    return HELP.format(
        options=" ".join(f.name for f in fields(TrainOptions)),
        agent_options=" ".join(f.name for f in fields(G2PPOOptions)),
    )


def _work(arguments: list[str]) -> int:
    from rlgen.core.compose import expand_sweep

    sweep = [a for a in arguments if a in ("-m", "--multirun")]
    arguments = [a for a in arguments if a not in sweep]
    jobs = expand_sweep(arguments)
    if len(jobs) > 1 and not sweep:
        raise UserError(f"{len(jobs)} runs are asked for; add -m to run them one after another")
    for number, job in enumerate(jobs, start=1):
        if sweep:
            tell(f"run {number} of {len(jobs)}: {' '.join(job)}")
        code = _train(job)
        if code:
            return code
    return 0


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
    plain = compose_config("train", [a for a in arguments if a.startswith("agent=")], schemas)
    base, gated = plain["agent"]["base"], "population_size" in plain["agent"]
    family = resolve_env(typed.get("env", TrainOptions.env)).family
    groups = [f"settings/{base}={family}"] + ([f"settings/gates={family}"] if gated else [])
    if preset not in options("presets"):
        raise UserError(f"unknown preset {preset!r}; {closest(preset, options('presets'))}")
    sections = load_yaml(CONF / "presets" / f"{preset}.yaml")
    wanted = ["all", base, *(["gates"] if gated else [])]
    short = [f"{k}={v}" for name in wanted for k, v in sections.get(name, {}).items()]
    return compose_config("train", [*groups, *short, *arguments], schemas)


def _train(arguments: list[str]) -> int:
    from rlgen.core.compose import given, update
    from rlgen.core.run import create_run, find_run, read_config
    from rlgen.envs.names import resolve_env

    typed = given(arguments)
    if typed.get("resume"):
        job = None
        if "agent" in typed and "env" in typed:
            agent = compose_train_config(arguments)["agent"]["name"]
            job = f"{agent}-{resolve_env(typed['env']).short}"
        folder = find_run(typed["resume"], Path(typed.get("run_root", "runs")), job)
        skip = ("resume=", "agent=", "env=", "run_root=", "run_dir=", "preset=")
        changes = [a for a in arguments if not a.startswith(skip)]
        config = update(read_config(folder), changes)
        _check(config)
    else:
        config = compose_train_config(arguments)
        _check(config)
        job = f"{config['agent']['name']}-{resolve_env(config['env']).short}"
        folder = Path()
    env, model = _build(config)
    if not typed.get("resume"):
        folder = create_run(
            Path(config["run_root"]), job or "", config["seed"], config, config["run_dir"]
        )
    command = f"python -m rlgen.train {shlex.join(arguments)}"
    try:
        return _learn(folder, config, env, model, command, bool(typed.get("resume")))
    finally:
        env.close()


def _check(config: dict[str, Any]) -> None:
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


def _build(config: dict[str, Any]) -> tuple[Any, Any]:
    from rlgen.agents.build import build_agent, build_env

    env = build_env(config)
    try:
        return env, build_agent(config, env)
    except BaseException:
        env.close()
        raise


def _learn(
    folder: Path, config: dict[str, Any], env: Any, model: Any, command: str, resumed: bool
) -> int:
    from rlgen.agents.callbacks import StopOnSignal
    from rlgen.agents.session import TrainingSession
    from rlgen.core.compose import to_yaml
    from rlgen.core.run import CONFIG, write_text

    session = TrainingSession(folder, config, env, model)
    if resumed:
        session.restore()
        if model.num_timesteps >= config["total_timesteps"]:
            tell(
                f"{folder} has its {model.num_timesteps:,} steps already; type "
                f"total_timesteps={2 * model.num_timesteps} to train it further"
            )
            return 0
        write_text(folder / CONFIG, to_yaml(config))  # what was changed counts from here on
    how = f"python -m rlgen.train resume={shlex.quote(str(folder))}"
    tell(f"run folder: {folder}")
    start = time.monotonic()
    try:
        with StopOnSignal() as stop:
            session.learn(stop)
            if stop.stopped:
                saved = session.checkpoints.save()
                session.draw_curve()
                where = f"saved at step {model.num_timesteps:,}" if saved else "not saved"
                tell(f"interrupted, {where}; go on with: {how}")
                return EXIT_INTERRUPTED
        session.finish(command, time.monotonic() - start)
    except NonFiniteLossError as error:
        raise RunFailed(
            f"{error}; the last good checkpoint is {session.last_checkpoint()}"
        ) from None
    except KeyboardInterrupt:
        tell(f"interrupted; go on from {session.last_checkpoint()} with: {how}")
        return EXIT_INTERRUPTED
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise RunFailed(
            f"the disk is full ({error}); the last complete checkpoint is "
            f"{session.last_checkpoint()}; make room and type: {how}"
        ) from None
    return 0


if __name__ == "__main__":
    sys.exit(main())
