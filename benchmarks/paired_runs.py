"""What studies of agents share: one training command per variant and seed, and their figures."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rlgen.core.cli import EXIT_USER, RunFailed
from rlgen.core.curves import read_episodes, smooth
from rlgen.core.errors import UserError
from rlgen.core.stats import bootstrap_interval

FIGURES = ("mean of the curve", "last tenth", "evaluation")


def folder_of(out: str, env: str, label: str, seed: int) -> Path:
    """Returns the run folder of a variant and seed."""
    slug = "".join(c if c.isalnum() else "-" for c in f"{env}-{label}").lower()
    return Path(out) / slug / f"seed{seed}"


def train(folder: Path, arguments: Sequence[str]) -> None:
    """Trains an agent as :func:`train_once` does, and prints its figures."""
    if train_once(folder, [*arguments, "video=false"]):
        print(f"{folder}: {summary(folder)}", flush=True)


def train_once(folder: Path, arguments: Sequence[str]) -> bool:
    """Runs one training command with one torch thread, unless its result is there.

    A run that was killed goes on where it was.

    Returns:
        Whether there was something to train.
    """
    if (folder / "result.json").exists():
        return False
    if (folder / "config.yaml").exists():
        call("rlgen.train", [f"resume={folder}"])
    else:
        fixed = [f"run_dir={folder}", "threads=1", "device=cpu", "eval_every=0"]
        call("rlgen.train", [*arguments, *fixed])
    return True


def call(module: str, arguments: Sequence[str]) -> None:
    """Runs a command of the package and keeps what it says to itself.

    Raises:
        UserError: If an argument is wrong, with the command's own line.
        RunFailed: If the command stopped for another reason, with its last line.
    """
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode == 0:
        return
    line = (done.stderr.strip() or f"code {done.returncode}").splitlines()[-1]
    if done.returncode == EXIT_USER:
        raise UserError(line.removeprefix("error: "))
    raise RunFailed(f"{module} {' '.join(arguments)}: {line}")


def read_result(folder: Path) -> dict[str, Any] | None:
    """Returns a run's ``result.json``, or None where there is none yet."""
    path = folder / "result.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


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
