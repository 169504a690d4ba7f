"""Exact STEP through OpenCascade: true circles and curves instead of facets.

The generated CadQuery script is the exporter. It is used where every operation of the history has
an exact counterpart (see ``scripts.plan``) and OpenCascade builds one valid solid of the expected
volume; otherwise the faceted file is written, and its header says why. Needs the extra ``step``,
which is larger than a gigabyte and loads for seconds, so it is imported where used only.
"""

import importlib
import importlib.util
import re
import tempfile
from pathlib import Path
from typing import Any

from rlgen.core.errors import MissingExtraError
from rlgen.envs.design.export import step
from rlgen.envs.design.scripts.cadquery_script import script
from rlgen.envs.design.scripts.plan import Plan, exact
from rlgen.envs.design.shape.history import Design

VOLUME_SHARE = 0.02  # by which the volume may differ from the one expected with fine facets
_FACETED = "faceted because of: "
_OWN_HEADER = r"FILE_DESCRIPTION\(.*?\);\s*FILE_NAME\(.*?\);\s*"  # with the date of writing
_OWN_NAME = r"'Open CASCADE STEP translator [\d. ]+'"  # with the number of files written so far


def available() -> bool:
    """Whether the extra ``step`` is installed; nothing is imported."""
    return importlib.util.find_spec("cadquery") is not None


def encode(design: Design, note: str = "") -> bytes:
    """Returns a STEP file of a design, exact where possible.

    Args:
        design: A design with at least one operation.
        note: Kept in the header of a faceted file, a string per line.

    Returns:
        ASCII text of ISO 10303-21; the same design gives the same bytes. The first string of
        ``FILE_DESCRIPTION`` is ``exact B-rep`` or ``faceted B-rep``.

    Raises:
        MissingExtraError: The extra ``step`` is not installed.
        UserError: The design is empty.
    """
    plan = exact(design)
    if not available():
        raise MissingExtraError("an exact STEP file", "step")
    solid, reason = _built(plan)
    if reason is not None:
        return step.encode(design.mesh, "\n".join([_FACETED + reason, *note.splitlines()]))
    return _text(solid)


def _built(plan: Plan) -> tuple[Any, str | None]:
    """Returns the exact solid, or None and why there is none."""
    if plan.reasons:
        return None, "; ".join(plan.reasons)
    names: dict[str, Any] = {"__name__": "design"}
    try:
        # The text is our own: it holds numbers and names of operations, nothing from outside.
        exec(compile(script(plan), "design.py", "exec"), names)
        shape = names["design"]
        solids, valid, volume = shape.Solids(), shape.isValid(), shape.Volume()
    except Exception as error:  # OpenCascade's exceptions have no common base class
        return None, f"OpenCascade failed with {type(error).__name__}"
    if len(solids) != 1 or not valid:
        return None, "OpenCascade made no valid solid"
    if abs(volume - plan.volume) > VOLUME_SHARE * plan.volume:
        return None, "OpenCascade made a solid of another volume"
    return solids[0], None


def _text(solid: Any) -> bytes:
    """Returns OpenCascade's STEP text with our header, which has no date of writing."""
    cadquery = importlib.import_module("cadquery")
    with tempfile.TemporaryDirectory(prefix="rlgen-") as folder:
        path = Path(folder) / "design.step"
        cadquery.exporters.export(solid, str(path))
        text = path.read_text(encoding="ascii", errors="replace")
    header = (
        "FILE_DESCRIPTION(('exact B-rep'),'2;1');\n"
        f"FILE_NAME('design.step','{step.DATE}',(''),(''),'Open CASCADE','rlgen','');\n"
    )
    text = re.sub(_OWN_HEADER, lambda _: header, text, count=1, flags=re.S)
    return re.sub(_OWN_NAME, "'design'", text).encode("ascii")
