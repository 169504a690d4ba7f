"""``python -m rlgen.evaluate RUN``: score a trained agent, and film it."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlgen.core.cli import run_command
from rlgen.core.errors import UserError

HELP = """usage: python -m rlgen.evaluate RUN [key=value ...]

  RUN                     a run folder, a folder of runs (the newest is taken), or latest
  episodes=10             episodes to play
  video=true              write one episode to RUN/video/evaluation.mp4
  deterministic=false     take the most probable action instead of sampling
  which=best|last         the best model by evaluation, or the last checkpoint
  seed=0  max_steps=null  seed of the evaluation; steps after which an episode is cut
  indicators=true         of agents with options: what each option does, in tables and pictures,
                          in RUN/options; a video has the options of its last steps below it
  record_steps=10000      steps on which indicators are computed

A gated agent plays with the gates of its elite; the same weights with all gates open are scored
beside it. Atari games begin with up to 30 no-ops and run over all lives.

example: python -m rlgen.evaluate latest episodes=20 video=true"""


@dataclass
class EvaluateOptions:
    """Options of the command; see ``HELP``."""

    episodes: int = 10
    video: bool = False
    deterministic: bool = False
    which: str = "best"
    seed: int = 0
    max_steps: int | None = None
    indicators: bool = False
    record_steps: int = 10_000
    run_root: str = "runs"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    return run_command(_work, lambda: HELP, argv)


def _work(arguments: list[str]) -> int:
    from rlgen.core.compose import check_options
    from rlgen.core.run import find_run, read_config

    runs = [a for a in arguments if "=" not in a]
    if len(runs) != 1:
        raise UserError(f"{len(runs)} runs are named; type one: python -m rlgen.evaluate RUN")
    options = check_options(EvaluateOptions, [a for a in arguments if "=" in a])
    if options.episodes < 1:
        raise UserError(f"episodes={options.episodes} is too small; type episodes=1 or more")
    if options.record_steps < 2:
        raise UserError(f"record_steps={options.record_steps} is too small; type 2 or more")
    if options.which not in ("best", "last"):
        raise UserError(f"which={options.which!r} is unknown; allowed: best, last")
    folder = find_run(runs[0], Path(options.run_root))
    config = {**read_config(folder), "seed": options.seed}
    if "agent" not in config:
        if "distiller" in config:
            raise UserError(f"{folder} is no agent's run; its accuracy is in {folder}/card.md")
        raise UserError(
            f"{folder} is no agent's run; make images with it: python -m rlgen.generate "
            f"model={folder}"
        )
    if options.max_steps is not None:
        config["eval_max_steps"] = options.max_steps
    _evaluate(folder, config, options)
    return 0


def _evaluate(folder: Path, config: dict[str, Any], options: EvaluateOptions) -> None:
    from rich.console import Console
    from rich.table import Table

    from rlgen.agents.build import build_agent, build_env
    from rlgen.agents.option_critic.drawings import option_bar
    from rlgen.agents.scoring import record_video, score
    from rlgen.agents.session import load_trained
    from rlgen.policy_distillation.student import build_student

    env = build_env(config, n_envs=config["n_envs"])
    try:
        model = (build_student if "distiller" in config else build_agent)(config, env)
        steps = load_trained(folder, model, options.which)
        play: dict[str, Any] = {
            "episodes": options.episodes,
            "deterministic": options.deterministic,
        }
        name = config["agent"]["name"]
        rows = {name: score(model, config, **play)}
        if options.video:
            path = folder / "video" / "evaluation.mp4"
            k = getattr(model.policy, "n_options", 0)
            record_video(
                model,
                config,
                path,
                deterministic=options.deterministic,
                decorate=option_bar(k) if k else None,
            )
        gates = getattr(model, "gates", None)
        if gates is not None:
            rows = {f"{name}, elite's gates": rows[name]}
            gates.elite.fill_(1.0)
            rows[f"{name}, all gates open"] = score(model, config, **play)
        found = _study(model, config, folder, options) if options.indicators else []
    finally:
        env.close()
    table = Table(title=f"{config['env']} after {steps:,} steps, {options.episodes} episodes")
    for column in ("agent", "mean return", "95 % interval", "min", "max", "mean length"):
        table.add_column(column, justify="left" if column == "agent" else "right")
    for label, result in rows.items():
        low, high = result.interval
        table.add_row(
            label,
            f"{result.mean:.2f}",
            f"[{low:.2f}, {high:.2f}]",
            f"{result.returns.min():.1f}",
            f"{result.returns.max():.1f}",
            f"{result.lengths.mean():.0f}",
        )
    console = Console()
    console.print(table)
    if options.video:
        console.print(f"video: {path}")
    for part in found:
        console.print(part)


def _study(model: Any, config: dict[str, Any], folder: Path, options: EvaluateOptions) -> list[Any]:
    """Computes and draws the indicators of an agent's options; returns what is printed."""
    from stable_baselines3.common.vec_env import sync_envs_normalization

    from rlgen.agents.build import build_env
    from rlgen.agents.option_critic.study import (
        record_options,
        restricted_returns,
        study_options,
    )
    from rlgen.core.run import write_text
    from rlgen.envs import resolve_env

    env = build_env(config, training=False)
    try:
        if model.get_vec_normalize_env() is not None:
            sync_envs_normalization(model.get_env(), env)
        play = {"deterministic": options.deterministic}
        record = record_options(model, env, options.record_steps, seed=options.seed, **play)
        restricted = restricted_returns(model, env, options.episodes, **play)
    finally:
        env.close()
    rooms = resolve_env(config["env"]).short == "FourRooms"
    pictures = folder / "options"
    numbers, of_options, drawn = study_options(record, pictures, rooms=rooms, seed=options.seed)
    numbers["return_all_options"] = restricted["full"]
    numbers["return_one_option"] = float(restricted["only"].mean())
    write_text(pictures / "indicators.json", json.dumps(numbers, indent=1) + "\n")
    shown = ", ".join(str(path) for path in drawn)
    tables = _option_tables(numbers, of_options, restricted)
    return [*tables, f"pictures: {shown}; figures: {pictures / 'indicators.json'}"]


def _option_tables(
    numbers: dict[str, float], of_options: dict[str, Any], restricted: dict[str, Any]
) -> list[Any]:
    from rich.table import Table

    columns = {name: values for name, values in of_options.items() if values.ndim == 1}
    columns |= {f"return {k}": restricted[k] for k in ("only", "without") if k in restricted}
    each = Table(title="each option")
    summary = Table(title="all options (entropies and informations in nats)")
    k = len(next(iter(columns.values())))
    for name in ("", *map(str, range(k))):
        each.add_column(name, justify="right" if name else "left")
    for name, values in columns.items():
        each.add_row(name.replace("_", " "), *(f"{value:.3g}" for value in values))
    summary.add_column("indicator")
    summary.add_column("value", justify="right")
    for name, value in numbers.items():
        summary.add_row(name.replace("_", " "), f"{value:.4g}")
    return [each, summary]


if __name__ == "__main__":
    sys.exit(main())
