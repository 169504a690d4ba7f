"""``python -m rlgen.govern RUN set=2:3.0``: steer a trained agent by its latent coordinates."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlgen.core.cli import run_command, tell
from rlgen.core.errors import UserError

HELP = """usage: python -m rlgen.govern RUN [rule ...] [key=value ...]

  RUN                     a run folder of agent=disentangled, a folder of runs, or latest

rules, in the order in which they act; coordinates and steps count from 0
  set=2:3.0               overwrite coordinate 2 with 3.0; set=2:3.0:50 does so from step 50 on
  hold=2:3.0:20           overwrite it for 20 steps; hold=2:3.0:20:50 begins at step 50
  clamp=2:-1:1.5          keep it within bounds; -inf and inf are allowed
  scale=1:0.5             multiply it
  schedule=2:0:-3:99:3    move it from -3 at step 0 to 3 at step 99
  set=2:3.0+4:-1          several of a kind

  episodes=1              episodes to play, with the rules and without them
  steps=null              steps after which an episode is cut
  video=out.mp4           film one governed episode, with the coordinates below it
  csv=out.csv             every step of the governed episodes: actions, coordinates, rewards, alarms
  sweep=2:-3:3:7          hold coordinate 2 at 7 values from -3 to 3, play the same episodes under
                          each, and rank behaviours by how monotonely they follow it
  visited=2000            steps from which the density of visited states is learnt, for alarms; kept
                          in RUN/governance; 0: no alarms
  page=true  port=7860    a web page with sliders (extra: web)
  which=best|last         the best model by evaluation, or the last checkpoint
  deterministic=false     take the most probable action instead of sampling
  seed=0  preset=smoke    seed of the episodes; smoke: all of it in seconds

example: python -m rlgen.govern latest set=2:3.0 steps=200 video=out.mp4"""

_SMOKE = {"episodes": 1, "steps": 40, "visited": 200}


@dataclass
class GovernOptions:
    """Options of the command; see ``HELP``."""

    episodes: int = 1
    steps: int | None = None
    video: str | None = None
    csv: str | None = None
    visited: int = 2000
    page: bool = False
    port: int = 7860
    which: str = "best"
    deterministic: bool = False
    seed: int = 0
    preset: str = "full"
    run_root: str = "runs"


@dataclass(frozen=True)
class _SweepRange:
    coordinate: int
    low: float
    high: float
    count: int


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    return run_command(_work, lambda: HELP, argv)


def _work(arguments: list[str]) -> int:
    from rlgen.agents.disentangled.rules import RULE_NAMES, parse_rules
    from rlgen.core.run import find_run, read_config

    keyed = [a for a in arguments if "=" in a]
    runs = [a for a in arguments if "=" not in a]
    if len(runs) != 1:
        raise UserError(f"{len(runs)} runs are named; type one: python -m rlgen.govern RUN")
    # Rules and ranges hold colons, which are not for the parser of the other options.
    rules = [a for a in keyed if a.split("=")[0] in RULE_NAMES]
    ranges = [a for a in keyed if a.startswith("sweep=")]
    options = _options([a for a in keyed if a not in rules and a not in ranges])
    parsed = [rule for text in rules for rule in parse_rules(text)]
    swept = [_sweep_range(text) for text in ranges]
    folder = find_run(runs[0], Path(options.run_root))
    config = {**read_config(folder), "seed": options.seed}
    if "agent" not in config:
        raise UserError(f"{folder} is no agent's run; name one of agent=disentangled")
    if options.steps is not None:
        config["eval_max_steps"] = options.steps
    _govern(folder, config, options, parsed, swept)
    return 0


def _options(arguments: list[str]) -> GovernOptions:
    from rlgen.core.compose import check_options
    from rlgen.core.errors import closest

    known = {*GovernOptions.__dataclass_fields__, "sweep", "set", "hold", "clamp", "scale"}
    for argument in arguments:
        key = argument.split("=")[0]
        if key not in known:
            raise UserError(f"unknown option {key}; {closest(key, [*known, 'schedule'])}")
    options = check_options(GovernOptions, arguments)
    if options.preset not in ("full", "smoke"):
        raise UserError(f"preset={options.preset!r} is unknown; allowed: full, smoke")
    if options.preset == "smoke":
        typed = {argument.split("=")[0] for argument in arguments}
        for key, value in _SMOKE.items():
            if key not in typed:
                setattr(options, key, value)
    _check(options)
    return options


def _check(options: GovernOptions) -> None:
    for key, low in (("episodes", 1), ("steps", 1), ("visited", 0), ("port", 0)):
        value = getattr(options, key)
        if value is not None and value < low:
            raise UserError(f"{key}={value} is too small; type {key}={low} or more")
    if 0 < options.visited < 50:
        raise UserError(f"visited={options.visited} is too small; type 50 or more, or 0 for none")
    if options.which not in ("best", "last"):
        raise UserError(f"which={options.which!r} is unknown; allowed: best, last")
    for key, ending in (("video", ".mp4"), ("csv", ".csv")):
        path = getattr(options, key)
        if path is not None and not path.endswith(ending):
            raise UserError(f"{key}={path} is no {ending} file; type {key}=out{ending}")


def _sweep_range(text: str) -> _SweepRange:
    fields = text.removeprefix("sweep=").split(":")
    try:
        coordinate, low, high, count = fields
        found = _SweepRange(int(coordinate), float(low), float(high), int(count))
    except ValueError:
        raise UserError(
            f"cannot read {text}; type sweep=COORDINATE:LOW:HIGH:COUNT, such as sweep=2:-3:3:7"
        ) from None
    if found.coordinate < 0 or not found.low < found.high or found.count < 3:
        raise UserError(
            f"{text} is no range; type an existing coordinate, the lower value first, and a count "
            "of 3 or more, such as sweep=2:-3:3:7"
        )
    return found


def _govern(
    folder: Path,
    config: dict[str, Any],
    options: GovernOptions,
    rules: list[Any],
    swept: list[_SweepRange],
) -> None:
    from rich.console import Console

    n_envs = min(options.episodes, config["n_envs"])
    with open_run(folder, config, which=options.which, n_envs=n_envs) as (governor, env, steps):
        governor.rules = rules
        for one in swept:
            _check_coordinate(governor, one.coordinate)
        if options.visited:
            governor.visited = _visited(governor, env, folder, options, steps)
        title = f"{config['env']} after {steps:,} steps of training"
        console = Console()
        if not console.is_terminal:
            console.width = 160  # a pipe has no width of its own
        for part in _tables(governor, env, options, swept, title):
            console.print(part)
        shown = _with_camera(config)
        _write_video(governor, shown, options)
        if options.page:
            _serve(governor, shown, options)


@contextmanager
def open_run(
    folder: Path, config: dict[str, Any], *, which: str = "best", n_envs: int = 1
) -> Iterator[tuple[Any, Any, int]]:
    """Opens a trained run for governing, and closes its environments afterwards.

    Args:
        folder: The run folder.
        config: Its configuration; ``seed`` and ``eval_max_steps`` may differ from the training's.
        which: ``best`` (by evaluation, where there is one) or ``last``.
        n_envs: Environments side by side.

    Yields:
        A governor without rules, environments for evaluation, and the steps of training.

    Raises:
        UserError: If the agent has no disentangled latents, or the run no readable checkpoint.
    """
    from stable_baselines3.common.vec_env import sync_envs_normalization

    from rlgen.agents.build import build_agent, build_env
    from rlgen.agents.disentangled.govern import Governor
    from rlgen.agents.session import load_trained

    with ExitStack() as closing:
        training = build_env(config, n_envs=config["n_envs"])
        closing.callback(training.close)
        model = build_agent(config, training)
        governor = Governor(model)
        steps = load_trained(folder, model, which)
        env = build_env(config, training=False, n_envs=n_envs)
        closing.callback(env.close)
        if model.get_vec_normalize_env() is not None:
            sync_envs_normalization(training, env)
        yield governor, env, steps


def _check_coordinate(governor: Any, coordinate: int) -> None:
    """Raises the governor's own message where a coordinate does not exist."""
    from rlgen.agents.disentangled.rules import Overwrite

    own = governor.rules
    governor.rules = [Overwrite(coordinate, 0.0)]
    governor.rules = own


def _visited(governor: Any, env: Any, folder: Path, options: GovernOptions, steps: int) -> Any:
    """Returns the density of visited latents, from the run folder where it is there already."""
    from rlgen.agents.disentangled.visited import VisitedLatents

    name = f"visited-{options.which}-{steps}-{options.visited}.safetensors"
    path = folder / "governance" / name
    if path.exists():
        try:
            return VisitedLatents.load(path)
        except UserError as error:
            tell(f"fitting anew: {error}")
    found = _fit_visited(governor, env, options)
    found.save(path)
    return found


def _fit_visited(governor: Any, env: Any, options: GovernOptions) -> Any:
    import numpy as np
    from stable_baselines3.common.utils import set_random_seed

    from rlgen.agents.disentangled.behavior import collect_latents
    from rlgen.agents.disentangled.visited import fit_visited

    own, governor.rules = governor.rules, ()
    env.seed(options.seed + 30_000)
    set_random_seed(options.seed)
    latents = collect_latents(governor, env, options.visited)
    governor.rules = own
    return fit_visited(latents, generator=np.random.default_rng(options.seed))


def _tables(
    governor: Any, env: Any, options: GovernOptions, swept: list[_SweepRange], title: str
) -> list[Any]:
    """Plays, writes the CSV file, and returns what is printed."""
    import numpy as np
    from stable_baselines3.common.utils import set_random_seed

    from rlgen.agents.disentangled.behavior import play, sweep

    rules = governor.rules
    played = {}
    for label, active in (("own actions", ()), ("governed", rules)):
        if label == "governed" and not rules:
            continue
        governor.rules = active
        env.seed(options.seed)
        set_random_seed(options.seed)
        played[label] = play(governor, env, options.episodes, deterministic=options.deterministic)
    parts = [_comparison(played, f"{title}; {_named(rules)}")]
    if options.csv is not None:
        _write_csv(played.get("governed", played["own actions"]), Path(options.csv))
        parts.append(f"steps: {options.csv}")
    for one in swept:
        values = np.linspace(one.low, one.high, one.count).tolist()
        found = sweep(
            governor,
            env,
            one.coordinate,
            values,
            options.episodes,
            seed=options.seed,
            deterministic=options.deterministic,
        )
        parts.append(_monotony(found))
    return parts


def _named(rules: Sequence[Any]) -> str:
    return " ".join(map(str, rules)) or "no rules"


def _comparison(played: dict[str, Any], title: str) -> Any:
    from rich.table import Table

    table = Table(title=title)
    table.add_column("mean over episodes")
    for label in played:
        table.add_column(label, justify="right")
    columns = [one.behaviors() for one in played.values()]
    for name in columns[0]:
        if all(name in column for column in columns):
            table.add_row(name, *(f"{column[name].mean():.4g}" for column in columns))
    table.add_row("alarms", *(f"{one.alarms.mean():.2%}" for one in played.values()))
    return table


def _monotony(found: Any, rows: int = 15) -> Any:
    from rich.table import Table

    low, high = found.values[[0, -1]]
    table = Table(
        title=f"coordinate {found.coordinate} held at {len(found.values)} values from {low:g} to "
        f"{high:g}: Spearman's rank correlation, the {rows} clearest behaviours"
    )
    heads = ("behaviour", "all episodes", "means", "weakest seed", f"at {low:g}", f"at {high:g}")
    for head in heads:
        table.add_column(head, justify="left" if head == "behaviour" else "right")
    for name, one in list(found.monotony().items())[:rows]:
        correlations = (f"{value:+.2f}" for value in (one.pooled, one.of_means, one.weakest))
        table.add_row(name, *correlations, f"{one.low:.4g}", f"{one.high:.4g}")
    return table


def _write_csv(played: Any, path: Path) -> None:
    import csv
    import io

    from rlgen.core.run import write_text

    rows, text = played.rows(), io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text.getvalue())
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from None


def _with_camera(config: dict[str, Any]) -> dict[str, Any]:
    """Lets MuJoCo's camera follow the body; by default some bodies run out of the picture."""
    from rlgen.envs import resolve_env

    if resolve_env(config["env"]).family != "mujoco":
        return config
    return {**config, "env_kwargs": {"camera_name": "track", **config["env_kwargs"]}}


def _write_video(governor: Any, config: dict[str, Any], options: GovernOptions) -> None:
    if options.video is None:
        return
    from rlgen.agents.disentangled.panel import below_frames
    from rlgen.agents.scoring import record_video

    frames = record_video(
        governor,
        config,
        Path(options.video),
        max_steps=options.steps or 2000,
        deterministic=options.deterministic,
        decorate=below_frames(governor),
    )
    tell(f"video: {options.video}, {frames} frames")


def _serve(governor: Any, config: dict[str, Any], options: GovernOptions) -> None:
    from rlgen.agents.disentangled.page import serve

    serve(governor, config, port=options.port, deterministic=options.deterministic)


if __name__ == "__main__":
    sys.exit(main())
