"""Mesh files as other programs write them, small enough to damage by hand."""

import io
import json
import struct
import zipfile
from pathlib import Path

import numpy as np
from file_solids import tetrahedron

from rlgen.envs.design.export import encode
from rlgen.envs.design.mesh import Mesh

VOLUME = 1000 / 6  # of the tetrahedron


def tetra() -> Mesh:
    return Mesh(*tetrahedron())


def write(tmp_path: Path, name: str, data: bytes | str) -> Path:
    path = tmp_path / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def ascii_stl(mesh: Mesh, name: str = "part") -> str:
    facets = "".join(
        "facet normal 0 0 0\n outer loop\n"
        + "".join("  vertex {:.7e} {:.7e} {:.7e}\n".format(*corner) for corner in triangle)
        + " endloop\nendfacet\n"
        for triangle in mesh.corners.tolist()
    )
    return f"solid {name}\n{facets}endsolid {name}\n"


def obj_text(mesh: Mesh) -> str:
    return encode(mesh, ".obj").decode()


def model_xml(body: str, build: str = '<item objectid="1"/>', unit: str = "millimeter") -> str:
    return (
        f'<?xml version="1.0"?><model unit="{unit}" xmlns="http://schemas.microsoft.com/'
        f'3dmanufacturing/core/2015/02"><resources>{body}</resources><build>{build}</build></model>'
    )


def mesh_xml(mesh: Mesh, number: int = 1) -> str:
    points = "".join('<vertex x="{}" y="{}" z="{}"/>'.format(*p) for p in mesh.vertices.tolist())
    faces = "".join(
        '<triangle v1="{}" v2="{}" v3="{}"/>'.format(*t) for t in mesh.triangles.tolist()
    )
    return (
        f'<object id="{number}"><mesh><vertices>{points}</vertices>'
        f"<triangles>{faces}</triangles></mesh></object>"
    )


def package(model: str | bytes, name: str = "3D/3dmodel.model", **extra: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, model)
        for entry, text in extra.items():
            archive.writestr(entry.replace("__", "/").replace("_rels/", "_rels/."), text)
    return buffer.getvalue()


def glb_bytes(document: dict, binary: bytes) -> bytes:
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    binary += b"\0" * (-len(binary) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    chunks += struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def indexed_glb(kind: int = 5123, stride: int = 12, **node: object) -> tuple[dict, bytes]:
    """A tetrahedron of 10 mm with shared vertices, in metres and y up."""
    points, triangles = tetrahedron(0.01)
    rows = np.zeros((4, stride // 4), "<f4")
    rows[:, :3] = points
    faces = triangles.astype({5121: "<u1", 5123: "<u2", 5125: "<u4"}[kind]).tobytes()
    document = {
        "asset": {"version": "2.0"},
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, **node}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 4, "type": "VEC3"},
            {"bufferView": 1, "componentType": kind, "count": 12, "type": "SCALAR"},
        ],
        "bufferViews": [
            {
                "buffer": 0,
                "byteOffset": len(faces),
                "byteLength": rows.nbytes,
                "byteStride": stride,
            },
            {"buffer": 0, "byteLength": len(faces)},
        ],
        "buffers": [{"byteLength": len(faces) + rows.nbytes}],
    }
    return document, faces + rows.tobytes()
