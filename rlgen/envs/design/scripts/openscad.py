"""OpenSCAD text of a design: a module per operation, with numbers a designer can edit.

Each module says in a comment what it does in physical units and calls the one before it. Circles
have as many sides as in the design, so the program makes the same solid. What has no counterpart
among Booleans (bend, twist, most tapers, the hollow of a general body, a step that took loose
pieces away) is a polyhedron that stands for all steps up to it; these are listed as comments.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from rlgen.envs.design.mesh import Mesh
from rlgen.envs.design.scripts.plan import Plan, Step, drill_span, faceted
from rlgen.envs.design.scripts.shapes import MOUTH, Brick, Lathe, Shape, chords
from rlgen.envs.design.shape.history import Design
from rlgen.envs.design.shape.space import Box, DesignSpace, Volume
from rlgen.envs.design.shape.table import PARTS

_PROFILE = """\
// Points (radius, height) of a quadratic Bezier curve, closed along the axis.
function profile(low, middle, high, height, chords) = concat(
  [[0, 0]],
  [for (i = [0 : chords]) let (t = i / chords)
    [(1 - t) * (1 - t) * low + 2 * t * (1 - t) * middle + t * t * high, height * t]],
  [[0, height]]
);
"""


@dataclass(frozen=True)
class _Node:
    """A call with the calls it applies to, or a line of text without any."""

    text: str
    children: tuple["_Node", ...] = ()


def openscad(design: Design) -> str:
    """Returns the text of a design for OpenSCAD 2019.05 or later.

    Args:
        design: A design with at least one operation.

    Returns:
        ASCII text. Its last line calls the last module; lengths are mm, angles degrees.

    Raises:
        UserError: The design is empty.
    """
    plan = faceted(design)
    steps = plan.steps[plan.start :]
    parts = [_header(plan), *_shared(plan.space, steps)]
    names = [None, *(f"{name(step)}()" for step in steps)]
    parts += [_module(s, plan.space, before) for s, before in zip(steps, names, strict=False)]
    return "\n".join([*parts, f"{name(steps[-1])}();", ""])


def name(step: Step) -> str:
    """Returns the name of a step's module, e.g. ``step_2_hollow``."""
    return f"step_{step.number}_{step.name}"


def number(value: float) -> str:
    """Returns the shortest text that reads back as the same float."""
    text = repr(float(value) + 0.0)
    return text.removesuffix(".0")


def _vector(values: Sequence[float]) -> str:
    return "[" + ", ".join(map(number, values)) + "]"


def _header(plan: Plan) -> str:
    lines = [
        "// A design by rlgen. Lengths in mm, angles in degrees, z up, the table at z = 0.",
        "// Each module is one operation; change its numbers and render again.",
    ]
    if plan.start or plan.steps[0].mesh:
        lines.append("// The first module is a polyhedron that stands for these operations:")
        lines += [f"//   {s.number}. {s.record}" for s in plan.steps[: plan.start + 1]]
    return "\n".join([*lines, f"$fn = {plan.space.segments};", ""])


def _shared(space: DesignSpace, steps: Sequence[Step]) -> list[str]:
    """Returns the helper modules that some step needs."""
    texts = []
    if any(step.name == "revolve" and not step.mesh for step in steps):
        texts.append(_PROFILE)
    if any(step.clipped for step in steps):
        cube = _moved(_Node(f"cube({_vector(space.size)})"), space.bounds[0].tolist())
        texts.append(_definition("space", [], "where the design may be", cube))
    if any(step.carved for step in steps):
        volumes = tuple(map(_volume, space.keep_out))
        texts.append(_definition("keep_out", [], "to be left free", _Node("union()", volumes)))
    return texts


def _module(step: Step, space: DesignSpace, before: str | None) -> str:
    """Returns the module of a step; ``before`` calls the one before it."""
    if step.mesh:
        body = _polyhedron(step.record.solid.mesh)
        return _definition(name(step), [f"embedded: {step.mesh}"], str(step.record), body)
    node = _operation(step, _Node(before) if before else None, space)
    if step.clipped:
        node = _Node("intersection()", (node, _Node("space()")))
    if step.carved:
        node = _Node("difference()", (node, _Node("keep_out()")))
    if step.record.drop:
        node = _moved(node, (0.0, 0.0, -step.record.drop))
    return _definition(name(step), [], str(step.record), node)


def _definition(title: str, notes: Sequence[str], meaning: str, node: _Node) -> str:
    comments = [f"  // {text}" for text in (meaning, *notes)]
    return "\n".join([f"module {title}() {{", *comments, *_lines(node, "  "), "}", ""])


def _lines(node: _Node, indent: str) -> list[str]:
    """Lays a tree out: a lone child follows on the next line, several stand in braces."""
    if not node.children:
        return [f"{indent}{node.text};"]
    if len(node.children) == 1:
        return [indent + node.text, *_lines(node.children[0], indent + "  ")]
    inner = [line for child in node.children for line in _lines(child, indent + "  ")]
    return [f"{indent}{node.text} {{", *inner, f"{indent}}}"]


def _moved(node: _Node, shift: Sequence[float]) -> _Node:
    return _Node(f"translate({_vector(shift)})", (node,)) if any(shift) else node


def _operation(step: Step, before: _Node | None, space: DesignSpace) -> _Node:
    """Returns what a step does to the solid before it."""
    values, mode = step.values, step.mode
    if step.name in PARTS:
        tool = _part(step, space.segments)
        if before is None:
            return tool
        word = {"add": "union()", "cut": "difference()"}.get(mode or "", "intersection()")
        return _Node(word, (before, tool))
    assert before is not None  # only a part begins a design
    if step.name == "scale":
        factors = [values[f"factor_{axis}"] for axis in "xyz"]
        return _Node(f"scale({_vector(factors)})", (before,))
    if step.name == "hollow":
        cavity = step.before and step.before.cavity(values["wall"], values["floor"], space.segments)
        assert cavity is not None  # the plan has made sure
        return _Node("difference()", (before, _cavity(cavity)))
    if step.name == "taper":
        return _tapered(step)
    if step.name == "drill":
        return _Node("difference()", (before, _drill(step)))
    if step.name == "mirror":
        return _mirrored(step, before)
    if step.name == "polar":
        copies = number(values["copies"])
        turned = _Node(f"rotate([0, 0, i * 360 / {copies}])", (before,))
        return _Node(f"for (i = [0 : {copies} - 1])", (turned,))
    return _cut(step, before, space)


def _part(step: Step, segments: int) -> _Node:
    v = step.values
    place = [v["x"], v["y"], v["z"]]
    if step.name == "box":
        size = [v["size_x"], v["size_y"], v["size_z"]]
        corner = [place[0] - size[0] / 2, place[1] - size[1] / 2, place[2]]
        return _moved(_Node(f"cube({_vector(size)})"), corner)
    if step.name == "cylinder":
        return _moved(_cylinder(v["height"], v["radius_low"], v["radius_high"]), place)
    if step.name == "prism":
        node = _cylinder(v["height"], v["radius"], v["radius"], int(v["sides"]))
        return _moved(node, place)
    if step.name == "ring":
        tube = _Node(f"circle(r = {number(v['tube'])}, $fn = {chords(segments)})")
        turned = _Node("rotate_extrude()", (_moved(tube, (v["radius"], 0.0)),))
        return _moved(_Node("rotate([90, 0, 0])", (turned,)), place)
    sizes = [f"{k} = {number(v[n])}" for k, n in _PROFILE_NAMES]
    outline = _Node(f"polygon(profile({', '.join(sizes)}, chords = {chords(segments)}))")
    return _moved(_Node("rotate_extrude()", (outline,)), place)


_PROFILE_NAMES = (
    ("low", "radius_low"),
    ("middle", "radius_middle"),
    ("high", "radius_high"),
    ("height", "height"),
)


def _cylinder(height: float, low: float, high: float, sides: int = 0) -> _Node:
    radii = f"r = {number(low)}" if low == high else f"r1 = {number(low)}, r2 = {number(high)}"
    count = f", $fn = {sides}" if sides else ""
    return _Node(f"cylinder(h = {number(height)}, {radii}{count})")


def _cavity(shape: Shape) -> _Node:
    """Returns the body that hollowing takes out; it goes on above the top."""
    if isinstance(shape, Brick):
        width, depth, height = shape.size
        cube = _Node(f"cube({_vector((width, depth, height + MOUTH))})")
        return _moved(cube, (-width / 2, -depth / 2, shape.base))
    if not shape.conical:
        rim, top = shape.outline[-1]
        points = [(0.0, shape.base), *shape.outline, (rim, top + MOUTH), (0.0, top + MOUTH)]
        outline = ", ".join(map(_vector, points))
        return _Node("rotate_extrude()", (_Node(f"polygon([{outline}])"),))
    (low, base), (high, top) = shape.outline
    if low == high:
        return _moved(_cylinder(top - base + MOUTH, low, high, shape.sides), (0.0, 0.0, base))
    cone = _moved(_cylinder(top - base, low, high, shape.sides), (0.0, 0.0, base))
    return _Node("union()", (cone, _moved(_cylinder(MOUTH, high, high, shape.sides), (0, 0, top))))


def _tapered(step: Step) -> _Node:
    shape = step.before
    if isinstance(shape, Lathe):
        count = f", $fn = {shape.sides}" if shape.sides else ""
        section = _Node(f"circle(r = {number(shape.outline[0][0])}{count})")
    else:
        assert shape is not None  # the plan has made sure
        section = _Node(f"square({_vector(shape.size[:2])}, center = true)")
    scale = number(1 + step.values["growth"])
    return _Node(f"linear_extrude(height = {number(step.top)}, scale = {scale})", (section,))


def _drill(step: Step) -> _Node:
    axis, _, length, place = drill_span(step)
    tool = _cylinder(length, step.values["radius"], step.values["radius"])
    turn = ("rotate([0, 90, 0])", "rotate([-90, 0, 0])", "")[axis]
    return _moved(_Node(turn, (tool,)) if turn else tool, place)


def _mirrored(step: Step, before: _Node) -> _Node:
    axis = {"x": 0, "y": 1}.get(step.mode or "x", 2)
    image = _Node(f"mirror({_vector([float(i == axis) for i in range(3)])})", (before,))
    if axis == 2:
        image = _moved(image, (0.0, 0.0, 2 * step.top))
    return _Node("union()", (before, image))


def _cut(step: Step, before: _Node, space: DesignSpace) -> _Node:
    width, depth, height = space.size
    above = _Node(f"cube({_vector((width + 2, depth + 2, height))})")
    corner = (-width / 2 - 1, -depth / 2 - 1, step.values["keep"] * step.top)
    return _Node("difference()", (before, _moved(above, corner)))


def _volume(volume: Volume) -> _Node:
    if isinstance(volume, Box):
        size = [high - low for low, high in zip(volume.low, volume.high, strict=True)]
        return _moved(_Node(f"cube({_vector(size)})"), volume.low)
    tool = _cylinder(volume.z_high - volume.z_low, volume.radius, volume.radius)
    return _moved(tool, (*volume.centre, volume.z_low))


def _polyhedron(mesh: Mesh) -> _Node:
    points = ",\n      ".join(_vector(point) for point in mesh.vertices.tolist())
    # OpenSCAD's faces run clockwise seen from outside, ours the other way round.
    faces = ",\n      ".join(str(face) for face in mesh.triangles[:, ::-1].tolist())
    text = (
        f"polyhedron(\n    points = [\n      {points}\n    ],\n    faces = [\n      {faces}\n    ]"
    )
    return _Node(f"{text},\n    convexity = 10\n  )")
