import numpy as np
import pytest
import trimesh
from file_solids import edge_contact, hollow_ball, mesh_of, mug, volume_of
from foreign_files import (
    VOLUME,
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

from rlgen.envs.design.export import encode
from rlgen.envs.design.export.readers import closed_mesh, read_mesh
from rlgen.envs.design.mesh import Mesh

# What is read


@pytest.mark.parametrize("name", ["part", "a solid with facets"])
def test_text_stl(tmp_path, name):
    mesh = read_mesh(write(tmp_path, "a.stl", ascii_stl(mesh_of(mug()), name).upper()))
    assert len(mesh) == len(mesh_of(mug()))
    assert volume_of(mesh) == pytest.approx(volume_of(mesh_of(mug())), rel=1e-5)


def test_binary_stl_that_begins_with_solid(tmp_path):
    data = b"solid" + encode(tetra(), ".stl")[5:]
    assert volume_of(read_mesh(write(tmp_path, "a.stl", data))) == pytest.approx(VOLUME)


def test_stl_of_another_program(tmp_path):
    foreign = trimesh.creation.icosphere(3, 20.0)
    for name, kind in (
        ("a.stl", "stl"),
        ("b.stl", "stl_ascii"),
        ("c.obj", "obj"),
        ("d.glb", "glb"),
    ):
        data = foreign.export(file_type=kind)
        mesh = read_mesh(write(tmp_path, name, data))
        scale = 1e9 if name == "d.glb" else 1.0
        assert len(mesh.vertices) == len(foreign.vertices)
        assert volume_of(mesh) == pytest.approx(scale * foreign.volume, rel=1e-5)


def test_obj_with_polygons_negative_indices_and_texture(tmp_path):
    text = """
    # a cube
    v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 0 0 1\nv 1 0 1 0.5 0.5 0.5\nv 1 1 1\nv 0 1 1
    vt 0 0\nvn 0 0 1\ng sides\nusemtl red
    f 4/1/1 3/1/1 2/1/1 1/1/1
    f -4 -3 -2 -1
    f 1//1 2//1 6//1 5//1
    f 2 3 \\
      7 6
    f 3/1 4/1 8/1 7/1
    f 4 1 5 8
    """
    mesh = read_mesh(write(tmp_path, "a.obj", text))
    assert len(mesh) == 12
    assert volume_of(mesh) == pytest.approx(1.0)


@pytest.mark.parametrize("kind", [5121, 5123, 5125])
@pytest.mark.parametrize("stride", [12, 24])
def test_indexed_glb(tmp_path, kind, stride):
    mesh = read_mesh(write(tmp_path, "a.glb", glb_bytes(*indexed_glb(kind, stride))))
    assert len(mesh.vertices) == 4
    assert volume_of(mesh) == pytest.approx(VOLUME, rel=1e-6)
    # y up becomes z up: (x, y, z) -> (x, -z, y)
    assert mesh.bounds == pytest.approx(np.array([[0, -10, 0], [10, 0, 10]]), abs=1e-5)


@pytest.mark.parametrize(
    ("node", "factor"),
    [
        ({"scale": [2, 1, 3]}, 6),
        ({"scale": [-1, 1, 1]}, 1),
        ({"rotation": [0.5, 0.5, 0.5, 0.5], "translation": [1, 2, 3]}, 1),
        ({"matrix": [0, 2, 0, 0, 2, 0, 0, 0, 0, 0, 2, 0, 7, 7, 7, 1]}, 8),
    ],
)
def test_glb_nodes_place_and_mirror(tmp_path, node, factor):
    mesh = read_mesh(write(tmp_path, "a.glb", glb_bytes(*indexed_glb(**node))))
    assert volume_of(mesh) == pytest.approx(factor * VOLUME, rel=1e-5)
    scene = trimesh.load(tmp_path / "a.glb", force="mesh")
    low, high = scene.bounds * 1e3
    expected = [[low[0], -high[2], low[1]], [high[0], -low[2], high[1]]]
    assert mesh.bounds == pytest.approx(np.array(expected), rel=1e-5, abs=1e-3)


def test_glb_children_inherit_and_one_of_them_is_mirrored(tmp_path):
    document, binary = indexed_glb()
    document["nodes"] = [
        {"children": [1, 2], "scale": [2, 2, 2]},
        {"mesh": 0},
        {"mesh": 0, "translation": [1, 0, 0], "scale": [-1, 1, 1]},
    ]
    mesh = read_mesh(write(tmp_path, "a.glb", glb_bytes(document, binary)))
    assert volume_of(mesh) == pytest.approx(2 * 8 * VOLUME, rel=1e-5)
    assert mesh.bounds[1, 0] == pytest.approx(2000, rel=1e-5)


@pytest.mark.parametrize(("unit", "factor"), [("millimeter", 1), ("inch", 25.4), ("micron", 1e-3)])
def test_3mf_units(tmp_path, unit, factor):
    data = package(model_xml(mesh_xml(tetra()), unit=unit))
    assert volume_of(read_mesh(write(tmp_path, "a.3mf", data))) == pytest.approx(VOLUME * factor**3)


def test_3mf_components_and_transforms(tmp_path):
    body = mesh_xml(tetra()) + (
        '<object id="2"><components><component objectid="1"/>'
        '<component objectid="1" transform="-1 0 0 0 1 0 0 0 1 -5 0 0"/></components></object>'
    )
    build = '<item objectid="2" transform="2 0 0 0 2 0 0 0 2 100 0 0"/>'
    mesh = read_mesh(write(tmp_path, "a.3mf", package(model_xml(body, build))))
    assert len(mesh) == 8
    assert volume_of(mesh) == pytest.approx(2 * 8 * VOLUME)
    assert mesh.bounds[:, 0].tolist() == [100 + 2 * (-5 - 10), 100 + 20]


def test_3mf_model_under_another_name(tmp_path):
    relation = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        '<Relationship Target="/3D/other.model" Id="a" Type="http://schemas.microsoft.com/'
        '3dmanufacturing/2013/01/3dmodel"/></Relationships>'
    )
    data = package(model_xml(mesh_xml(tetra())), "3D/other.model", _rels__rels=relation)
    assert volume_of(read_mesh(write(tmp_path, "a.3mf", data))) == pytest.approx(VOLUME)


# What is mended


def test_an_inside_out_mesh_is_turned(tmp_path):
    turned = Mesh(tetra().vertices, tetra().triangles[:, ::-1])
    assert volume_of(read_mesh(write(tmp_path, "a.obj", obj_text(turned)))) == pytest.approx(VOLUME)


def test_corners_that_nearly_meet_are_joined(tmp_path):
    mesh = mesh_of(mug())
    rng = np.random.default_rng(0)
    loose = mesh.corners + rng.uniform(-1e-5, 1e-5, mesh.corners.shape)
    mended = closed_mesh(loose.reshape(-1, 3), np.arange(3 * len(mesh)).reshape(-1, 3))
    assert volume_of(mended) == pytest.approx(volume_of(mesh), rel=1e-5)
    assert len(mended.vertices) == len(mesh.vertices)


def test_contacts_and_cavities_are_kept(tmp_path):
    for build in (edge_contact, hollow_ball):
        mesh = mesh_of(build())
        text = ascii_stl(mesh)
        found = read_mesh(write(tmp_path, "a.stl", text))
        assert len(found) == len(mesh)
        assert volume_of(found) == pytest.approx(volume_of(mesh), rel=1e-6)
