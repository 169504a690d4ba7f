import struct

import numpy as np
import pytest
from file_solids import box, mesh_of, mug, tetrahedron, volume_of
from foreign_files import (
    ascii_stl,
    glb_bytes,
    indexed_glb,
    mesh_xml,
    model_xml,
    obj_text,
    package,
    tetra,
    write,
)

from rlgen.core.errors import UserError
from rlgen.envs.design.export import encode, limits, readers, save
from rlgen.envs.design.export.readers import read_mesh
from rlgen.envs.design.mesh import Mesh


def _broken(points=None, triangles=None) -> str:
    mesh = tetra()
    return obj_text(Mesh(mesh.vertices if points is None else points, triangles))


TETRA = tetrahedron()[1]
FLIPPED = np.concatenate([TETRA[:1, ::-1], TETRA[1:]])
TWO = np.concatenate([tetrahedron()[0], tetrahedron()[0] + 50])
REFUSED = {
    "hole": (_broken(triangles=TETRA[1:]), "is not closed: 3 edges have no partner; repair it"),
    "flipped": (_broken(triangles=FLIPPED), "contradicts itself: at 3 edges"),
    "part": (
        _broken(TWO, np.concatenate([TETRA, TETRA[:, ::-1] + 4])).replace("v 50.0", "v 49.0"),
        "encloses no volume|inside out|not closed",
    ),
    "flat": (_broken(triangles=np.array([[0, 1, 2], [0, 2, 1]])), "encloses no volume"),
    "far": (_broken(tetra().vertices * 1e9, TETRA), "check its units"),
    "nan": (obj_text(tetra()).replace("v 10.0000000", "v nan"), "coordinates are numbers"),
    "points": ("v 0 0 0\n", "has no triangles"),
    "same": ("v 0 0 0\nf 1 1 1\n", "has no triangles with an area"),
    "index": ("v 0 0 0\nf 1 2 3\n", r"is broken in line 2: 'f 1 2 3'"),
    "zero": ("v 0 0 0\nf 0 1 1\n", r"is broken in line 2"),
    "word": ("v 0 zero 0\n", r"is broken in line 1: 'v 0 zero 0'"),
    "short": ("v 0 0\n", r"is broken in line 1"),
    "binary": (bytes(range(256)), "has no triangles"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_obj_that_is_no_closed_surface(tmp_path, name):
    data, match = REFUSED[name]
    with pytest.raises(UserError, match=match) as caught:
        read_mesh(write(tmp_path, "a.obj", data))
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "a.obj"))
    assert "\n" not in message


def test_one_body_of_several_inside_out(tmp_path):
    points = np.concatenate([10 * tetrahedron()[0], tetrahedron()[0] + 500])
    triangles = np.concatenate([TETRA, TETRA[:, ::-1] + 4])
    with pytest.raises(UserError, match="one of its bodies is inside out"):
        read_mesh(write(tmp_path, "a.obj", obj_text(Mesh(points, triangles))))


STL = encode(Mesh(*tetrahedron()), ".stl")
BROKEN_STL = {
    "empty": (b"", "too short"),
    "cut": (STL[:-10], "4 triangles take 284 bytes, it has 274"),
    "many": (STL[:80] + struct.pack("<I", 5_000_000), "5000000 triangles, at most 200000"),
    "text": (ascii_stl(Mesh(*tetrahedron()))[:-60].encode(), "corners or no end"),
    "number": (ascii_stl(Mesh(*tetrahedron())).replace("1.0000000e+01", "ten").encode(), "number"),
    "garbage": (b"PK" + bytes(200), "no triangles"),
    "infinite": (STL[:96] + struct.pack("<f", np.inf) + STL[100:], "coordinates are numbers"),
}


@pytest.mark.parametrize("name", BROKEN_STL)
def test_broken_stl(tmp_path, name):
    data, match = BROKEN_STL[name]
    with pytest.raises(UserError, match=match):
        read_mesh(write(tmp_path, "a.stl", data))


def _changed(path: list, value: object) -> bytes:
    document, binary = indexed_glb()
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return glb_bytes(document, binary)


BROKEN_GLB = {
    "text": (b"{}" * 20, "is not a GLB file"),
    "cut": (glb_bytes(*indexed_glb())[:-40], "not a complete GLB 2 file"),
    "json": (glb_bytes(*indexed_glb()).replace(b'"asset"', b'"asset '), "JSON and data do not fit"),
    "deep": (glb_bytes({}, b"").replace(b"{}  ", b"[[[[") + b"", "JSON and data|nested|complete"),
    "draco": (_changed(["extensionsRequired"], ["KHR_draco_mesh_compression"]), "KHR_draco"),
    "circle": (_changed(["nodes", 0, "children"], [0]), "circle"),
    "strip": (_changed(["meshes", 0, "primitives", 0, "mode"], 5), "plain triangles"),
    "sparse": (_changed(["accessors", 0, "sparse"], {}), "sparse"),
    "short": (_changed(["accessors", 0, "componentType"], 5122), "unquantised"),
    "count": (_changed(["accessors", 0, "count"], 10**12), "do not fit"),
    "negative": (_changed(["accessors", 0, "count"], -4), "do not fit"),
    "stride": (_changed(["bufferViews", 0, "byteStride"], 4), "do not fit"),
    "offset": (_changed(["accessors", 1, "byteOffset"], 20), "do not fit"),
    "index": (_changed(["accessors", 0, "count"], 3), "vertex that is not there"),
    "outside": (_changed(["buffers", 0, "uri"], "/etc/passwd"), "another file"),
    "node": (_changed(["nodes", 0, "mesh"], "a"), "do not fit"),
    "list": (_changed(["nodes"], {"a": 1}), "do not fit"),
    "lines": (_changed(["meshes", 0, "primitives", 0, "mode"], 1), "no triangles"),
    "infinite": (_changed(["nodes", 0, "scale"], [1e308, 1e308, 1e308]), "coordinates are numbers"),
}


@pytest.mark.parametrize("name", BROKEN_GLB)
def test_broken_glb(tmp_path, name):
    data, match = BROKEN_GLB[name]
    with pytest.raises(UserError, match=match):
        read_mesh(write(tmp_path, "a.glb", data))


def test_deeply_nested_json(tmp_path):
    text = b"[" * 200_000
    data = struct.pack("<4sIII4s", b"glTF", 2, 20 + len(text), len(text), b"JSON") + text
    with pytest.raises(UserError, match=r"nested too deeply|do not fit"):
        read_mesh(write(tmp_path, "a.glb", data))


LAUGHS = '<!DOCTYPE m [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>'
PATH = 'xmlns:p="http://schemas.microsoft.com/3dmanufacturing/production/2015/06" p:path="/a.model"'
NESTED = "".join(
    f'<object id="{k}"><components>'
    + f'<component objectid="{k + 1}"/>' * 30
    + "</components></object>"
    for k in range(1, 10)
)
BROKEN_3MF = {
    "zip": (b"PK\3\4 nothing", "not a readable 3MF file"),
    "empty": (package("", "a.txt"), "there is no 3D/3dmodel.model in it"),
    "xml": (package("<model><resources>"), "is broken: its XML"),
    "laughs": (package(LAUGHS + "<model>&b;</model>"), "document type"),
    "doctype": (package("<!DOCTYPE model>" + model_xml(mesh_xml(tetra()))[21:]), "document type"),
    "laughs16": (
        package(("\ufeff" + LAUGHS + "<model>&b;</model>").encode("utf-16-le")),
        "document type",
    ),
    "unit": (package(model_xml("", unit="furlong")), "furlong"),
    "index": (
        package(model_xml(mesh_xml(Mesh(tetra().vertices[:3], TETRA)))),
        "vertex that is not there",
    ),
    "huge": (
        package(model_xml(mesh_xml(tetra()).replace('v3="1"', f'v3="{10**30}"'))),
        "misstates",
    ),
    "word": (package(model_xml(mesh_xml(tetra()).replace('x="10.0"', 'x="ten"'))), "ten"),
    "lacks": (package(model_xml(mesh_xml(tetra()).replace("v3=", "v9="))), "v3"),
    "missing": (package(model_xml("", '<item objectid="7"/>')), "'7'"),
    "transform": (package(model_xml("", '<item objectid="1" transform="1 0"/>')), "12 numbers"),
    "circle": (
        package(
            model_xml('<object id="1"><components><component objectid="1"/></components></object>')
        ),
        "circle",
    ),
    "nested": (package(model_xml(NESTED + '<object id="10"/>')), "circle"),
    "path": (package(model_xml("", f'<item objectid="1" {PATH}/>')), "further files"),
    "open": (package(model_xml(mesh_xml(Mesh(tetra().vertices, TETRA[1:])))), "not closed: 3"),
}


@pytest.mark.parametrize("name", BROKEN_3MF)
def test_broken_3mf(tmp_path, name):
    data, match = BROKEN_3MF[name]
    with pytest.raises(UserError, match=match) as caught:
        read_mesh(write(tmp_path, "a.3mf", data))
    assert "\n" not in str(caught.value)


def test_zip_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("rlgen.envs.design.export.parse_3mf.MAX_BYTES", 1 << 20)
    data = package(b" " * (8 << 20))
    assert len(data) < 20_000
    with pytest.raises(UserError, match="unpacks to more than 1 MB"):
        read_mesh(write(tmp_path, "a.3mf", data))


def test_corners_all_in_one_spot_are_not_paired(tmp_path):
    """Thirty thousand corners within the welding distance would have 450 million pairs."""
    rng = np.random.default_rng(0)
    corners = rng.random((30_000, 3)) * 1e-6
    corners[-1] = 100
    triangles = np.arange(29_997).reshape(-1, 3)
    data = encode(Mesh(corners, np.concatenate([triangles, [[0, 1, 29_999]]])), ".stl")
    with pytest.raises(UserError, match=r"not closed|no triangles with an area"):
        read_mesh(write(tmp_path, "a.stl", data))


@pytest.mark.parametrize("suffix", [".stl", ".obj", ".glb", ".3mf"])
def test_too_many_triangles(tmp_path, monkeypatch, suffix):
    path = save(mesh_of(mug()), tmp_path / f"a{suffix}")
    monkeypatch.setattr(limits, "MAX_TRIANGLES", 100)
    monkeypatch.setattr("rlgen.envs.design.export.parse_3mf.MAX_TRIANGLES", 100)
    with pytest.raises(UserError, match=r"has \d+ triangles, at most 100 are read; simplify it"):
        read_mesh(path)


def test_too_many_bytes(tmp_path, monkeypatch):
    path = save(mesh_of(box(1, 1, 1)), tmp_path / "a.stl")
    monkeypatch.setattr(readers, "MAX_BYTES", 100)
    with pytest.raises(UserError, match="at most"):
        read_mesh(path)


def test_wrong_paths(tmp_path):
    with pytest.raises(UserError, match=r"not a mesh file that is read; .*'\.stl'"):
        read_mesh(tmp_path / "a.sttl")
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_mesh(tmp_path / "a.stl")
    (tmp_path / "b.stl").mkdir()
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_mesh(tmp_path / "b.stl")


def test_no_part_of_a_damaged_file_brings_the_reader_down(tmp_path):
    """Random damage gives a mesh or one UserError, never another exception."""
    rng = np.random.default_rng(0)
    mesh = mesh_of(box(5, 6, 7))
    for suffix in (".stl", ".obj", ".glb", ".3mf"):
        data = encode(mesh, suffix)
        for _ in range(60):
            bad = bytearray(data)
            for place in rng.integers(0, len(bad), rng.integers(1, 6)).tolist():
                bad[place] = int(rng.integers(256))
            path = write(
                tmp_path, f"a{suffix}", bytes(bad[: int(rng.integers(len(bad) // 2, 2 * len(bad)))])
            )
            message = ""
            try:
                volume = volume_of(read_mesh(path))
            except UserError as error:
                volume, message = 1.0, str(error)
            assert volume > 0
            assert "\n" not in message
