"""The trained networks of a study on the disk, each complete or absent with its result."""

from pathlib import Path
from typing import Any

import torch

from rlgen.core.checkpoint import load_checkpoint, newest_readable, save_checkpoint

Row = dict[str, Any]


class Store:
    """A folder of results by name; what was killed while being written is not there.

    Args:
        folder: Need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._rows: dict[str, Row | None] = {}

    def row(self, key: str) -> Row | None:
        """Returns the plain values of a result, or None where there is none."""
        if key not in self._rows:
            place = newest_readable(self._place(key))
            self._rows[key] = None if place is None else load_checkpoint(place)[1]
        return self._rows[key]

    def tensors(self, key: str) -> dict[str, torch.Tensor]:
        """Returns the tensors of a result.

        Raises:
            KeyError: If there is none.
        """
        place = newest_readable(self._place(key))
        if place is None:
            raise KeyError(key)
        return load_checkpoint(place)[0]["network"]

    def save(self, key: str, steps: int, tensors: dict[str, torch.Tensor], row: Row) -> None:
        """Keeps a result.

        Args:
            key: Its name; a folder's path below the store's.
            steps: Taken in training.
            tensors: By name.
            row: Plain values.
        """
        save_checkpoint(self._place(key), steps, {"network": tensors}, row, keep=1)
        self._rows[key] = row

    def _place(self, key: str) -> Path:
        return self.folder / key.replace(":", "-")
