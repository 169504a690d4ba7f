"""Super-resolution distillation: bicubic, a student alone, FitNets, LSFD-style, the teacher.

    RLGEN_DATA=FOLDER python benchmarks/distill_super_resolution.py out=runs/enlarge
    python benchmarks/distill_super_resolution.py out=runs/enlarge train=false page=PAGE.md

One EDSR teacher is trained once on BSD100 and Urban100 and teaches EDSR students of every method,
three seeds each: with one seed all methods start from the same weights and see the same patches.
PSNR and SSIM on Y of Set5 and Set14 after the last step; means with 95 % bootstrap intervals over
seeds, and differences to the student alone paired by seed. Every training is a run of the train
command with one thread; what is there already is not trained anew, and what was stopped goes on.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pages import write_page
from paired_runs import call, cell
from rich.console import Console

from rlgen.core.cli import run_command
from rlgen.core.compose import check_options
from rlgen.core.run import CARD, CONFIG

CONSOLE = Console(width=120)
SETS = ("set5", "set14")
MARK = "psnr"  # of the page
METHODS = {
    "student alone": ["distiller=none"],
    "fitnets": ["distiller=fitnets"],
    "lsfd": ["distiller=lsfd"],
    "lsfd, alpha=0.5": ["distiller=lsfd", "alpha=0.5"],
}


@dataclass
class Options:
    """Options of the benchmark; steps are small enough for one CPU core."""

    out: str = "runs/enlarge"
    seeds: int = 3
    steps: int = 1000
    teacher_steps: int = 2500
    teacher: str = "edsr_small"
    student: str = "edsr_tiny"
    scale: int = 2
    batch_size: int = 8
    patch_size: int = 24
    lr: float = 1e-3
    train: bool = True
    page: str | None = None


def train(folder: Path, arguments: Sequence[str]) -> None:
    """Runs one training command, or goes on with it, unless its card is there."""
    if (folder / CARD).exists():
        return
    begun = (folder / CONFIG).exists()
    new = ["task=super_resolution", *arguments, f"run_dir={folder}"]
    call("rlgen.train", [f"resume={folder}"] if begun else new)
    CONSOLE.print(f"{folder}: {figures(folder)}")


def recipe(options: Options, steps: int) -> list[str]:
    """Returns what all trainings share."""
    return [
        "data=[bsd100,urban100]",
        f"test=[{','.join(SETS)}]",
        f"total_steps={steps}",
        f"scale={options.scale}",
        f"batch_size={options.batch_size}",
        f"patch_size={options.patch_size}",
        f"lr={options.lr}",
        "milestones=[0.5,0.7,0.9]",
        "epoch_steps=250",
        "eval_every=0",
        "threads=1",
        "device=cpu",
    ]


def figures(folder: Path) -> dict[str, dict[str, float]]:
    """Returns a run's figures: kind, then set."""
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return {kind: result[kind] for kind in ("psnr", "ssim")}


def run_all(options: Options, out: Path) -> None:
    """Trains the teacher and then, seed by seed, every method."""
    teacher = [f"student={options.teacher}", "distiller=none", "seed=100"]
    train(out / "teacher", [*teacher, *recipe(options, options.teacher_steps)])
    for seed in range(options.seeds):
        for name, method in METHODS.items():
            taught = [] if "distiller=none" in method else [f"teacher={out / 'teacher'}"]
            own = [f"student={options.student}", f"seed={seed}", *method, *taught]
            train(place(out, name, seed), [*own, *recipe(options, options.steps)])


def place(out: Path, name: str, seed: int) -> Path:
    """Returns the folder of a method's run."""
    slug = "".join(c if c.isalnum() else "-" for c in name)
    return out / f"{slug}-seed{seed}"


def bicubic(options: Options) -> dict[str, dict[str, float]]:
    """Returns the figures of bicubic enlargement."""
    from rlgen.data.bicubic import enlarge
    from rlgen.data.picture_quality import quality_on_y
    from rlgen.data.super_resolution import open_super_resolution, pixels_to_unit

    found: dict[str, dict[str, float]] = {"psnr": {}, "ssim": {}}
    for name, pictures in open_super_resolution(SETS, SETS, options.scale).tests.items():
        seen = [
            quality_on_y(
                pixels_to_unit(enlarge(low, options.scale)[None]),
                pixels_to_unit(high[None]),
                options.scale,
            )
            for _, low, high in pictures.pairs()
        ]
        found["psnr"][name], found["ssim"][name] = np.mean(seen, axis=0)
    return found


def table(options: Options, out: Path) -> str:
    """Returns the results as Markdown."""
    kinds = ("psnr", "psnr, minus alone", "ssim")
    heads = [f"{name} {kind}" for name in SETS for kind in kinds]
    lines = [f"| | seeds | {' | '.join(heads)} |", "| --- | --- |" + " --- |" * len(heads)]
    lines.append(_row("bicubic", [bicubic(options)], []))
    alone = _found(options, out, "student alone")
    for name in METHODS:
        found = _found(options, out, name)
        if found:
            lines.append(_row(name, list(found.values()), _paired(found, alone, name)))
    if (out / "teacher" / CARD).exists():
        lines.append(_row("teacher", [figures(out / "teacher")], []))
    return "\n".join(lines)


Found = dict[int, dict[str, dict[str, float]]]


def _found(options: Options, out: Path, name: str) -> Found:
    """Returns the figures of a method's finished runs by seed."""
    folders = {seed: place(out, name, seed) for seed in range(options.seeds)}
    return {seed: figures(f) for seed, f in folders.items() if (f / CARD).exists()}


def _paired(found: Found, alone: Found, name: str) -> list[dict[str, float]]:
    """Returns PSNR less that of the student alone of the same seed, by set."""
    seeds = sorted(set(found) & set(alone)) if name != "student alone" else []
    return [
        {test: found[seed]["psnr"][test] - alone[seed]["psnr"][test] for test in SETS}
        for seed in seeds
    ]


def _row(
    name: str, found: Sequence[dict[str, dict[str, float]]], apart: Sequence[dict[str, float]]
) -> str:
    cells = []
    for test in SETS:
        psnr, ssim = (np.array([f[kind][test] for f in found]) for kind in ("psnr", "ssim"))
        minus = np.array([a[test] for a in apart])
        # One seed has no interval.
        cells.append(cell(psnr) if len(psnr) > 1 else f"{psnr[0]:.2f}")
        cells.append(cell(minus, 3) if len(minus) > 1 else "".join(f"{x:.3f}" for x in minus))
        cells.append(f"{ssim.mean():.4f}")
    return f"| {name} | {len(found)} | {' | '.join(cells)} |"


def main(arguments: list[str]) -> int:
    options = check_options(Options, arguments)
    out = Path(options.out).resolve()
    if options.train:
        run_all(options, out)
    text = table(options, out)
    CONSOLE.print(text, soft_wrap=True)
    if options.page is not None:
        write_page(Path(options.page), MARK, text)
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, lambda: __doc__, None))
