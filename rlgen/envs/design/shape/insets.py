"""Horizontal sections of a cavity: the body's sections moved inwards.

* Sections are taken at the heights where the body has vertices, on both sides where it jumps.
* Below a level face that looks up there stays a ceiling as thick as the wall, above one that looks
  down a floor as thick as the floor. Where faces slope by less than 45 degrees, the thickness
  straight up and down is kept at the wall.
* The mouth is the highest section with 2 percent or more of the largest one's area.
"""

from dataclasses import dataclass, field
from functools import cached_property

import manifold3d
import numpy as np
from manifold3d import CrossSection

from rlgen.envs.design.mesh import Floats
from rlgen.envs.design.shape.solids import Solid

LEAST_CAVITY = 1.0  # mm of height
MOUTH_SHARE = 0.02
_BESIDE = 1e-7  # mm from a level at which the section on one side of it is taken
_SAME_LEVEL = 1e-3  # mm
_NEAR = 0.05  # mm from a jump within which a corner gets no section of its own
_MOST_LEVELS = 16
_MOST_SHELVES = 6  # looking up, and as many looking down
_SHELF = 20.0  # mm2 below which a level face gets no ceiling or floor of its own
_DENT = 0.25  # depth of dents, in walls, up to which a convex outline stands for a section
_GRID = 2.0**30  # heights on this grid are added and subtracted without rounding
_HALVINGS = 10


def on_grid(heights: Floats) -> Floats:
    """Rounds heights to a fine binary grid, so that slabs built between them meet exactly."""
    return np.round(heights * _GRID) / _GRID


@dataclass(frozen=True, eq=False)
class Levels:
    """Heights at which sections change their character.

    Attributes:
        heights: (L,) ascending, from the floor to the top.
        jumps: Those where the sections from below and from above differ.
        ceilings: Heights of level faces that look up, below the top.
        floors: Heights of level faces that look down, above the table.
        slanted: Whether other faces slope by less than 45 degrees.
    """

    heights: Floats
    jumps: Floats
    ceilings: Floats
    floors: Floats
    slanted: bool


def find_levels(solid: Solid, wall: float, floor: float) -> Levels:
    """Finds the heights at which to cut a body that is to be hollowed out.

    Args:
        solid: The body, higher than ``floor``.
        wall: mm.
        floor: mm.
    """
    mesh, top = solid.mesh, float(solid.bounds[1, 2])
    normals = mesh.area_vectors
    up, flat = normals[:, 2], np.abs(normals[:, 2])
    sideways = np.hypot(normals[:, 0], normals[:, 1])
    level = sideways <= 1e-6 * flat
    heights = mesh.corners[:, 0, 2]
    between = level & (heights > _SAME_LEVEL) & (heights < top - _SAME_LEVEL) & (flat > 1e-3)
    ceilings, floors = (
        _shelves(heights[between & (side * up > 0)], flat[between & (side * up > 0)])
        for side in (1, -1)
    )
    slanted = bool(np.any((flat > sideways) & ~level & (flat > 0.5)))
    jumps = np.concatenate([ceilings, floors, ceilings - wall, floors + floor])
    corners = mesh.vertices[:, 2]
    if slanted:
        jumps = np.concatenate([jumps, ceilings + wall, floors - wall])
        corners = np.concatenate([corners, corners - wall, corners + wall])
    jumps = _distinct(on_grid(jumps[(jumps > floor + _SAME_LEVEL) & (jumps < top - _SAME_LEVEL)]))
    ends = on_grid(np.array([floor, top]))
    marks = np.concatenate([ends[:1], jumps, ends[1:]])
    return Levels(_with_corners(marks, corners), jumps, ceilings, floors, slanted)


def _shelves(heights: Floats, areas: Floats) -> Floats:
    """Returns the ascending heights of the largest level faces.

    Args:
        heights: (T,) of level triangles, mm.
        areas: (T,) mm2.
    """
    order = np.argsort(heights, kind="stable")
    heights, areas = heights[order], areas[order]
    start = np.flatnonzero(np.diff(heights, prepend=-np.inf) > _SAME_LEVEL)
    area = np.add.reduceat(areas, start) if len(start) else areas
    large = np.argsort(-area, kind="stable")[:_MOST_SHELVES]
    return np.sort(heights[start][large[area[large] > _SHELF]])


def _distinct(heights: Floats) -> Floats:
    """Returns ascending heights that are more than ``_SAME_LEVEL`` apart."""
    heights = np.unique(heights)
    return heights[np.diff(heights, prepend=-np.inf) > _SAME_LEVEL]


def _with_corners(marks: Floats, corners: Floats) -> Floats:
    """Adds to the marks as many of the corners' heights as are worth a section each."""
    corners = _distinct(on_grid(corners[(corners > marks[0]) & (corners < marks[-1])]))
    after = np.searchsorted(marks, corners)
    gap = np.minimum(np.abs(corners - marks[after - 1]), np.abs(marks[after] - corners))
    corners = corners[gap > _NEAR]
    if len(corners) > _MOST_LEVELS:
        even = np.linspace(marks[0], marks[-1], _MOST_LEVELS + 2)[1:-1]
        corners = corners[np.unique(np.abs(corners[:, None] - even).argmin(0))]
    return np.sort(np.concatenate([marks, corners]))


@dataclass(eq=False)
class Section:
    """The cavity at one height.

    Attributes:
        shape: Its outline.
        area: mm2.
        wall: Thickness of the wall around it, mm.
    """

    shape: CrossSection
    area: float
    wall: float

    @cached_property
    def convex(self) -> Floats | None:
        """The largest convex outline (N, 2) inside, where dents are shallow; counter-clockwise."""
        if self.area <= 0.0 or self.shape.num_contour() != 1:
            return None
        hull = self.shape.hull()
        if hull.area() - self.area > 1e-6 * self.area:
            depth = _deepest(self.shape.to_polygons()[0], hull.to_polygons()[0])
            if depth > _DENT * self.wall:
                return None
            hull = hull.offset(-depth, manifold3d.JoinType.Miter, 2.0).simplify(1e-6)
            if hull.num_contour() != 1:
                return None
        return np.asarray(hull.to_polygons()[0])

    def under(self, mouth: "Section") -> "Section":
        """Returns what of the section lies below another one; pieces beside it are left out."""
        if self.shape.num_contour() <= 1 and mouth.area > 0.0:
            return self
        pieces = [p for p in self.shape.decompose() if (p ^ mouth.shape).area() > 0.0]
        shape = CrossSection.compose(pieces) if pieces else CrossSection()
        return Section(shape, float(shape.area()), self.wall)


def _deepest(outline: Floats, hull: Floats) -> float:
    """Returns how far the corners of an outline are from the edges of its hull at most, mm."""
    along = np.concatenate([hull[1:], hull[:1]]) - hull
    inward = np.stack([-along[:, 1], along[:, 0]], axis=1)
    inward /= np.linalg.norm(inward, axis=1, keepdims=True)
    depths = outline @ inward.T - (hull * inward).sum(1)
    return float(depths.min(1).max())


@dataclass(eq=False)
class Sections:
    """Sections of the cavity, worked out when asked for.

    Attributes:
        solid: The body.
        wall: mm.
        floor: mm.
        levels: What ``find_levels`` found for them.
    """

    solid: Solid
    wall: float
    floor: float
    levels: Levels
    _kept: dict[float, Section] = field(default_factory=dict)
    _insets: dict[float, CrossSection] = field(default_factory=dict)

    def jumps(self, z: float) -> bool:
        """Whether the sections just below and just above a height differ."""
        jumps = self.levels.jumps
        return bool(len(jumps) and np.abs(jumps - z).min() <= _SAME_LEVEL)

    def below(self, z: float) -> Section:
        """Returns the section just below a height."""
        return self._at(z - _BESIDE)

    def above(self, z: float) -> Section:
        """Returns the section just above a height; the one below where nothing jumps."""
        return self._at(self._beside_above(z))

    def of(self, shape: CrossSection) -> Section:
        """Returns a section with a given outline."""
        return Section(shape.simplify(1e-6), float(shape.area()), self.wall)

    def up_to_mouth(self) -> Floats:
        """Returns the levels up to the mouth, which is the last; empty without a cavity."""
        heights = self.levels.heights
        areas = [(self.above(z).area, self.below(z).area) for z in heights.tolist()]
        least = MOUTH_SHARE * max(max(areas[0][0], below) for _, below in areas)
        if least <= 0.0:
            return heights[:0]
        for i in range(len(heights) - 1, 0, -1):
            if areas[i][1] >= least:
                return self._connected(heights[: i + 1])
            if areas[i - 1][0] >= least:
                mouth = self._last_wide(float(heights[i - 1]), float(heights[i]), least)
                return self._connected(np.append(heights[:i], on_grid(np.array([mouth]))))
        return heights[:0]

    def _connected(self, heights: Floats) -> Floats:
        """Reduces the sections to what is reached by going down from the mouth."""
        mouth = self.below(float(heights[-1]))
        for z in heights[-2::-1].tolist():
            for beside in (self._beside_above(z), z - _BESIDE):
                mouth = self._kept[beside] = self._at(beside).under(mouth)
        return heights

    def _last_wide(self, low: float, high: float, least: float) -> float:
        """Returns a height between a wide and a narrow section where it is just wide enough."""
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            wide = self._at(middle).area >= least
            low, high = (middle, high) if wide else (low, middle)
        return low

    def _beside_above(self, z: float) -> float:
        first = z <= self.levels.heights[0]
        return z + _BESIDE if first or self.jumps(z) else z - _BESIDE

    def _at(self, z: float) -> Section:
        if z not in self._kept:
            shape = self._inset(z)
            for level in self.levels.ceilings:
                if level - self.wall < z < level:
                    shape = shape ^ self._inset(level + _BESIDE)
            for level in self.levels.floors:
                if level < z < level + self.floor:
                    shape = shape ^ self._inset(level - _BESIDE)
            if self.levels.slanted and not shape.is_empty():
                shape = self._under_slopes(shape, z)
            self._kept[z] = self.of(shape)
        return self._kept[z]

    def _inset(self, z: float) -> CrossSection:
        if z not in self._insets:
            outline = self.solid.body.slice(z).simplify(1e-6)
            inset = outline.offset(-self.wall, manifold3d.JoinType.Miter, 2.0)
            self._insets[z] = inset.simplify(1e-6)
        return self._insets[z]

    def _under_slopes(self, shape: CrossSection, z: float) -> CrossSection:
        """Leaves the wall's thickness of material straight above and straight below."""
        if z > self.wall:
            shape = shape ^ self.solid.body.slice(z - self.wall)
        if z + self.wall < float(self.solid.bounds[1, 2]):
            shape = shape ^ self.solid.body.slice(z + self.wall)
        return shape
