"""Tables of the study of latent densities."""

from typing import Any

import numpy as np
from latent_density_plan import (
    BATCH,
    INCREMENTAL,
    PLAIN,
    RECONSTRUCTION,
    StudyOptions,
    folder_of,
    rows_of,
)
from paired_runs import cell, read_result

from rlgen.core.errors import UserError


def collect(options: StudyOptions, data: str, variant: str) -> dict[str, dict[int, dict[str, Any]]]:
    """Returns what is there, by row and seed.

    Raises:
        UserError: If results are of several settings.
    """
    found: dict[str, dict[int, dict[str, Any]]] = {}
    settings: dict[str, Any] | None = None
    for row in rows_of(options, variant):
        for seed in range(options.seeds):
            result = read_result(folder_of(options, data, variant, row, seed))
            if result is not None:
                settings = settings or result["settings"]
                if result["settings"] != settings:
                    folder = folder_of(options, data, variant, row, seed)
                    raise UserError(f"{folder} is of other settings than the rows before it")
                found.setdefault(row, {})[seed] = result
    return found


def shown(values: list[float], digits: int = 2) -> str:
    """Formats a mean with its interval, which one value has not; nothing where there is none."""
    if len(values) < 2:
        return f"{values[0]:.{digits}f}" if values else ""
    return cell(np.array(values), digits)


def digits_of(found: dict[str, dict[int, dict[str, Any]]]) -> int:
    """Returns decimals that tell the smallest distance apart: scales of feature nets differ."""
    least = min(abs(r["frechet"]["distance"]) for runs in found.values() for r in runs.values())
    return int(np.clip(2 - np.floor(np.log10(max(least, 1e-9))), 1, 6))


def report(options: StudyOptions, data: str, variant: str) -> list[str]:
    """Returns the lines of a Markdown table of what is there."""
    found = collect(options, data, variant)
    if not found:
        return [f"{data}, {variant}: nothing to report yet", ""]
    some = next(iter(next(iter(found.values())).values()))
    setting, counts = some["settings"], some["frechet"]
    lines = [
        f"{data}, {variant}: D={setting['dim']}, {setting['steps']:,} steps of {BATCH} for the "
        f"autoencoder, {setting['density_steps']:,} of {setting['density_batch_size']} for a "
        f"density; {setting['samples']:,} drawn images (fewer for reconstruction, and real where "
        f"the set is smaller) against {counts['real']:,} held-out ones; features: "
        f"{some['features']} ({counts['features']})",
        "",
        "| row | seeds | Frechet | minus lde | kernel x 1000 | precision | recall | "
        "Frechet, pixels | bits per dimension | fit, CPU s | sampling, CPU s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    digits = digits_of(found)
    lines += [line(row, found, digits) for row in found]
    return [*lines, "", *parzen_lines(found)]


def parzen_lines(found: dict[str, dict[int, dict[str, Any]]]) -> list[str]:
    """Returns a table of Parzen log-likelihoods, if there are any."""
    lines = ["| row | seeds | Parzen log-likelihood, nats | sigma |", "| --- | --- | --- | --- |"]
    for row, runs in found.items():
        scores = [result["parzen"] for result in runs.values() if "parzen" in result]
        if scores and row != RECONSTRUCTION:  # those are made of the very images that are scored
            mean = shown([score["mean"] for score in scores], 1)
            sigmas = ", ".join(
                f"{score['sigma']:g}{' (end of the grid)' * score['at_edge']}" for score in scores
            )
            lines.append(f"| `{row}` | {len(scores)} | {mean} | {sigmas} |")
    return [*lines, ""] if len(lines) > 2 else []


def line(row: str, found: dict[str, dict[int, dict[str, Any]]], digits: int) -> str:
    """Returns a row: means with 95 % bootstrap intervals; differences paired by seed."""
    runs, lde = found[row], found.get("lde", {})

    def each(group: str, key: str, factor: float = 1.0) -> list[float]:
        return [factor * r[group][key] for r in runs.values() if group in r]

    both = [seed for seed in runs if seed in lde and row != "lde"]
    gaps = [runs[s]["frechet"]["distance"] - lde[s]["frechet"]["distance"] for s in both]
    spent = [
        [r[f"{part}_cpu_seconds"] for r in runs.values() if f"{part}_cpu_seconds" in r]
        for part in ("fit", "sample")
    ]
    cells = [f"`{row}`", str(len(runs)), shown(each("frechet", "distance"), digits)]
    cells += [shown(gaps, digits), shown(each("kernel", "mean", 1e3), digits)]
    cells += [shown(each("manifold", key), 3) for key in ("precision", "recall")]
    cells += [shown(each("pixels", "distance"), 3), shown(each("bits", "mean"), 3)]
    cells += [f"{np.mean(values):.3g}" if values else "" for values in spent]
    return "| " + " | ".join(cells) + " |"


def compare(options: StudyOptions, data: str) -> list[str]:
    """Returns a table of incremental minus plain latents, paired by seed."""
    one, two = (collect(options, data, variant) for variant in (INCREMENTAL, PLAIN))
    shared = {row: sorted(one[row].keys() & two[row].keys()) for row in one if row in two}
    shared = {row: seeds for row, seeds in shared.items() if seeds}
    if not shared:
        return []
    digits = digits_of(one)
    lines = [f"{data}: Frechet distance on incremental latents minus that on plain ones", ""]
    lines += ["| row | seeds | difference |", "| --- | --- | --- |"]
    for row, seeds in shared.items():
        pairs = [[of[row][s]["frechet"]["distance"] for of in (one, two)] for s in seeds]
        gaps = [first - second for first, second in pairs]
        lines.append(f"| `{row}` | {len(seeds)} | {shown(gaps, digits)} |")
    return [*lines, ""]
