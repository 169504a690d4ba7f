"""3MF core: a zip file with one XML model in millimetres, as slicers open it.

Dates inside the zip file are fixed, so the same design gives the same bytes.
"""

import io
import zipfile
from xml.sax.saxutils import escape

from rlgen.envs.design.mesh import Mesh

MODEL = "3D/3dmodel.model"
NAMESPACE = "http://schemas.microsoft.com/3dmanufacturing/core/2015/02"
MODEL_RELATION = "http://schemas.microsoft.com/3dmanufacturing/2013/01/3dmodel"
_XML = '<?xml version="1.0" encoding="UTF-8"?>\n'
_TYPES = (
    f'{_XML}<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" '
    'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="model" '
    'ContentType="application/vnd.ms-package.3dmanufacturing-3dmodel+xml"/></Types>'
)
_RELATIONS = (
    f'{_XML}<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    f'<Relationship Target="/{MODEL}" Id="rel0" Type="{MODEL_RELATION}"/></Relationships>'
)


def encode(mesh: Mesh, note: str = "") -> bytes:
    """Returns a mesh as a 3MF file.

    Args:
        mesh: A closed mesh in mm; it should lie in the positive octant of the printer's bed only
            after the slicer has placed it.
        note: Kept as the model's ``Description``.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in (
            ("[Content_Types].xml", _TYPES),
            ("_rels/.rels", _RELATIONS),
            (MODEL, _model(mesh, note)),
        ):
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 0  # not the system this happens to run on
            archive.writestr(entry, text.encode(), compresslevel=4)
    return buffer.getvalue()


def _model(mesh: Mesh, note: str) -> str:
    point = '<vertex x="%.6f" y="%.6f" z="%.6f"/>'
    face = '<triangle v1="%d" v2="%d" v3="%d"/>'
    points = (point * len(mesh.vertices)) % tuple(mesh.vertices.ravel().tolist())
    faces = (face * len(mesh)) % tuple(mesh.triangles.ravel().tolist())
    return (
        f'{_XML}<model unit="millimeter" xml:lang="en-US" xmlns="{NAMESPACE}">'
        '<metadata name="Application">rlgen</metadata>'
        f'<metadata name="Description">{escape(_printable(note))}</metadata>'
        f'<resources><object id="1" type="model" name="design"><mesh><vertices>{points}</vertices>'
        f"<triangles>{faces}</triangles></mesh></object></resources>"
        '<build><item objectid="1"/></build></model>'
    )


def _printable(text: str) -> str:
    """XML has no escape for control characters, so they become spaces."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)
