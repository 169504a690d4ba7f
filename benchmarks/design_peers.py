"""What ``design_throughput.py`` compares with: the plain loops a researcher would write instead.

One loop uses trimesh (its ``creation`` and its Booleans by manifold), one cadquery (exact Booleans
of OpenCascade). Both carry out recorded design actions: parts, Booleans, scale, drill, mirror,
polar copies, cut; they clip to the design space, refuse what falls apart where material was added,
keep the largest piece otherwise, put the body on the table and measure it after every step.

What they leave out, all of it in their favour: observations, masks, history, hashes, the merging
of flat facets, the test whether an operation changed anything, and rolling over of what does not
stand. trimesh finds the liquid layer by layer on voxels and measures no walls; cadquery measures
no liquid at all. cadquery gets its own sequences, of parts, drills and cuts only: on random polar
copies and mirror images single Booleans of exact faces took minutes, and scaling makes splines.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy.ndimage import binary_fill_holes
from scipy.spatial import ConvexHull, QhullError

from rlgen.envs.design.measure.conditions import INDEX, METRICS
from rlgen.envs.design.mesh import Floats
from rlgen.envs.design.task.tasks import Task, score

COMMON = (
    *("box", "cylinder", "revolve", "prism", "ring", "scale"),
    *("drill", "mirror", "polar", "cut_top"),
)
EXACT = ("box", "cylinder", "prism", "drill", "cut_top")
SIDE, SEGMENTS, PROFILE = 160.0, 32, 8
LEAST_VOLUME = 1.0  # mm3
CONTACT = 1e-3  # mm
VOXEL = 5.0  # mm; half of it takes eight times as long, mostly to cut triangles smaller


@dataclass(frozen=True)
class Call:
    """A recorded action in physical units, mm and degrees, and whether our environment took it."""

    name: str
    mode: str | None
    values: dict[str, float]
    accepted: bool

    @property
    def grows(self) -> bool:
        """Whether material is added, so that more than one piece is a refusal."""
        return self.mode == "add" or self.name in ("mirror", "polar")

    @property
    def place(self) -> tuple[float, float, float]:
        """Where a part stands."""
        return self.values["x"], self.values["y"], self.values["z"]


class Kernel(Protocol):
    """What a loop needs of a library; a body is the library's own."""

    def raw(self, body: Any, call: Call) -> Any:
        """Returns the result of an action, before it is settled; None where there is none."""

    def settled(self, body: Any, grows: bool) -> Any:
        """Returns it clipped, in one piece and on the table; None where it is refused."""

    def metrics(self, body: Any, names: Sequence[str]) -> dict[str, float]:
        """Measures a body."""

    def volume(self, body: Any) -> float:
        """Returns mm3."""


class Loop:
    """Designs with a library: apply, measure, score, again.

    Args:
        kernel: The library.
        task: What is scored after every step.
    """

    def __init__(self, kernel: Kernel, task: Task) -> None:
        self.kernel, self.task = kernel, task
        self.history: list[Any] = []

    def reset(self) -> None:
        """Begins with nothing."""
        self.history = []

    @property
    def body(self) -> Any:
        """The present body, or None."""
        return self.history[-1] if self.history else None

    @property
    def volume(self) -> float:
        """Of the present body, mm3."""
        return self.kernel.volume(self.body) if self.history else 0.0

    def step(self, call: Call) -> float:
        """Carries out one action and returns the score.

        What our environment refused is worked out all the same and then dropped, so that the
        designs stay the same ones.
        """
        if call.name == "undo":
            self.history.pop()
        elif call.name != "finish":
            raw = self.kernel.raw(self.body, call)
            new = None if raw is None else self.kernel.settled(raw, call.grows)
            if new is not None and call.accepted:
                self.history.append(new)
        values = np.zeros(len(METRICS))
        if self.history:
            for name, value in self.kernel.metrics(self.body, self.task.metrics).items():
                values[INDEX[name]] = value
        return score(values, self.task, empty=not self.history)


def standing(points: Floats, centre: Floats) -> dict[str, float]:
    """Returns tipping angle and whether it stands, from points of the surface and the centre."""
    low = points[points[:, 2] < points[:, 2].min() + CONTACT, :2]
    try:
        hull = ConvexHull(low) if len(low) > 2 else None
    except QhullError:
        hull = None
    inside = 0.0 if hull is None else -float((hull.equations @ [*centre[:2], 1.0]).max())
    tip = math.degrees(math.atan2(inside, centre[2])) if inside > 0 else 0.0
    return {"tip": tip, "upright": float(inside > 0)}


def extents(bounds: Floats, volume: float) -> dict[str, float]:
    """Returns height, footprint and volume from a (2, 3) bounding box and mm3."""
    size = bounds[1] - bounds[0]
    return {"height": size[2], "footprint": max(size[:2]), "volume": volume / 1000.0}


def profile(call: Call) -> Floats:
    """Returns the outline (N, 2) of a cylinder, a cone or a revolve: radius and height."""
    values, height = call.values, call.values["height"]
    if call.name == "revolve":
        t = np.linspace(0.0, 1.0, PROFILE + 1)
        low, middle, high = (values[f"radius_{end}"] for end in ("low", "middle", "high"))
        radius = (1 - t) ** 2 * low + 2 * t * (1 - t) * middle + t**2 * high
        curve = np.stack([radius, height * t], axis=1)
    else:
        curve = np.array([[values["radius_low"], 0.0], [values["radius_high"], height]])
    return np.concatenate([[[0.0, 0.0]], curve, [[0.0, height]]])


class TrimeshKernel:
    """trimesh, with Booleans by manifold."""

    def __init__(self) -> None:
        import trimesh

        self.lib = trimesh
        self.space = self._box((SIDE, SIDE, SIDE), (0.0, 0.0, 0.0))

    def _box(self, size: Sequence[float], place: Sequence[float]) -> Any:
        middle = (place[0], place[1], place[2] + size[2] / 2)
        return self.lib.creation.box(size, self.lib.transformations.translation_matrix(middle))

    def _boolean(self, kind: str, *bodies: Any) -> Any:
        return getattr(self.lib.boolean, kind)(bodies, engine="manifold")

    def _part(self, call: Call) -> Any:
        make, values = self.lib.creation, call.values
        if call.name == "box":
            return self._box([values[f"size_{axis}"] for axis in "xyz"], call.place)
        if call.name == "prism":
            height = values["height"]
            body = make.cylinder(values["radius"], height, sections=int(values["sides"]))
            return body.apply_translation((*call.place[:2], call.place[2] + height / 2))
        if call.name == "ring":
            body = make.torus(values["radius"], values["tube"], SEGMENTS, PROFILE)
            body.apply_transform(self._turn(90, (1, 0, 0)))
            return body.apply_translation(call.place)
        return make.revolve(profile(call), sections=SEGMENTS).apply_translation(call.place)

    def _turn(self, angle: float, axis: Sequence[float]) -> Any:
        return self.lib.transformations.rotation_matrix(math.radians(angle), axis)

    def raw(self, body: Any, call: Call) -> Any:
        """See :class:`Kernel`."""
        name, values = call.name, call.values
        if call.mode in ("add", "cut", "common"):
            part = self._part(call)
            if body is None:
                return part if call.mode == "add" else None
            kinds = {"add": "union", "cut": "difference", "common": "intersection"}
            return self._boolean(kinds[call.mode], body, part)
        if name == "scale":
            return body.copy().apply_scale([values[f"factor_{axis}"] for axis in "xyz"])
        if name == "drill":
            return self._boolean("difference", body, self._drill(body, call))
        if name == "polar":
            count = int(values["copies"])
            turns = [self._turn(360.0 * i / count, (0, 0, 1)) for i in range(count)]
            return self._boolean("union", *(body.copy().apply_transform(t) for t in turns))
        if name == "mirror":
            axis = {"x": 0, "y": 1}.get(call.mode or "x", 2)
            plane = self.lib.transformations.reflection_matrix(
                (0.0, 0.0, body.bounds[1, 2] if axis == 2 else 0.0), np.eye(3)[axis]
            )
            return self._boolean("union", body, body.copy().apply_transform(plane))
        kept = self._box((SIDE, SIDE, values["keep"] * body.bounds[1, 2]), (0.0, 0.0, 0.0))
        return self._boolean("intersection", body, kept)

    def _drill(self, body: Any, call: Call) -> Any:
        axis = "xyz".index(call.mode or "z")
        length = float(np.ptp(body.bounds[:, axis])) + 2.0
        tool = self.lib.creation.cylinder(call.values["radius"], length, sections=SEGMENTS)
        if axis < 2:
            tool.apply_transform(self._turn(90, ((0, 1, 0), (1, 0, 0))[axis]))
        place = [call.values.get(name, 0.0) for name in "xyz"]
        place[axis] = float(body.bounds[:, axis].mean())
        return tool.apply_translation(place)

    def settled(self, body: Any, grows: bool) -> Any:
        """See :class:`Kernel`."""
        if body.is_empty:
            return None
        low, high = self.space.bounds
        if (body.bounds[0] < low).any() or (body.bounds[1] > high).any():
            body = self._boolean("intersection", body, self.space)
        if body.is_empty or body.volume < LEAST_VOLUME:
            return None
        if body.body_count > 1:
            if grows:
                return None
            body = max(body.split(only_watertight=False), key=lambda piece: piece.volume)
        return body.apply_translation((0.0, 0.0, -body.bounds[0, 2]))

    def metrics(self, body: Any, names: Sequence[str]) -> dict[str, float]:
        """See :class:`Kernel`."""
        found = extents(body.bounds, body.volume) | standing(body.vertices, body.center_mass)
        if "capacity" in names:
            found["capacity"] = self._held(body)
            tilted = body.copy().apply_transform(self._turn(20, (1, 0, 0)))
            found["spill"] = self._held(tilted) if found["capacity"] > 0 else 0.0
            found["wall"] = 2.0  # not measured
        return found

    def _held(self, body: Any) -> float:
        """Returns ml of liquid: voxels that their layer's solid ones enclose."""
        solid = body.voxelized(VOXEL).fill().matrix
        filled = sum(int(binary_fill_holes(layer).sum()) for layer in solid.transpose(2, 0, 1))
        return float((filled - solid.sum()) * VOXEL**3 / 1000.0)

    def volume(self, body: Any) -> float:
        """See :class:`Kernel`."""
        return float(body.volume)


class CadqueryKernel:
    """cadquery: exact faces, Booleans by OpenCascade."""

    def __init__(self) -> None:
        import cadquery

        self.lib = cadquery
        self.space = self._box((SIDE, SIDE, SIDE), (0.0, 0.0, 0.0))

    def _box(self, size: Sequence[float], place: Sequence[float]) -> Any:
        corner = (place[0] - size[0] / 2, place[1] - size[1] / 2, place[2])
        return self.lib.Solid.makeBox(*size, pnt=self.lib.Vector(*corner))

    def _revolved(self, call: Call) -> Any:
        cq, values, height = self.lib, call.values, call.values["height"]
        ends = cq.Vector(values["radius_low"], 0, 0), cq.Vector(values["radius_high"], 0, height)
        middle = cq.Vector(values["radius_middle"], 0, height / 2)
        low, high = cq.Vector(0, 0, 0), cq.Vector(0, 0, height)
        edges = [
            cq.Edge.makeLine(low, ends[0]),
            cq.Edge.makeBezier([ends[0], middle, ends[1]]),
            cq.Edge.makeLine(ends[1], high),
            cq.Edge.makeLine(high, low),
        ]
        return cq.Solid.revolve(cq.Wire.assembleEdges(edges), [], 360.0, low, cq.Vector(0, 0, 1))

    def _part(self, call: Call) -> Any:
        solid, vector, values = self.lib.Solid, self.lib.Vector, call.values
        if call.name == "box":
            return self._box([values[f"size_{axis}"] for axis in "xyz"], call.place)
        if call.name == "ring":
            radii = values["radius"], values["tube"]
            return solid.makeTorus(*radii, vector(*call.place), vector(0, 1, 0))
        if call.name == "prism":
            angles = 2 * math.pi * np.arange(int(values["sides"])) / int(values["sides"])
            radius = values["radius"]
            corners = [vector(radius * math.cos(a), radius * math.sin(a), 0) for a in angles]
            outline = self.lib.Wire.makePolygon(corners, close=True)
            body = solid.extrudeLinear(outline, [], vector(0, 0, values["height"]))
            return body.moved(self.lib.Location(vector(*call.place)))
        if call.name == "revolve":
            return self._revolved(call).moved(self.lib.Location(vector(*call.place)))
        low, high, height = (values[key] for key in ("radius_low", "radius_high", "height"))
        if low == high:
            return solid.makeCylinder(low, height, vector(*call.place))
        return solid.makeCone(low, high, height, vector(*call.place))

    def raw(self, body: Any, call: Call) -> Any:
        """See :class:`Kernel`."""
        name, values = call.name, call.values
        if call.mode in ("add", "cut", "common"):
            part = self._part(call)
            if body is None:
                return part if call.mode == "add" else None
            kinds = {"add": "fuse", "cut": "cut", "common": "intersect"}
            return getattr(body, kinds[call.mode])(part)
        if name == "scale":
            x, y, z = (values[f"factor_{axis}"] for axis in "xyz")
            rows = [[x, 0, 0, 0], [0, y, 0, 0], [0, 0, z, 0]]
            return body.transformGeometry(self.lib.Matrix(rows))
        if name == "drill":
            return body.cut(self._drill(body, call))
        if name == "polar":
            count = int(values["copies"])
            start, end = self.lib.Vector(0, 0, 0), self.lib.Vector(0, 0, 1)
            copies = [body.rotate(start, end, 360.0 * i / count) for i in range(1, count)]
            return body.fuse(*copies)
        if name == "mirror":
            plane = {"x": "YZ", "y": "XZ"}.get(call.mode or "x", "XY")
            top = body.BoundingBox().zmax if plane == "XY" else 0.0
            return body.fuse(body.mirror(plane, self.lib.Vector(0, 0, top)))
        height = values["keep"] * body.BoundingBox().zmax
        return body.intersect(self._box((SIDE, SIDE, height), (0.0, 0.0, 0.0)))

    def _drill(self, body: Any, call: Call) -> Any:
        axis = "xyz".index(call.mode or "z")
        low, high = self._bounds(body)[:, axis]
        place = [call.values.get(name, 0.0) for name in "xyz"]
        place[axis] = low - 1.0
        direction = self.lib.Vector(*np.eye(3)[axis].tolist())
        start = self.lib.Vector(*map(float, place))
        return self.lib.Solid.makeCylinder(
            call.values["radius"], float(high - low) + 2.0, start, direction
        )

    def _bounds(self, body: Any) -> Floats:
        box = body.BoundingBox()
        return np.array([[box.xmin, box.ymin, box.zmin], [box.xmax, box.ymax, box.zmax]])

    def settled(self, body: Any, grows: bool) -> Any:
        """See :class:`Kernel`."""
        bounds, half = self._bounds(body), SIDE / 2
        if (bounds[0] < (-half, -half, 0.0)).any() or (bounds[1] > (half, half, SIDE)).any():
            body = body.intersect(self.space)
        pieces = body.Solids()
        if not pieces or (grows and len(pieces) > 1):
            return None
        body = max(pieces, key=lambda piece: piece.Volume())
        if body.Volume() < LEAST_VOLUME:
            return None
        down = self.lib.Vector(0, 0, -body.BoundingBox().zmin)
        return body.moved(self.lib.Location(down))

    def metrics(self, body: Any, names: Sequence[str]) -> dict[str, float]:
        """See :class:`Kernel`."""
        points = np.array([point.toTuple() for point in body.tessellate(0.1, 0.2)[0]])
        centre = np.array(body.Center().toTuple())
        return extents(self._bounds(body), body.Volume()) | standing(points, centre)

    def volume(self, body: Any) -> float:
        """See :class:`Kernel`."""
        return float(body.Volume())
