"""How well a design prints: overhangs, support, walls, time.

All of them are proposals of this project. Printing is layer by layer from the table upwards; the
table is at the lowest point of the design.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rlgen.core.errors import UserError
from rlgen.envs.design.measure.columns import Columns, cast, cast_grids, lay_grid
from rlgen.envs.design.measure.scanline import Grid
from rlgen.envs.design.mesh import Floats, Mesh

TABLE = 0.01  # mm: a face whose corners are no higher lies on the table
OPPOSED = -0.75  # cosine: the faces of a wall look away from each other to within 41 degrees
THIN_SHARE = 0.02
_SHORTEST = 1e-6  # mm: anything shorter is rounding


def overhanging(mesh: Mesh, angle: float = 45.0) -> NDArray[np.bool_]:
    """Marks the triangles that cannot be printed without support.

    Args:
        mesh: The design.
        angle: Lean from the vertical, in degrees, up to which a downward face still prints.

    Returns:
        bool (T,): faces that lean further, except those on the table.

    Raises:
        UserError: ``angle`` is not within 0..90.
    """
    if not 0 <= angle <= 90:
        raise UserError(f"angle={angle}: give degrees from the vertical, 0..90, such as angle=45")
    down = -mesh.area_vectors[:, 2]
    above = mesh.corners[:, :, 2].max(1, initial=-np.inf) > mesh.bounds[0, 2] + TABLE
    return above & (down > (math.sin(math.radians(angle)) + 1e-9) * mesh.areas)


def overhang_share(mesh: Mesh, angle: float = 45.0) -> float:
    """Returns the share, 0..1, of the surface that :func:`overhanging` marks; 0 for no surface."""
    areas = mesh.areas
    total = areas.sum()
    return float(areas[overhanging(mesh, angle)].sum() / total) if total > 0 else 0.0


def support_volume(
    mesh: Mesh, cell: float = 1.5, angle: float = 45.0, columns: Columns | None = None
) -> float:
    """Measures the room between overhangs and whatever is below them.

    Args:
        mesh: The design.
        cell: Size of the columns, mm.
        angle: As for :func:`overhanging`.
        columns: Vertical columns of ``mesh`` to use instead of casting anew.

    Returns:
        cm3 of support, each column reaching down to the next surface or to the table.

    Raises:
        UserError: ``angle`` or ``cell`` is out of range.
    """
    hanging = overhanging(mesh, angle)
    if not hanging.any():
        return 0.0
    columns = cast(mesh, cell) if columns is None else columns
    below = np.append(mesh.bounds[0, 2], columns.ceiling[:-1])[: len(columns)]
    below[columns.first] = mesh.bounds[0, 2]
    gaps = (columns.floor - below)[hanging[columns.under]]
    return float(gaps.sum() * columns.grid.area) / 1000.0


def wall_grids(mesh: Mesh, count: int = 32) -> list[Grid]:
    """Lays the grids of :func:`wall_thickness`: ``count`` x ``count`` lines along x, y and z."""
    return [lay_grid(mesh, count=count, axis=axis) for axis in range(3)]


def wall_thickness(mesh: Mesh, count: int = 32, columns: Sequence[Columns] | None = None) -> float:
    """Measures how thin the thin walls are.

    Lines along x, y and z cut the solid into intervals. Where the two faces at the ends of an
    interval look away from each other, there is a wall between them, as thick as the interval
    times the cosine between the line and the face; that is exact for flat walls at any angle.
    (Lines that clip an edge, between faces that do not oppose each other, say nothing about
    walls.) The result is the 2nd percentile over all lines.

    Args:
        mesh: The design.
        count: Lines along each side of the bounding box.
        columns: Those of :func:`wall_grids` to use instead of casting anew.

    Returns:
        Millimetres; 0 for an empty mesh.

    Raises:
        UserError: ``count`` is below 1 or far too large.
    """
    if not len(mesh):
        return 0.0
    columns = cast_grids(mesh, wall_grids(mesh, count)) if columns is None else columns
    normals = mesh.area_vectors / np.maximum(mesh.areas, 1e-300)[:, None]
    length = np.concatenate([c.ceiling - c.floor for c in columns])
    under = np.concatenate([c.under for c in columns])
    over = np.concatenate([c.over for c in columns])
    facing = np.einsum("ij,ij->i", normals.take(under, axis=0), normals.take(over, axis=0))
    real = length > _SHORTEST
    walls = (real & (facing < OPPOSED)).nonzero()[0]
    if not len(walls):  # no two faces oppose each other: a flat pyramid, say
        return _thin(length[real])
    axis = np.array([c.grid.axis for c in columns]).repeat([len(c) for c in columns]).take(walls)
    under, over = 3 * under.take(walls) + axis, 3 * over.take(walls) + axis
    cosine = np.maximum(np.abs(normals.take(under)), np.abs(normals.take(over)))
    return _thin(length.take(walls) * cosine)


def _thin(lengths: Floats) -> float:
    """Returns the length (N,) that only a share of ``THIN_SHARE`` falls below; 0 for none."""
    if not len(lengths):
        return 0.0
    place = int(THIN_SHARE * (len(lengths) - 1))
    return float(np.partition(lengths, place)[place])


def print_time(mesh: Mesh, flow: float = 8.0, layer: float = 0.2, speed: float = 40.0) -> float:
    """Estimates the time to print a design; a proxy, good for comparing designs only.

    time = volume / flow + area / (layer * speed): melting the material, plus drawing the outline
    of every layer (for upright walls, area / layer is the length of all outlines). No printer's
    accelerations, infill or support are considered.

    Args:
        mesh: The design.
        flow: Material through the nozzle, mm3/s.
        layer: Height of a layer, mm.
        speed: Speed along the outlines, mm/s.

    Returns:
        Minutes.

    Raises:
        UserError: A value that is not positive.
    """
    for name, value in (("flow", flow), ("layer", layer), ("speed", speed)):
        if not value > 0:
            raise UserError(f"{name}={value}: give a value above 0")
    volume = float(np.einsum("ij,ij->", mesh.area_vectors, mesh.corners[:, 0])) / 3.0
    seconds = abs(volume) / flow + float(mesh.areas.sum()) / (layer * speed)
    return seconds / 60.0
