"""What studies of agents share: one training command per variant and seed, and their figures."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rlgen.core.curves import read_episodes, smooth
from rlgen.core.stats import bootstrap_interval

FIGURES = ("mean of the curve", "last tenth", "evaluation")


def folder_of(out: str, env: str, label: str, seed: int) -> Path:
    """Returns the run folder of a variant and seed."""
    slug = "".join(c if c.isalnum() else "-" for c in f"{env}-{label}").lower()
    return Path(out) / slug / f"seed{seed}"


def train(folder: Path, arguments: Sequence[str]) -> None:
    """Runs one training command with one torch thread, unless its result is there.

    A run that was killed goes on where it was.
    """
    if (folder / "result.json").exists():
        return
    command = [sys.executable, "-m", "rlgen.train"]
    if (folder / "config.yaml").exists():
        command.append(f"resume={folder}")
    else:
        command += [*arguments, f"run_dir={folder}", "threads=1", "device=cpu"]
        command += ["eval_every=0", "video=false"]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    print(f"{folder}: {summary(folder)}", flush=True)


def summary(folder: Path) -> tuple[float, ...]:
    """Returns the figures of a run, in the order of ``FIGURES``."""
    steps, returns = read_episodes(folder)
    curve = smooth(steps, returns, np.linspace(steps[0], steps[-1], 500), window=20)
    late = returns[steps > 0.9 * steps[-1]]
    result = json.loads((folder / "result.json").read_text())
    return tuple(round(float(np.mean(v)), 2) for v in (curve, late, result["returns"]))


def cell(values: npt.NDArray[np.float64], digits: int = 2) -> str:
    """Formats a mean with its bootstrap interval."""
    low, high = bootstrap_interval(values)
    return f"{values.mean():.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
