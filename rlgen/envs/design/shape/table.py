"""The table of design operations: names, modes, parameters and ranges.

The sixteen operations are this project's own proposal, inspired by "design operations as actions"
of arXiv 1903.05271; which operations the paper used could not be read.

A parameter with the range ``low..high`` means ``low + (high - low) (k + 512) / 1024`` for a whole
number k in -512..512, rounded where it counts something.

A place is relative to the bounding box of the solid before the operation: -1..1 spans the box plus
20 percent of its size, i.e. from 10 percent before it to 10 percent behind it. A place below the
table is put onto the table. On an empty solid, whose box is a point, every place is the origin.
"""

import math
from dataclasses import dataclass

import numpy as np

from rlgen.envs.design.mesh import Floats

LATTICE = 512
BINS = 17
BIN_STEP = 2 * LATTICE // (BINS - 1)
N_PARAMETERS = 6
N_MODES = 3

BOOLEAN = ("add", "cut", "common")


@dataclass(frozen=True)
class Parameter:
    """One number of an operation.

    Attributes:
        name: What it is called in ``Action.named`` and in files.
        low: Value at k = -512; for a place the share of the bounding box, from its low side.
        high: Value at k = 512.
        kind: ``"linear"``, ``"integer"`` (rounded) or ``"place"`` (relative to the box).
        unit: ``"mm"``, ``"deg"`` or ``""``.
    """

    name: str
    low: float
    high: float
    kind: str = "linear"
    unit: str = "mm"

    @property
    def axis(self) -> int:
        """0, 1 or 2 for the place x, y or z."""
        return "xyz".index(self.name)

    def value(self, k: int, bounds: Floats) -> float:
        """Returns the physical value of a lattice point.

        Args:
            k: -512..512.
            bounds: (2, 3) bounding box of the solid before the operation, mm.
        """
        if self.kind == "place":
            low, high = float(bounds[0, self.axis]), float(bounds[1, self.axis])
            # From the middle, so that k = 0 is the middle to the last bit.
            value = (low + high) / 2 + (high - low) * (self.high - self.low) / 2 * (k / LATTICE)
            return max(value, 0.0) if self.axis == 2 else value
        value = self.low + (self.high - self.low) * ((k + LATTICE) / (2 * LATTICE))
        return float(math.floor(value + 0.5)) if self.kind == "integer" else value

    def limits(self, bounds: Floats) -> tuple[float, float]:
        """Returns the smallest and largest physical value."""
        return self.value(-LATTICE, bounds), self.value(LATTICE, bounds)

    def nearest(self, value: float, bounds: Floats) -> int:
        """Returns the lattice point whose value is nearest; the ends for values outside."""
        low, high = self.low, self.high
        if self.kind == "place":
            start, end = float(bounds[0, self.axis]), float(bounds[1, self.axis])
            if end <= start:
                return 0
            low, high = start + (end - start) * low, start + (end - start) * high
        k = round(((value - low) / (high - low) * 2 - 1) * LATTICE)
        return min(max(k, -LATTICE), LATTICE)


@dataclass(frozen=True)
class Operation:
    """One row of the table.

    Attributes:
        name: What it is called in files and commands.
        modes: Names of its modes; empty where there is nothing to choose.
        parameters: Its parameters, in the order of an action's six numbers.
        idle: Per mode the names of parameters that this mode does not look at.
        meaning: One line for people.
    """

    name: str
    modes: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    idle: tuple[tuple[str, ...], ...] = ()
    meaning: str = ""

    def used(self, mode: int) -> tuple[tuple[int, Parameter], ...]:
        """Returns (position, parameter) of those that matter in a mode."""
        idle = self.idle[mode] if mode < len(self.idle) else ()
        return tuple((i, p) for i, p in enumerate(self.parameters) if p.name not in idle)


_X, _Y, _Z = (Parameter(axis, -0.1, 1.1, "place") for axis in "xyz")
_PLACE = (_X, _Y, _Z)


def _ratio(name: str, low: float, high: float) -> Parameter:
    return Parameter(name, low, high, unit="")


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "box",
        BOOLEAN,
        (*(Parameter(f"size_{axis}", 4, 120) for axis in "xyz"), *_PLACE),
        meaning="box with its base at the place",
    ),
    Operation(
        "cylinder",
        BOOLEAN,
        (
            Parameter("radius_low", 3, 60),
            Parameter("radius_high", 3, 60),
            Parameter("height", 3, 150),
            *_PLACE,
        ),
        meaning="upright cylinder or cone with its base at the place",
    ),
    Operation(
        "revolve",
        BOOLEAN,
        (
            Parameter("radius_low", 4, 70),
            Parameter("radius_middle", 4, 70),
            Parameter("radius_high", 4, 70),
            Parameter("height", 5, 150),
            _X,
            _Z,
        ),
        meaning="quadratic Bezier profile turned about an upright axis in the middle of the depth",
    ),
    Operation(
        "prism",
        BOOLEAN,
        (
            Parameter("sides", 3, 8, "integer", ""),
            Parameter("radius", 5, 60),
            Parameter("height", 4, 150),
            *_PLACE,
        ),
        meaning="upright prism, one corner towards +x, with its base at the place",
    ),
    Operation(
        "ring",
        BOOLEAN,
        (Parameter("radius", 8, 40), Parameter("tube", 2.5, 8), *_PLACE),
        meaning="ring standing in the x-z plane, with its centre at the place",
    ),
    Operation(
        "scale",
        ("uniform", "free"),
        (_ratio("factor_x", 0.6, 1.6), _ratio("factor_y", 0.6, 1.6), _ratio("factor_z", 0.6, 1.6)),
        idle=(("factor_y",),),
        meaning="stretch from the origin; uniform takes factor_x for y as well",
    ),
    Operation(
        "taper",
        (),
        (_ratio("growth", -0.5, 0.6),),
        meaning="let sections grow linearly about the z axis, by 1 + growth at the top",
    ),
    Operation(
        "twist",
        (),
        (Parameter("angle", -120, 120, unit="deg"),),
        meaning="turn sections about the z axis, by the angle at the top",
    ),
    Operation(
        "hollow",
        (),
        (Parameter("wall", 2, 10), Parameter("floor", 2, 20)),
        meaning="take the inside out, open at the top",
    ),
    Operation(
        "drill",
        ("z", "y", "x"),
        (Parameter("radius", 2, 30), *_PLACE),
        idle=(("z",), ("y",), ("x",)),
        meaning="round hole right through along an axis",
    ),
    Operation("mirror", ("x", "y", "stack"), meaning="unite with the mirror image"),
    Operation(
        "polar",
        (),
        (Parameter("copies", 2, 6, "integer", ""),),
        meaning="unite with copies turned about the z axis",
    ),
    Operation("cut_top", (), (_ratio("keep", 0.4, 1.0),), meaning="keep the lower share"),
    Operation(
        "bend",
        ("x", "y"),
        (Parameter("angle", -60, 60, unit="deg"),),
        meaning="bend the z axis into an arc that leans towards the mode's axis",
    ),
    Operation("undo", meaning="take the last operation back"),
    Operation("finish", meaning="end the episode"),
)
NAMES = tuple(operation.name for operation in OPERATIONS)
INDEX = {name: index for index, name in enumerate(NAMES)}
UNDO, FINISH = INDEX["undo"], INDEX["finish"]
MODELLING = NAMES[:UNDO]
PARTS = NAMES[:5]
PATTERNS = ("mirror", "polar")
ORIGIN_BOUNDS: Floats = np.zeros((2, 3))
ORIGIN_BOUNDS.flags.writeable = False
