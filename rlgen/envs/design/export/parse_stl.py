"""STL files, binary and text, as loose triangles."""

import re

import numpy as np

from rlgen.envs.design.export.limits import BrokenFileError, check_count
from rlgen.envs.design.mesh import Floats, Ints

_HEAD, _RECORD = 84, 50
_VERTEX = re.compile(rb"\bvertex\s+(\S+)\s+(\S+)\s+(\S+)", re.IGNORECASE)
_FACET = re.compile(rb"\bendfacet\b", re.IGNORECASE)


def parse_stl(data: bytes) -> tuple[Floats, Ints]:
    """Returns corners (3 T, 3) and triangles (T, 3); no corner is shared.

    Args:
        data: The whole file. The size tells binary from text, because binary headers may begin
            with "solid" as well.

    Raises:
        BrokenFileError: If it is neither, or cut off.
    """
    promised = int.from_bytes(data[80:84], "little") if len(data) >= _HEAD else -1
    if len(data) == _HEAD + _RECORD * promised or data.lstrip()[:5].lower() != b"solid":
        corners = _binary(data, promised)
    else:
        corners = _text(data)
    return corners, np.arange(len(corners)).reshape(-1, 3)


def _binary(data: bytes, promised: int) -> Floats:
    if promised < 0:
        raise BrokenFileError("is not an STL file: it is too short for one")
    check_count(promised)
    if len(data) < _HEAD + _RECORD * promised:
        raise BrokenFileError(
            f"is broken: {promised} triangles take {_HEAD + _RECORD * promised} bytes, "
            f"it has {len(data)}"
        )
    rows = np.frombuffer(data, np.uint8, _RECORD * promised, _HEAD).reshape(-1, _RECORD)
    return rows[:, 12:48].copy().view("<f4").astype(np.float64).reshape(-1, 3)


def _text(data: bytes) -> Floats:
    facets = len(_FACET.findall(data))
    check_count(facets)
    found = _VERTEX.findall(data)
    if len(found) != 3 * facets or b"endsolid" not in data.lower():
        raise BrokenFileError(
            f"is broken: {facets} facets end in it, but it has {len(found)} corners or no end"
        )
    try:
        return np.array(found, dtype="S32").astype(np.float64).reshape(-1, 3)
    except ValueError:
        raise BrokenFileError("is broken: a coordinate is not a number") from None
