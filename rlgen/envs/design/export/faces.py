"""Flat faces of a triangle mesh: neighbouring triangles of one plane become one polygon.

A designer who opens a faceted STEP file wants the six faces of a box, not its twelve triangles.
Triangles are joined where they lie in one plane within a millionth of a millimetre. A face whose
border is not simple, because it meets itself in a corner, falls back to its triangles.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rlgen.core.errors import UserError
from rlgen.envs.design.export.topology import (
    groups,
    half_edges,
    open_edges,
    partners,
    signed_volumes,
)
from rlgen.envs.design.mesh import Floats, Ints, Mesh

FLATNESS = 1e-6  # mm by which corners of a joined face may lie on either side of its plane
_PARALLEL = 1.0 - 1e-6  # cosine between the normals of triangles that may be joined


@dataclass(frozen=True, eq=False)
class Faces:
    """A closed surface made of flat polygons with holes.

    Border half-edges are numbered 0..H-1; half-edge h runs from ``start[h]`` to ``end[h]`` with
    its face on the left, seen from outside.

    Attributes:
        start: (H,) vertex index.
        end: (H,) vertex index.
        partner: (H,) half-edge of the neighbouring face on the same edge.
        following: (H,) next half-edge of the same loop.
        loop: (H,) loop of each half-edge, 0..L-1.
        loop_face: (L,) face of each loop, 0..F-1.
        outer: Bool (L,), whether the loop is the outside of its face, not a hole.
        normal: (F, 3) outward unit normal of each face.
        shell: (F,) connected surface of each face, 0..S-1.
        volumes: (S,) volume that each surface encloses, mm3; negative for a cavity.
    """

    start: Ints
    end: Ints
    partner: Ints
    following: Ints
    loop: Ints
    loop_face: Ints
    outer: NDArray[np.bool_]
    normal: Floats
    shell: Ints
    volumes: Floats


def flat_faces(mesh: Mesh) -> Faces:
    """Joins the triangles of each plane.

    Args:
        mesh: A closed mesh in mm.

    Raises:
        UserError: If the mesh is not closed.
    """
    partner = partners(mesh)
    if partner is None:
        raise UserError(
            f"the mesh is not closed: {open_edges(mesh.triangles)} edges have no partner; "
            "repair it, or save it as .obj"
        )
    face = _join_coplanar(mesh, partner)
    face = _split(face, _bent(mesh, face))
    face = _split(face, _pinched(mesh, partner, face))
    found = _borders(mesh, partner, face)
    outsides = np.bincount(found.loop_face, found.outer, minlength=len(found.normal))
    if (outsides != 1).any():
        found = _borders(mesh, partner, _split(face, outsides != 1))
    return found


def _join_coplanar(mesh: Mesh, partner: Ints) -> Ints:
    """Returns (T,), a number for each set of triangles that seem to lie in one plane."""
    vertices, corners = mesh.vertices, mesh.corners
    normal = _unit(mesh.area_vectors)
    sides = np.linalg.norm(np.roll(corners, -1, axis=1) - corners, axis=2)
    area = np.linalg.norm(mesh.area_vectors, axis=1)
    sliver = 2.0 * area <= FLATNESS * sides.max(1)
    one = np.flatnonzero(np.arange(len(partner)) < partner)
    other = partner[one]
    t, u = one // 3, other // 3
    base = vertices[mesh.triangles[t, one % 3]]
    tip_t = vertices[mesh.triangles[t, (one % 3 + 2) % 3]] - base
    tip_u = vertices[mesh.triangles[u, (other % 3 + 2) % 3]] - base
    off = np.minimum(
        np.abs(np.einsum("ij,ij->i", normal[t], tip_u)),
        np.abs(np.einsum("ij,ij->i", normal[u], tip_t)),
    )
    level = (off <= FLATNESS) & (np.einsum("ij,ij->i", normal[t], normal[u]) >= _PARALLEL)
    level &= ~(sliver[t] | sliver[u])
    # A sliver's own normal says nothing: it goes with the triangle on its longest side.
    thin = np.flatnonzero(sliver)
    beside = partner[3 * thin + sides[thin].argmax(1)] // 3
    return groups(len(mesh), np.concatenate([t[level], thin]), np.concatenate([u[level], beside]))[
        1
    ]


def _bent(mesh: Mesh, face: Ints) -> NDArray[np.bool_]:
    """Bool (F,): faces with a corner off their plane."""
    count = int(face.max()) + 1
    normal = _face_normals(mesh, face, count)
    height = np.einsum("tkj,tj->tk", mesh.corners, normal[face])
    top, bottom = np.full(count, -np.inf), np.full(count, np.inf)
    np.maximum.at(top, face, height.max(1))
    np.minimum.at(bottom, face, height.min(1))
    return top - bottom > 2.0 * FLATNESS


def _pinched(mesh: Mesh, partner: Ints, face: Ints) -> NDArray[np.bool_]:
    """Bool (F,): faces whose border comes through a vertex more than once."""
    owner = np.repeat(face, 3)
    border = np.flatnonzero(owner != owner[partner])
    start = half_edges(mesh.triangles)[0][border]
    keys, times = np.unique(owner[border] * len(mesh.vertices) + start, return_counts=True)
    bad = np.zeros(int(face.max()) + 1, bool)
    bad[keys[times > 1] // len(mesh.vertices)] = True
    return bad


def _split(face: Ints, bad: NDArray[np.bool_]) -> Ints:
    """Turns bad faces back into single triangles and numbers all faces 0, 1, 2 ..."""
    single = len(bad) + np.arange(len(face))
    return np.unique(np.where(bad[face], single, face), return_inverse=True)[1].astype(np.int64)


def _borders(mesh: Mesh, partner: Ints, face: Ints) -> Faces:
    count, points = int(face.max()) + 1, len(mesh.vertices)
    owner = np.repeat(face, 3)
    border = np.flatnonzero(owner != owner[partner])
    place = np.full(len(owner), -1, np.int64)
    place[border] = np.arange(len(border))
    start, end = (ends[border] for ends in half_edges(mesh.triangles))
    owner = owner[border]
    key = owner * points + start
    order = np.argsort(key, kind="stable")
    following = order[np.searchsorted(key[order], owner * points + end)]
    loops, loop = groups(len(border), np.arange(len(border)), following)
    loop_face = np.empty(loops, np.int64)
    loop_face[loop] = owner
    normal = _face_normals(mesh, face, count)
    shells, shell_of = groups(len(mesh), np.arange(len(partner)) // 3, partner // 3)
    shell = np.empty(count, np.int64)
    shell[face] = shell_of
    return Faces(
        start,
        end,
        place[partner[border]],
        following,
        loop,
        loop_face,
        _outer(mesh, start, end, loop, loop_face, normal),
        normal,
        shell,
        signed_volumes(mesh, shell_of, shells),
    )


def _outer(
    mesh: Mesh, start: Ints, end: Ints, loop: Ints, loop_face: Ints, normal: Floats
) -> NDArray[np.bool_]:
    """Bool (L,): loops that run around their face, which are those with positive area."""
    swept = np.cross(mesh.vertices[start], mesh.vertices[end])
    area = np.einsum("ij,ij->i", swept, normal[loop_face[loop]])
    positive = np.bincount(loop, area, minlength=len(loop_face)) > 0.0
    return positive | (np.bincount(loop_face)[loop_face] == 1)


def _face_normals(mesh: Mesh, face: Ints, count: int) -> Floats:
    """float64 (F, 3): unit normals, weighted by area."""
    total: Floats = np.stack(
        [np.bincount(face, mesh.area_vectors[:, k], count) for k in range(3)], 1
    )
    lost = np.linalg.norm(total, axis=1) < 1e-12
    if lost.any():  # a lone triangle without area: any direction across its longest side will do
        corners = mesh.corners[np.flatnonzero(lost[face])]
        sides = np.roll(corners, -1, axis=1) - corners
        longest = sides[np.arange(len(sides)), np.linalg.norm(sides, axis=2).argmax(1)]
        across = np.cross(longest, np.eye(3)[np.abs(longest).argmin(1)])
        total[face[lost[face]]] = np.where(across == 0.0, 1.0, across)
    return _unit(total)


def _unit(vectors: Floats) -> Floats:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1), 1e-300)[:, None]
