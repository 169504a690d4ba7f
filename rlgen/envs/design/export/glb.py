"""GLB (binary glTF 2.0): metres, y up, one flat-shaded mesh with one material.

Each triangle has its own three vertices, because a flat normal belongs to a triangle.
"""

import json

import numpy as np

from rlgen.envs.design.mesh import Mesh

MAGIC, VERSION = 0x46546C67, 2
JSON_CHUNK, BINARY_CHUNK = 0x4E4F534A, 0x004E4942
FLOAT, TRIANGLES, ARRAY_BUFFER = 5126, 4, 34962
COLOUR = (0.73, 0.65, 0.55, 1.0)  # linear light


def encode(mesh: Mesh, note: str = "") -> bytes:
    """Returns a mesh as a GLB file.

    Args:
        mesh: A closed mesh in mm, z up.
        note: Kept as ``asset.extras.note``.

    Returns:
        Header, JSON and binary chunk, all aligned to four bytes.
    """
    corners = _y_up(mesh.vertices * 1e-3).astype("<f4")[mesh.triangles.reshape(-1)]
    areas = mesh.area_vectors
    lengths = np.sqrt(np.einsum("ij,ij->i", areas, areas))[:, None]
    # A triangle without area has no normal; glTF wants a unit vector all the same.
    unit = np.where(lengths > 0.0, areas / np.maximum(lengths, 1e-300), [0.0, 0.0, 1.0])
    normals = np.repeat(_y_up(unit).astype("<f4"), 3, axis=0)
    binary = corners.tobytes() + normals.tobytes()
    document = json.dumps(_document(corners, note), separators=(",", ":")).encode()
    document += b" " * (-len(document) % 4)
    chunks = _words(len(document), JSON_CHUNK) + document + _words(len(binary), BINARY_CHUNK)
    return _words(MAGIC, VERSION, 12 + len(chunks) + len(binary)) + chunks + binary


def _y_up(points: np.ndarray) -> np.ndarray:
    """(x, y, z) with z up becomes (x, z, -y), a quarter turn about x."""
    return np.stack([points[:, 0], points[:, 2], -points[:, 1]], axis=1)


def _words(*values: int) -> bytes:
    return np.array(values, "<u4").tobytes()


def _document(corners: np.ndarray, note: str) -> dict[str, object]:
    count, length = len(corners), corners.nbytes
    view = {"buffer": 0, "byteLength": length, "target": ARRAY_BUFFER}
    accessor = {"componentType": FLOAT, "count": count, "type": "VEC3"}
    extent = {"min": corners.min(0).tolist(), "max": corners.max(0).tolist()}
    return {
        "asset": {"version": "2.0", "generator": "rlgen", "extras": {"note": note}},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "design"}],
        "meshes": [
            {
                "primitives": [
                    {
                        "attributes": {"POSITION": 0, "NORMAL": 1},
                        "mode": TRIANGLES,
                        "material": 0,
                    }
                ]
            }
        ],
        "materials": [
            {
                "name": "body",
                "pbrMetallicRoughness": {
                    "baseColorFactor": list(COLOUR),
                    "metallicFactor": 0.0,
                    "roughnessFactor": 0.65,
                },
            }
        ],
        "accessors": [{**accessor, "bufferView": 0, **extent}, {**accessor, "bufferView": 1}],
        "bufferViews": [{**view, "byteOffset": 0}, {**view, "byteOffset": length}],
        "buffers": [{"byteLength": 2 * length}],
    }
