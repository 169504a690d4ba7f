"""A design as arrays of fixed size, for networks: height maps, voxels, points.

Maps and voxels cover the whole design space (centred in x and y, from the table upwards) and can
share one set of columns, which pass through the middles of the cells. Their layout is a proposal
of this project.
"""

from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from rlgen.envs.design.measure.columns import Columns, cast_grids, lay_grid
from rlgen.envs.design.measure.scanline import Grid
from rlgen.envs.design.mesh import EMPTY_MESH, Mesh

SIZE = (160.0, 160.0, 160.0)


Layout = tuple[tuple[float, float, float], int]  # size of a design space, cells along a side


def space_grid(size: tuple[float, float, float] = SIZE, count: int = 32) -> Grid:
    """Lays ``count`` x ``count`` vertical lines over the design space of ``size`` mm."""
    half = np.array(size[:2]) / 2
    return lay_grid(EMPTY_MESH, count=count, region=np.stack([-half, half]), spread=False)


def space_columns(mesh: Mesh, size: tuple[float, float, float] = SIZE, count: int = 32) -> Columns:
    """Casts the columns of :func:`space_grid`, or returns what :func:`keep_columns` kept."""
    kept = _KEPT.get(mesh)
    if kept is not None and kept[0] == (size, count):
        return kept[1]
    return cast_grids(mesh, [space_grid(size, count)])[0]


def keep_columns(mesh: Mesh, layout: Layout, columns: Columns) -> None:
    """Keeps the columns of a layout for :func:`space_columns`, as long as the mesh is alive."""
    _KEPT[mesh] = layout, columns


# Columns that were cast together with those of metrics, which is cheaper than casting them alone.
_KEPT: WeakKeyDictionary[Mesh, tuple[Layout, Columns]] = WeakKeyDictionary()


def height_maps(
    mesh: Mesh,
    size: tuple[float, float, float] = SIZE,
    count: int = 32,
    columns: Columns | None = None,
) -> NDArray[np.float32]:
    """Draws a design as seen from above and from below.

    Args:
        mesh: The design.
        size: Extent of the design space, mm.
        count: Cells along x and along y.
        columns: From :func:`space_columns` with the same values, to use instead of casting anew.

    Returns:
        float32 (3, count, count) in 0..1, indexed [map, x, y]: highest point, lowest point, and
        sum of solid lengths of each column, divided by the height of the space. All are 0 where
        there is nothing.

    Raises:
        UserError: ``count`` is below 1 or far too large.
    """
    columns = space_columns(mesh, size, count) if columns is None else columns
    maps = np.zeros((3, count * count))
    maps[0, columns.cell[columns.last]] = columns.ceiling[columns.last]
    maps[1, columns.cell[columns.first]] = columns.floor[columns.first]
    maps[2] = np.bincount(
        columns.cell, weights=columns.ceiling - columns.floor, minlength=count * count
    )
    maps = np.clip(maps / size[2], 0.0, 1.0)
    return maps.reshape(3, count, count).astype(np.float32)


def voxels(
    mesh: Mesh,
    size: tuple[float, float, float] = SIZE,
    count: int = 32,
    columns: Columns | None = None,
) -> NDArray[np.uint8]:
    """Fills a grid of boxes with a design.

    Args:
        mesh: The design.
        size: Extent of the design space, mm.
        count: Voxels along each side.
        columns: From :func:`space_columns` with the same values, to use instead of casting anew.

    Returns:
        uint8 (count, count, count), indexed [x, y, z]: 1 where a column is solid at the voxel's
        middle height, else 0.

    Raises:
        UserError: ``count`` is below 1 or far too large.
    """
    columns = space_columns(mesh, size, count) if columns is None else columns
    ends = np.stack([columns.floor, columns.ceiling]) * (count / size[2]) - 0.5
    low, high = np.clip(np.ceil(ends), 0, count).astype(np.int64)
    length = np.maximum(high - low, 0)
    start = columns.cell * count + low - (length.cumsum() - length)
    filled = np.zeros(count**3, np.uint8)
    filled[start.repeat(length) + np.arange(length.sum())] = 1
    return filled.reshape(count, count, count)


def surface_points(
    mesh: Mesh,
    rng: np.random.Generator,
    n: int = 512,
    size: tuple[float, float, float] = SIZE,
) -> NDArray[np.float32]:
    """Spreads random points evenly over the surface of a design.

    Args:
        mesh: The design.
        rng: The one source of chance; 3 n numbers are drawn from it, whatever the mesh.
        n: How many points.
        size: Extent of the design space, mm.

    Returns:
        float32 (n, 3): places in the design space, -1..1 along each side; zeros for an empty
        mesh.
    """
    chance = rng.random((3, n))
    if not len(mesh):
        return np.zeros((n, 3), np.float32)
    reach = np.cumsum(mesh.areas)
    chosen = np.searchsorted(reach, chance[0] * reach[-1], side="right")
    a, b, c = mesh.vertices[mesh.triangles[np.minimum(chosen, len(mesh) - 1)].T]
    # the root makes the density even: there is more room far from corner a
    far, turn = np.sqrt(chance[1])[:, None], chance[2][:, None]
    points = a + far * ((1 - turn) * (b - a) + turn * (c - a))
    scaled = points / (np.array(size) / 2) - (0.0, 0.0, 1.0)
    return np.clip(scaled, -1.0, 1.0).astype(np.float32)
