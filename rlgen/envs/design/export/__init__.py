"""Files of a design: ``save`` and ``load`` choose the format by the suffix of the path.

Written are binary STL, GLB, 3MF, OBJ and faceted STEP, read are the first four; all in our own
code, without further packages. Every file is complete or not there.
"""

from collections.abc import Callable
from pathlib import Path

from rlgen.core.errors import UserError, closest
from rlgen.envs.design.export import glb, obj, step, stl, threemf
from rlgen.envs.design.export.readers import read_mesh
from rlgen.envs.design.files import write_bytes
from rlgen.envs.design.mesh import Mesh

__all__ = ["WRITERS", "encode", "load", "read_mesh", "save", "write_bytes"]

WRITERS: dict[str, Callable[[Mesh, str], bytes]] = {
    ".stl": stl.encode,
    ".glb": glb.encode,
    ".3mf": threemf.encode,
    ".obj": obj.encode,
    ".step": step.encode,
    ".stp": step.encode,
}

load = read_mesh


def encode(mesh: Mesh, suffix: str, note: str = "") -> bytes:
    """Returns the content of a mesh file.

    Args:
        mesh: A closed mesh in mm.
        suffix: Such as ``".stl"``; a key of :data:`WRITERS`.
        note: A remark that is kept in the file where the format allows it.

    Raises:
        UserError: If the suffix is unknown, the mesh is empty, or STEP cannot hold it.
    """
    writer = WRITERS.get(suffix.lower())
    if writer is None:
        raise UserError(f"there is no writer for {suffix!r}; {closest(suffix, WRITERS)}")
    if not len(mesh):
        raise UserError("the design is empty, there is nothing to save; add a body first")
    return writer(mesh, note)


def save(mesh: Mesh, path: str | Path, note: str = "") -> Path:
    """Writes a mesh file, complete or not at all.

    Args:
        mesh: A closed mesh in mm.
        path: Where to; the suffix chooses the format, the folder has to exist.
        note: As for :func:`encode`.

    Returns:
        The path.

    Raises:
        UserError: As :func:`encode`, or if the file cannot be written.
    """
    return write_bytes(path, encode(mesh, Path(path).suffix, note))
