"""Hollowing a body out, open at the top.

The cavity is built from horizontal sections, each moved inwards by the wall (``insets``), so the
wall is even when measured at right angles to the outline in a horizontal plane: exactly so for
prisms, cylinders, cones and everything else whose sections are convex and change linearly between
the heights at which the body has vertices, because those heights are the ones that are cut.

Neighbouring sections that are both convex are joined directly (``stacking``), a run of them as one
closed mesh without a Boolean operation per pair. Between others stand slabs of what the sections
have in common, so the wall is never thinner than asked, but may be stepped.

What is above the mouth is removed, so the cavity is open whatever the shape. What cannot be reached
by going down from the mouth stays solid: the inside of a handle, for instance.

The true offset in space (a Minkowski difference) takes the kernel seconds. The method is this
project's proposal.
"""

import itertools
import math
from collections.abc import Iterator

import manifold3d
import numpy as np
from manifold3d import CrossSection, Manifold

from rlgen.envs.design.mesh import Floats
from rlgen.envs.design.shape.insets import LEAST_CAVITY, Section, Sections, find_levels, on_grid
from rlgen.envs.design.shape.solids import Solid, from_mesh
from rlgen.envs.design.shape.stacking import Ring, stacked

SLABS = 10
ALIKE = 0.95  # share of the area that neighbouring sections must have in common to be one slab
_ABOVE = 1.0  # mm the cavity reaches beyond the top


def hollowed(solid: Solid, wall: float, floor: float, limit: int) -> Manifold | str:
    """Returns the body without its cavity, or why there is none.

    Args:
        solid: What to hollow out.
        wall: Thickness at right angles to the outline in horizontal sections, mm.
        floor: Thickness above the table, mm.
        limit: Most triangles of body and cavity together.

    Returns:
        The body, or ``too_thin`` without room for a cavity, or ``too_many_triangles``.
    """
    top = float(solid.bounds[1, 2])
    if top - floor < LEAST_CAVITY:
        return "too_thin"
    levels = find_levels(solid, wall, floor)
    sections = Sections(solid, wall, floor, levels)
    heights = sections.up_to_mouth()
    if len(heights) < 2 or heights[-1] - floor < LEAST_CAVITY:
        return "too_thin"
    tools = _cavity(sections, heights, top + _ABOVE, limit - solid.n_triangles)
    if tools is None:
        return "too_many_triangles"
    if len(tools) > 1:
        whole = Manifold.batch_boolean(tools, manifold3d.OpType.Add)
        # What does not reach the mouth would be a closed void.
        tools = [tool for tool in whole.decompose() if tool.bounding_box()[5] > heights[-1] + 0.5]
    if not tools:
        return "too_thin"
    return Manifold.batch_boolean([solid.body, *tools], manifold3d.OpType.Subtract)


def _cavity(sections: Sections, heights: Floats, end: float, limit: int) -> list[Manifold] | None:
    """Returns bodies whose union is the cavity, or None where they have too many triangles.

    Args:
        sections: The cavity's sections.
        heights: (L,) ascending heights from the floor to the mouth, mm.
        end: Height above the body up to which the mouth is extended, mm.
        limit: Most triangles of the bodies together.
    """
    stack = _Stack(limit)
    rough: list[tuple[float, float]] = []
    for low, high in itertools.pairwise(heights.tolist()):
        below, above = sections.above(low), sections.below(high)
        if below.convex is None or above.convex is None:
            rough.append((low, high))
            continue
        _add_slabs(stack, sections, rough)
        rough = []
        stack.add(Ring(low, below.convex), Ring(high, above.convex))
    _add_slabs(stack, sections, rough)
    mouth = float(heights[-1])
    stack.add_slab(sections.below(mouth), mouth, end)
    bodies = stack.bodies()
    return None if stack.full else bodies


class _Stack:
    """Bodies between heights, joined into one mesh as far as outlines are convex and fit.

    Args:
        limit: Most triangles of the bodies together; above it nothing more is built.
    """

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._bodies: list[Manifold] = []
        self._rings: list[Ring] = []

    @property
    def full(self) -> bool:
        """Whether the bodies have more triangles than allowed."""
        return self._left < 0

    def add(self, low: Ring, high: Ring) -> None:
        """Puts the body between two convex outlines on top."""
        last = self._rings[-1] if self._rings else None
        if last is None or last.height != low.height or not (low.inside(last) or last.inside(low)):
            self._finish()
            self._rings = [low]
        elif not low.same(last):
            self._rings.append(low)
        self._rings.append(high)

    def add_slab(self, section: Section, low: float, high: float) -> None:
        """Puts an upright body with the same section all over on top."""
        if section.area <= 0.0 or self.full:
            return
        if section.shape.num_contour() == 1 and section.convex is not None:
            ring = Ring(low, section.convex)
            self.add(ring, ring.at(high))
            return
        self._finish()
        self._keep(section.shape.extrude(high - low).translate((0.0, 0.0, low)))

    def bodies(self) -> list[Manifold]:
        """Returns what was stacked."""
        self._finish()
        return self._bodies

    def _finish(self) -> None:
        body = from_mesh(stacked(self._rings)) if self._rings and not self.full else None
        if body is not None:
            self._keep(body)
        self._rings = []

    def _keep(self, body: Manifold) -> None:
        self._bodies.append(body)
        self._left -= body.num_tri()


def _add_slabs(stack: _Stack, sections: Sections, stretch: list[tuple[float, float]]) -> None:
    """Adds slabs for neighbouring intervals, each of what all sections in it have in common.

    An interval whose ends differ is cut into thinner slabs; slabs that hardly differ are merged.
    """
    step = float(sections.solid.bounds[1, 2]) / SLABS
    shared, widest, start, end = CrossSection(), 0.0, 0.0, 0.0
    for low, high in itertools.chain.from_iterable(_divided(sections, *i, step) for i in stretch):
        if stack.full:
            return
        below, above = sections.above(low), sections.below(high)
        shape, wide = below.shape ^ above.shape, max(below.area, above.area)
        merged = shape ^ shared if widest > 0.0 else shape
        if widest > 0.0 and merged.area() >= ALIKE * max(wide, widest):
            shared, widest, end = merged, max(wide, widest), high
            continue
        stack.add_slab(sections.of(shared), start, end)
        shared, widest, start, end = shape, wide, low, high
    stack.add_slab(sections.of(shared), start, end)


def _divided(
    sections: Sections, low: float, high: float, step: float
) -> Iterator[tuple[float, float]]:
    """Cuts an interval into steps unless the sections at its ends are alike."""
    below, above = sections.above(low), sections.below(high)
    alike = (below.shape ^ above.shape).area() >= ALIKE * max(below.area, above.area)
    count = 1 if alike else math.ceil((high - low) / step)
    cuts = [low, *on_grid(np.linspace(low, high, count + 1))[1:-1].tolist(), high]
    return itertools.pairwise(cuts)
