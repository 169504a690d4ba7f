"""A progress bar for terminals, and plain lines where there is none."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class StepBar:
    """Shows steps done, steps per second, time left, and a few named values.

    Args:
        total: Steps of the whole run; the attribute of this name may be corrected on the way.
        done: Steps done before, when a run is resumed.
        console: Where to write; a console that is no terminal gets a line now and then.
        every: Seconds between such lines.
    """

    def __init__(
        self, total: int, done: int = 0, console: Console | None = None, every: float = 15.0
    ) -> None:
        self.console = console or Console(stderr=True)
        self.total = total
        self.every = every
        self._start = time.monotonic()
        self._first = done
        self._last_line = self._start
        self._bar: Progress | None = None
        if self.console.is_terminal:
            self._bar = Progress(
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("[cyan]{task.fields[rate]} steps/s"),
                TimeElapsedColumn(),
                TextColumn("eta"),
                TimeRemainingColumn(elapsed_when_finished=False, compact=True),
                TextColumn("{task.fields[values]}"),
                console=self.console,
                refresh_per_second=4,
            )
            self._task = self._bar.add_task(
                "train", total=total, completed=done, rate="0", values=""
            )

    def __enter__(self) -> "StepBar":
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: int, values: Mapping[str, Any]) -> None:
        """Shows the state after ``done`` steps.

        Args:
            done: Steps taken.
            values: What to show beside the bar, in order.
        """
        now = time.monotonic()
        rate = (done - self._first) / max(now - self._start, 1e-9)
        shown = "  ".join(f"{name} {_short(value)}" for name, value in values.items())
        if self._bar is not None:
            completed = min(done, self.total)
            self._bar.update(
                self._task, completed=completed, total=self.total, rate=_rate(rate), values=shown
            )
        elif now - self._last_line >= self.every or done >= self.total:
            self._last_line = now
            left = max(self.total - done, 0) / max(rate, 1e-9)
            line = (
                f"{done:,}/{self.total:,} steps  {_rate(rate)} steps/s  eta {left:,.0f} s  {shown}"
            )
            self.console.print(line, highlight=False, soft_wrap=True)


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.3g}"


def _short(value: Any) -> str:
    return f"{value:,.1f}" if isinstance(value, float) else str(value)
