"""Tables in words: how models meet a brief, what operations are worth, what a search left."""

from collections.abc import Mapping

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from rlgen.envs.design.exhibit.showcase import brief_of
from rlgen.envs.design.measure.conditions import METRIC_INFO
from rlgen.envs.design.shape.history import Design
from rlgen.envs.design.solve.brief import Brief
from rlgen.envs.design.solve.evaluation import Evaluation
from rlgen.envs.design.solve.explain import contributions, leave_one_out

_NOTED = 0.05  # changes of a satisfaction below this are not worth a word


def comparison(brief: Brief, found: Mapping[str, Evaluation]) -> list[RenderableType]:
    """Returns a table of wishes over models, and what is broken.

    Args:
        brief: What is wanted.
        found: Evaluation per model.
    """
    table = Table(title=Text(f"for {brief.name}"))
    table.add_column("wish")
    for name in found:
        table.add_column(Text(name), justify="right")
    for target in brief.task.targets:
        unit = METRIC_INFO[target.metric].unit
        cells = [
            f"{e.metrics[target.metric]:.4g} {unit}  {e.satisfactions[str(target)]:4.0%}"
            for e in found.values()
        ]
        table.add_row(str(target), *cells)
    table.add_section()
    for name in ("height", "footprint", "volume"):
        if all(target.metric != name for target in brief.task.targets):
            cells = [
                f"{e.metrics[name]:.4g} {METRIC_INFO[name].unit}      " for e in found.values()
            ]
            table.add_row(name, *cells)
    table.add_section()
    table.add_row("score", *(f"{e.score:.3f}" for e in found.values()), style="bold")
    broken = [Text(f"{name}: {what}") for name, e in found.items() for what in e.broken]
    return [table, *broken]


def explanation(design: Design, brief: Brief) -> list[RenderableType]:
    """Returns a table of what each operation of a design changes and is worth.

    Args:
        design: The design.
        brief: What it is for.
    """
    table = Table(title=Text(f"what each operation is worth for {brief.name}"))
    table.add_column("", justify="right")
    table.add_column("operation")
    for name in ("change", "score", "loss without it"):
        table.add_column(name, justify="right")
    table.add_column("what it changes, and what fails without it")
    steps = contributions(design, brief)
    before: dict[str, float] = dict.fromkeys(steps[0].satisfactions, 0.0)
    pairs = zip(steps, leave_one_out(design, brief), strict=True)
    for number, (step, omission) in enumerate(pairs, 1):
        changes = [
            f"{wish.split()[0]} {share - before[wish]:+.0%}"
            for wish, share in step.satisfactions.items()
            if abs(share - before[wish]) >= _NOTED
        ]
        before = step.satisfactions
        if omission.refused:
            changes.append(f"without it refused: {', '.join(omission.refused)}")
        table.add_row(
            f"{number}{'*' if step.locked else ''}",
            step.operation,
            f"{step.change:+.3f}",
            f"{step.score:.3f}",
            f"{omission.loss:+.3f}",
            ", ".join(changes),
        )
    notes: list[RenderableType] = []
    if design.locked:
        notes.append("* belongs to the seed")
    return [table, *notes]


def card(brief: Brief, found: Mapping[str, Evaluation], command: str, spent: str) -> str:
    """Returns what a search leaves as Markdown.

    Args:
        brief: What was wanted.
        found: Evaluation per design, best first.
        command: As typed.
        spent: How much was evaluated, in words.
    """
    lines = [
        f"# Designs for {brief.name}",
        "",
        brief_of(brief.task),
        "",
        f"Command: `{command}`",
        "",
        f"- {spent}",
        "- page: `index.html`; files for CAD and printing: `files/`; film: `construction.gif`",
        "- what its operations are worth: `python -m rlgen.design explain files/NAME.json`",
        "- search on from one: `python -m rlgen.design fork files/NAME.json keep=2`",
        "",
        "| design | score | unmet wishes and limits |",
        "| --- | --- | --- |",
    ]
    for name, one in found.items():
        unmet = [f"{wish}: {share:.1%}" for wish, share in one.satisfactions.items() if share < 1]
        lines.append(f"| {name} | {one.score:.3f} | {'; '.join([*unmet, *one.broken])} |")
    return "\n".join(lines) + "\n"
