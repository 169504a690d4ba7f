"""Shapes that are known by a few numbers: what hollow, taper and twist have a formula for.

A design begins with one part at the origin. As long as it is only scaled, tapered or cut, it stays
a brick or a lathe (a curve turned about the z axis, round or with 3 to 8 sides), and hollowing it
out is the difference of two such shapes. Everything else is known by its mesh only.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from manifold3d import CrossSection, Manifold

Points: TypeAlias = tuple[tuple[float, float], ...]

MOUTH = 1.0  # mm a cavity reaches beyond the top, so that no film of rounding errors closes it
_LEAST = 1e-6  # mm below which a cavity has no radius
_CHORDS = 16  # of a curve whose chords in the design are not known


@dataclass(frozen=True)
class Brick:
    """An upright box on the table with its middle on the z axis.

    Attributes:
        size: Width, depth and height, mm.
        base: Height of its lower face, mm.
    """

    size: tuple[float, float, float]
    base: float = 0.0

    @property
    def upright(self) -> bool:
        """Whether all horizontal sections are the same."""
        return True

    def scaled(self, x: float, y: float, z: float) -> "Shape | None":
        """Returns the shape stretched from the origin."""
        width, depth, height = self.size
        return Brick((width * x, depth * y, height * z))

    def lower(self, keep: float) -> "Shape | None":
        """Returns the lower share of the height."""
        width, depth, height = self.size
        return Brick((width, depth, height * keep))

    def tapered(self, growth: float) -> "Shape | None":
        """Returns None: a tapered box is no brick any more."""
        return None

    def cavity(self, wall: float, floor: float, segments: int) -> "Shape | None":
        """Returns what hollowing takes out, up to ``MOUTH`` above the top, or None."""
        width, depth = (side - 2 * wall for side in self.size[:2])
        height = self.size[2] - floor
        return Brick((width, depth, height), floor) if min(width, depth, height) > _LEAST else None

    def section(self, segments: int) -> CrossSection:
        """Returns the horizontal section at the base."""
        return CrossSection.square(self.size[:2], True)

    def body(self, segments: int, mouth: bool = False, fine: bool = False) -> Manifold:
        """Returns the kernel's body; see ``Lathe.body``."""
        height = self.size[2] + (MOUTH if mouth else 0.0)
        return self.section(segments).extrude(height).translate((0.0, 0.0, self.base))


@dataclass(frozen=True)
class Lathe:
    """A curve turned about the z axis.

    Attributes:
        controls: Radii of the Bezier curve's control points, whose heights are evenly spaced, mm.
        base: Height of the lower end, mm.
        height: mm.
        outline: (radius, height) of the polygon that stands for the curve in the design.
        sides: Of a prism, or 0 where it is round.
    """

    controls: tuple[float, ...]
    base: float
    height: float
    outline: Points
    sides: int = 0

    @property
    def upright(self) -> bool:
        """Whether all horizontal sections are the same."""
        return len(set(self.controls)) == 1

    @property
    def conical(self) -> bool:
        """Whether the curve is a straight line, as of a cylinder, cone or pyramid."""
        return len(self.outline) == 2

    def scaled(self, x: float, y: float, z: float) -> "Shape | None":
        """Returns the shape stretched from the origin, or None where it is no lathe any more."""
        if x != y:
            return None
        controls = tuple(radius * x for radius in self.controls)
        outline = tuple((radius * x, level * z) for radius, level in self.outline)
        return replace(self, controls=controls, height=self.height * z, outline=outline)

    def lower(self, keep: float) -> "Shape | None":
        """Returns the lower share of the height."""
        controls = split(self.controls, keep)[0]
        height = self.height * keep
        below = [point for point in self.outline if point[1] < height]
        outline = (*below, (at_height(self.outline, height), height))
        return replace(self, controls=controls, height=height, outline=outline)

    def tapered(self, growth: float) -> "Shape | None":
        """Returns the shape whose radii are multiplied by 1 + growth z / height, or None.

        The product of a Bezier curve of degree n - 1 and a line is one of degree n:
        c'_i = i/n (1 + growth) c_(i-1) + (1 - i/n) c_i.
        """
        if self.upright:
            low, high = self.controls[0], self.controls[0] * (1 + growth)
            return replace(self, controls=(low, high), outline=((low, 0.0), (high, self.height)))
        if self.sides:
            return None
        n, c = len(self.controls), (0.0, *self.controls, 0.0)
        controls = tuple(i / n * (1 + growth) * c[i] + (1 - i / n) * c[i + 1] for i in range(n + 1))
        return replace(
            self, controls=controls, outline=sampled(controls, 0.0, self.height, _CHORDS)
        )

    def cavity(self, wall: float, floor: float, segments: int) -> "Shape | None":
        """Returns what hollowing takes out, or None where there is no such lathe.

        The wall is measured at right angles to the sides, so corners of n sides move inwards by
        wall / cos(pi / n).

        Args:
            wall: mm.
            floor: mm.
            segments: Sides of a circle in the design.
        """
        if self.height - floor <= _LEAST:
            return None
        inset = wall / math.cos(math.pi / (self.sides or segments))
        above = [point for point in self.outline if point[1] > floor]
        outline = tuple(
            (radius - inset, level)
            for radius, level in ((at_height(self.outline, floor), floor), *above)
        )
        true_inset = inset if self.sides else wall
        controls = split(self.controls, floor / self.height)[1]
        controls = tuple(radius - true_inset for radius in controls)
        if min(radius for radius, _ in outline) <= _LEAST or min(controls) <= _LEAST:
            return None
        return Lathe(controls, floor, self.height - floor, outline, self.sides)

    def section(self, segments: int) -> CrossSection:
        """Returns the horizontal section at the base."""
        return CrossSection.circle(self.outline[0][0], self.sides or segments)

    def body(self, segments: int, mouth: bool = False, fine: bool = False) -> Manifold:
        """Returns the kernel's body.

        Args:
            segments: Sides of a circle.
            mouth: Go on upwards by ``MOUTH``.
            fine: Draw the curve with more chords than the design has.
        """
        outline = self.outline
        if fine and not self.sides and len(self.controls) > 2:
            outline = sampled(self.controls, self.base, self.height, segments)
        points = [(0.0, outline[0][1]), *outline]
        if mouth:
            points.append((outline[-1][0], outline[-1][1] + MOUTH))
        points.append((0.0, points[-1][1]))
        return CrossSection([points]).revolve(self.sides or segments)


Shape: TypeAlias = Brick | Lathe


def of_part(name: str, values: Mapping[str, float], segments: int) -> Shape | None:
    """Returns the shape of a part at the origin, or None for a ring or a part elsewhere.

    Args:
        name: One of ``table.PARTS``.
        values: Physical values, as ``operations.physical`` gives them.
        segments: Sides of a circle in the design.
    """
    if name == "ring" or any(values[axis] for axis in "xyz"):
        return None
    if name == "box":
        return Brick((values["size_x"], values["size_y"], values["size_z"]))
    height = values["height"]
    if name == "prism":
        low = high = values["radius"]
    else:
        low, high = values["radius_low"], values["radius_high"]
    if name == "revolve":
        controls: tuple[float, ...] = (low, values["radius_middle"], high)
        return Lathe(controls, 0.0, height, sampled(controls, 0.0, height, chords(segments)))
    outline = ((low, 0.0), (high, height))
    return Lathe((low, high), 0.0, height, outline, int(values.get("sides", 0)))


def chords(segments: int) -> int:
    """Returns how many chords a profile or the tube of a ring has in ``geometry.part``."""
    return max(8, segments // 4)


def sampled(controls: tuple[float, ...], base: float, height: float, count: int) -> Points:
    """Returns count + 1 points (radius, height) of a Bezier curve, evenly spaced in height."""
    shares = [i / count for i in range(count + 1)]
    return tuple((split(controls, t)[0][-1], base + height * t) for t in shares)


def split(controls: tuple[float, ...], t: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns the control points of a Bezier curve before and after t, by de Casteljau."""
    before, after, row = [controls[0]], [controls[-1]], controls
    while len(row) > 1:
        row = tuple(a + (b - a) * t for a, b in itertools.pairwise(row))
        before.append(row[0])
        after.append(row[-1])
    return tuple(before), tuple(reversed(after))


def at_height(outline: Points, height: float) -> float:
    """Returns the radius of a polygonal outline at a height."""
    for (low, start), (high, end) in itertools.pairwise(outline):
        if start <= height <= end:
            return low + (high - low) * (height - start) / (end - start)
    return outline[-1][0]
