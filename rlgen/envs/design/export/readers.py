"""Meshes from files: STL (binary and text), OBJ, GLB and 3MF, or one clear line why not.

A designer's own model can be scored like a built one if it is a closed surface. Nothing in a file
is ever executed or looked up: no external buffers, no document types, no entities, and sizes are
checked before anything is unpacked. Files are taken as millimetres with z up, except where the
format says otherwise (GLB: metres, y up; 3MF: its ``unit``). Whether a surface cuts through itself
is not examined.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from rlgen.core.errors import UserError, closest
from rlgen.envs.design.export.limits import MAX_BYTES, BrokenFileError, check_count
from rlgen.envs.design.export.parse_3mf import parse_3mf
from rlgen.envs.design.export.parse_glb import parse_glb
from rlgen.envs.design.export.parse_obj import parse_obj
from rlgen.envs.design.export.parse_stl import parse_stl
from rlgen.envs.design.export.topology import groups, open_edges, signed_volumes, turned_edges
from rlgen.envs.design.mesh import Floats, Ints, Mesh

MAX_EXTENT = 1e6  # mm
WELD = 2e-6  # of the extent: corners nearer than this become one where a mesh has gaps

READERS: dict[str, Callable[[bytes], tuple[Floats, Ints]]] = {
    ".stl": parse_stl,
    ".obj": parse_obj,
    ".glb": parse_glb,
    ".3mf": parse_3mf,
}


def read_mesh(path: str | Path) -> Mesh:
    """Reads a closed mesh.

    Args:
        path: A .stl, .obj, .glb or .3mf file.

    Returns:
        The mesh in mm, corners joined, triangles facing outwards.

    Raises:
        UserError: If the suffix is unknown, the file is missing, too large or broken, or the
            surface is not closed, turned inconsistently or without volume.
    """
    path = Path(path)
    parse = READERS.get(path.suffix.lower())
    if parse is None:
        raise UserError(f"{path} is not a mesh file that is read; {closest(path.suffix, READERS)}")
    data = _content(path)
    try:
        with np.errstate(all="ignore"):  # what is not finite is refused below
            vertices, triangles = parse(data)
        check_count(len(triangles))
        return closed_mesh(vertices, triangles)
    except BrokenFileError as error:
        raise UserError(f"{path} {error}") from None


def closed_mesh(vertices: Floats, triangles: Ints) -> Mesh:
    """Makes a closed, outward-facing mesh of loose triangles, or says why that is not possible.

    Corners are kept apart if the mesh is closed as it is; else equal ones are joined, and if that
    does not close it, those nearer than two millionths of its size.

    Args:
        vertices: (V, 3) mm.
        triangles: (T, 3) vertex indices.

    Raises:
        BrokenFileError: If the mesh is empty, not finite, not closed, turned inconsistently or
            without volume.
    """
    if not len(triangles):
        raise BrokenFileError("has no triangles")
    mesh = _compact(vertices, triangles)
    if not (np.isfinite(mesh.vertices).all() and np.abs(mesh.vertices).max() <= MAX_EXTENT):
        raise BrokenFileError(
            f"is broken: coordinates are numbers up to {MAX_EXTENT:.0f} mm; check its units"
        )
    faces = mesh.triangles
    for label in _joins(mesh.vertices):
        faces = label[mesh.triangles]
        faces = faces[(faces != np.roll(faces, 1, axis=1)).all(1)]
        if len(faces) and not open_edges(faces):
            return _outward(_compact(mesh.vertices, faces))
    _explain(faces)
    raise BrokenFileError("has no triangles with an area")


def _joins(vertices: Floats) -> Iterator[Ints]:
    """Yields, from strict to lenient, for each vertex the one that stands for it, (V,)."""
    yield np.arange(len(vertices))
    first = _representatives(vertices)
    yield first
    kept, place = np.unique(first, return_inverse=True)
    reach = WELD * float(np.ptp(vertices, axis=0).max())
    # A fixed number of neighbours: a file with all corners in one spot has too many pairs.
    near, other = cKDTree(vertices[kept]).query(
        vertices[kept], min(16, len(kept)), distance_upper_bound=reach
    )
    found = np.isfinite(near)
    group = groups(len(kept), np.nonzero(found)[0], other[found])[1]
    yield kept[np.unique(group, return_index=True)[1][group]][place]


def _representatives(points: Floats) -> Ints:
    """Index of the first of all equal points, for each point."""
    order = np.lexsort(points.T)
    ranked = points[order]
    new = np.ones(len(points), bool)
    new[1:] = (ranked[1:] != ranked[:-1]).any(1)
    first = np.empty(len(points), np.int64)
    first[order] = order[new][np.cumsum(new) - 1]
    return first


def _compact(vertices: Floats, triangles: Ints) -> Mesh:
    kept, faces = np.unique(triangles, return_inverse=True)
    return Mesh(np.ascontiguousarray(vertices[kept]), faces.reshape(-1, 3).astype(np.int64))


def _outward(mesh: Mesh) -> Mesh:
    """Turns a mesh that is inside out as a whole, and refuses one that is so in part."""
    start = mesh.triangles.reshape(-1)
    count, label = groups(len(mesh.vertices), start, np.roll(mesh.triangles, 1, axis=1).reshape(-1))
    part = label[mesh.triangles[:, 0]]
    volumes = signed_volumes(mesh, part, count)
    scale = float(np.ptp(mesh.vertices, axis=0).max()) ** 3
    if abs(volumes.sum()) <= 1e-9 * scale:
        raise BrokenFileError("encloses no volume")
    if volumes.sum() < 0.0:
        mesh, volumes = Mesh(mesh.vertices, mesh.triangles[:, ::-1].copy()), -volumes
    low, high = np.full((count, 3), np.inf), np.full((count, 3), -np.inf)
    np.minimum.at(low, label, mesh.vertices)
    np.maximum.at(high, label, mesh.vertices)
    solid = volumes > 0.0
    for cavity in np.flatnonzero(volumes < -1e-9 * scale).tolist():
        around = (low[solid] <= low[cavity]).all(1) & (high[solid] >= high[cavity]).all(1)
        if not around.any():
            raise BrokenFileError(
                "contradicts itself: one of its bodies is inside out; "
                "unify the normals in your CAD program"
            )
    return mesh


def _explain(triangles: Ints) -> None:
    """Says what is wrong with the edges of a mesh that does not close."""
    missing, turned = open_edges(triangles), turned_edges(triangles)
    if turned and missing == 2 * turned:
        raise BrokenFileError(
            f"contradicts itself: at {turned} edges the triangles face opposite ways; "
            "unify the normals in your CAD program"
        )
    if missing:
        raise BrokenFileError(
            f"is not closed: {missing} edges have no partner; repair it in your CAD program"
        )


def _content(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise UserError(
                f"{path} has {size >> 20} MB, at most {MAX_BYTES >> 20} are read; simplify it"
            )
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UserError(f"{path} cannot be read: {reason}") from error
