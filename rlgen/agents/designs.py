"""Keeps the best designs of a run, and leaves them as files, a gallery page and a film.

Designs come from the environment at the end of episodes, as text (``info["design"]``), so nothing
is built twice. The list is written anew, complete or not at all, whenever it changed, at most once
per rollout: a run that is killed keeps it.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from rlgen.core.errors import UserError
from rlgen.core.run import write_text

LIST = "best.json"


class BestDesigns(BaseCallback):
    """Collects the designs of ended episodes, best first, each solid once.

    Args:
        folder: Where the list goes; one that is there already is gone on with.
        count: How many are kept.
        tell: Prints a line for the user.
    """

    def __init__(self, folder: Path, count: int, tell: Callable[[str], None]) -> None:
        super().__init__()
        self.folder = folder
        self.count = count
        self.tell = tell
        self.best: list[dict[str, Any]] = read_list(folder)
        self._changed = False

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            text = info.get("design")
            if text is not None and info["score"] > self._least():
                self.add(float(info["score"]), text)
        return True

    def _least(self) -> float:
        return self.best[-1]["score"] if len(self.best) >= self.count else 0.0

    def add(self, score: float, text: str) -> None:
        """Puts a design among the best, if it is one of them.

        Args:
            score: Of the design.
            text: Its history, as JSON.
        """
        sha = json.loads(text)["mesh_sha256"]
        if any(entry["sha256"] == sha for entry in self.best):
            return
        entry = {"score": score, "step": self.num_timesteps, "sha256": sha, "design": text}
        self.best = sorted([*self.best, entry], key=lambda e: (-e["score"], e["step"]))[
            : self.count
        ]
        self._changed = True

    def _on_rollout_end(self) -> None:
        self.save()

    def _on_training_end(self) -> None:
        self.save()

    def save(self) -> None:
        """Writes the list, if it changed; a full disk is told and costs nothing else."""
        if not self._changed:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(self.folder / LIST, json.dumps(self.best))
        except OSError as error:
            self.tell(f"the best designs were not saved ({error})")
            return
        self._changed = False


def read_list(folder: Path) -> list[dict[str, Any]]:
    """Returns the designs of a list, best first; none where there is no list or it is damaged."""
    try:
        entries = json.loads((folder / LIST).read_text(encoding="utf-8"))
        return [e for e in entries if {"score", "step", "sha256", "design"} <= e.keys()]
    except (OSError, ValueError, AttributeError, TypeError):
        return []


def leave_designs(folder: Path, entries: list[dict[str, Any]], title: str) -> Path:
    """Leaves files, a gallery page and a film of the best designs of a run.

    An entry that is damaged or cannot be built again is told and skipped.

    Args:
        folder: Where to, such as the run's ``designs``.
        entries: Those of :attr:`BestDesigns.best`, best first.
        title: Heading of the page.

    Returns:
        The page.

    Raises:
        OSError: No design can be shown, or nothing can be written.
    """
    from rlgen.core.cli import tell
    from rlgen.envs.design.exhibit.showcase import Exhibit, write_showcase
    from rlgen.envs.design.shape.history import Design
    from rlgen.envs.design.task.tasks import Task

    exhibits = []
    for number, entry in enumerate(entries, 1):
        try:
            text = str(entry["design"])
            task = Task.from_dict(json.loads(text)["goal"])
            design = Design.from_json(text, f"design {number}")
            exhibits.append(Exhibit(design, task, f"step {int(entry['step']):,}"))
        except (UserError, KeyError, TypeError, ValueError) as error:
            tell(f"design {number} of {folder / LIST} is skipped ({error})")
    try:
        return write_showcase(exhibits, folder, title, tell=tell)
    except UserError as error:
        raise OSError(str(error)) from None
