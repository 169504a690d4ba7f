"""How much of each cell of a regular grid a solid fills.

Scope: the grid spans the bounding box. Fine horizontal sections are crossed with fine lines along
x; along a line the filled length is exact, across it the lines are samples.
"""

from dataclasses import dataclass

import numpy as np

from rlgen.envs.design.measure.sections import cut
from rlgen.envs.design.mesh import Floats, Ints, Mesh

LINES = 5
"""Sampled lines per cell, in y and in z."""


@dataclass(frozen=True, eq=False)
class Occupancy:
    """A grid over the bounding box of a solid.

    Attributes:
        fill: float64 (nx, ny, nz): filled share of each cell, 0..1.
        cell: float64 (3,): size of a cell, mm.
        origin: float64 (3,): lowest corner of the grid, mm.
    """

    fill: Floats
    cell: Floats
    origin: Floats


def occupancy(mesh: Mesh, cell: float) -> Occupancy:
    """Measures how much of each cell is solid.

    Args:
        mesh: A closed surface that is not empty.
        cell: Wanted size of a cell, mm; each axis is divided evenly into the nearest number.

    Returns:
        The grid and its filled shares.
    """
    origin, high = mesh.bounds
    counts = np.maximum(np.rint((high - origin) / cell), 1).astype(np.int64)
    size = (high - origin) / counts
    nx, ny, nz = (int(count) for count in counts)
    segments = cut(mesh, origin[2] + size[2] * _sample(nz))
    x0, y0 = segments.start - origin[:2, None]
    x1, y1 = segments.end - origin[:2, None]
    rows = size[1] * _sample(ny)
    first, last = np.searchsorted(rows, y0), np.searchsorted(rows, y1)
    segment, row = _ranges(np.minimum(first, last), np.abs(last - first))
    share = (rows[row] - y0[segment]) / (y1 - y0)[segment]
    x = (x0[segment] + share * (x1 - x0)[segment]) / size[0]
    # Going up leaves the material at smaller x: the line is filled up to here; going down, from.
    sign = np.where(last > first, 1.0, -1.0)[segment]
    column = np.clip(np.floor(x).astype(np.int64), 0, nx - 1)
    line = (segments.plane[segment] // LINES) * ny + row // LINES
    bins, total = line * nx + column, nx * ny * nz
    within = np.bincount(bins, sign * (x - column), total).reshape(-1, nx)
    beyond = np.bincount(bins, sign, total).reshape(-1, nx)
    before = beyond[:, ::-1].cumsum(1)[:, ::-1] - beyond  # crossings in later cells fill this one
    fill = np.clip((within + before) / LINES**2, 0.0, 1.0)
    return Occupancy(fill.reshape(nz, ny, nx).transpose(2, 1, 0), size, origin)


def _sample(count: int) -> Floats:
    """Returns the places of the sampled lines, in cells; slightly off, to miss the vertices."""
    return (np.arange(count * LINES) + 0.5 + 1.7e-5) / LINES


def _ranges(first: Ints, count: Ints) -> tuple[Ints, Ints]:
    """Returns, for integer ranges, the index of the range and the value of each member."""
    owner = np.repeat(np.arange(len(count)), count)
    return owner, np.arange(len(owner)) - (np.cumsum(count) - count - first)[owner]
