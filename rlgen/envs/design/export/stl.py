"""Binary STL: triangles without units, read as millimetres by every slicer.

The format has no vertex list, so readers join corners of equal position. Bodies that touch along
an edge would be welded together by that; such corners are drawn apart by a hundredth of a
millimetre.
"""

import numpy as np
from numpy.typing import NDArray

from rlgen.envs.design.mesh import Floats, Ints, Mesh

CONTACT_GAP = 0.01  # mm by which a corner steps back into its body
_RECORD = np.dtype(
    [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")], align=False
)


def encode(mesh: Mesh, note: str = "") -> bytes:
    """Returns a mesh as a binary STL file.

    Args:
        mesh: A closed mesh in mm.
        note: Goes into the 80 bytes of the header, as far as it fits.

    Returns:
        84 + 50 T bytes.
    """
    vertices = separate_contacts(mesh)
    records = np.zeros(len(mesh), _RECORD)
    records["corners"] = vertices[mesh.triangles]
    areas = mesh.area_vectors
    lengths = np.sqrt(np.einsum("ij,ij->i", areas, areas))
    records["normal"] = areas / np.maximum(lengths, 1e-300)[:, None]
    # A header that begins with "solid" would make readers take the file for text.
    header = f"binary STL, mm. {note}".encode("ascii", "replace")[:80].ljust(80)
    return header + np.uint32(len(mesh)).astype("<u4").tobytes() + records.tobytes()


def separate_contacts(mesh: Mesh) -> NDArray[np.float32]:
    """Returns float32 (V, 3): the vertices, with those of equal position moved into their bodies.

    Args:
        mesh: The mesh in mm.
    """
    single = mesh.vertices.astype(np.float32)
    touching = _shared_positions(single)
    if len(touching):
        inwards = -_vertex_normals(mesh, touching)
        single[touching] = mesh.vertices[touching] + CONTACT_GAP * inwards
    return single


def _shared_positions(points: NDArray[np.float32]) -> Ints:
    """Indices of the points that lie where another one lies."""
    wide = points.astype(np.float64)
    key = wide[:, 0] + np.sqrt(2.0) * wide[:, 1] + np.sqrt(3.0) * wide[:, 2]
    order = np.argsort(key, kind="stable")
    same = np.flatnonzero(np.diff(key[order]) == 0.0)
    pairs = np.stack([order[same], order[same + 1]])
    equal = (points[pairs[0]] == points[pairs[1]]).all(1)
    return np.unique(pairs[:, equal])


def _vertex_normals(mesh: Mesh, chosen: Ints) -> Floats:
    """Unit normals at some vertices, from the triangles around each."""
    total = np.zeros_like(mesh.vertices)
    unit = (
        mesh.area_vectors / np.maximum(np.linalg.norm(mesh.area_vectors, axis=1), 1e-300)[:, None]
    )
    for k in range(3):
        np.add.at(total, mesh.triangles[:, k], unit)
    picked = total[chosen]
    return picked / np.maximum(np.linalg.norm(picked, axis=1), 1e-300)[:, None]
