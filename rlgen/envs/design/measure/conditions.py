"""The sixteen metrics of a design, and the circumstances under which they are measured.

Order, units and meaning of the metrics are a proposal of this project (the action and reward
tables of the paper that inspired the environment, arXiv 1903.05271, could not be read). They are
versioned: a change of order or meaning raises :data:`METRICS_VERSION`. This file needs neither
a geometry kernel nor Gymnasium.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from rlgen.core.errors import UserError, closest
from rlgen.envs.design.mesh import Floats

METRICS_VERSION = 1


@dataclass(frozen=True)
class MetricInfo:
    """What a metric is.

    Attributes:
        unit: Unit, empty for a share.
        scale: A typical large value; divides the metric in observations and goals.
        better: ``"more"``, ``"less"`` or ``"either"``: what one usually wants.
        meaning: One line for tables.
    """

    unit: str
    scale: float
    better: str
    meaning: str


METRIC_INFO: dict[str, MetricInfo] = {
    "tip": MetricInfo("deg", 60.0, "more", "tilt of the table at which the design falls over"),
    "loaded_tip": MetricInfo("deg", 60.0, "more", "the same while it carries the payload"),
    "upright": MetricInfo("", 1.0, "more", "1 when it stands as designed, 0 when it rolls over"),
    "capacity": MetricInfo("ml", 500.0, "more", "liquid that stays in it on a level table"),
    "spill": MetricInfo("ml", 500.0, "more", "what is left of that after tilting"),
    "load": MetricInfo("N", 5000.0, "more", "downward force on top that breaks or buckles it"),
    "pad": MetricInfo("cm2", 50.0, "more", "level area at the very top"),
    "height": MetricInfo("mm", 150.0, "either", "height above the table"),
    "footprint": MetricInfo("mm", 150.0, "less", "larger side of the bounding box from above"),
    "volume": MetricInfo("cm3", 300.0, "less", "material"),
    "overhang": MetricInfo("", 1.0, "less", "share of the surface that needs support in printing"),
    "support": MetricInfo("cm3", 200.0, "less", "room below such surface, filled by support"),
    "wall": MetricInfo("mm", 10.0, "more", "thinnest walls (2nd percentile along three axes)"),
    "nest": MetricInfo("", 1.0, "less", "offset of two nested copies, as a share of the height"),
    "reach": MetricInfo("mm", 80.0, "more", "how far it extends to +x at the reach height"),
    "base": MetricInfo("mm", 80.0, "less", "how far it touches the table to +x"),
}
METRICS: tuple[str, ...] = tuple(METRIC_INFO)
INDEX: dict[str, int] = {name: index for index, name in enumerate(METRICS)}
SCALES: Floats = np.array([info.scale for info in METRIC_INFO.values()])
SCALES.setflags(write=False)


def metric_index(name: str) -> int:
    """Returns the place of a metric in every vector of metrics; unknown: a UserError."""
    if name not in INDEX:
        raise UserError(f"unknown metric {name!r}; {closest(name, METRICS)}")
    return INDEX[name]


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Returns the given metrics once each and in the fixed order; unknown: a UserError."""
    return tuple(METRICS[index] for index in sorted({metric_index(name) for name in names}))


def normalised(metrics: Floats) -> NDArray[np.float32]:
    """Returns metrics for a network: divided by their scales and clipped to -1..1.

    Args:
        metrics: float64 (..., 16).

    Returns:
        float32 of the same shape.
    """
    return np.clip(metrics / SCALES, -1.0, 1.0).astype(np.float32)


PAYLOAD_PLACES = ("top", "arm")
FIDELITIES = ("section", "fem")
# name: (lowest, highest) value, both allowed
_LIMITS: dict[str, tuple[float, float]] = {
    "density": (0.01, 30.0),
    "youngs": (1.0, 1e6),
    "strength": (0.01, 1e4),
    "tilt": (0.0, 85.0),
    "payload": (0.0, 1e6),
    "eccentricity": (0.0, 500.0),
    "reach_height": (0.0, 1000.0),
    "cell": (0.25, 10.0),
    "cell_precise": (0.25, 10.0),
    "wall_count": (8, 256),
    "wall_count_precise": (8, 256),
}


@dataclass(frozen=True)
class Conditions:
    """Circumstances of a measurement; a wrong value is a UserError.

    Liquid in a closed surface, strength, balance, extents and overhang are exact for the mesh.
    Nesting, support and walls are measured on grids, which may be coarser while training.

    Attributes:
        density: g/cm3, 0.01..30.
        youngs: Young's modulus in MPa, for ``load``; the default is printed plastic.
        strength: Yield strength in MPa, for ``load``.
        tilt: How far a vessel is tilted for ``spill``, degrees, 0..85.
        azimuths: Directions of that tilt in degrees; the worst counts.
        payload: Grams that the design carries for ``loaded_tip``.
        payload_at: ``"top"``: in the middle of the level area at the very top. ``"arm"``: at the
            outermost point in +x at the reach height.
        eccentricity: How far beside the axis the force of ``load`` acts, mm.
        reach_height: Height at which ``reach`` is taken, mm.
        cell: Width of the columns for ``nest`` and ``support`` while training, mm.
        cell_precise: The same for final values, mm; always used for liquid in surfaces with
            holes, through whose walls it leaks where they are thinner.
        wall_count: Columns along each side for ``wall`` while training.
        wall_count_precise: The same for final values.
        fidelity: How final values of ``load`` are computed: ``"section"`` by beam formulas,
            ``"fem"`` by voxel elasticity (slow, for frames). While training it is always the
            former.
    """

    density: float = 1.0
    youngs: float = 2000.0
    strength: float = 20.0
    tilt: float = 20.0
    azimuths: tuple[float, ...] = (0.0,)
    payload: float = 0.0
    payload_at: str = "top"
    eccentricity: float = 0.0
    reach_height: float = 100.0
    cell: float = 2.5
    cell_precise: float = 1.25
    wall_count: int = 32
    wall_count_precise: int = 48
    fidelity: str = "section"

    def __post_init__(self) -> None:
        for name, (low, high) in _LIMITS.items():
            object.__setattr__(self, name, checked_number(name, getattr(self, name), low, high))
        for name in ("wall_count", "wall_count_precise"):
            object.__setattr__(self, name, checked_count(name, getattr(self, name)))
        angles = self.azimuths if isinstance(self.azimuths, list | tuple) else (self.azimuths,)
        if not angles:
            raise UserError("azimuths is empty; give at least one angle, such as azimuths=[0]")
        turned = tuple(checked_number("azimuths", angle, -360.0, 360.0) for angle in angles)
        object.__setattr__(self, "azimuths", turned)
        checked_choice("payload_at", self.payload_at, PAYLOAD_PLACES)
        checked_choice("fidelity", self.fidelity, FIDELITIES)

    def to_dict(self) -> dict[str, Any]:
        """Returns what differs from the defaults, in types that JSON and TOML know."""
        defaults = asdict(Conditions())
        mine = {name: value for name, value in asdict(self).items() if value != defaults[name]}
        return {name: list(v) if isinstance(v, tuple) else v for name, v in mine.items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Returns conditions from named values; unknown names and wrong values: a UserError."""
        return cls(**known_keys(data, cls, "conditions"))


def known_keys(
    data: Mapping[str, Any], cls: Any, what: str, needed: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Returns a mapping as keywords of a dataclass, or tells which key is wrong.

    Args:
        data: Keys and values, as read from JSON or TOML.
        cls: The dataclass.
        what: What is described, for the message.
        needed: Keys that must be there.

    Raises:
        UserError: ``data`` is no mapping, lacks a key, or has one that is no field.
    """
    if not isinstance(data, Mapping):
        raise UserError(f"{what} must be a table of names and values, not {data!r}")
    allowed = [field.name for field in fields(cls)]
    for key in data:
        if key not in allowed:
            raise UserError(f"{what} has no setting {key!r}; {closest(str(key), allowed)}")
    for key in needed:
        if key not in data:
            raise UserError(f"{what} lacks {key!r}; got {dict(data)!r}")
    return dict(data)


def checked_number(name: str, value: Any, low: float, high: float) -> float:
    """Returns a finite number within limits as a float; anything else is a UserError."""
    number = isinstance(value, int | float | np.integer | np.floating)
    right = number and not isinstance(value, bool) and math.isfinite(value)
    if not right or not low <= float(value) <= high:
        raise UserError(f"{name}={value!r} is not allowed; give a number of {low:g} to {high:g}")
    return float(value)


def checked_count(name: str, value: float) -> int:
    """Returns a whole number as an int; anything else is a UserError."""
    if value != int(value):
        raise UserError(f"{name}={value!r} is not allowed; give a whole number, such as 32")
    return int(value)


def checked_choice(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    """Returns one of the allowed names; anything else is a UserError."""
    if value not in allowed:
        raise UserError(f"{name}={value!r} is not allowed; {closest(str(value), allowed)}")
    return str(value)
