"""Wavefront OBJ files: the ``v`` and ``f`` lines, everything else is skipped."""

from itertools import pairwise

import numpy as np

from rlgen.envs.design.export.limits import BrokenFileError, check_count
from rlgen.envs.design.mesh import Floats, Ints


def parse_obj(data: bytes) -> tuple[Floats, Ints]:
    """Returns vertices (V, 3) and triangles (T, 3).

    Polygons are cut into fans from their first corner, which keeps volume and closedness.

    Args:
        data: The whole file.

    Raises:
        BrokenFileError: If a line cannot be understood or names a vertex that is not there.
    """
    points: list[list[float]] = []
    triangles: list[tuple[int, int, int]] = []
    text = data.decode("utf-8", "replace").replace("\\\r\n", " ").replace("\\\n", " ")
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0] not in ("v", "f"):
            continue
        try:
            if words[0] == "v":
                points.append([float(word) for word in words[1:4]])
            else:
                corners = [_index(word, len(points)) for word in words[1:]]
                ends = pairwise(corners[1:])
                triangles.extend((corners[0], second, third) for second, third in ends)
                check_count(len(triangles))
        except ValueError:
            raise BrokenFileError(f"is broken in line {number}: {line.strip()[:60]!r}") from None
        if words[0] == "v" and len(points[-1]) != 3:
            raise BrokenFileError(f"is broken in line {number}: a vertex has three coordinates")
    return np.array(points, np.float64).reshape(-1, 3), np.array(triangles, np.int64).reshape(-1, 3)


def _index(word: str, count: int) -> int:
    """Vertex of ``7``, ``7/1``, ``7//3`` or ``-1``, from 0."""
    number = int(word.split("/")[0])
    index = number - 1 if number > 0 else count + number
    if number == 0 or not 0 <= index < count:
        raise ValueError(word)
    return index
