"""CadQuery script of a design: a statement per operation, true circles and curves.

The dimensions stand at the top under names such as ``hollow2_wall``, so a designer can edit them
and run the script again. The solid is not the design's faceted one but what its facets stand for:
a cylinder of 32 sides has 0.9936 of the volume of the round one, n / (2 pi) sin(2 pi / n).

What has no exact counterpart (bend, and taper, twist or hollow of general bodies) is embedded as
the faceted solid that stands for all operations up to it; these are listed as comments.
"""

from collections.abc import Sequence

import numpy as np

from rlgen.envs.design.export.faces import flat_faces
from rlgen.envs.design.mesh import Mesh
from rlgen.envs.design.scripts.cadquery_helpers import helpers
from rlgen.envs.design.scripts.plan import Plan, Step, drill_span, exact
from rlgen.envs.design.scripts.shapes import Brick, Lathe
from rlgen.envs.design.shape.history import Design
from rlgen.envs.design.shape.space import Box, DesignSpace, Volume
from rlgen.envs.design.shape.table import PARTS

_HEAD = '''"""A design by rlgen, as a CadQuery script. Run it to write design.step.

Lengths in mm, angles in degrees, z up, the table at z = 0.
"""

import cadquery as cq
'''
_TAIL = """
design = {last}

if __name__ == "__main__":
    state = "a valid solid" if design.isValid() and len(design.Solids()) == 1 else "NOT VALID"
    change = design.Volume() / {volume:.1f} - 1
    print(f"{{state}}, {{design.Volume():.1f}} mm3, {{change:+.1%}} against the design")
    if abs(change) > 0.02:
        print("That is another solid: check it, unless you have edited the dimensions.")
    cq.exporters.export(design, "design.step")
"""


def cadquery(design: Design) -> str:
    """Returns the text of a design for CadQuery 2.5 or later.

    Args:
        design: A design with at least one operation.

    Returns:
        ASCII Python text that imports ``cadquery`` only. It assigns the solid to ``design`` and,
        when run, writes it to ``design.step``.

    Raises:
        UserError: The design is empty.
    """
    return script(exact(design))


def script(plan: Plan) -> str:
    """Returns the text of a plan made by ``plan.exact``."""
    steps = plan.steps[plan.start :]
    dimensions: list[str] = []
    body: list[str] = _embedded(plan) if steps[0].mesh else []
    before = f"step_{steps[0].number}" if steps[0].mesh else ""
    stretched = max((step.number for step in steps if _stretches(step)), default=0)
    for step in steps[1:] if steps[0].mesh else steps:
        dimensions += [f"{_key(step, name)} = {_literal(name, v)}" for name, v in _dimensions(step)]
        body += _statements(step, before, plan.space, step.number < stretched and _curved(step))
        before = f"step_{step.number}"
    text = "\n".join(body)
    dimensions = dimensions or ["# None: the whole design is embedded below."]
    head = "\n".join([_HEAD, "# Dimensions, to be edited", *dimensions])
    tail = _TAIL.format(last=before, volume=plan.volume)
    return "\n".join([head, "", helpers(text).strip("\n"), "", text, tail])


def _stretches(step: Step) -> bool:
    """Whether a step stretches a body that is not known by numbers."""
    return step.name == "scale" and step.after is None and not step.mesh


def _curved(step: Step) -> bool:
    """Whether what a step makes or takes away has curved faces."""
    shape = step.before if step.name == "hollow" else step.after
    turned = isinstance(shape, Lathe) and not shape.sides
    return turned or step.name in ("cylinder", "revolve", "ring", "drill")


def _literal(name: str, value: float) -> str:
    return str(int(value)) if name in ("sides", "copies") else repr(float(value) + 0.0)


def _key(step: Step, name: str) -> str:
    return f"{step.name}{step.number}_{name}"


def _dimensions(step: Step) -> list[tuple[str, float]]:
    """Returns what a designer may edit: the parameters, and what they refer to."""
    values = dict(step.values)
    if step.name == "scale" and step.mode == "uniform":
        del values["factor_y"]
    if step.after is not None:  # a shape about the z axis has no place and no other top
        return [(name, value) for name, value in values.items() if name not in ("x", "y", "z")]
    found = list(values.items())
    if step.name == "drill":
        _, start, length, _ = drill_span(step)
        found += [("start", start), ("length", length)]
    stacked = step.name == "mirror" and step.mode == "stack"
    if stacked or step.name in ("cut_top", "twist", "taper"):
        found.append(("top", step.top))
    if step.record.drop:
        found.append(("drop", step.record.drop))
    return found


def _embedded(plan: Plan) -> list[str]:
    done = plan.steps[: plan.start + 1]
    lines = ["# The first solid is embedded as facets. It stands for these operations:"]
    lines += [f"#   {s.number}. {s.record}" + (f" ({s.mesh})" if s.mesh else "") for s in done]
    return [*lines, *_facets(f"step_{done[-1].number}", done[-1].record.solid.mesh)]


def _facets(target: str, mesh: Mesh) -> list[str]:
    """Returns the statement that builds a faceted solid."""
    faces = flat_faces(mesh)
    start, following = faces.start.tolist(), faces.following.tolist()
    loops: list[list[list[int]]] = [[] for _ in faces.normal]
    firsts = np.unique(faces.loop, return_index=True)[1]
    for loop in np.argsort(~faces.outer, kind="stable").tolist():
        half = first = int(firsts[loop])
        corners = [start[half]]
        while (half := following[half]) != first:
            corners.append(start[half])
        loops[int(faces.loop_face[loop])].append(corners)
    lines = [f"{target} = facets(", "    ["]
    lines += [f"        ({x!r}, {y!r}, {z!r})," for x, y, z in mesh.vertices.tolist()]
    lines += ["    ],", "    ["]
    for shell in np.argsort(-faces.volumes, kind="stable").tolist():
        lines.append("        [")
        lines += [f"            {loops[i]}," for i in np.flatnonzero(faces.shell == shell).tolist()]
        lines.append("        ],")
    return [*lines, "    ],", ")"]


def _statements(step: Step, before: str, space: DesignSpace, splines: bool) -> list[str]:
    """Returns a comment and the statements of a step.

    Args:
        step: The step.
        before: Name of the solid before it, or empty.
        space: Where the design may be.
        splines: A later step stretches what is curved here. OpenCascade goes wrong when it
            stretches a trimmed cone or torus, but not when it was a spline from the start.
    """
    target = f"step_{step.number}"
    lines = ["", f"# {step.number}. {step.record}", *_outline(step)]
    if step.name in PARTS and step.after is None:
        lines.append(f"part_{step.number} = {_part(step)}{'.toNURBS()' * splines}")
    lines.append(f"{target} = {_operation(step, before, '.toNURBS()' * splines)}")
    if step.clipped:
        size, low = _triple(space.size), _triple(space.bounds[0].tolist())
        lines.append(f"{target} = {target}.intersect(cq.Solid.makeBox(*{size}, cq.Vector{low}))")
    if step.carved:
        lines += [f"{target} = {target}.cut({_volume(volume)})" for volume in space.keep_out]
    if step.record.discarded:
        lines.append(f"{target} = largest({target})")
    if step.record.drop:
        lines.append(f"{target} = {target}.translate(cq.Vector(0, 0, -{_key(step, 'drop')}))")
    return lines


def _triple(values: Sequence[float]) -> str:
    return "(" + ", ".join(repr(float(value) + 0.0) for value in values) + ")"


def _outline(step: Step) -> list[str]:
    """Returns the statement for the numbers of a turned part, or of a solid known by numbers."""
    shape, n = step.after, step.number
    keys = {name: _key(step, name) for name, _ in _dimensions(step)}
    if step.name in ("cylinder", "revolve", "prism"):
        return [f"outline_{n} = {_profile(step, keys)}"]
    if shape is None:
        return []
    if step.name == "box":
        return [f"size_{n} = ({keys['size_x']}, {keys['size_y']}, {keys['size_z']})"]
    if isinstance(shape, Brick):
        return [f"size_{n} = {_new_size(step, keys)}"]
    return [f"outline_{n} = {_new_outline(step, keys)}"]


def _profile(step: Step, keys: dict[str, str]) -> str:
    """Returns the control points of a part turned about an axis."""
    height = keys["height"]
    if step.name == "prism":
        return f"[({keys['radius']}, 0), ({keys['radius']}, {height})]"
    middle = f"({keys['radius_middle']}, {height} / 2), " if step.name == "revolve" else ""
    return f"[({keys['radius_low']}, 0), {middle}({keys['radius_high']}, {height})]"


def _new_size(step: Step, keys: dict[str, str]) -> str:
    x, y, z = (f"size_{step.number - 1}[{i}]" for i in range(3))
    if step.name == "cut_top":
        return f"({x}, {y}, {z} * {keys['keep']})"
    factor_y = keys.get("factor_y", keys["factor_x"])
    return f"({x} * {keys['factor_x']}, {y} * {factor_y}, {z} * {keys['factor_z']})"


def _new_outline(step: Step, keys: dict[str, str]) -> str:
    old = f"outline_{step.number - 1}"
    if step.name == "cut_top":
        return f"split({old}, {keys['keep']})[0]"
    if step.name == "taper":
        return f"tapered({old}, {keys['growth']})"
    return f"scaled({old}, {keys['factor_x']}, {keys['factor_z']})"


def _operation(step: Step, before: str, splines: str) -> str:
    """Returns the expression of the solid after a step; ``splines`` follows what it makes."""
    keys = {name: _key(step, name) for name, _ in _dimensions(step)}
    if step.after is not None:
        return _known(step) + splines
    if step.name in PARTS:
        word = {"add": "fuse", "cut": "cut"}.get(step.mode or "", "intersect")
        part = f"part_{step.number}"
        return f"{before}.{word}({part}).clean()" if before else part
    if step.name == "hollow":
        return f"{before}.cut({_cavity(step, keys)}{splines})"
    if step.name in ("taper", "twist"):
        return _warped(step, keys)
    if step.name == "scale":
        factors = keys["factor_x"], keys.get("factor_y", keys["factor_x"]), keys["factor_z"]
        return f"stretched({before}, {', '.join(factors)})"
    if step.name == "drill":
        return f"{before}.cut({_drill(step, keys)}{splines}).clean()"
    if step.name == "mirror":
        plane = {"x": '"YZ"', "y": '"XZ"'}.get(step.mode or "x", '"XY"')
        base = f", (0, 0, {keys['top']})" if step.mode == "stack" else ""
        return f"{before}.fuse({before}.mirror({plane}{base})).clean()"
    if step.name == "polar":
        turned = f"{before}.rotate((0, 0, 0), (0, 0, 1), 360 * i / {keys['copies']})"
        return f"{before}.fuse(*({turned} for i in range(1, {keys['copies']}))).clean()"
    return _cut(keys, before, step.record.bounds)


def _known(step: Step) -> str:
    """Returns the solid of a shape whose numbers have a name."""
    if isinstance(step.after, Lathe):
        return _turned(f"outline_{step.number}", _sides(step.after))
    return f"brick(*size_{step.number})"


def _sides(shape: Lathe) -> str:
    """Returns the name for the sides of a shape known by numbers, which began as the first step."""
    return "prism1_sides" if shape.sides else ""


def _turned(outline: str, sides: str) -> str:
    return f"prism({outline}, {sides})" if sides else f"lathe({outline})"


def _part(step: Step) -> str:
    """Returns a part at its place."""
    keys = {name: _key(step, name) for name, _ in _dimensions(step)}
    place = f"cq.Vector({keys['x']}, {keys['y']}, {keys['z']})"
    if step.name == "ring":
        return f"cq.Solid.makeTorus({keys['radius']}, {keys['tube']}, {place}, cq.Vector(0, 1, 0))"
    if step.name == "box":
        tool = f"brick({keys['size_x']}, {keys['size_y']}, {keys['size_z']})"
    else:
        tool = _turned(f"outline_{step.number}", keys.get("sides", ""))
    return f"{tool}.translate({place})"


def _cavity(step: Step, keys: dict[str, str]) -> str:
    shape, n = step.before, step.number - 1
    wall, floor = keys["wall"], keys["floor"]
    if isinstance(shape, Lathe):
        wall = f"at_sides({wall}, {_sides(shape)})" if shape.sides else wall
        return _turned(f"inner(outline_{n}, {wall}, {floor})", _sides(shape))
    sizes = f"size_{n}[0] - 2 * {wall}, size_{n}[1] - 2 * {wall}, size_{n}[2] - {floor}"
    return f"brick({sizes}, {floor})"


def _warped(step: Step, keys: dict[str, str]) -> str:
    """Returns a taper or twist of a brick or prism."""
    shape, n = step.before, step.number - 1
    if isinstance(shape, Lathe):
        points, grown = f"polygon(outline_{n}[0][0], {_sides(shape)})", ""
    else:
        points = f"rectangle(*size_{n}[:2])"
        grown = f"rectangle(*(side * (1 + {keys.get('growth', 0)}) for side in size_{n}[:2]))"
    if step.name == "twist":
        return f"twisted({points}, {keys['top']}, {keys['angle']})"
    return f"frustum({points}, {grown}, 0, {keys['top']})"


def _drill(step: Step, keys: dict[str, str]) -> str:
    axis = drill_span(step)[0]
    place = [keys.get(name, "0") for name in "xyz"]
    place[axis] = keys["start"]
    along = ["0", "0", "0"]
    along[axis] = "1"
    sizes = f"{keys['radius']}, {keys['length']}"
    return f"cq.Solid.makeCylinder({sizes}, {_vector(place)}, {_vector(along)})"


def _vector(values: Sequence[str]) -> str:
    return f"cq.Vector({', '.join(values)})"


def _cut(keys: dict[str, str], before: str, bounds: np.ndarray) -> str:
    """Returns the solid below a level, which is a share of its height."""
    x, y = (float(max(-bounds[0, i], bounds[1, i])) + 10.0 for i in range(2))
    level = f"{keys['keep']} * {keys['top']}"
    box = f"brick({2 * x!r}, {2 * y!r}, {keys['top']}, {level})"
    return f"{before}.cut({box}).clean()"


def _volume(volume: Volume) -> str:
    if isinstance(volume, Box):
        size = [high - low for low, high in zip(volume.low, volume.high, strict=True)]
        return f"cq.Solid.makeBox(*{_triple(size)}, cq.Vector{_triple(volume.low)})"
    base = _triple((*volume.centre, volume.z_low))
    height = volume.z_high - volume.z_low
    return f"cq.Solid.makeCylinder({volume.radius!r}, {height!r}, cq.Vector{base})"
