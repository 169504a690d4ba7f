"""What a study leaves for its reader: ``table.md`` and ``interaction.png``."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from rlgen.distill.study.bagging import CONSISTENT, FROZEN, Spread
from rlgen.distill.study.interaction import Estimate, Interaction, compare, estimate
from rlgen.distill.study.options import NONE
from rlgen.distill.study.store import Row

Cells = dict[tuple[str, str], dict[int, float]]  # by method and technique: accuracy by seed

RULE = (
    'The rule is ours, not the paper\'s: "orthogonal" where the 95 % interval of the gain of '
    'distillation beside the technique lies above 0 and |I| <= 2 SE(I); "compatible" where only '
    'the first holds; "conflicting" otherwise, also where the seeds are too few to show a gain.'
)


@dataclass(frozen=True)
class Comparison:
    """One method with one technique, over the seeds that have all four runs."""

    method: str
    technique: str
    cells: tuple[Estimate, Estimate, Estimate, Estimate]  # base, KD, X, KD+X
    result: Interaction


def read_cells(rows: Sequence[Row]) -> Cells:
    """Sorts results of runs by method and technique."""
    cells: Cells = {}
    for row in rows:
        cell = cells.setdefault((str(row["method"]), str(row["technique"])), {})
        cell[int(row["seed"])] = float(row["accuracy"])
    return cells


def compare_all(
    cells: Cells, methods: Sequence[str], techniques: Sequence[str]
) -> list[Comparison]:
    """Compares each method with each technique; those without a whole seed are left out.

    Args:
        cells: Accuracies.
        methods: Labels, none among them.
        techniques: Labels, none among them.
    """
    found = []
    for technique, method in product(techniques, methods):
        if NONE in (technique, method):
            continue
        corners = [(NONE, NONE), (method, NONE), (NONE, technique), (method, technique)]
        four = [cells.get(corner, {}) for corner in corners]
        seeds = sorted(set.intersection(*(set(cell) for cell in four)))
        if seeds:
            base, kd, x, both = ([cell[seed] for seed in seeds] for cell in four)
            estimates = (estimate(base), estimate(kd), estimate(x), estimate(both))
            result = compare(base, kd, x, both)
            found.append(Comparison(method, technique, estimates, result))
    return found


def interaction_table(
    title: str,
    rows: Sequence[Row],
    methods: Sequence[str],
    techniques: Sequence[str],
    found: Sequence[Comparison],
) -> str:
    """Returns ``table.md`` of the interaction protocol.

    Args:
        title: What was trained on what, a line.
        rows: Results of runs.
        methods: Labels, none first.
        techniques: Labels, none first.
        found: Comparisons.
    """
    cells = read_cells(rows)
    lines = ["# Distillation beside other techniques", "", title, ""]
    lines += ["Test accuracy after the last step, per cent: mean over seeds, 95 % interval.", ""]
    lines += _head(["technique", *methods, "parameters", "zero weights", "seeds"])
    for technique in techniques:
        there = [cells.get((method, technique), {}) for method in methods]
        count = max((len(cell) for cell in there), default=0)
        if count:
            shown = [_interval(estimate(list(cell.values()))) if cell else "-" for cell in there]
            lines.append(_line([technique, *shown, *_sizes(rows, technique), str(count)]))
    lines += ["", "Gains and interaction in points of accuracy, paired by seed.", ""]
    names = ["technique X", "method", "gain_KD", "gain_X", "gain_KD beside X", "I", "SE(I)"]
    lines += _head([*names, "verdict", "seeds"])
    for each in found:
        result = each.result
        estimates = (result.gain_kd, result.gain_x, result.gain_kd_given_x, result.interaction)
        numbers = [*(_interval(e, sign="+") for e in estimates), _number(result.error)]
        verdict = [result.verdict, str(result.seeds)]
        lines.append(_line([each.technique, each.method, *numbers, *verdict]))
    return "\n".join([*lines, "", RULE, ""])


def bagging_table(title: str, rows: Sequence[Row], spreads: Mapping[str, Sequence[Spread]]) -> str:
    """Returns ``table.md`` of the bagging protocol.

    Args:
        title: What was trained on what, a line.
        rows: Results of trainings.
        spreads: By method, one of each seed whose members are all there.
    """
    lines = ["# Distillation as bagging", "", title, ""]
    lines += ["Students on bootstrap resamples: mean over seeds, 95 % interval.", ""]
    names = ["method", "variance of logits", "variance of probabilities"]
    lines += _head([*names, "member, %", "ensemble, %", "gain of the ensemble", "seeds"])
    for method, of_seeds in spreads.items():
        if of_seeds:
            columns = zip(
                *((s.logit_variance, s.probability_variance) for s in of_seeds), strict=True
            )
            shown = [_interval(estimate(column), digits=4) for column in columns]
            accuracy = ([s.member for s in of_seeds], [s.ensemble for s in of_seeds])
            shown += [_interval(estimate(values)) for values in accuracy]
            shown.append(_interval(estimate([s.gain for s in of_seeds]), sign="+"))
            lines.append(_line([method, *shown, str(len(of_seeds))]))
    parts = {part: _by_seed(rows, part) for part in (CONSISTENT, FROZEN)}
    lines += ["", "KD on changed pictures: whose labels the teacher gives.", ""]
    lines += _head(["teacher's labels", "accuracy, %", "seeds"])
    for part, meaning in ((CONSISTENT, "p_T(x + delta)"), (FROZEN, "p_T(x)")):
        if parts[part]:
            values = list(parts[part].values())
            cell = [f"{part}, {meaning}", _interval(estimate(values)), str(len(values))]
            lines.append(_line(cell))
    common = sorted(set(parts[CONSISTENT]) & set(parts[FROZEN]))
    if common:
        gains = [parts[CONSISTENT][seed] - parts[FROZEN][seed] for seed in common]
        lines.append(_line(["difference", _interval(estimate(gains), sign="+"), str(len(common))]))
    lines += ["", "The claim predicts lower variance, a lower gain of the ensemble with "]
    lines[-1] += "distillation, and a difference above 0."
    return "\n".join([*lines, ""])


def draw_interactions(found: Sequence[Comparison], path: Path) -> None:
    """Draws accuracy without and with each technique, a line per method; parallel is additive.

    Args:
        found: Comparisons, one or more.
        path: The PNG file.
    """
    from matplotlib.figure import Figure  # no pyplot: no global state, no display

    techniques = list(dict.fromkeys(each.technique for each in found))
    figure = Figure(figsize=(2.6 * len(techniques) + 0.8, 3.2), layout="constrained")
    panels = figure.subplots(1, len(techniques), sharey=True, squeeze=False)[0]
    for axes, technique in zip(panels, techniques, strict=True):
        here = [each for each in found if each.technique == technique]
        base, _, alone, _ = here[0].cells
        _draw_line(axes, 0, NONE, base, alone)
        for number, each in enumerate(here, 1):
            _draw_line(axes, number, each.method, each.cells[1], each.cells[3])
        axes.set_title(technique, fontsize=9)
        axes.set_xticks([0, 1], ["without", "with"])
        axes.set_xlim(-0.3, 1.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("test accuracy, %")
    panels[0].legend(frameon=False, fontsize=8)
    temporary = path.with_name(f".{path.name}")
    figure.savefig(temporary, dpi=120, format="png")
    temporary.replace(path)


def _draw_line(axes, number: int, label: str, first: Estimate, second: Estimate) -> None:  # type: ignore[no-untyped-def]
    shift = 0.03 * number  # intervals beside each other
    halves = [0.0 if math.isnan(e.half) else e.half for e in (first, second)]
    places, means = [shift, 1 + shift], [first.mean, second.mean]
    axes.errorbar(
        places, means, halves, marker="o", ms=4, capsize=3, color=f"C{number}", label=label
    )


def _by_seed(rows: Sequence[Row], part: str) -> dict[int, float]:
    return {int(row["seed"]): float(row["accuracy"]) for row in rows if row["part"] == part}


def _sizes(rows: Sequence[Row], technique: str) -> tuple[str, str]:
    """Returns parameters and zero weights of a technique's networks."""
    here = [row for row in rows if row["technique"] == technique]
    counts = sorted({int(row["zero_weights"]) for row in here})
    ends = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    return f"{int(here[0]['parameters']):,}", ends


def _head(names: Sequence[str]) -> list[str]:
    return [_line(names), _line(["---"] * len(names))]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _interval(value: Estimate, sign: str = "", digits: int = 2) -> str:
    half = "" if math.isnan(value.half) else f" ± {value.half:.{digits}f}"
    return f"{value.mean:{sign}.{digits}f}{half}"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"
