"""What a script has to say for each operation of a design, checked before it is said.

The accepted operations are carried out again as a CAD program would, with Booleans alone: without
merging flat facets and without taking loose pieces away. Where that does not give the design's
solid, the step is marked, and the script embeds the faceted solid instead of going wrong silently.

* ``faceted`` plans are for programs that make circles of as many sides as the design does. The
  solid must be the design's to within ``SAME`` of its volume and 0.1 um of its bounding box.
* ``exact`` plans are for programs with true curves. The operations must give the design's solid
  with the design's facets, and with ``FINER`` times as many still a solid in as many pieces, of
  about the same size. Loose pieces can be taken away.
"""

from dataclasses import dataclass

from manifold3d import CrossSection, Manifold

from rlgen.core.errors import UserError
from rlgen.envs.design.scripts.shapes import Lathe, Shape, of_part
from rlgen.envs.design.shape.geometry import part, volume_body
from rlgen.envs.design.shape.history import Design, Record
from rlgen.envs.design.shape.operations import physical
from rlgen.envs.design.shape.solids import Solid, largest
from rlgen.envs.design.shape.space import DesignSpace
from rlgen.envs.design.shape.table import PARTS

SAME = 5e-7  # relative change of volume in a faceted plan
CLEANED = 1e-4  # the same in an exact plan, where merging flat facets may have moved them
WARPED = 0.02  # the same once a taper or a twist stands for its chords
FINER = 4
_ROUND = 0.15  # relative change of volume from chords to curves; eight chords of a tube make 0.10
_APART = 1.0  # mm by which the bounding box may change from chords to curves
_NEAR = {SAME: 1e-4, CLEANED: 0.02, WARPED: _APART}  # the same for facets, mm
_TWIST_LAYERS = 48
_DEBRIS = 0.01  # mm3


@dataclass(frozen=True, eq=False)
class Step:
    """One operation of a script.

    Attributes:
        number: 1 for the first.
        record: What the history knows.
        values: Physical values by name, as ``operations.physical`` gives them.
        before: The shape that the solid before it has, where that is known by a formula.
        after: The same for the solid after it.
        clipped: The result reaches out of the design space and is cut there.
        carved: Keep-out volumes are cut away.
        mesh: Why the script has to embed the faceted solid, or None.
    """

    number: int
    record: Record
    values: dict[str, float]
    before: Shape | None = None
    after: Shape | None = None
    clipped: bool = False
    carved: bool = False
    mesh: str | None = None

    @property
    def name(self) -> str:
        """The operation's name."""
        return self.record.action.name

    @property
    def mode(self) -> str | None:
        """The mode's name."""
        return self.record.action.mode_name

    @property
    def top(self) -> float:
        """Height of the solid before it, mm."""
        return float(self.record.bounds[1, 2])


@dataclass(frozen=True, eq=False)
class Plan:
    """A whole script.

    Attributes:
        space: Where the design may be.
        steps: In order; empty before the first operation is accepted.
        solid: The design's solid.
        volume: mm3 of the solid that the script makes; for exact plans measured with ``FINER``
            times the facets, or the design's own where the last step is embedded.
    """

    space: DesignSpace
    steps: tuple[Step, ...]
    solid: Solid
    volume: float

    @property
    def start(self) -> int:
        """Index of the last embedded step, which contains all before it; 0 without one."""
        return max((i for i, step in enumerate(self.steps) if step.mesh), default=0)

    @property
    def reasons(self) -> tuple[str, ...]:
        """A line for each step that has to be embedded."""
        return tuple(f"{s.number} {s.name}: {s.mesh}" for s in self.steps if s.mesh)


def faceted(design: Design) -> Plan:
    """Plans a script whose circles have as many sides as the design's.

    Raises:
        UserError: The design is empty.
    """
    return _plan(design, exact=False)


def exact(design: Design) -> Plan:
    """Plans a script with true curves.

    Raises:
        UserError: The design is empty.
    """
    return _plan(design, exact=True)


def _plan(design: Design, exact: bool) -> Plan:
    if design.solid.is_empty:
        raise UserError("the design is empty, there is nothing to save; add a part first")
    space = design.space
    steps: list[Step] = []
    body = fine = Manifold()
    shape, slack = None, CLEANED if exact else SAME
    for number, record in enumerate(design.records, 1):
        values = physical(record.action, record.bounds)
        step = Step(number, record, values, shape, _next_shape(record, values, shape, space))
        if exact and step.name in ("taper", "twist"):
            slack = WARPED
        step, body = _carried_out(step, body, space, exact, slack)
        if exact and step.mesh is None and _mixed(step, steps):
            step = _marked(step, "it would stretch facets together with curves")
        if exact and step.mesh is None:
            step, fine = _refined(step, fine, space)
        if step.mesh is not None:
            body = fine = record.solid.body
        shape = step.after if not (step.mesh or step.clipped or step.carved) else None
        steps.append(step)
    return Plan(space, tuple(steps), design.solid, float((fine if exact else body).volume()))


def _next_shape(
    record: Record, values: dict[str, float], shape: Shape | None, space: DesignSpace
) -> Shape | None:
    """Returns the formula for the solid after an operation, where there is one."""
    name = record.action.name
    if name in PARTS and record.bounds[0, 2] == record.bounds[1, 2]:
        return of_part(name, values, space.segments)
    if shape is None or record.drop:
        return None
    if name == "scale":
        return shape.scaled(values["factor_x"], values["factor_y"], values["factor_z"])
    if name == "cut_top":
        return shape.lower(values["keep"])
    return shape.tapered(values["growth"]) if name == "taper" else None


def _carried_out(
    step: Step, body: Manifold, space: DesignSpace, exact: bool, slack: float
) -> tuple[Step, Manifold]:
    """Repeats a step with the design's facets; marks it where the result is not the design's."""
    if step.record.discarded and not exact:
        return _marked(step, "loose pieces were taken away"), body
    raw = _raw(step, body, space.segments, exact, fine=False)
    if raw is None:
        return _marked(step, f"no counterpart for this {step.name}"), body
    clipped, carved = _outside(raw, space), _blocked(raw, space)
    step = Step(step.number, step.record, step.values, step.before, step.after, clipped, carved)
    body = _settled(step, raw, space, space.segments)
    solid = step.record.solid
    if not _alike(body, solid, slack, _NEAR[slack]):
        return _marked(step, "Booleans alone give another solid"), body
    return step, body


def _refined(step: Step, fine: Manifold, space: DesignSpace) -> tuple[Step, Manifold]:
    """Repeats a step with finer facets; marks it where the result is not like the design's."""
    segments = FINER * space.segments
    raw = _raw(step, fine, segments, exact=True, fine=True)
    if raw is None:
        return _marked(step, f"no counterpart for this {step.name}"), fine
    pieces = _pieces(_settled(step, raw, space, segments, pick=False))
    fine = _settled(step, raw, space, segments)
    if pieces != step.record.discarded + 1:
        return _marked(step, "with true curves it is in other pieces"), fine
    if not _alike(fine, step.record.solid, _ROUND, _APART):
        return _marked(step, "with true curves it has another size"), fine
    return step, fine


def _mixed(step: Step, steps: list[Step]) -> bool:
    """Whether a step stretches a body that was embedded and then worked on.

    OpenCascade may go wrong there; nothing is lost, as such a script is not exact anyway.
    """
    embedded = any(earlier.mesh for earlier in steps)
    return step.name == "scale" and embedded and steps[-1].mesh is None


def _marked(step: Step, reason: str) -> Step:
    return Step(step.number, step.record, step.values, mesh=reason)


def _alike(body: Manifold, solid: Solid, share: float, near: float) -> bool:
    """Whether volume and bounding box agree."""
    if abs(body.volume() - solid.volume) > share * solid.volume:
        return False
    box = body.bounding_box()
    return all(abs(a - b) <= near for a, b in zip(box, solid.bounds.ravel(), strict=True))


def _pieces(body: Manifold) -> int:
    return sum(1 for shell in body.decompose() if shell.volume() > _DEBRIS)


def _outside(raw: Manifold, space: DesignSpace) -> bool:
    box, (low, high) = raw.bounding_box(), space.bounds
    return any(box[i] < low[i] - 1e-9 or box[i + 3] > high[i] + 1e-9 for i in range(3))


def _blocked(raw: Manifold, space: DesignSpace) -> bool:
    bodies = (volume_body(volume, space.segments) for volume in space.keep_out)
    return any((raw ^ body).volume() > 0.0 for body in bodies)


def _settled(
    step: Step, raw: Manifold, space: DesignSpace, segments: int, pick: bool = True
) -> Manifold:
    """Does what the script says after the operation itself."""
    if step.clipped:
        raw = raw ^ Manifold.cube(space.size).translate(tuple(space.bounds[0].tolist()))
    if step.carved:
        for volume in space.keep_out:
            raw = raw - volume_body(volume, segments)
    if pick and step.record.discarded:
        raw = largest(raw)[0]
    return raw.translate((0.0, 0.0, -step.record.drop)) if step.record.drop else raw


def _raw(step: Step, body: Manifold, segments: int, exact: bool, fine: bool) -> Manifold | None:
    """Carries out the operation itself, or returns None where there is no counterpart."""
    name, values, mode = step.name, step.values, step.mode
    if name in PARTS:
        tool = part(name, values, segments)
        if mode == "add":
            return body + tool
        return body - tool if mode == "cut" else body ^ tool
    if name in ("hollow", "taper", "twist", "bend"):
        return _warped(step, body, segments, exact, fine)
    if name == "scale":
        return body.scale((values["factor_x"], values["factor_y"], values["factor_z"]))
    if name == "drill":
        return body - drill_tool(step, segments)
    if name == "mirror":
        return body + _image(step, body)
    if name == "polar":
        copies = int(values["copies"])
        turned = [body.rotate((0.0, 0.0, 360.0 * i / copies)) for i in range(copies)]
        return sum(turned[1:], turned[0])
    return body.trim_by_plane((0.0, 0.0, -1.0), -values["keep"] * step.top)


def _warped(step: Step, body: Manifold, segments: int, exact: bool, fine: bool) -> Manifold | None:
    """Carries out a hollow, taper or twist of a shape with a formula."""
    shape, values = step.before, step.values
    if shape is None or step.name == "bend":
        return None
    if step.name == "hollow":
        cavity = shape.cavity(values["wall"], values["floor"], segments)
        return None if cavity is None else body - cavity.body(segments, mouth=True, fine=fine)
    if step.name == "taper" and not shape.upright:
        after = step.after if exact else None
        return None if after is None else after.body(segments, fine=fine)
    if not shape.upright or (step.name == "twist" and not (exact and _cornered(shape))):
        return None
    section, scale = shape.section(segments), 1 + values.get("growth", 0.0)
    twist, layers = values.get("angle", 0.0), _TWIST_LAYERS if step.name == "twist" else 0
    return CrossSection.extrude(section, step.top, layers, twist, (scale, scale))


def _cornered(shape: Shape) -> bool:
    """Whether turning about the axis changes the shape: a round one has no use for a twist."""
    return not isinstance(shape, Lathe) or bool(shape.sides)


def drill_span(step: Step) -> tuple[int, float, float, list[float]]:
    """Returns the axis, start and length of a drill, and a point (3,) where it starts, mm."""
    low, high = step.record.bounds
    axis = "xyz".index(step.mode or "z")
    start, length = float(low[axis]) - 1.0, float(high[axis] - low[axis]) + 2.0
    place = [step.values.get(name, 0.0) for name in "xyz"]
    place[axis] = start
    return axis, start, length, place


def drill_tool(step: Step, segments: int) -> Manifold:
    """Returns the body that a drill takes away."""
    axis, _, length, place = drill_span(step)
    radius = step.values["radius"]
    tool = Manifold.cylinder(length, radius, radius, segments)
    turn = ((0, 90, 0), (-90, 0, 0), (0, 0, 0))[axis]
    return tool.rotate(turn).translate(tuple(place))


def _image(step: Step, body: Manifold) -> Manifold:
    axis = {"x": 0, "y": 1}.get(step.mode or "x", 2)
    image = body.mirror(tuple(float(i == axis) for i in range(3)))
    return image.translate((0.0, 0.0, 2 * step.top)) if axis == 2 else image
