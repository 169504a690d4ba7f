import re
from collections import Counter

import numpy as np
import pytest
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
from rlgen.envs.design.export import save
from rlgen.envs.design.export.faces import flat_faces
from rlgen.envs.design.export.step import encode, escaped
from rlgen.envs.design.mesh import Mesh

BUILDS = {
    "box": lambda: box(30, 20, 10),
    "cup": cup,
    "mug": mug,
    "drilled": drilled,
    "hollow_ball": hollow_ball,
    "edge_contact": edge_contact,
    **{f"patchwork_{k}": (lambda k=k: patchwork(k)) for k in range(14)},
}


class _Step:
    """The smallest reader that can tell whether a file makes sense."""

    def __init__(self, data: bytes) -> None:
        text = data.decode("ascii")
        assert text.startswith("ISO-10303-21;\nHEADER;")
        assert text.endswith("ENDSEC;\nEND-ISO-10303-21;\n")
        self.header, body = text.split("DATA;\n")
        found = re.findall(r"^#(\d+)=(\w*)(.*);$", body.replace("\\\n", ""), re.MULTILINE)
        self.kind = {int(number): kind for number, kind, _ in found}
        self.rest = {int(number): rest for number, _, rest in found}
        assert len(found) == len(self.kind) == body.count(";\n") - 2
        self.count = Counter(self.kind.values())

    def references(self, number: int) -> list[int]:
        return [int(word) for word in re.findall(r"#(\d+)", self.rest[number])]

    def numbers(self, number: int) -> np.ndarray:
        return np.array(re.findall(r"-?\d+\.\d*", self.rest[number]), float)

    def of(self, kind: str) -> list[int]:
        return [number for number, name in self.kind.items() if name == kind]

    def corner(self, vertex: int) -> np.ndarray:
        return self.numbers(self.references(vertex)[0])

    def ends(self, oriented: int) -> tuple[int, int]:
        """Vertices of an oriented edge in its own sense."""
        first, second, _ = self.references(self.references(oriented)[0])
        return (first, second) if self.rest[oriented].endswith(".T.)") else (second, first)


@pytest.fixture(params=BUILDS)
def case(request) -> tuple[Mesh, _Step]:
    mesh = mesh_of(BUILDS[request.param]())
    return mesh, _Step(encode(mesh))


def test_every_reference_exists_and_every_entity_is_used(case):
    """Invariant 28."""
    _, step = case
    used = {target for number in step.kind for target in step.references(number)}
    assert used <= set(step.kind)
    roots = set(step.kind) - used
    assert {step.kind[number] for number in roots} == {
        "APPLICATION_PROTOCOL_DEFINITION",
        "PRODUCT_RELATED_PRODUCT_CATEGORY",
        "SHAPE_DEFINITION_REPRESENTATION",
    }


def test_entity_counts_follow_from_the_surface(case):
    """Invariant 28."""
    mesh, step = case
    faces = flat_faces(mesh)
    count, edges = step.count, len(faces.start) // 2
    assert count["ADVANCED_FACE"] == count["PLANE"] == len(faces.normal) <= len(mesh)
    assert count["EDGE_CURVE"] == count["LINE"] == count["VECTOR"] == edges
    assert count["ORIENTED_EDGE"] == 2 * edges
    assert count["EDGE_LOOP"] == count["FACE_OUTER_BOUND"] + count["FACE_BOUND"]
    assert count["FACE_OUTER_BOUND"] == count["ADVANCED_FACE"]
    assert count["VERTEX_POINT"] == len(np.unique(faces.start))
    assert count["CLOSED_SHELL"] == len(faces.volumes)
    # Euler and Poincare: V - E + F - (loops - F) = 2 (shells - genus)
    euler = count["VERTEX_POINT"] - edges + 2 * count["ADVANCED_FACE"] - count["EDGE_LOOP"]
    triangles = len(np.unique(mesh.triangles)) - len(mesh) // 2
    assert euler == triangles


def test_loops_are_chains_and_edges_are_shared_by_two(case):
    """Invariant 28."""
    _, step = case
    for loop in step.of("EDGE_LOOP"):
        ends = [step.ends(side) for side in step.references(loop)]
        assert [end for _, end in ends] == [start for start, _ in ends[1:] + ends[:1]]
    sides = Counter()
    for side in step.of("ORIENTED_EDGE"):
        sides[step.references(side)[0], step.rest[side][-4:]] += 1
    assert set(sides.values()) == {1}
    assert len(sides) == 2 * step.count["EDGE_CURVE"]


def test_geometry_fits_topology_and_volume(case):
    """Invariant 28: corners lie on lines and planes, faces enclose the volume."""
    mesh, step = case
    for edge in step.of("EDGE_CURVE"):
        first, second, line = step.references(edge)
        point, vector = step.references(line)
        direction = step.numbers(step.references(vector)[0])
        along = step.corner(second) - step.corner(first)
        assert np.array_equal(step.numbers(point), step.corner(first))
        assert np.linalg.norm(np.cross(along, direction)) < 1e-7
        assert along @ direction > 0
    total = 0.0
    for face in step.of("ADVANCED_FACE"):
        *bounds, plane = step.references(face)
        place, axis, across = step.references(step.references(plane)[0])
        normal, origin = step.numbers(axis), step.numbers(place)
        assert np.linalg.norm(normal) == pytest.approx(1, abs=1e-9)
        assert abs(normal @ step.numbers(across)) < 1e-3
        for bound in bounds:
            ends = [step.ends(side) for side in step.references(step.references(bound)[0])]
            a, b = (np.array([step.corner(end[k]) for end in ends]) for k in (0, 1))
            assert np.abs((a - origin) @ normal).max() < 5e-6
            area = 0.5 * float(np.cross(a, b).sum(0) @ normal)
            assert (area > 0) == (step.kind[bound] == "FACE_OUTER_BOUND")
            total += area * float(origin @ normal) / 3
    assert total == pytest.approx(volume_of(mesh), rel=1e-6)


def test_a_box_is_six_faces_in_millimetres():
    step = _Step(encode(mesh_of(box(30, 20, 10))))
    assert step.count["ADVANCED_FACE"] == 6
    assert step.count["EDGE_CURVE"] == 12
    assert step.count["VERTEX_POINT"] == 8
    assert step.count["MANIFOLD_SOLID_BREP"] == 1
    assert any("SI_UNIT(.MILLI.,.METRE.)" in rest for rest in step.rest.values())
    assert "AUTOMOTIVE_DESIGN" in step.header
    corners = np.array([step.corner(vertex) for vertex in step.of("VERTEX_POINT")])
    assert corners.max(0).tolist() == [30, 20, 10]


def test_cavities_become_voids_of_the_right_body():
    two = hollow_ball() + (box(20, 20, 20) - box(5, 5, 5, (5, 5, 5))).translate((100, 0, 0))
    step = _Step(encode(mesh_of(two)))
    assert step.count["BREP_WITH_VOIDS"] == step.count["ORIENTED_CLOSED_SHELL"] == 2
    assert step.count["MANIFOLD_SOLID_BREP"] == 0
    for solid in step.of("BREP_WITH_VOIDS"):
        outer, void = step.references(solid)
        sizes = sorted(
            [len(step.references(outer)), len(step.references(step.references(void)[0]))]
        )
        assert sizes == [6, 6] or (sizes[0] == 6 and sizes[1] > 100)


def test_a_nested_body_in_a_cavity_is_its_own_solid():
    nested = hollow_ball() + box(10, 10, 10, (25, 25, 25)) - box(2, 2, 2, (29, 29, 29))
    step = _Step(encode(mesh_of(nested)))
    assert step.count["BREP_WITH_VOIDS"] == 2
    found = {}
    for solid in step.of("BREP_WITH_VOIDS"):
        outer, void = step.references(solid)
        loops = [step.references(face)[0] for face in step.references(outer)]
        sides = [side for loop in loops for side in step.references(step.references(loop)[0])]
        corners = np.array([step.corner(end) for side in sides for end in step.ends(side)])
        found[round(np.ptp(corners[:, 0]))] = len(step.references(step.references(void)[0]))
    assert found[10] == 6
    assert found[60] > 100


def test_note_is_escaped_and_bytes_repeat():
    mesh = mesh_of(box(1, 2, 3))
    data = encode(mesh, "Tom's \\ cup: 5 \u00b5m\n\U0001f375 second\tline")
    header = _Step(data).header
    assert r"'Tom''s \\ cup: 5 \X2\00B5\X0\m','\X4\0001F375\X0\ second line'" in header
    assert data == encode(mesh, "Tom's \\ cup: 5 \u00b5m\n\U0001f375 second\tline")
    assert escaped("plain") == "plain"


def test_a_surface_without_inside_is_refused():
    mesh = mesh_of(box(1, 2, 3))
    with pytest.raises(UserError, match="encloses no volume"):
        encode(Mesh(mesh.vertices, mesh.triangles[:, ::-1]))
    with pytest.raises(UserError, match="not closed: 3 edges"):
        encode(Mesh(mesh.vertices, mesh.triangles[1:]))


@pytest.mark.parametrize("name", BUILDS)
def test_opencascade_reads_a_valid_solid(name, tmp_path):
    """Invariant 28."""
    pytest.importorskip("OCP")
    from OCP.BRepCheck import BRepCheck_Analyzer
    from OCP.BRepGProp import BRepGProp
    from OCP.GProp import GProp_GProps
    from OCP.STEPControl import STEPControl_Reader
    from OCP.TopAbs import TopAbs_FACE, TopAbs_SOLID
    from OCP.TopExp import TopExp
    from OCP.TopTools import TopTools_IndexedMapOfShape

    mesh = mesh_of(BUILDS[name]())
    reader = STEPControl_Reader()
    reader.ReadFile(str(save(mesh, tmp_path / "a.step")))
    assert reader.TransferRoots() == 1
    shape = reader.OneShape()
    assert BRepCheck_Analyzer(shape).IsValid()
    properties = GProp_GProps()
    BRepGProp.VolumeProperties_s(shape, properties)
    assert properties.Mass() == pytest.approx(volume_of(mesh), rel=1e-6)
    for kind, count in ((TopAbs_SOLID, 2 if name == "edge_contact" else 1), (TopAbs_FACE, None)):
        found = TopTools_IndexedMapOfShape()
        TopExp.MapShapes_s(shape, kind, found)
        assert found.Extent() == (count or len(flat_faces(mesh).normal))


def test_a_cleaned_cylinder_has_one_face_per_side():
    assert _Step(encode(mesh_of(clean(cylinder(20, 30))))).count["ADVANCED_FACE"] == 34
