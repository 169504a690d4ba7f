"""Faceted STEP (AP214) in pure Python: a solid with flat faces for CAD programs.

Each connected outer surface becomes a ``MANIFOLD_SOLID_BREP``, or a ``BREP_WITH_VOIDS`` where it
has cavities. Its ``ADVANCED_FACE`` s lie on planes and share every ``EDGE_CURVE`` with the one
neighbour on it; triangles of one plane are one face. Curved surfaces stay facets: a cylinder is
the prism that it is in the mesh.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rlgen.core.errors import UserError
from rlgen.envs.design.export.faces import Faces, flat_faces
from rlgen.envs.design.mesh import Floats, Ints, Mesh

SCHEMA = "AUTOMOTIVE_DESIGN { 1 0 10303 214 1 1 1 1 }"
DATE = "2000-01-01T00:00:00"  # fixed: the same design gives the same bytes

_HEADER = """ISO-10303-21;
HEADER;
FILE_DESCRIPTION(({description}),'2;1');
FILE_NAME('design.step','{date}',(''),(''),'rlgen','rlgen','');
FILE_SCHEMA(('{schema}'));
ENDSEC;
DATA;
#1=APPLICATION_CONTEXT('core data for automotive mechanical design processes');
#2=APPLICATION_PROTOCOL_DEFINITION('international standard','automotive_design',2000,#1);
#3=PRODUCT_CONTEXT('',#1,'mechanical');
#4=PRODUCT('design','design','',(#3));
#5=PRODUCT_DEFINITION_FORMATION('','',#4);
#6=PRODUCT_DEFINITION_CONTEXT('part definition',#1,'design');
#7=PRODUCT_DEFINITION('design','',#5,#6);
#8=PRODUCT_DEFINITION_SHAPE('','',#7);
#9=PRODUCT_RELATED_PRODUCT_CATEGORY('part','',(#4));
#10=(LENGTH_UNIT()NAMED_UNIT(*)SI_UNIT(.MILLI.,.METRE.));
#11=(NAMED_UNIT(*)PLANE_ANGLE_UNIT()SI_UNIT($,.RADIAN.));
#12=(NAMED_UNIT(*)SI_UNIT($,.STERADIAN.)SOLID_ANGLE_UNIT());
#13=UNCERTAINTY_MEASURE_WITH_UNIT(LENGTH_MEASURE(1.E-05),#10,'distance_accuracy_value','');
#14=(GEOMETRIC_REPRESENTATION_CONTEXT(3)GLOBAL_UNCERTAINTY_ASSIGNED_CONTEXT((#13))\
GLOBAL_UNIT_ASSIGNED_CONTEXT((#10,#11,#12))REPRESENTATION_CONTEXT('',''));
#15=CARTESIAN_POINT('',(0.,0.,0.));
#16=DIRECTION('',(0.,0.,1.));
#17=DIRECTION('',(1.,0.,0.));
#18=AXIS2_PLACEMENT_3D('',#15,#16,#17);
#19=SHAPE_DEFINITION_REPRESENTATION(#8,#20);
#20=ADVANCED_BREP_SHAPE_REPRESENTATION('design',(#18,{solids}),#14);
"""
_FIRST = 21  # id of the first entity after the header's
_SOLID = "MANIFOLD_SOLID_BREP"
_POINT = "#%d=CARTESIAN_POINT('',(%.9f,%.9f,%.9f));\n#%d=VERTEX_POINT('',#%d);\n"
_EDGE = (
    "#%d=DIRECTION('',(%.12f,%.12f,%.12f));\n#%d=VECTOR('',#%d,1.);\n#%d=LINE('',#%d,#%d);\n"
    "#%d=EDGE_CURVE('',#%d,#%d,#%d,.T.);\n"
)
_SIDE = "#%d=ORIENTED_EDGE('',*,*,#%d,.%s.);\n"
_LOOP = "#%d=EDGE_LOOP('',(%s));\n#%d=%s('',#%d,.T.);\n"
_FACE = (
    "#%d=DIRECTION('',(%.12f,%.12f,%.12f));\n#%d=AXIS2_PLACEMENT_3D('',#%d,#%d,#%d);\n"
    "#%d=PLANE('',#%d);\n#%d=ADVANCED_FACE('',(%s),#%d,.T.);\n"
)


@dataclass(frozen=True, eq=False)
class _Numbers:
    """Ids of the first entity for every vertex, edge, half-edge, loop and face.

    Attributes:
        point: (V,) its vertex is the next id.
        direction: (H,) of the edge of each half-edge; vector, line and edge are the next ids.
        side: (H,) oriented edge.
        loop: (L,) its bound is the next id.
        face: (F,) normal; placement, plane and face are the next ids.
        free: First id after all of these.
    """

    point: Ints
    direction: Ints
    side: Ints
    loop: Ints
    face: Ints
    free: int


def encode(mesh: Mesh, note: str = "") -> bytes:
    """Returns a mesh as a faceted STEP file.

    Args:
        mesh: A closed mesh in mm. Several bodies become several solids, cavities become voids.
        note: Kept in the header's ``FILE_DESCRIPTION``, a string per line.

    Returns:
        ASCII text of ISO 10303-21.

    Raises:
        UserError: If the mesh is not closed, or encloses no volume.
    """
    faces = flat_faces(mesh)
    numbers = _number(faces, len(mesh.vertices))
    solids, ids = _solids(mesh, faces, numbers)
    texts = ["faceted B-rep", *note.splitlines()]
    header = _HEADER.format(
        description=",".join(f"'{escaped(text)}'" for text in texts),
        date=DATE,
        schema=SCHEMA,
        solids=_references(ids),
    )
    body = _points(mesh, faces, numbers) + _edges(mesh, faces, numbers)
    body += _sides(faces, numbers) + _loops(faces, numbers) + _faces(faces, numbers)
    return f"{header}{body}{solids}ENDSEC;\nEND-ISO-10303-21;\n".encode("ascii")


def escaped(text: str) -> str:
    r"""Returns text for a STEP string: quotes and backslashes doubled, others as ``\X2\`` codes."""
    plain = text.replace("\\", "\\\\").replace("'", "''")
    return "".join(c if " " <= c <= "~" else _coded(c) for c in plain)


def _coded(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return " "
    return f"\\X2\\{code:04X}\\X0\\" if code <= 0xFFFF else f"\\X4\\{code:08X}\\X0\\"


def _number(faces: Faces, vertices: int) -> _Numbers:
    used = np.unique(faces.start)
    free = _FIRST
    point = np.zeros(vertices, np.int64)
    point[used] = free + 2 * np.arange(len(used))
    free += 2 * len(used)
    half = np.arange(len(faces.start))
    owner = np.minimum(half, faces.partner)  # the half-edge that gives an edge its direction
    direction = free + 4 * np.unique(owner, return_inverse=True)[1]
    free += 2 * len(half)
    side = free + half
    free += len(half)
    loop = free + 2 * np.arange(len(faces.loop_face))
    free += 2 * len(loop)
    face = free + 4 * np.arange(len(faces.normal))
    return _Numbers(point, direction, side, loop, face, free + 4 * len(face))


def _points(mesh: Mesh, faces: Faces, numbers: _Numbers) -> str:
    used = np.unique(faces.start)
    ids = numbers.point[used]
    return _filled(_POINT, [ids, *mesh.vertices[used].T, ids + 1, ids])


def _edges(mesh: Mesh, faces: Faces, numbers: _Numbers) -> str:
    chosen = np.flatnonzero(np.arange(len(faces.start)) < faces.partner)
    tail, head = faces.start[chosen], faces.end[chosen]
    along = mesh.vertices[head] - mesh.vertices[tail]
    along /= np.maximum(np.linalg.norm(along, axis=1), 1e-300)[:, None]
    ids, start, end = numbers.direction[chosen], numbers.point[tail], numbers.point[head]
    line = [ids, *along.T, ids + 1, ids, ids + 2, start, ids + 1]
    return _filled(_EDGE, [*line, ids + 3, start + 1, end + 1, ids + 2])


def _sides(faces: Faces, numbers: _Numbers) -> str:
    forward = np.arange(len(faces.start)) < faces.partner
    return _filled(_SIDE, [numbers.side, numbers.direction + 3, np.where(forward, "T", "F")])


def _loops(faces: Faces, numbers: _Numbers) -> str:
    following, side = faces.following.tolist(), numbers.side.tolist()
    members = []
    for first in np.unique(faces.loop, return_index=True)[1].tolist():
        around, half = [side[first]], following[first]
        while half != first:
            around.append(side[half])
            half = following[half]
        members.append(_references(around))
    kind = np.where(faces.outer, "FACE_OUTER_BOUND", "FACE_BOUND")
    return _filled(_LOOP, [numbers.loop, members, numbers.loop + 1, kind, numbers.loop])


def _faces(faces: Faces, numbers: _Numbers) -> str:
    ids = numbers.face
    # One corner and one edge of each face fix its plane.
    half = np.unique(faces.loop_face[faces.loop], return_index=True)[1]
    corner, edge = numbers.point[faces.start[half]], numbers.direction[half]
    bounds = _lists(faces.loop_face, numbers.loop + 1)
    plane = [ids, *faces.normal.T, ids + 1, corner, ids, edge, ids + 2, ids + 1]
    return _filled(_FACE, [*plane, ids + 3, bounds, ids + 2])


def _solids(mesh: Mesh, faces: Faces, numbers: _Numbers) -> tuple[str, list[int]]:
    """Returns the entities of shells and solids, and the ids of the solids."""
    outer = np.flatnonzero(faces.volumes > 0.0).tolist()
    if not outer:
        raise UserError("the mesh encloses no volume; turn its triangles to face outwards")
    members = _lists(faces.shell, numbers.face + 3)
    home = {hole: _surrounding(mesh, faces, outer, hole) for hole in _cavities(faces)}
    lines, solids, free = [], [], numbers.free
    for shell in outer:
        lines.append(f"#{free}=CLOSED_SHELL('',({members[shell]}));")
        skin, voids, free = free, [], free + 1
        for hole in [hole for hole in home if home[hole] == shell]:
            lines.append(f"#{free}=CLOSED_SHELL('',({members[hole]}));")
            lines.append(f"#{free + 1}=ORIENTED_CLOSED_SHELL('',*,#{free},.T.);")
            voids.append(free + 1)
            free += 2
        name, rest = ("BREP_WITH_VOIDS", f",({_references(voids)})") if voids else (_SOLID, "")
        lines.append(f"#{free}={name}('',#{skin}{rest});")
        solids.append(free)
        free += 1
    return "\n".join(lines) + "\n", solids


def _cavities(faces: Faces) -> list[int]:
    return list(np.flatnonzero(faces.volumes <= 0.0).tolist())


def _surrounding(mesh: Mesh, faces: Faces, outer: Sequence[int], hole: int) -> int:
    """The smallest outer surface around a cavity."""
    point = mesh.vertices[faces.start[faces.shell[faces.loop_face[faces.loop]] == hole][0]]
    around = [shell for shell in outer if _inside(mesh, faces, shell, point)]
    return min(around or outer, key=lambda shell: float(faces.volumes[shell]))


def _inside(mesh: Mesh, faces: Faces, shell: int, point: Floats) -> bool:
    """Whether a surface winds around a point, by the solid angles of fans over its loops."""
    half = np.flatnonzero(faces.shell[faces.loop_face[faces.loop]] == shell)
    anchor = np.full(len(faces.loop_face), -1, np.int64)
    anchor[faces.loop[half]] = faces.start[half]
    a, b, c = (
        mesh.vertices[ends] - point
        for ends in (anchor[faces.loop[half]], faces.start[half], faces.end[half])
    )
    la, lb, lc = (np.linalg.norm(side, axis=1) for side in (a, b, c))
    top = np.einsum("ij,ij->i", a, np.cross(b, c))
    dots = [np.einsum("ij,ij->i", u, v) for u, v in ((a, b), (b, c), (c, a))]
    bottom = la * lb * lc + dots[0] * lc + dots[1] * la + dots[2] * lb
    return abs(float(np.arctan2(top, bottom).sum())) > np.pi  # half of the angle 4 pi


def _lists(owner: Ints, ids: Ints) -> list[str]:
    """Reference lists of the ids that each owner 0, 1, 2 ... has."""
    order = np.argsort(owner, kind="stable")
    ranked, ends = ids[order].tolist(), np.cumsum(np.bincount(owner)).tolist()
    return [_references(ranked[a:b]) for a, b in zip([0, *ends[:-1]], ends, strict=True)]


def _references(ids: Sequence[int]) -> str:
    return "#" + ",#".join(map(str, ids)) if ids else ""


def _filled(template: str, columns: Sequence[Ints | Floats | Sequence[str]]) -> str:
    """Fills one copy of a template per row."""
    rows = len(columns[0])
    values: list[object] = [None] * (rows * len(columns))
    for k, column in enumerate(columns):
        values[k :: len(columns)] = column.tolist() if isinstance(column, np.ndarray) else column
    return (template * rows) % tuple(values)
