"""The fourteen modelling operations on a solid, and what is done after each of them.

``apply`` never raises for an action of the table: an operation that makes no sense here is refused
with one of

* ``vanished``: nothing would be left (less than 1 mm3),
* ``disconnected``: a part or a copy would not touch the rest,
* ``too_thin``: thinner than 2 mm along an axis, no room for a hollow, or folded by a bend,
* ``too_many_triangles``: more than the space allows,
* ``no_change``: the same solid again.

After an operation, in this order: what lies outside the design space is cut off, the keep-out
volumes are removed, flat facets are merged, the largest piece is kept (where material was added
there must be one piece only), and the solid is dropped onto the table.

Scale, taper, twist, polar copies and mirror images refer to the z axis of the design space and the
planes through it, not to the solid. The kernel is manifold3d. The operations are this project's
proposal; see ``table``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import manifold3d
import numpy as np
from manifold3d import CrossSection, Manifold

from rlgen.envs.design.mesh import Floats
from rlgen.envs.design.shape import symmetry, warps
from rlgen.envs.design.shape.hollow import hollowed
from rlgen.envs.design.shape.operations import Action, canonical, physical
from rlgen.envs.design.shape.solids import EMPTY, Solid, cleaned, from_mesh, largest
from rlgen.envs.design.shape.space import Box, DesignSpace, Volume
from rlgen.envs.design.shape.table import PARTS, PATTERNS

__all__ = ["EMPTY", "REFUSALS", "Outcome", "Solid", "apply", "covered_share"]

REFUSALS = ("vanished", "disconnected", "too_thin", "too_many_triangles", "no_change", "masked")
LEAST_VOLUME = 1.0  # mm3
LEAST_EXTENT = 2.0  # mm
_SAME = 1e-6  # relative change of volume that counts as none
_SETTLE_ROUNDS = 4

Values = dict[str, float]
Raw: TypeAlias = Manifold | str  # a body before it is settled, or a refusal


@dataclass(frozen=True, eq=False)
class Outcome:
    """What an operation did.

    Attributes:
        solid: The new solid, or the old one where the operation was refused.
        refused: Why it was refused, or None.
        drop: mm the result was lowered by.
        discarded: Number of loose pieces taken away.
    """

    solid: Solid
    refused: str | None = None
    drop: float = 0.0
    discarded: int = 0


def apply(solid: Solid, action: Action, space: DesignSpace) -> Outcome:
    """Carries out one modelling operation.

    Args:
        solid: What to change; it is left as it is.
        action: One of the fourteen modelling operations. ``undo`` and ``finish`` belong to the
            history and the environment; here they are refused as ``masked``.
        space: Where the design may be.

    Returns:
        The new solid, or the old one with the reason of the refusal.
    """
    action = canonical(action)
    name = action.name
    if name in ("undo", "finish"):
        return Outcome(solid, "masked")
    if solid.is_empty and not (name in PARTS and action.mode_name == "add"):
        return Outcome(solid, "vanished")
    values = physical(action, solid.bounds)
    if name in PARTS:
        raw = _combined(solid, part(name, values, space.segments), action.mode_name, space)
    else:
        raw = _OPERATIONS[name](solid, values, action.mode_name, space)
    if isinstance(raw, str):
        return Outcome(solid, raw)
    grows = (name in PARTS and action.mode_name == "add") or name in PATTERNS
    return _settled(raw, solid, grows, name in _MOVES, space)


def part(name: str, values: Values, segments: int) -> Manifold:
    """Builds the part of an additive operation at its place.

    Args:
        name: One of ``PARTS``.
        values: Physical values, as ``operations.physical`` gives them.
        segments: Sides of a circle. A ring's tube and a revolved profile have a quarter as many
            points, but at least eight.
    """
    place = (values["x"], values["y"], values["z"])
    if name == "box":
        size = (values["size_x"], values["size_y"], values["size_z"])
        corner = (place[0] - size[0] / 2, place[1] - size[1] / 2, place[2])
        return Manifold.cube(size).translate(corner)
    if name == "cylinder":
        radii = values["radius_low"], values["radius_high"]
        return Manifold.cylinder(values["height"], *radii, segments).translate(place)
    if name == "prism":
        radius, sides = values["radius"], int(values["sides"])
        return Manifold.cylinder(values["height"], radius, radius, sides).translate(place)
    if name == "ring":
        angles = 2 * math.pi * np.arange(max(8, segments // 4)) / max(8, segments // 4)
        tube = values["tube"] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        profile = CrossSection([np.add(tube, (values["radius"], 0.0))])
        return profile.revolve(segments).rotate((90, 0, 0)).translate(place)
    return CrossSection([_bezier(values, segments)]).revolve(segments).translate(place)


def _bezier(values: Values, segments: int) -> Floats:
    """Returns the outline (N, 2) of radius and height: axis, Bezier curve, axis."""
    t = np.linspace(0.0, 1.0, max(8, segments // 4) + 1)
    low, middle, high = (values[f"radius_{end}"] for end in ("low", "middle", "high"))
    radius = (1 - t) ** 2 * low + 2 * t * (1 - t) * middle + t**2 * high
    curve = np.stack([radius, values["height"] * t], axis=1)
    return np.concatenate([[[0.0, 0.0]], curve, [[0.0, values["height"]]]])


def _apart(a: Manifold, b: Manifold) -> bool:
    """Whether two bounding boxes do not even touch."""
    p, q = a.bounding_box(), b.bounding_box()
    return any(p[i + 3] < q[i] or q[i + 3] < p[i] for i in range(3))


def _combined(solid: Solid, tool: Manifold, mode: str | None, space: DesignSpace) -> Raw:
    """Adds, cuts or keeps what is common."""
    if mode == "add":
        tool = _clipped(tool, space)
        if solid.is_empty or tool.is_empty():
            return tool
        return "disconnected" if _apart(solid.body, tool) else solid.body + tool
    if _apart(solid.body, tool):
        return "no_change" if mode == "cut" else "vanished"
    return solid.body - tool if mode == "cut" else solid.body ^ tool


def _scale(solid: Solid, values: Values, mode: str | None, space: DesignSpace) -> Raw:
    factors = values["factor_x"], values["factor_y"], values["factor_z"]
    return "no_change" if factors == (1.0, 1.0, 1.0) else solid.body.scale(factors)


def _taper(solid: Solid, values: Values, mode: str | None, space: DesignSpace) -> Raw:
    growth = values["growth"]
    if growth == 0.0:
        return "no_change"
    return _warped(solid, warps.taper(growth, float(solid.bounds[1, 2])), space)


def _twist(solid: Solid, values: Values, mode: str | None, space: DesignSpace) -> Raw:
    angle = values["angle"]
    if angle == 0.0:
        return "no_change"
    return _warped(solid, warps.twist(angle, float(solid.bounds[1, 2])), space, finer=1.5)


def _bend(solid: Solid, values: Values, mode: str | None, space: DesignSpace) -> Raw:
    angle, axis = values["angle"], 1 if mode == "y" else 0
    if angle == 0.0:
        return "no_change"
    if warps.folds(solid.mesh, angle, axis):
        return "too_thin"
    return _warped(solid, warps.bend(angle, float(solid.bounds[1, 2]), axis), space)


def _warped(solid: Solid, warp: warps.Warp, space: DesignSpace, finer: float = 1.0) -> Raw:
    limit = space.max_triangles
    mesh = warps.warped(solid.mesh, warp, limit, finer=finer)
    if mesh is None:
        mesh = warps.warped(solid.mesh, warp, 2 * limit, 2 * warps.TOLERANCE, finer)
    if mesh is None:
        return "too_many_triangles"
    body = from_mesh(mesh)
    return "too_thin" if body is None else body


def _hollow(solid: Solid, values: Values, mode: str | None, space: DesignSpace) -> Raw:
    return hollowed(solid, values["wall"], values["floor"], 2 * space.max_triangles)


def _drill(solid: Solid, values: Values, mode: str | None, space: DesignSpace) -> Raw:
    low, high = solid.bounds
    axis = "xyz".index(mode or "z")
    length = float(high[axis] - low[axis]) + 2.0
    place = [values.get(name, 0.0) for name in "xyz"]
    place[axis] = float(low[axis] + high[axis]) / 2
    tool = Manifold.cylinder(length, values["radius"], values["radius"], space.segments, True)
    turn = ((0, 90, 0), (90, 0, 0), (0, 0, 0))[axis]
    tool = tool.rotate(turn).translate(tuple(place))
    return "no_change" if _apart(solid.body, tool) else solid.body - tool


def _mirror(solid: Solid, values: Values, mode: str | None, space: DesignSpace) -> Raw:
    if 2 * solid.n_triangles > space.max_pattern_triangles:
        return "too_many_triangles"
    axis = {"x": 0, "y": 1}.get(mode or "x", 2)
    if axis < 2 and symmetry.coincides(solid.mesh, symmetry.mirrored(axis)):
        return "no_change"
    image = solid.body.mirror(tuple(float(i == axis) for i in range(3)))
    if axis == 2:
        image = _clipped(image.translate((0.0, 0.0, 2 * float(solid.bounds[1, 2]))), space)
    if image.is_empty():
        return "no_change"
    return "disconnected" if _apart(solid.body, image) else solid.body + image


def _polar(solid: Solid, values: Values, mode: str | None, space: DesignSpace) -> Raw:
    copies = int(values["copies"])
    if copies * solid.n_triangles > space.max_pattern_triangles:
        return "too_many_triangles"
    # A round body is its own copy, although its facets may not fall on facets.
    if any(
        symmetry.coincides(solid.mesh, symmetry.turned(360 / n)) for n in (space.segments, copies)
    ):
        return "no_change"
    # Early rounds decide most refusals; the last ones are the expensive ones.
    body = solid.body
    for i in range(1, copies):
        body = cleaned(body + solid.body.rotate((0.0, 0.0, 360.0 * i / copies)))
        if body.num_tri() > 2 * space.max_triangles:
            return "too_many_triangles"
    return body


def _cut_top(solid: Solid, values: Values, mode: str | None, space: DesignSpace) -> Raw:
    if values["keep"] >= 1.0:
        return "no_change"
    return solid.body.trim_by_plane((0.0, 0.0, -1.0), -values["keep"] * float(solid.bounds[1, 2]))


_OPERATIONS: dict[str, Callable[[Solid, Values, str | None, DesignSpace], Raw]] = {
    "scale": _scale,
    "taper": _taper,
    "twist": _twist,
    "hollow": _hollow,
    "drill": _drill,
    "mirror": _mirror,
    "polar": _polar,
    "cut_top": _cut_top,
    "bend": _bend,
}
# Where the new solid is part of the old one or the other way round, equal volumes mean no change.
_MOVES = ("scale", "taper", "twist", "bend")


@lru_cache(maxsize=16)
def _box(space: DesignSpace) -> Manifold:
    return Manifold.cube(space.size).translate(tuple(space.bounds[0].tolist()))


def volume_body(volume: Volume, segments: int) -> Manifold:
    """Returns the kernel's body of a keep-out or keep-in volume."""
    if isinstance(volume, Box):
        size = tuple(b - a for a, b in zip(volume.low, volume.high, strict=True))
        return Manifold.cube(size).translate(volume.low)
    height = volume.z_high - volume.z_low
    body = Manifold.cylinder(height, volume.radius, volume.radius, segments)
    return body.translate((*volume.centre, volume.z_low))


@lru_cache(maxsize=16)
def _volumes(volumes: tuple[Volume, ...], segments: int) -> Manifold:
    bodies = [volume_body(volume, segments) for volume in volumes]
    return Manifold.batch_boolean(bodies, manifold3d.OpType.Add)


def _clipped(body: Manifold, space: DesignSpace) -> Manifold:
    """Returns the part of a body inside the box of the design space."""
    box = body.bounding_box()
    low, high = space.bounds
    inside = all(box[i] >= low[i] and box[i + 3] <= high[i] for i in range(3))
    return body if inside else body ^ _box(space)


def _settled(raw: Manifold, old: Solid, grows: bool, moved: bool, space: DesignSpace) -> Outcome:
    """Does what follows every operation; see the module's docstring.

    Args:
        raw: The operation's result.
        old: The solid before it.
        grows: Material was added, so that more than one piece is a refusal.
        moved: The result is not simply a part of the old solid or the other way round.
        space: Where the design may be.
    """
    body, drop, discarded = _clipped(raw, space), 0.0, 0
    for turn in range(_SETTLE_ROUNDS):
        if space.keep_out:
            body = body - _volumes(space.keep_out, space.segments)
        volume = body.volume()
        if volume < LEAST_VOLUME:
            return Outcome(old, "vanished")
        if turn == 0 and not moved and abs(volume - old.volume) <= _SAME * volume:
            return Outcome(old, "no_change")
        body, loose = largest(cleaned(body))
        if loose and grows:
            return Outcome(old, "disconnected")
        low = float(body.bounding_box()[2])
        body = body.translate((0.0, 0.0, -low)) if low else body
        drop, discarded = drop + low, discarded + loose
        if low <= 0.0 or not space.keep_out:
            break  # only a solid that fell can have fallen into a keep-out volume
    return _checked(Solid(body), old, drop, discarded, moved, space)


def _checked(
    new: Solid, old: Solid, drop: float, discarded: int, moved: bool, space: DesignSpace
) -> Outcome:
    """Refuses a settled solid that is too small, too detailed or the old one again."""
    if new.volume < LEAST_VOLUME:
        return Outcome(old, "vanished")
    if float(np.ptp(new.bounds, axis=0).min()) < LEAST_EXTENT:
        return Outcome(old, "too_thin")
    if new.n_triangles > space.max_triangles:
        return Outcome(old, "too_many_triangles")
    if moved and new.n_triangles == old.n_triangles and new.sha256 == old.sha256:
        return Outcome(old, "no_change")
    return Outcome(new, None, drop, discarded)


def covered_share(solid: Solid, space: DesignSpace) -> float:
    """Returns the share of the keep-in volumes that is solid, 0..1; 1 where there are none."""
    if not space.keep_in:
        return 1.0
    wanted = _volumes(space.keep_in, space.segments)
    return 0.0 if solid.is_empty else float((wanted ^ solid.body).volume() / wanted.volume())
