"""How much liquid a design holds, upright and tilted.

*Capacity* is what is left in a design after it was submerged and lifted out: it does not depend
on how it was filled, and air may escape. Liquid at a place rises to the spill level of its
hollow; a void that nothing can enter holds nothing.

For closed surfaces both the levels (``basins``) and the volume are exact for the mesh. A triangle
under liquid of level L adds the integral of L - z over its projection; a ceiling that dips into
the liquid takes its share away again. Surfaces with holes are measured on a grid of columns
(``gaps``), through which walls thinner than a cell leak.

The metric is a proposal of this project.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from rlgen.core.errors import UserError
from rlgen.envs.design.measure.basins import is_closed, spill_levels
from rlgen.envs.design.measure.columns import Columns, cast
from rlgen.envs.design.measure.gaps import gap_levels, gap_tops
from rlgen.envs.design.mesh import Floats, Ints, Mesh

SHALLOWEST = 1e-6  # mm: anything shallower is rounding


@dataclass(frozen=True, eq=False)
class LiquidColumns:
    """Liquid as upright square columns, for pictures. The arrays have length N.

    Attributes:
        x: float64: middles of the columns in mm, in the tilted frame (the design's own frame
            when it is not tilted).
        y: float64: as ``x``.
        floor: float64: lower ends, mm, in the tilted frame.
        level: float64: upper ends, mm, in the tilted frame.
        cell: Width of a column, mm; the middles are odd multiples of half of it.
        rotation: float64 (3, 3): turns the design into the tilted frame.
    """

    x: Floats
    y: Floats
    floor: Floats
    level: Floats
    cell: float
    rotation: Floats

    def ends(self) -> tuple[Floats, Floats]:
        """Returns two float64 (N, 3): lower and upper ends in the design's own frame."""
        low, high = (np.stack([self.x, self.y, z], 1) for z in (self.floor, self.level))
        return low @ self.rotation, high @ self.rotation


def tilt_rotation(tilt: float, azimuth: float = 0.0) -> Floats:
    """Returns the (3, 3) rotation by ``tilt`` degrees about a level axis at ``azimuth`` degrees."""
    if not (math.isfinite(tilt) and math.isfinite(azimuth)):
        raise UserError(f"tilt={tilt}, azimuth={azimuth}: both are angles in degrees; try tilt=20")
    x, y = math.cos(math.radians(azimuth)), math.sin(math.radians(azimuth))
    cos, sin = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
    axis = np.array([x, y, 0.0])
    across = np.array([[0.0, 0.0, y], [0.0, 0.0, -x], [-y, x, 0.0]])
    return cos * np.eye(3) + (1.0 - cos) * np.outer(axis, axis) + sin * across


def capacity(mesh: Mesh, cell: float = 1.5, tilt: float = 0.0, azimuth: float = 0.0) -> float:
    """Measures the liquid that stays in a design.

    Args:
        mesh: The design.
        cell: Size in mm of the columns that are used where the surface has holes. A closed
            surface is measured exactly and does not need it.
        tilt: Degrees by which the design is tilted before it is filled.
        azimuth: Direction of the level axis about which it is tilted, degrees from x.

    Returns:
        Millilitres, at least 0.

    Raises:
        UserError: An angle that is not finite; for a surface with holes, a cell that is not
            positive or by far too small for the mesh.
    """
    rotation = tilt_rotation(tilt, azimuth)
    if is_closed(mesh):
        return _closed_volume(mesh, rotation) / 1000.0
    return grid_capacity(mesh.moved(rotation), cell)


def spill(
    mesh: Mesh, tilt: float = 20.0, azimuths: Iterable[float] = (0.0,), cell: float = 1.5
) -> float:
    """Measures the liquid that stays in a tilted design, in the worst of several directions.

    Args:
        mesh: The design.
        tilt: Degrees by which it is tilted.
        azimuths: Directions of the level axis, degrees from x; at least one.
        cell: As for :func:`capacity`.

    Returns:
        Millilitres, at least 0.

    Raises:
        UserError: No azimuth, or a reason of :func:`capacity`.
    """
    held = [capacity(mesh, cell, tilt, azimuth) for azimuth in azimuths]
    if not held:
        raise UserError("azimuths is empty; give at least one direction, such as azimuths=(0,)")
    return min(held)


def grid_capacity(mesh: Mesh, cell: float = 1.5) -> float:
    """Measures the liquid on a grid of columns of ``cell`` mm; in ml, for any surface."""
    columns = cast(mesh, cell)
    _, floor, level = _wet(columns, gap_levels(columns))
    return float((level - floor).sum() * columns.grid.area) / 1000.0


def liquid_columns(
    mesh: Mesh, cell: float = 1.5, tilt: float = 0.0, azimuth: float = 0.0
) -> LiquidColumns:
    """Finds where the liquid of :func:`capacity` stands.

    Args:
        mesh: The design.
        cell: Width of a column of liquid, mm.
        tilt: As for :func:`capacity`.
        azimuth: As for :func:`capacity`.

    Returns:
        The columns of liquid; none where the design holds nothing.

    Raises:
        UserError: A reason of :func:`capacity`.
    """
    rotation = tilt_rotation(tilt, azimuth)
    tilted = mesh.moved(rotation)
    columns = cast(tilted, cell, region=_whole_cells(tilted, cell))
    if is_closed(mesh):
        level = spill_levels(tilted.coordinates, mesh.corner_rows)[columns.over]
    else:
        level = gap_levels(columns)
    wet, floor, level = _wet(columns, level)
    x, y = columns.grid.centres(columns.cell[wet]).T
    return LiquidColumns(x, y, floor, level, cell, rotation)


def _whole_cells(mesh: Mesh, cell: float) -> Floats | None:
    """Widens the bounding box, seen from above, to multiples of a valid cell."""
    if not cell > 0:
        return None
    low, high = mesh.bounds[:, :2] / cell
    return np.stack([np.floor(low), np.ceil(high)]) * cell


def _wet(columns: Columns, level: Floats) -> tuple[Ints, Floats, Floats]:
    """Picks the gaps that hold liquid; returns their numbers, lower and upper ends of it."""
    level = np.minimum(level, gap_tops(columns))
    wet = np.flatnonzero(level > columns.ceiling + SHALLOWEST)
    return wet, columns.ceiling[wet], level[wet]


def _closed_volume(mesh: Mesh, rotation: Floats) -> float:
    """Volume in mm3 of the liquid in a closed surface after a rotation."""
    corners, triangles = rotation @ mesh.vertices.T, mesh.corner_rows
    depth = spill_levels(corners, triangles) - corners[2].take(triangles)
    wet = (depth.max(0) > SHALLOWEST).nonzero()[0]
    if not len(wet):
        return 0.0
    triangles = triangles.take(wet, axis=1)
    x, y = corners[0].take(triangles), corners[1].take(triangles)
    facing = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
    return max(float(0.5 * facing @ _mean_depth(depth.take(wet, axis=1))), 0.0)


def _mean_depth(depth: Floats) -> Floats:
    """Averages the positive part of a linear function over triangles.

    Args:
        depth: float64 (3, T): its values at the corners, at least one of them positive.

    Returns:
        float64 (T,). With values a <= b <= c: (a + b + c) / 3 for 0 <= a; that plus
        -a^3 / (3 (b - a) (c - a)), the mean of the negative part, for a < 0 <= b; and
        c^3 / (3 (c - a) (c - b)) for b < 0.
    """
    a, b, c = np.sort(depth, axis=0)
    cut = np.where(b < 0, c, -a)
    other = np.where(b < 0, c - b, b - a)
    part = cut**3 / np.where(a < 0, 3.0 * other * (c - a), 1.0)
    return np.where(b < 0, part, depth.mean(0) + np.where(a < 0, part, 0.0))
