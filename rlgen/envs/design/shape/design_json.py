"""The JSON text of a design: writing it, and reading it without trusting it.

A file holds operations by name and lattice points, never a mesh or code, so it is small and safe to
load from anywhere. ``history`` replays it.
"""

import json
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from platform import machine
from typing import Any

import numpy as np

from rlgen.core.errors import UserError, closest
from rlgen.envs.design.mesh import Floats
from rlgen.envs.design.shape.operations import Action
from rlgen.envs.design.shape.solids import Solid
from rlgen.envs.design.shape.space import DesignSpace
from rlgen.envs.design.shape.table import INDEX, LATTICE, MODELLING, N_PARAMETERS, OPERATIONS

FORMAT = 1
MOST_OPERATIONS = 500


@dataclass(frozen=True, eq=False)
class Saved:
    """What a file says.

    Attributes:
        space: Where the design may be.
        actions: Its actions in order.
        locked: How many of the first ones are locked.
        kernel: The kernel it was made with, as ``kernel`` says.
        platform: As ``platform`` says.
        mesh_sha256: Hash of the mesh.
        volume: mm3.
        bounds: (2, 3) mm.
    """

    space: DesignSpace
    actions: tuple[Action, ...]
    locked: int
    kernel: str
    platform: str
    mesh_sha256: str
    volume: float
    bounds: Floats


@lru_cache(maxsize=1)
def kernel() -> str:
    """Name and version of the kernel, e.g. ``manifold3d 3.5.4``."""
    return f"manifold3d {version('manifold3d')}"


def platform() -> str:
    """Operating system and processor, e.g. ``linux x86_64``."""
    return f"{sys.platform} {machine()}"


def to_text(
    space: DesignSpace,
    actions: Sequence[Action],
    solid: Solid,
    seed: tuple[int, str] | None,
    metrics: Mapping[str, float],
    goal: Mapping[str, Any],
) -> str:
    """Returns the JSON text of a design.

    Args:
        space: Where the design may be.
        actions: Its actions in canonical form.
        solid: What they make.
        seed: How many of the first actions are locked and the hash of their mesh, or None.
        metrics: Values to keep with it.
        goal: What it was made for.

    Raises:
        UserError: Metrics or goal hold something JSON has no word for, such as NaN.
    """
    fields = space.to_dict()
    data = {
        "format": FORMAT,
        "units": "mm",
        "kernel": kernel(),
        "platform": platform(),
        "segments": fields.pop("segments"),
        "space": fields,
        "seed_design": seed and {"steps": seed[0], "mesh_sha256": seed[1]},
        "ops": [{"op": a.name, "mode": a.mode_name, "k": list(a.k)} for a in actions],
        "mesh_sha256": solid.sha256,
        "volume": solid.volume,
        "bounds": solid.bounds.tolist(),
        "metrics": dict(metrics),
        "goal": dict(goal),
    }
    try:
        return _in_lines(data)
    except (TypeError, ValueError) as error:
        raise UserError(f"metrics or goal cannot be written as JSON: {error}") from None


def _in_lines(data: Mapping[str, Any]) -> str:
    """Returns JSON text with a line per entry, and per item of a list of tables.

    Episodes end with such a text, and ``json`` indents many times slower than it writes lines.
    """
    entries = []
    for key, value in data.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            items = ",\n  ".join(json.dumps(item, allow_nan=False) for item in value)
            text = f"[\n  {items}\n ]"
        else:
            text = json.dumps(value, allow_nan=False)
        entries.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(entries) + "\n}"


def from_text(text: str, source: str) -> Saved:
    """Reads and checks JSON text.

    Args:
        text: What ``to_text`` wrote.
        source: What to call it in messages, e.g. the file.

    Raises:
        UserError: It is not a design of this format.
    """
    data = _parsed(text, source)
    actions = tuple(_to_action(entry, i, source) for i, entry in enumerate(data["ops"], 1))
    try:
        space = DesignSpace.from_dict({**data["space"], "segments": data["segments"]})
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
    try:
        bounds = np.array(data["bounds"], dtype=np.float64).reshape(2, 3)
    except (TypeError, ValueError):
        raise UserError(f"{source}: 'bounds' is not 2 x 3 numbers; save it again") from None
    return Saved(
        space=space,
        actions=actions,
        locked=_locked(data["seed_design"], len(actions), source),
        kernel=data["kernel"],
        platform=data["platform"],
        mesh_sha256=data["mesh_sha256"],
        volume=float(data["volume"]),
        bounds=bounds,
    )


_KINDS: dict[str, type | tuple[type, ...]] = {
    "kernel": str,
    "platform": str,
    "segments": int,
    "space": dict,
    "ops": list,
    "mesh_sha256": str,
    "volume": (int, float),
    "bounds": list,
    "seed_design": (dict, type(None)),
}


def _parsed(text: str, source: str) -> dict[str, Any]:
    """Returns the JSON object, with every key of ``_KINDS`` present and of its kind."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        detail = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise UserError(f"{source} is not JSON{detail}; give a design saved as .json") from None
    if not isinstance(data, dict) or "format" not in data or "ops" not in data:
        raise UserError(f"{source} is JSON but not a design; give one with 'format' and 'ops'")
    if data["format"] != FORMAT or isinstance(data["format"], bool):
        raise UserError(f"{source} has format {data['format']!r}; this version reads {FORMAT}")
    for key, kind in _KINDS.items():
        value = data.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            shown = "missing" if key not in data else f"{str(value)[:40]!r}"
            raise UserError(f"{source}: {key!r} is {shown}; save the design again")
    if len(data["ops"]) > MOST_OPERATIONS:
        raise UserError(f"{source} has {len(data['ops'])} operations; at most {MOST_OPERATIONS}")
    return data


def _to_action(entry: Any, number: int, source: str) -> Action:
    """Returns the action of one entry of ``ops``."""
    where = f"{source}: operation {number}"
    if not isinstance(entry, dict) or set(entry) != {"op", "mode", "k"}:
        raise UserError(f"{where} is {str(entry)[:60]!r}; give 'op', 'mode' and 'k'")
    name, mode, k = entry["op"], entry["mode"], entry["k"]
    if not isinstance(name, str) or name not in MODELLING:
        raise UserError(f"{where} is unknown: {str(name)[:40]!r}; {closest(str(name), MODELLING)}")
    modes = OPERATIONS[INDEX[name]].modes
    if mode not in (modes or (None,)):
        allowed = ", ".join(modes) or "null"
        raise UserError(f"{where}: {name} has no mode {str(mode)[:40]!r}; allowed: {allowed}")
    whole = isinstance(k, list) and all(type(number) is int for number in k)
    if not whole or len(k) != N_PARAMETERS or not all(-LATTICE <= n <= LATTICE for n in k):
        limits = f"{N_PARAMETERS} whole numbers in -{LATTICE}..{LATTICE}"
        raise UserError(f"{where}: k is {str(k)[:60]}; give {limits}")
    return Action(INDEX[name], modes.index(mode) if modes else 0, tuple(k))


def _locked(seed: Any, count: int, source: str) -> int:
    """Returns how many operations are locked."""
    if seed is None:
        return 0
    steps = seed.get("steps")
    if type(steps) is not int or not 0 <= steps <= count:
        raise UserError(f"{source}: seed_design has {steps!r} steps; give 0 to {count}")
    return steps


def compare(solid: Solid, saved: Saved, source: str) -> None:
    """Checks a replayed solid against what was saved.

    Raises:
        UserError: It has another mesh although kernel and platform are the same. Where they are
            not, a warning tells how volume and bounding box differ.
    """
    if solid.sha256 == saved.mesh_sha256:
        return
    if (saved.kernel, saved.platform) == (kernel(), platform()):
        raise UserError(
            f"{source}: its operations give another mesh than the one saved; "
            "it was edited or damaged, so save the design again from its operations"
        )
    box = float(np.abs(saved.bounds - solid.bounds).max())
    share = abs(solid.volume - saved.volume) / max(abs(saved.volume), 1e-9)
    warnings.warn(
        f"{source} was made with {saved.kernel} on {saved.platform}, this is {kernel()} on "
        f"{platform()}: the volume differs by {share:.2%} and the box by {box:.3f} mm",
        stacklevel=4,
    )
