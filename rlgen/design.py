"""``python -m rlgen.design solve brief.toml``: find designs, look at them, compare, take them away.

Heavy libraries are imported where they are used, so that ``--help`` and mistakes answer at once.
"""

import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlgen.core.cli import EXIT_INTERRUPTED, run_command, tell
from rlgen.core.errors import UserError, closest

if TYPE_CHECKING:
    from rlgen.envs.design.solve.brief import Brief
    from rlgen.envs.design.solve.search import Appraiser, Trial
    from rlgen.envs.design.solve.solving import Pool

HELP = """usage: python -m rlgen.design COMMAND ... [key=value ...]

  solve BRIEF|TASK        search designs for a brief.toml or a task (Vessel, Stool, ...)
    agent=cem|random|RUN    cross-entropy search, random operations, or a trained agent: a run
                            folder, or latest
    count=24                designs to keep: good ones that differ
    minutes=5               how long; or evaluations=N, which gives the same designs every time
    level=normal            of a task: easy, normal, hard or open
    seed=0  out=DIR         preset=smoke: a few seconds that leave everything a real search does
  fork DESIGN.json        search on from its first operations
    keep=3                  how many of them stay; and all options of solve
    brief=BRIEF|TASK        what for, if not for what the design was made
  gallery PATH ...        one page from runs, folders of designs, design files
    out=gallery             pin=DESIGN.json|LIKED.json|NAME: first those, and what is like them
    count=60                at most so many, chosen to differ
    task=BRIEF|TASK         score all of them for this
  explain DESIGN.json     what each operation changes, and what is lost without it
    brief=BRIEF|TASK        what for, if not for what the design was made
  score MODEL ... BRIEF|TASK
                          your own .stl .obj .3mf .glb, or a design .json, against a brief
    beside=PATH out=DIR     and on a page beside the designs found there
  export DESIGN.json FILE ...
                          save as .step .stl .glb .3mf .obj .scad .py .json

solve and fork leave index.html, designs.json, card.md, construction.gif, and files/ for CAD and
printing. Ctrl-C ends a search early and keeps what it has found.

examples:
  python -m rlgen.design solve Vessel count=12 minutes=2
  python -m rlgen.design solve brief.toml agent=runs/ppo-Vessel out=cups
  python -m rlgen.design score mine.stl brief.toml beside=cups
  python -m rlgen.design export cups/files/01-cylinder-hollow.json cup.step cup.py"""

RUN_ROOT = "runs"
_SMOKE = {"evaluations": 150, "count": 4}


@dataclass
class SolveOptions:
    """Options of ``solve``."""

    agent: str = "cem"
    count: int = 24
    minutes: float | None = None
    evaluations: int | None = None
    level: str = "normal"
    seed: int = 0
    out: str | None = None
    preset: str = "full"


@dataclass
class ForkOptions(SolveOptions):
    """Options of ``fork``."""

    keep: int = 3
    brief: str | None = None


@dataclass
class GalleryOptions:
    """Options of ``gallery``."""

    out: str = "gallery"
    pin: Any = None
    count: int = 60
    task: str | None = None
    title: str = "Designs"


@dataclass
class ExplainOptions:
    """Options of ``explain``; see ``HELP``."""

    brief: str | None = None


@dataclass
class ScoreOptions:
    """Options of ``score``; see ``HELP``."""

    beside: Any = None
    out: str = "comparison"
    level: str = "normal"


@dataclass
class ExportOptions:
    """``export`` has no options."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    return run_command(_work, lambda: HELP, argv)


def _work(arguments: list[str]) -> int:
    if not arguments:
        raise UserError("no command is given; type solve, gallery, explain, fork, score or export")
    command, *rest = arguments
    if command not in _COMMANDS:
        raise UserError(f"unknown command {command!r}; {closest(command, _COMMANDS)}")
    options_class, work = _COMMANDS[command]
    options: Any
    names = [a for a in rest if "=" not in a or Path(a).exists()]
    typed = [a for a in rest if a not in names]
    if typed:
        from rlgen.core.compose import check_options

        options = check_options(options_class, typed)
    else:
        options = options_class()
    return work(names, options, f"python -m rlgen.design {shlex.join(arguments)}")


def _one(names: list[str], what: str, example: str) -> str:
    if len(names) != 1:
        raise UserError(f"{len(names)} names are given; type {what}, such as {example}")
    return names[0]


# solve and fork -------------------------------------------------------------------------------


def _solve(names: list[str], options: SolveOptions, command: str) -> int:
    from rlgen.envs.design.solve.brief import read_wanted

    text = _one(names, "one brief or task", "solve brief.toml")
    _check_search(options)
    return _search(read_wanted(text, options.level), options, command)


def _fork(names: list[str], options: ForkOptions, command: str) -> int:
    from rlgen.envs.design.solve.collection import brief_for, load_design

    path = _one(names, "one design", "fork files/01-cup.json keep=3")
    _check_search(options)
    design = load_design(path, tell)
    brief = brief_for(path, design, options.brief, options.level)
    return _search(brief.forked(design, options.keep), options, command)


def _check_search(options: SolveOptions) -> None:
    if options.preset not in ("full", "smoke"):
        raise UserError(f"preset={options.preset!r} is unknown; allowed: full, smoke")
    if options.preset == "smoke":
        options.evaluations = options.evaluations or _SMOKE["evaluations"]
        options.count = min(options.count, _SMOKE["count"])
    for name, least in (("count", 1), ("evaluations", 1), ("minutes", 1e-3), ("seed", 0)):
        value = getattr(options, name)
        if value is not None and not value >= least:
            raise UserError(f"{name}={value} is too small; type {least:g} or more")
    if options.minutes is None and options.evaluations is None:
        options.minutes = 5.0
    if options.out is not None and (Path(options.out) / "designs.json").exists():
        raise UserError(f"out={options.out} holds designs already; name another folder")


def _search(brief: "Brief", options: SolveOptions, command: str) -> int:
    from rlgen.core.interrupt import StopSignal
    from rlgen.envs.design.exhibit.showcase import make_folder
    from rlgen.envs.design.solve.search import Appraiser
    from rlgen.envs.design.solve.solving import Budget, solve
    from rlgen.envs.design.solve.watching import Watch

    appraiser = Appraiser(brief)
    trials, label = _trials(brief, options, appraiser)
    folder = make_folder(Path(options.out) if options.out else _free_folder(brief.name, label))
    tell(f"searching by {label}; designs go to {folder}")
    budget = Budget(options.evaluations, options.minutes)
    start = time.monotonic()
    with StopSignal() as stop, Watch(brief.task, folder, budget, stop) as watch:
        pool = solve(brief, trials, appraiser, budget, options.count, options.seed, watch)
        chosen = pool.choice(brief, options.count, appraiser)
    seconds = time.monotonic() - start
    if not chosen:
        raise UserError(
            f"no design scored above 0 in {pool.evaluations:,} evaluations; give it more minutes, "
            "or wish for less"
        )
    _leave(brief, folder, label, pool, chosen, (command, seconds))
    return EXIT_INTERRUPTED if stop.stopped else 0


def _trials(
    brief: "Brief", options: SolveOptions, appraiser: "Appraiser"
) -> tuple[Iterator["Trial"], str]:
    """Returns the search that ``agent=`` names, and what it is called."""
    from rlgen.envs.design.solve.search import SEARCHES, policy_search

    if options.agent in SEARCHES:
        search = SEARCHES[options.agent]
        return search(brief, options.seed, appraiser=appraiser), options.agent
    if options.agent != "latest" and not Path(options.agent).exists():
        known = closest(options.agent, [*SEARCHES, "latest"])
        raise UserError(f"agent={options.agent} is no search and no run; {known}")
    from rlgen.agents.design_policy import load_policy

    policy, kwargs, name = load_policy(options.agent, Path(RUN_ROOT), options.seed)
    return policy_search(brief, policy, options.seed, kwargs, appraiser), name


def _free_folder(name: str, label: str) -> Path:
    from rlgen.envs.design.exhibit.showcase import slug

    base = Path("designs") / f"{slug(name)}-{slug(label)}"
    tries = (base.with_name(f"{base.name}-{k}") if k > 1 else base for k in range(1, 10_000))
    return next(folder for folder in tries if not folder.exists())


def _leave(
    brief: "Brief",
    folder: Path,
    label: str,
    pool: "Pool",
    chosen: list[Any],
    ran: tuple[str, float],
) -> None:
    """Writes what a search leaves: designs, page, card."""
    from rlgen.core.run import write_text
    from rlgen.envs.design.exhibit.showcase import Exhibit, write_showcase
    from rlgen.envs.design.solve.collection import entry_of, write_list
    from rlgen.envs.design.solve.reports import card
    from rlgen.envs.design.solve.solving import ranked, short_name

    command, seconds = ran
    pairs = ranked(brief, chosen)
    names = [short_name(number, one.design) for number, (one, _) in enumerate(pairs, 1)]
    entries = [
        entry_of(one.design, brief.task, found.score, name, one.found)
        for name, (one, found) in zip(names, pairs, strict=True)
    ]
    write_list(entries, folder / "designs.json")
    exhibits = [
        Exhibit(one.design, brief, name, label) for name, (one, _) in zip(names, pairs, strict=True)
    ]
    page = write_showcase(exhibits, folder, brief.name, tell=tell)
    table = dict(zip(names, (found for _, found in pairs), strict=True))
    spent = f"{pool.evaluations:,} designs evaluated by {label} in {seconds:.1f} s"
    write_text(folder / "card.md", card(brief, table, command, spent))
    tell(
        f"{len(pairs)} of {pool.evaluations:,} designs, the best scores {pairs[0][1].score:.3f}; "
        f"see {page}"
    )


# gallery, explain, score, export --------------------------------------------------------------


def _gallery(names: list[str], options: GalleryOptions, command: str) -> int:
    from rlgen.envs.design.exhibit.showcase import write_showcase
    from rlgen.envs.design.solve.brief import read_wanted
    from rlgen.envs.design.solve.collection import chosen_of, collect, full_name, pins_of

    if not names:
        raise UserError("no folder is named; type gallery runs/... , or a folder of designs")
    if options.count < 1:
        raise UserError(f"count={options.count} is too small; type 1 or more")
    brief = None if options.task is None else read_wanted(options.task)
    exhibits = collect(names, tell, brief)
    pinned = options.pin if isinstance(options.pin, list) else [options.pin]
    pins, further = pins_of([str(pin) for pin in pinned if pin is not None], exhibits, tell, brief)
    kept = chosen_of(exhibits, options.count)
    if len(kept) < len(exhibits):
        tell(f"showing {len(kept)} of {len(exhibits)} designs; type count={len(exhibits)} for all")
    must = [one for one in exhibits if {one.name, full_name(one)} & set(pins)]
    kept += [one for one in [*must, *further] if one not in kept]
    page = write_showcase(kept, options.out, options.title, pins=pins, tell=tell)
    tell(f"{len(kept)} designs; see {page}")
    return 0


def _is_design(name: str) -> bool:
    return Path(name).suffix.lower() == ".json"


def _print(parts: Sequence[Any]) -> None:
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = 160  # a pipe has no width of its own
    for part in parts:
        console.print(part, highlight=False)


def _explain(names: list[str], options: ExplainOptions, command: str) -> int:
    from rlgen.envs.design.solve.collection import brief_for, load_design
    from rlgen.envs.design.solve.reports import explanation

    path = _one(names, "one design", "explain files/01-cup.json")
    design = load_design(path, tell)
    brief = brief_for(path, design, options.brief)
    _print(explanation(design, brief))
    return 0


def _score(names: list[str], options: ScoreOptions, command: str) -> int:
    from rlgen.envs.design.exhibit.showcase import Exhibit, foreign_item, write_showcase
    from rlgen.envs.design.export import read_mesh
    from rlgen.envs.design.solve.brief import is_wanted, read_wanted
    from rlgen.envs.design.solve.collection import brief_for, collect, load_design
    from rlgen.envs.design.solve.evaluation import evaluate_design
    from rlgen.envs.design.solve.reports import comparison

    wanted = [name for name in names if is_wanted(name)]
    models = [name for name in names if not is_wanted(name)]
    if not models or len(wanted) > 1:
        raise UserError("type a model and a brief or task, such as score mine.stl brief.toml")
    loaded: list[Any] = [
        load_design(m, tell) if m.endswith(".json") else read_mesh(m) for m in models
    ]
    if wanted:
        brief = read_wanted(wanted[0], options.level)
    elif _is_design(models[0]):
        brief = brief_for(models[0], loaded[0], None)
    else:
        raise UserError(
            f"what is {models[0]} for? type a brief or task, such as score {models[0]} Vessel"
        )
    found = [evaluate_design(model, brief) for model in loaded]
    short = [Path(model).name for model in models]
    titles = short if len(set(short)) == len(short) else models
    _print(comparison(brief, dict(zip(titles, found, strict=True))))
    if options.beside is None:
        return 0
    paths = options.beside if isinstance(options.beside, list) else [options.beside]
    exhibits = collect(map(str, paths), tell, brief)
    folder = Path(options.out)
    own = []
    for name, model in zip(models, loaded, strict=True):
        if _is_design(name):
            exhibits.append(Exhibit(model, brief, Path(name).stem, "scored"))
        else:
            own.append(foreign_item(model, brief, Path(name).stem, folder / "files", tell)[0])
    page = write_showcase(exhibits, folder, brief.name, others=own, tell=tell)
    tell(f"{len(own)} of your own beside {len(exhibits)} designs; see {page}")
    return 0


def _export(names: list[str], options: ExportOptions, command: str) -> int:
    from rlgen.envs.design.export import read_mesh, save
    from rlgen.envs.design.saving import save_design
    from rlgen.envs.design.solve.collection import load_design

    if len(names) < 2:
        raise UserError("type a design and a file to write, such as export cup.json cup.step")
    source, *targets = names
    if _is_design(source):
        design = load_design(source, tell)
        written = [save_design(design, target) for target in targets]
    else:
        mesh = read_mesh(source)
        written = [save(mesh, target) for target in targets]
    tell(f"wrote {', '.join(map(str, written))}")
    return 0


_Command = Callable[[list[str], Any, str], int]
_COMMANDS: dict[str, tuple[type, _Command]] = {
    "solve": (SolveOptions, _solve),
    "gallery": (GalleryOptions, _gallery),
    "explain": (ExplainOptions, _explain),
    "fork": (ForkOptions, _fork),
    "score": (ScoreOptions, _score),
    "export": (ExportOptions, _export),
}


if __name__ == "__main__":
    sys.exit(main())
