"""GLB files (binary glTF 2.0): indexed or plain triangles with float positions, placed by nodes.

Read are the nodes of the default scene with their transforms. Compressed or quantised geometry,
strips and fans are refused by name; skins, morph targets and everything about looks is ignored.
"""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from rlgen.envs.design.export.limits import MAX_PARTS, BrokenFileError, check_count
from rlgen.envs.design.mesh import Floats, Ints

_MAGIC, _JSON, _BINARY = b"glTF", 0x4E4F534A, 0x004E4942
_INDEX_TYPES = {5121: "<u1", 5123: "<u2", 5125: "<u4"}
_MAX_DEPTH = 64
_TO_MM_Z_UP = 1000.0 * np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])


def parse_glb(data: bytes) -> tuple[Floats, Ints]:
    """Returns vertices (V, 3) in mm, z up, and triangles (T, 3).

    Args:
        data: The whole file.

    Raises:
        BrokenFileError: If it is broken or uses what is not read.
    """
    try:
        document, binary = _chunks(data)
        return _gather(document, binary)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BrokenFileError(
            f"is broken: its JSON and data do not fit ({type(error).__name__})"
        ) from None
    except RecursionError:
        raise BrokenFileError("is broken: its JSON is nested too deeply") from None


def _chunks(data: bytes) -> tuple[dict[str, Any], bytes]:
    if data[:4] != _MAGIC or len(data) < 20:
        raise BrokenFileError("is not a GLB file; save it as binary glTF 2.0")
    version, length = np.frombuffer(data, "<u4", 2, 4).tolist()
    if version != 2 or length > len(data):
        raise BrokenFileError(
            f"is not a complete GLB 2 file: version {version}, {len(data)} of {length} bytes"
        )
    place, parts = 12, dict[int, bytes]()
    while place + 8 <= length:
        size, kind = np.frombuffer(data, "<u4", 2, place).tolist()
        parts.setdefault(kind, data[place + 8 : place + 8 + size])
        place += 8 + size
    document = json.loads(parts[_JSON])
    required = document.get("extensionsRequired", [])
    if required:
        raise BrokenFileError(
            f"needs {str(required[0])[:40]!r}, which is not read; save it uncompressed"
        )
    return document, parts.get(_BINARY, b"")


def _gather(document: dict[str, Any], binary: bytes) -> tuple[Floats, Ints]:
    points: list[Floats] = [np.zeros((0, 3))]
    triangles: list[Ints] = [np.zeros((0, 3), np.int64)]
    count = total = 0
    for matrix, mesh in _placed(document):
        for primitive in document["meshes"][mesh]["primitives"]:
            corners, faces = _primitive(document, binary, primitive)
            total += len(faces)
            check_count(total)
            if np.linalg.det(matrix[:3, :3]) < 0.0:  # a mirror turns the surface inside out
                faces = faces[:, ::-1]
            world = corners @ matrix[:3, :3].T + matrix[:3, 3]
            points.append(world @ _TO_MM_Z_UP.T)
            triangles.append(faces + count)
            count += len(corners)
    return np.concatenate(points), np.concatenate(triangles)


def _placed(document: dict[str, Any]) -> Iterator[tuple[Floats, int]]:
    """Yields the world matrix (4, 4) and the number of each mesh in the scene."""
    nodes = document.get("nodes", [])
    scene = document["scenes"][document.get("scene", 0)]
    waiting = [(np.eye(4), index, 0) for index in reversed(scene.get("nodes", []))]
    visits = 0
    while waiting:
        above, index, depth = waiting.pop()
        visits += 1
        if depth > _MAX_DEPTH or visits > MAX_PARTS:
            raise BrokenFileError("is broken: its nodes go around in a circle or are too many")
        node = nodes[_natural(index)]
        matrix = above @ _local(node)
        if "mesh" in node:
            yield matrix, _natural(node["mesh"])
        waiting += [(matrix, child, depth + 1) for child in reversed(node.get("children", []))]


def _local(node: dict[str, Any]) -> Floats:
    """A node's own matrix (4, 4), from ``matrix`` or from translation, rotation and scale."""
    if "matrix" in node:
        return np.array(node["matrix"], np.float64).reshape(4, 4).T
    matrix = np.eye(4)
    x, y, z, w = np.array(node.get("rotation", (0, 0, 0, 1)), np.float64)
    turn = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    matrix[:3, :3] = turn * np.array(node.get("scale", (1, 1, 1)), np.float64).reshape(1, 3)
    matrix[:3, 3] = np.array(node.get("translation", (0, 0, 0)), np.float64)
    return matrix


def _primitive(
    document: dict[str, Any], binary: bytes, primitive: dict[str, Any]
) -> tuple[Floats, Ints]:
    mode = primitive.get("mode", 4)
    if mode in (0, 1, 2, 3):  # points and lines are no surface
        return np.zeros((0, 3)), np.zeros((0, 3), np.int64)
    if mode != 4:
        raise BrokenFileError(f"uses primitive mode {mode}; save it as plain triangles")
    accessor = document["accessors"][_natural(primitive["attributes"]["POSITION"])]
    if accessor["componentType"] != 5126 or accessor["type"] != "VEC3":
        raise BrokenFileError("has positions that are not 32-bit floats; save it unquantised")
    corners = _values(document, binary, accessor, "<f4", 3).astype(np.float64)
    if "indices" not in primitive:
        return corners, np.arange(len(corners) // 3 * 3).reshape(-1, 3)
    accessor = document["accessors"][_natural(primitive["indices"])]
    kind = _INDEX_TYPES[accessor["componentType"]]
    faces = _values(document, binary, accessor, kind, 1).astype(np.int64).reshape(-1, 3)
    if faces.max(initial=-1) >= len(corners):
        raise BrokenFileError("is broken: a triangle names a vertex that is not there")
    return corners, faces


def _values(
    document: dict[str, Any], binary: bytes, accessor: dict[str, Any], kind: str, width: int
) -> np.ndarray:
    """Values (count, width) of an accessor; numpy refuses a view beyond the data."""
    if "sparse" in accessor or "bufferView" not in accessor:
        raise BrokenFileError("uses sparse data, which is not read; save it as plain triangles")
    view = document["bufferViews"][_natural(accessor["bufferView"])]
    if view.get("buffer", 0) != 0 or "uri" in document["buffers"][0]:
        raise BrokenFileError("keeps its data in another file; save it as one GLB file")
    dtype = np.dtype(kind)
    stride = _natural(view.get("byteStride", 0)) or width * dtype.itemsize
    if stride < width * dtype.itemsize:
        raise ValueError("stride")
    inside = _natural(accessor.get("byteOffset", 0))
    start, size = _natural(view.get("byteOffset", 0)), _natural(view["byteLength"])
    return np.ndarray(
        (_natural(accessor["count"]), width),
        dtype,
        binary[start : start + size],
        inside,
        (stride, dtype.itemsize),
    )


def _natural(value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError(value)
    return value
