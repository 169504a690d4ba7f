"""Saving a design, in the format that the suffix of the path asks for.

==================  ===========================================================================
``.json``           operations only; ``history.Design.load`` replays it
``.stl .glb .3mf``  mesh for printing and showing
``.obj``            mesh as text
``.step .stp``      B-rep: exact where the extra ``step`` is installed and every operation has an
                    exact counterpart, otherwise faceted; the header tells which and why
``.scad``           OpenSCAD text
``.py``             CadQuery script
==================  ===========================================================================
"""

from collections.abc import Callable
from pathlib import Path

from rlgen.core.errors import UserError, closest
from rlgen.envs.design import export
from rlgen.envs.design.export import exact_step
from rlgen.envs.design.scripts import cadquery, openscad
from rlgen.envs.design.shape.history import Design

_SCRIPTS: dict[str, Callable[[Design], str]] = {".scad": openscad, ".py": cadquery}
_STEP = (".step", ".stp")
SUFFIXES = (*export.WRITERS, ".json", *_SCRIPTS)


def save_design(design: Design, path: str | Path) -> Path:
    """Writes a design, complete or not at all.

    Args:
        design: A design with at least one operation.
        path: Where to; the suffix chooses the format, the folder has to exist.

    Returns:
        The path.

    Raises:
        UserError: The suffix is unknown, the design is empty, or the file cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"there is no format {suffix!r} for a design; {closest(suffix, SUFFIXES)}")
    if design.solid.is_empty:
        raise UserError("the design is empty, there is nothing to save; add a part first")
    if suffix == ".json":
        design.write_json(path)
        return path
    if suffix in _SCRIPTS:
        return export.write_bytes(path, _SCRIPTS[suffix](design).encode("ascii"))
    if suffix in _STEP:
        return export.write_bytes(path, _step(design))
    return export.save(design.mesh, path, _note(design))


def _step(design: Design) -> bytes:
    if exact_step.available():
        return exact_step.encode(design, _note(design))
    why = 'for an exact file run: pip install "rlgen[step]"'
    return export.encode(design.mesh, ".step", f"{why}\n{_note(design)}")


def _note(design: Design) -> str:
    """Returns a line per operation in physical units."""
    return "\n".join(f"{i}. {record}" for i, record in enumerate(design.records, 1))
