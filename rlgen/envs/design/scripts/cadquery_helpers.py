"""Functions that a generated CadQuery script contains, each only where it is called."""

import re

_LATHE = '''
def lathe(outline):
    """Turn a Bezier curve through control points (radius, height) about the z axis.

    Two points make a cylinder or a cone.
    """
    (low, start), (high, end) = outline[0], outline[-1]
    if len(outline) > 2:
        curve = cq.Edge.makeBezier([cq.Vector(radius, 0, z) for radius, z in outline])
        rest = cq.Wire.makePolygon([(high, 0, end), (0, 0, end), (0, 0, start), (low, 0, start)])
        face = cq.Face.makeFromWires(cq.Wire.assembleEdges([curve, *rest.Edges()]))
        return cq.Solid.revolve(face, 360, cq.Vector(0, 0, 0), cq.Vector(0, 0, 1))
    base = cq.Vector(0, 0, start)
    if low == high:
        return cq.Solid.makeCylinder(low, end - start, base)
    return cq.Solid.makeCone(low, high, end - start, base)
'''

_PRISM = '''
def prism(outline, sides):
    """A prism or pyramid between two points (radius, height), one corner towards +x."""
    (low, start), (high, end) = outline
    return frustum(polygon(low, sides), polygon(high, sides), start, end)
'''

_POLYGON = '''
def polygon(radius, sides):
    """Corners (x, y) of a regular polygon, one towards +x."""
    matrix = cq.Matrix()
    matrix.rotateZ(2 * 3.141592653589793 / sides)
    corners = [cq.Vector(radius, 0, 0)]
    while len(corners) < sides:
        corners.append(corners[-1].transform(matrix))
    return [(corner.x, corner.y) for corner in corners]
'''

_AT_SIDES = '''
def at_sides(wall, sides):
    """How far the corners of a polygon move for a wall measured at its sides."""
    return wall / polygon(1, 2 * sides)[1][0]
'''

_RECTANGLE = '''
def rectangle(width, depth):
    """Corners (x, y) of a rectangle about the origin."""
    x, y = width / 2, depth / 2
    return [(x, y), (-x, y), (-x, -y), (x, -y)]
'''

_FRUSTUM = '''
def frustum(low, high, start, end):
    """The straight body between two outlines, lists of (x, y), at two heights."""
    wires = [
        cq.Wire.makePolygon([(x, y, z) for x, y in points], close=True)
        for points, z in ((low, start), (high, end))
    ]
    if low == high:
        return cq.Solid.extrudeLinear(wires[0], [], cq.Vector(0, 0, end - start))
    return cq.Solid.makeLoft(wires, True)
'''

_TWISTED = '''
def twisted(points, height, angle):
    """An upright body with the outline points, turned by the angle on its way to the top."""
    wire = cq.Wire.makePolygon([(x, y, 0) for x, y in points], close=True)
    centre, axis = cq.Vector(0, 0, 0), cq.Vector(0, 0, height)
    return cq.Solid.extrudeLinearWithRotation(wire, [], centre, axis, angle)
'''

_BRICK = '''
def brick(width, depth, height, base=0):
    """An upright box with its middle on the z axis."""
    return cq.Solid.makeBox(width, depth, height, cq.Vector(-width / 2, -depth / 2, base))
'''

_STRETCHED = '''
def stretched(body, x, y, z):
    """Stretch a body from the origin."""
    if x == y == z:
        return body.scale(x)
    matrix = cq.Matrix([[x, 0, 0, 0], [0, y, 0, 0], [0, 0, z, 0]])
    return body.transformGeometry(matrix)
'''

_SCALED = '''
def scaled(outline, across, along):
    """Stretch an outline of (radius, height) points."""
    return [(radius * across, z * along) for radius, z in outline]
'''

_TAPERED = '''
def tapered(outline, growth):
    """Multiply the radii of an outline by 1 + growth z / height; one control point more."""
    n, height = len(outline), outline[-1][1]
    if len({radius for radius, _ in outline}) == 1:
        return [(outline[0][0], 0), (outline[0][0] * (1 + growth), height)]
    radii = [0, *(radius for radius, _ in outline), 0]
    mixed = [i / n * (1 + growth) * radii[i] + (1 - i / n) * radii[i + 1] for i in range(n + 1)]
    return [(radius, height * i / n) for i, radius in enumerate(mixed)]
'''

_SPLIT = '''
def split(outline, share):
    """The control points of a Bezier curve below and above a share of it (de Casteljau)."""
    below, above, row = [outline[0]], [outline[-1]], outline
    while len(row) > 1:
        pairs = zip(row, row[1:])
        row = [tuple(p + (q - p) * share for p, q in zip(a, b)) for a, b in pairs]
        below.append(row[0])
        above.append(row[-1])
    return below, above[::-1]
'''

_INNER = '''
def inner(outline, wall, floor):
    """The outline of the inside of a vessel."""
    share = floor / outline[-1][1]
    return [(radius - wall, z) for radius, z in split(outline, share)[1]]
'''

_FACETS = '''
def facets(points, shells):
    """A solid with flat faces. A shell is a list of faces, a face a list of loops, the outer first.

    The first shell is the outside, the others are voids.
    """

    def wire(loop):
        return cq.Wire.makePolygon([points[i] for i in loop], close=True)

    def solid(faces):
        sides = [cq.Face.makeFromWires(wire(f[0]), [wire(hole) for hole in f[1:]]) for f in faces]
        return cq.Solid.makeSolid(cq.Shell.makeShell(sides))

    outside, *voids = [solid(faces) for faces in shells]
    return outside.cut(*voids) if voids else outside
'''

_LARGEST = '''
def largest(body):
    """The largest piece of a body."""
    return max(body.Solids(), key=lambda piece: piece.Volume())
'''

_TEXTS = {
    "largest": _LARGEST,
    "polygon": _POLYGON,
    "at_sides": _AT_SIDES,
    "rectangle": _RECTANGLE,
    "frustum": _FRUSTUM,
    "twisted": _TWISTED,
    "brick": _BRICK,
    "lathe": _LATHE,
    "prism": _PRISM,
    "stretched": _STRETCHED,
    "scaled": _SCALED,
    "tapered": _TAPERED,
    "split": _SPLIT,
    "inner": _INNER,
    "facets": _FACETS,
}


def helpers(body: str) -> str:
    """Returns the definitions of all functions that a script's text calls, directly or not."""
    needed: set[str] = set()
    queue = [body]
    while queue:
        called = set(re.findall(r"(?<![\w.])(\w+)\(", queue.pop())) & set(_TEXTS) - needed
        needed |= called
        queue += [_TEXTS[name] for name in sorted(called)]
    return "\n".join(text for name, text in _TEXTS.items() if name in needed)
