"""Where a design may be: the box on the table, volumes to leave free and volumes to fill.

Part of a project's own proposal inspired by "Task-oriented Design through Deep Reinforcement
Learning" (arXiv 1903.05271); no readable text of the paper says what its design space was.
Lengths are millimetres, z points up and the table is the plane z = 0.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from rlgen.core.errors import UserError
from rlgen.envs.design.mesh import Floats

Triple = tuple[float, float, float]


def _finite(what: str, values: tuple[float, ...], count: int) -> tuple[float, ...]:
    """Returns the values as floats, or says which are not ``count`` finite numbers."""
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise UserError(f"{what} is {values!r}; give {count} finite numbers in millimetres")
    return numbers


def _whole(what: str, value: Any, low: int, high: int, step: int = 1) -> None:
    """Raises UserError where ``value`` is not a whole number in ``low..high``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise UserError(f"{what} is {value!r}; give a whole number from {low} to {high}")
    if not low <= value <= high or value % step:
        multiple = f" that is a multiple of {step}" if step > 1 else ""
        raise UserError(f"{what} is {value}; give a whole number{multiple} from {low} to {high}")


@dataclass(frozen=True)
class Box:
    """An upright box.

    Attributes:
        low: Lowest corner (x, y, z), mm.
        high: Highest corner (x, y, z), mm; larger than ``low`` along every axis.
    """

    low: Triple
    high: Triple

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", _finite("low of a box", self.low, 3))
        object.__setattr__(self, "high", _finite("high of a box", self.high, 3))
        if any(a >= b for a, b in zip(self.low, self.high, strict=True)):
            raise UserError(
                f"box from {self.low} to {self.high} is empty; give a high above low on each axis"
            )


@dataclass(frozen=True)
class Cylinder:
    """An upright cylinder.

    Attributes:
        centre: (x, y) of the axis, mm.
        radius: mm, above 0.
        z_low: Height of the lower end, mm.
        z_high: Height of the upper end, mm; above ``z_low``.
    """

    centre: tuple[float, float]
    radius: float
    z_low: float
    z_high: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "centre", _finite("centre of a cylinder", self.centre, 2))
        sizes = _finite("radius, z_low, z_high", (self.radius, self.z_low, self.z_high), 3)
        for name, value in zip(("radius", "z_low", "z_high"), sizes, strict=True):
            object.__setattr__(self, name, value)
        if self.radius <= 0 or self.z_low >= self.z_high:
            raise UserError(
                f"cylinder of radius {self.radius} from z {self.z_low} to {self.z_high} is empty; "
                "give a positive radius and z_high above z_low"
            )


Volume = Box | Cylinder


@dataclass(frozen=True)
class DesignSpace:
    """The space a design lives in; hashable, so it can key a cache.

    Attributes:
        size: Width, depth and height in mm; centred in x and y, z from 0 upwards. 20 to 1000.
        segments: Sides of a circle: 8 to 96, a multiple of 4 so that circles are symmetric about
            both axes.
        max_triangles: A result with more triangles is refused.
        max_pattern_triangles: A pattern whose copies would have more triangles is not tried.
        keep_out: Volumes removed from the space.
        keep_in: Volumes that should be solid; they do not change the geometry, see
            ``geometry.covered_share``.
    """

    size: Triple = (160.0, 160.0, 160.0)
    segments: int = 32
    max_triangles: int = 4000
    max_pattern_triangles: int = 6000
    keep_out: tuple[Volume, ...] = ()
    keep_in: tuple[Volume, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", _finite("size of the design space", self.size, 3))
        if not all(20 <= length <= 1000 for length in self.size):
            raise UserError(f"size of the design space is {self.size}; each side is 20 to 1000 mm")
        _whole("segments", self.segments, 8, 96, step=4)
        _whole("max_triangles", self.max_triangles, 100, 100_000)
        _whole("max_pattern_triangles", self.max_pattern_triangles, 100, 200_000)
        for name in ("keep_out", "keep_in"):
            volumes = tuple(getattr(self, name))
            for volume in volumes:
                if not isinstance(volume, Box | Cylinder):
                    raise UserError(f"{name} holds {volume!r}; give Box(...) or Cylinder(...)")
            object.__setattr__(self, name, volumes)

    @property
    def bounds(self) -> Floats:
        """float64 (2, 3): lowest and highest corner of the box, mm."""
        x, y, z = self.size
        return np.array([[-x / 2, -y / 2, 0.0], [x / 2, y / 2, z]])

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values that ``from_dict`` reads back."""
        return {
            "size": list(self.size),
            "segments": int(self.segments),
            "max_triangles": int(self.max_triangles),
            "max_pattern_triangles": int(self.max_pattern_triangles),
            "keep_out": [volume_to_dict(volume) for volume in self.keep_out],
            "keep_in": [volume_to_dict(volume) for volume in self.keep_in],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "DesignSpace":
        """Builds a space from ``to_dict``'s values; absent keys take their defaults.

        Raises:
            UserError: A key is unknown or a value is not allowed.
        """
        known = cls().to_dict()
        unknown = sorted(set(data) - set(known))
        if unknown:
            raise UserError(f"design space has no {unknown[0]!r}; allowed: {', '.join(known)}")
        values = dict(data)
        for name in ("keep_out", "keep_in"):
            volumes = values.get(name, [])
            if not isinstance(volumes, list | tuple):
                raise UserError(f"{name} is {volumes!r}; give a list of volumes")
            values[name] = tuple(volume_from_dict(volume) for volume in volumes)
        return cls(**values)


def volume_to_dict(volume: Volume) -> dict[str, Any]:
    """Returns a box or cylinder as plain JSON values with a ``shape``."""
    if isinstance(volume, Box):
        return {"shape": "box", "low": list(volume.low), "high": list(volume.high)}
    return {
        "shape": "cylinder",
        "centre": list(volume.centre),
        "radius": volume.radius,
        "z_low": volume.z_low,
        "z_high": volume.z_high,
    }


def volume_from_dict(data: Any) -> Volume:
    """Builds a box or cylinder from ``volume_to_dict``'s values.

    Raises:
        UserError: The shape or a key is unknown or missing, or a value is not allowed.
    """
    shapes = {"box": Box, "cylinder": Cylinder}
    shape = data.get("shape") if isinstance(data, Mapping) else None
    if shape not in ("box", "cylinder"):
        raise UserError(f"volume {data!r} has no known shape; give \"shape\": 'box' or 'cylinder'")
    kind = shapes[shape]
    needed = {field.name for field in fields(kind)}
    given = set(data) - {"shape"}
    if given != needed:
        raise UserError(
            f"a {shape} needs {', '.join(sorted(needed))}; got {', '.join(sorted(given))}"
        )
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in data.items()}
    values.pop("shape")
    return kind(**values)
