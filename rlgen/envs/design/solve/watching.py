"""What a person sees of a search while it runs: progress, and a draft of what was found."""

import time
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from rlgen.core.errors import UserError
from rlgen.envs.design.solve.collection import entry_of, write_list
from rlgen.envs.design.solve.solving import Budget, Pool
from rlgen.envs.design.task.tasks import Task

LIST = "designs.json"
_SHOWN, _LINE, _DRAFT = 0.25, 15.0, 30.0  # seconds between updates, plain lines, and drafts
_DRAFTED = 100


class Stop(Protocol):
    """Anything that knows whether to stop."""

    stopped: bool


class Watch:
    """Shows progress, keeps a draft, and tells whether to go on.

    Args:
        task: What is searched for.
        folder: Where the draft goes, as ``designs.json``.
        budget: How long the search may take.
        stop: Asked after every trial.
        console: Where to write; one that is no terminal gets a line now and then.
    """

    def __init__(
        self, task: Task, folder: Path, budget: Budget, stop: Stop, console: Console | None = None
    ) -> None:
        self.task, self.folder, self.budget, self.stop = task, folder, budget, stop
        self.console = console or Console(stderr=True)
        self.start = self._drafted = self._lined = time.monotonic()
        self._shown = 0.0
        self._bar: Progress | None = None
        if self.console.is_terminal:
            text = TextColumn("{task.fields[text]}", markup=False)
            columns = (BarColumn(bar_width=24), TimeElapsedColumn(), text)
            self._bar = Progress(*columns, console=self.console, refresh_per_second=4)
            self._line = self._bar.add_task("search", total=1.0, text="")

    def __enter__(self) -> "Watch":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, pool: Pool) -> bool:
        """Looks at the pool after a trial; returns False when it is time to stop."""
        now = time.monotonic()
        if now - self._shown > _SHOWN:
            self._shown = now
            self._show(pool, now)
        if now - self._drafted > _DRAFT:
            self._drafted = now
            self._draft(pool)
        return not self.stop.stopped

    def _show(self, pool: Pool, now: float) -> None:
        seconds = max(now - self.start, 1e-9)
        text = (
            f"{pool.evaluations:,} designs, {pool.evaluations / seconds:,.0f}/s, "
            f"best {pool.best:.3f}, {pool.n_forms} forms"
        )
        if self._bar is not None:
            self._bar.update(self._line, completed=self._share(pool, seconds), text=text)
        elif now - self._lined > _LINE:
            self._lined = now
            self.console.print(text, highlight=False, soft_wrap=True)

    def _share(self, pool: Pool, seconds: float) -> float:
        """Returns the share of the budget that is used up, by the limit that is nearer."""
        evaluations, minutes = self.budget.evaluations, self.budget.minutes
        shares = [pool.evaluations / evaluations] if evaluations else []
        shares += [seconds / (60.0 * minutes)] if minutes else []
        return min(max(shares, default=0.0), 1.0)

    def _draft(self, pool: Pool) -> None:
        best = pool.candidates()[:_DRAFTED]
        entries = [entry_of(one.design, self.task, one.score, "draft", one.found) for one in best]
        try:
            write_list(entries, self.folder / LIST)
        except UserError as error:
            self.console.print(f"no draft was kept: {error}", highlight=False, soft_wrap=True)
