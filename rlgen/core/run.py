"""The run folder: what one training job leaves behind, and how it is found again.

Layout::

    runs/g2ppo-Breakout/20260101-120000-seed0/
        config.yaml          everything that was set, as resolved
        card.md              the exact command and the result
        result.json          returns of the final evaluation
        progress.csv         one row per logged update
        episodes.csv         one row per episode: step, return, length, seconds
        events.out.tfevents* the same for TensorBoard
        checkpoints/         complete-or-absent folders, the last two
        best/                the best model by evaluation
        learning_curve.png   returns over steps
        video/*.mp4          the final policy
"""

import os
import re
import time
from pathlib import Path
from typing import Any

from rlgen.core.compose import load_yaml, to_yaml
from rlgen.core.errors import UserError, closest

CONFIG = "config.yaml"
CARD = "card.md"  # written last, when a run has all that it leaves


def write_text(path: Path, text: str) -> None:
    """Writes a file so that it is either complete or not there."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def create_run(root: Path, job: str, seed: int, config: dict[str, Any], path: str | None) -> Path:
    """Makes a run folder and writes the configuration into it.

    Args:
        root: Folder of all runs.
        job: First part of the name, such as ``g2ppo-Breakout``.
        seed: Seed of the run.
        config: The resolved configuration.
        path: The folder itself, where the user named it.

    Raises:
        UserError: If the folder named by the user holds a run already.
    """
    if path is not None:
        folder = Path(path)
        if (folder / CONFIG).exists():
            raise UserError(
                f"run_dir={path} holds a run already; type resume={path} to go on with it, or "
                "name another folder"
            )
    else:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        base = root / re.sub(r"[^\w.-]", "_", job) / f"{stamp}-seed{seed}"
        tries = (base.with_name(f"{base.name}-{k}") if k else base for k in range(1000))
        folder = next(candidate for candidate in tries if not candidate.exists())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / CONFIG, to_yaml(config))
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"cannot write into {folder}: {reason}; name another run_dir") from None
    return folder


def find_run(text: str, root: Path, job: str | None = None) -> Path:
    """Finds the run that ``resume=`` or a command's argument names.

    Args:
        text: ``latest``, a run folder, or a folder of run folders (its newest run is taken).
        root: Where ``latest`` looks.
        job: Look only at runs of this job, for ``latest``.

    Raises:
        UserError: If there is no run.
    """
    if text != "latest":
        folder = Path(text)
        if not folder.is_dir():
            beside = folder.parent if folder.parent.is_dir() else root
            names = [str(p) for p in beside.glob("*") if p.is_dir()] if beside.is_dir() else []
            hint = closest(text, names) if names else "train first: python -m rlgen.train"
            raise UserError(f"{text} is not a run folder; {hint}")
        runs = [folder] if (folder / CONFIG).exists() else _runs_below(folder)
        if not runs:
            raise UserError(f"{text} holds no run (no {CONFIG}); name a folder that training made")
        return runs[-1]
    runs = _runs_below(root / re.sub(r"[^\w.-]", "_", job) if job else root)
    if not runs:
        of_job = f" of {job}" if job else ""
        raise UserError(f"there is no run{of_job} under {root} to resume; leave out resume=latest")
    return runs[-1]


def _runs_below(folder: Path) -> list[Path]:
    """Returns the run folders up to three levels below a folder, the oldest first."""
    if not folder.is_dir():
        return []
    return sorted(
        (path.parent for depth in range(4) for path in folder.glob("*/" * depth + CONFIG)),
        key=lambda path: ((path / CONFIG).stat().st_mtime_ns, path.name),
    )


def read_config(folder: Path) -> dict[str, Any]:
    """Returns the configuration of a run.

    Raises:
        UserError: If it cannot be read.
    """
    return load_yaml(folder / CONFIG)


def all_runs(paths: list[str]) -> list[Path]:
    """Returns every run at or below some folders, each once, the oldest first.

    Raises:
        UserError: If a path does not exist or none holds a run.
    """
    found: dict[Path, None] = {}
    for text in paths:
        if not Path(text).exists():
            raise UserError(f"{text} does not exist; name run folders or a folder of them")
        for run in _runs_below(Path(text)):
            found[run.resolve()] = None
    if not found:
        raise UserError(f"no run folder in {' '.join(paths)}; train first: python -m rlgen.train")
    return list(found)
