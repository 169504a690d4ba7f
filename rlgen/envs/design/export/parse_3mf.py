"""3MF files: the model part of the zip file, its objects, components and build items.

The archive and its XML come from strangers: sizes are bounded while unpacking, document types and
entities are refused, and nested components are counted before they are expanded. Extensions
(slices, beams, parts in other files) are not read; colours and materials are ignored.
"""

import io
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from xml.parsers import expat

import numpy as np

from rlgen.envs.design.export.limits import (
    MAX_BYTES,
    MAX_PARTS,
    MAX_TRIANGLES,
    BrokenFileError,
    check_count,
)
from rlgen.envs.design.mesh import Floats, Ints

_DEFAULT_MODEL = "3D/3dmodel.model"
_RELATION = "/3dmodel"
_UNITS = {
    "micron": 1e-3,
    "millimeter": 1.0,
    "centimeter": 10.0,
    "inch": 25.4,
    "foot": 304.8,
    "meter": 1000.0,
}
_MAX_DEPTH = 16


@dataclass
class _Object:
    """A mesh, or a set of placed objects."""

    vertices: list[float] = field(default_factory=list)
    triangles: list[int] = field(default_factory=list)
    components: list[tuple[str, Floats]] = field(default_factory=list)


@dataclass
class _Model:
    unit: float = 1.0
    objects: dict[str, _Object] = field(default_factory=dict)
    items: list[tuple[str, Floats]] = field(default_factory=list)


def parse_3mf(data: bytes) -> tuple[Floats, Ints]:
    """Returns vertices (V, 3) in mm and triangles (T, 3) of all build items.

    Args:
        data: The whole file.

    Raises:
        BrokenFileError: If the archive or its model is broken, too large or not safe.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            model = _read_model(_entry(archive, _model_name(archive)))
        return _flatten(model)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise BrokenFileError(f"is not a readable 3MF file: {error}") from None
    except expat.ExpatError as error:
        raise BrokenFileError(f"is broken: its XML ends with '{error}'") from None
    except (KeyError, ValueError, OverflowError) as error:
        raise BrokenFileError(
            f"is broken: its model lacks or misstates {str(error)[:60]}"
        ) from None


def _entry(archive: zipfile.ZipFile, name: str) -> bytes:
    """Unpacks one entry, at most MAX_BYTES of it, whatever the archive says about its size."""
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise BrokenFileError(f"is not a 3MF file: there is no {name} in it") from None
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise BrokenFileError("is packed in an unusual way; save it again")
    with archive.open(info) as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise BrokenFileError(f"unpacks to more than {MAX_BYTES >> 20} MB; simplify the design")
    return content


def _model_name(archive: zipfile.ZipFile) -> str:
    """The part that the package names as its model."""
    names = archive.namelist()
    found: list[str] = []

    def start(tag: str, attributes: dict[str, str]) -> None:
        if _local(tag) == "Relationship" and attributes.get("Type", "").endswith(_RELATION):
            found.append(attributes["Target"].lstrip("/"))

    if "_rels/.rels" in names:
        _parse(_entry(archive, "_rels/.rels"), start)
    return found[0] if found else _DEFAULT_MODEL


def _parse(xml: bytes, start: Callable[[str, dict[str, str]], None]) -> None:
    """Runs expat over XML without document type and entities."""

    def refuse(*_: object) -> None:
        raise BrokenFileError("holds an XML document type, which is not safe to read")

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = start
    parser.StartDoctypeDeclHandler = refuse
    parser.EntityDeclHandler = refuse
    parser.Parse(xml, True)


def _read_model(xml: bytes) -> _Model:
    model = _Model()
    current = _Object()

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal current
        name = _local(tag)
        if name == "vertex":
            current.vertices += [float(attributes[key]) for key in ("x", "y", "z")]
        elif name == "triangle":
            current.triangles += [int(attributes[key]) for key in ("v1", "v2", "v3")]
            if len(current.triangles) > 3 * MAX_TRIANGLES:
                check_count(len(current.triangles) // 3)
        elif name == "object":
            current = model.objects.setdefault(attributes["id"], _Object())
        elif name in ("component", "item"):
            if any(_local(key) == "path" for key in attributes):
                raise BrokenFileError("keeps parts in further files; save it as a single object")
            placed = (attributes["objectid"], _transform(attributes.get("transform")))
            (model.items if name == "item" else current.components).append(placed)
        elif name == "model":
            model.unit = _UNITS[attributes.get("unit", "millimeter")]

    _parse(xml, start)
    return model


def _local(tag: str) -> str:
    return tag.rpartition(" ")[2]


def _transform(text: str | None) -> Floats:
    """(4, 3) matrix for row vectors (x, y, z, 1)."""
    if text is None:
        return np.eye(4)[:, :3]
    values = [float(word) for word in text.split()]
    if len(values) != 12:
        raise ValueError("a transform of 12 numbers")
    return np.array(values).reshape(4, 3)


def _flatten(model: _Model) -> tuple[Floats, Ints]:
    points, triangles = [np.zeros((0, 3))], [np.zeros((0, 3), np.int64)]
    waiting = [(name, matrix, 0) for name, matrix in reversed(model.items)]
    count = total = visits = 0
    while waiting:
        name, matrix, depth = waiting.pop()
        visits += 1
        if depth > _MAX_DEPTH or visits > MAX_PARTS:
            raise BrokenFileError("is broken: its components go around in a circle")
        part = model.objects[name]
        corners = np.array(part.vertices).reshape(-1, 3)
        faces = np.array(part.triangles, np.int64).reshape(-1, 3)
        if len(faces) and not 0 <= faces.min() <= faces.max() < len(corners):
            raise BrokenFileError("is broken: a triangle names a vertex that is not there")
        total += len(faces)
        check_count(total)
        if np.linalg.det(matrix[:3]) < 0.0:  # a mirror turns the surface inside out
            faces = faces[:, ::-1]
        points.append((corners @ matrix[:3] + matrix[3]) * model.unit)
        triangles.append(faces + count)
        count += len(corners)
        for inner, local in part.components:
            joined = np.vstack([local[:3] @ matrix[:3], local[3] @ matrix[:3] + matrix[3]])
            waiting.append((inner, joined, depth + 1))
    return np.concatenate(points), np.concatenate(triangles)
