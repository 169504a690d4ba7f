import io
import json
import os
import struct
import zipfile
from xml.etree import ElementTree

import numpy as np
import pytest
import trimesh
from file_solids import (
    box,
    clean,
    cup,
    cylinder,
    drilled,
    edge_contact,
    hollow_ball,
    mesh_of,
    mug,
    patchwork,
    volume_of,
)

from rlgen.core.errors import UserError
from rlgen.envs.design.export import WRITERS, encode, load, save
from rlgen.envs.design.export.stl import CONTACT_GAP, separate_contacts
from rlgen.envs.design.mesh import EMPTY_MESH, Mesh

BUILDS = [cup, mug, drilled, hollow_ball, lambda: patchwork(2), lambda: patchwork(9)]


def _foreign(data: bytes, kind: str) -> trimesh.Trimesh:
    """The independent reader; it joins corners of equal position."""
    mesh = trimesh.load(io.BytesIO(data), file_type=kind, force="mesh")
    mesh.merge_vertices(merge_norm=True, merge_tex=True)
    return mesh


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize(("suffix", "digits"), [(".stl", 1e-6), (".3mf", 1e-5), (".obj", 1e-6)])
def test_an_independent_reader_finds_the_same_volume(build, suffix, digits):
    """Invariant 27."""
    if suffix == ".3mf":
        pytest.importorskip("lxml", reason="trimesh reads 3MF with it")
    mesh = mesh_of(build())
    found = _foreign(encode(mesh, suffix), suffix[1:])
    assert found.is_watertight
    assert found.is_winding_consistent
    assert len(found.faces) == len(mesh)
    assert found.volume == pytest.approx(volume_of(mesh), rel=digits)
    assert found.bounds == pytest.approx(mesh.bounds, abs=1e-5)


@pytest.mark.parametrize("build", BUILDS)
def test_3mf_holds_the_same_volume(build):
    """Invariant 27, with the XML reader of the standard library."""
    mesh = mesh_of(build())
    with zipfile.ZipFile(io.BytesIO(encode(mesh, ".3mf"))) as archive:
        root = ElementTree.fromstring(archive.read("3D/3dmodel.model"))
    names = {"m": "http://schemas.microsoft.com/3dmanufacturing/core/2015/02"}
    points = [[float(p.get(k)) for k in "xyz"] for p in root.iterfind(".//m:vertex", names)]
    faces = [
        [int(t.get(k)) for k in ("v1", "v2", "v3")] for t in root.iterfind(".//m:triangle", names)
    ]
    found = trimesh.Trimesh(points, faces, process=False)
    assert found.is_watertight
    assert found.volume == pytest.approx(volume_of(mesh), rel=1e-6)
    item, part = root.find(".//m:item", names), root.find(".//m:object", names)
    assert item.get("objectid") == part.get("id")


@pytest.mark.parametrize("build", BUILDS)
def test_glb_is_in_metres_with_y_up(build):
    """Invariant 27."""
    mesh = mesh_of(build())
    found = _foreign(encode(mesh, ".glb"), "glb")
    assert found.is_watertight
    assert found.volume * 1e9 == pytest.approx(volume_of(mesh), rel=1e-6)
    low, high = mesh.bounds
    expected = [[low[0], low[2], -high[1]], [high[0], high[2], -low[1]]]
    assert found.bounds * 1e3 == pytest.approx(np.array(expected), abs=1e-4)


def test_glb_follows_the_format():
    mesh = mesh_of(mug())
    data = encode(mesh, ".glb", "a note")
    magic, version, length, size, kind = struct.unpack_from("<4sIII4s", data)
    assert (magic, version, length, kind) == (b"glTF", 2, len(data), b"JSON")
    assert size % 4 == 0
    document = json.loads(data[20 : 20 + size])
    binary_size, kind = struct.unpack_from("<I4s", data, 20 + size)
    assert (kind, binary_size % 4) == (b"BIN\0", 0)
    assert 28 + size + binary_size == len(data)
    binary = data[28 + size :]
    assert document["asset"] == {
        "version": "2.0",
        "generator": "rlgen",
        "extras": {"note": "a note"},
    }
    position, normal = (
        np.frombuffer(binary, "<f4", 3 * a["count"], document["bufferViews"][k]["byteOffset"])
        for k, a in enumerate(document["accessors"])
    )
    position, normal = position.reshape(-1, 3), normal.reshape(-1, 3)
    assert document["accessors"][0]["min"] == [float(v) for v in position.min(0)]
    assert document["accessors"][0]["max"] == [float(v) for v in position.max(0)]
    assert np.linalg.norm(normal, axis=1) == pytest.approx(1, abs=1e-6)
    assert np.array_equal(normal[0::3], normal[1::3])
    a, b, c = position.astype(float).reshape(-1, 3, 3).transpose(1, 0, 2)
    area = np.cross(b - a, c - a)
    assert (np.einsum("ij,ij->i", area, normal[::3]) > 0.99 * np.linalg.norm(area, axis=1)).all()
    assert document["buffers"] == [{"byteLength": binary_size}]
    assert document["meshes"][0]["primitives"][0]["material"] == 0


def test_stl_has_the_size_that_its_header_tells():
    mesh = mesh_of(box(10, 20, 30))
    data = encode(mesh, ".stl", "note " * 40)
    assert len(data) == 84 + 50 * 12
    assert struct.unpack_from("<I", data, 80) == (12,)
    assert not data.startswith(b"solid")
    normal = struct.unpack_from("<3f", data, 84)
    expected = mesh.area_vectors[0] / np.linalg.norm(mesh.area_vectors[0])
    assert normal == pytest.approx(expected)


def test_bodies_that_touch_along_an_edge_stay_watertight_in_stl():
    mesh = mesh_of(edge_contact())
    found = _foreign(encode(mesh, ".stl"), "stl")
    assert found.is_watertight
    assert found.body_count == 2
    assert found.volume == pytest.approx(16000, rel=1e-3)
    moved = separate_contacts(mesh) - mesh.vertices
    lengths = np.linalg.norm(moved, axis=1)
    assert (lengths > 1e-3).sum() == 4
    assert lengths.max() == pytest.approx(CONTACT_GAP, rel=1e-3)


@pytest.mark.parametrize("seed", range(20, 50))
def test_careless_designs_give_watertight_stl_files(seed):
    solid = patchwork(seed)
    found = _foreign(encode(mesh_of(solid), ".stl"), "stl")
    assert found.is_watertight
    assert found.volume == pytest.approx(solid.volume(), rel=1e-6)


def test_3mf_is_a_package_with_one_model_in_millimetres():
    data = encode(mesh_of(box(10, 20, 30)), ".3mf", "<5 mm> & \x07 more")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == ["[Content_Types].xml", "_rels/.rels", "3D/3dmodel.model"]
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert archive.testzip() is None
        model = archive.read("3D/3dmodel.model").decode()
    assert 'unit="millimeter"' in model
    assert "&lt;5 mm&gt; &amp;   more" in model
    assert model.count("<vertex ") == 8
    assert model.count("<triangle ") == 12


def test_obj_keeps_shared_vertices_and_the_note():
    text = encode(mesh_of(box(10, 20, 30)), ".obj", "one\ntwo").decode()
    assert text.startswith("# unit: millimetre, z up\n# one\n# two\n")
    assert text.count("\nv ") == 8
    assert text.count("\nf ") == 12


@pytest.mark.parametrize("suffix", WRITERS)
def test_files_repeat_to_the_byte_and_are_complete(suffix, tmp_path):
    mesh = mesh_of(mug())
    path = save(mesh, tmp_path / f"mug{suffix.upper()}", "note")
    assert path.read_bytes() == encode(
        Mesh(mesh.vertices.copy(), mesh.triangles.copy()), suffix, "note"
    )
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", [".stl", ".glb", ".3mf", ".obj"])
@pytest.mark.parametrize("build", BUILDS)
def test_our_own_reader_reads_our_own_files(suffix, build, tmp_path):
    mesh = mesh_of(build())
    found = load(save(mesh, tmp_path / f"a{suffix}"))
    assert len(found) == len(mesh)
    assert volume_of(found) == pytest.approx(volume_of(mesh), rel=1e-6)
    assert found.bounds == pytest.approx(mesh.bounds, abs=1e-4)


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = save(mesh_of(box(1, 2, 3)), tmp_path / "a.stl")
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match=r"a\.stl cannot be written: No space left on device"):
        save(mesh_of(cup()), path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.stl"]


def test_mistakes_are_told(tmp_path):
    mesh = mesh_of(clean(cylinder(10, 10)))
    with pytest.raises(UserError, match=r"no writer for '.slt'; did you mean .*'.stl'"):
        save(mesh, tmp_path / "a.slt")
    with pytest.raises(UserError, match="design is empty"):
        save(EMPTY_MESH, tmp_path / "a.stl")
    with pytest.raises(UserError, match="cannot be written: No such file or directory"):
        save(mesh, tmp_path / "missing" / "a.stl")
    assert os.listdir(tmp_path) == []
