"""CSV files that survive a killed process and go on after a resume."""

import contextlib
import csv
import io
import os
from pathlib import Path
from typing import Any, TextIO

from stable_baselines3.common.logger import KVWriter, filter_excluded_keys


class CSVRecord:
    """A CSV file to which rows are added one by one.

    A row is written and flushed at once. A row with a new column rewrites the file beside the old
    one and replaces it, so that the file is whole whenever the process dies.

    Args:
        path: The file; rows in it stay.
        last_step: Drop rows whose ``step_column`` is beyond this: what a killed process wrote after
            the checkpoint from which the run goes on.
        step_column: Name of the column that counts environment steps.
    """

    def __init__(
        self, path: Path, last_step: int | None = None, step_column: str = "time/total_timesteps"
    ) -> None:
        self.path = path
        self._file: TextIO | None = None
        rows = read_rows(path) if path.exists() else []
        if last_step is not None:
            rows = _rows_until(rows, last_step, step_column)
        self.columns: list[str] = list(dict.fromkeys(key for row in rows for key in row))
        self._rewrite(rows)

    def add(self, row: dict[str, Any]) -> None:
        """Adds one row; missing columns stay empty."""
        new = [key for key in row if key not in self.columns]
        if new:
            rows = read_rows(self.path)
            self.columns += new
            self._rewrite(rows)
        assert self._file is not None
        self._file.write(self._line([row.get(column, "") for column in self.columns]))
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        temporary = self.path.with_name(f".{self.path.name}.tmp")
        with temporary.open("w", encoding="utf-8", newline="") as file:
            if self.columns:
                file.write(self._line(self.columns))
            for row in rows:
                file.write(self._line([row.get(column, "") for column in self.columns]))
            file.flush()
            os.fsync(file.fileno())
        if self._file is not None:
            self._file.close()
        temporary.replace(self.path)
        self._file = self.path.open("a", encoding="utf-8", newline="")

    @staticmethod
    def _line(values: list[Any]) -> str:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(values)
        return text.getvalue()


class CSVWriter(KVWriter):
    """SB3 logger output in a :class:`CSVRecord`; takes its arguments."""

    def __init__(
        self, path: Path, last_step: int | None = None, step_column: str = "time/total_timesteps"
    ) -> None:
        self.record = CSVRecord(path, last_step, step_column)

    def write(
        self,
        key_values: dict[str, Any],
        key_excluded: dict[str, tuple[str, ...]],
        step: int = 0,
    ) -> None:
        """Writes the scalars of one dump of the logger."""
        kept = filter_excluded_keys(key_values, key_excluded, "csv")
        self.record.add({k: v for k, v in sorted(kept.items()) if _is_scalar(v)})

    def close(self) -> None:
        """Closes the file."""
        self.record.close()


def read_rows(path: Path) -> list[dict[str, str]]:
    """Reads a CSV file; a last line that a killed process left unfinished is dropped."""
    text = path.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    return [
        {key: value for key, value in row.items() if key is not None and value is not None}
        for row in csv.DictReader(io.StringIO(whole))
    ]


def _rows_until(rows: list[dict[str, str]], last_step: int, column: str) -> list[dict[str, str]]:
    """Returns the rows up to a step; one without a step belongs to that of the row before it."""
    kept, step = [], 0.0
    for row in rows:
        with contextlib.suppress(ValueError):
            step = float(row.get(column, ""))
        if step <= last_step:
            kept.append(row)
    return kept


def _is_scalar(value: Any) -> bool:
    return isinstance(value, (int, float, str)) or getattr(value, "ndim", None) == 0
