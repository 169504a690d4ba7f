"""Actions on the lattice: building them, what they mean in physical units, what does not matter.

One action is an operation, a mode and six whole numbers k in -512..512
(``rlgen.envs.design.shape.table`` says what they mean). A float in -1..1 is rounded to the lattice
before anything else happens, so what is executed is what the history stores and a replay is exact
to the last bit.
"""

import math
from dataclasses import dataclass

import numpy as np

from rlgen.core.errors import UserError, closest
from rlgen.envs.design.mesh import Floats
from rlgen.envs.design.shape.table import (
    BIN_STEP,
    BINS,
    FINISH,
    INDEX,
    LATTICE,
    MODELLING,
    N_MODES,
    N_PARAMETERS,
    NAMES,
    OPERATIONS,
    ORIGIN_BOUNDS,
    PARTS,
    PATTERNS,
    UNDO,
    Operation,
    Parameter,
)

__all__ = [
    "BINS",
    "BIN_STEP",
    "FINISH",
    "INDEX",
    "LATTICE",
    "MODELLING",
    "NAMES",
    "N_MODES",
    "N_PARAMETERS",
    "OPERATIONS",
    "PARTS",
    "PATTERNS",
    "UNDO",
    "Action",
    "Operation",
    "Parameter",
    "binned",
    "canonical",
    "describe",
    "lookup",
    "physical",
]


@dataclass(frozen=True)
class Action:
    """One design action on the lattice.

    Attributes:
        op: Index into ``OPERATIONS``.
        mode: 0..2; see ``canonical`` for modes an operation does not have.
        k: Six whole numbers in -512..512.
    """

    op: int
    mode: int
    k: tuple[int, ...]

    def __post_init__(self) -> None:
        if not 0 <= self.op < len(OPERATIONS):
            raise UserError(f"operation {self.op} is unknown; give 0 to {len(OPERATIONS) - 1}")
        if not 0 <= self.mode < N_MODES:
            raise UserError(f"mode {self.mode} is unknown; give 0 to {N_MODES - 1}")
        if len(self.k) != N_PARAMETERS:
            raise UserError(f"an action has {N_PARAMETERS} parameters; got {len(self.k)}")
        for number in self.k:
            if not -LATTICE <= number <= LATTICE:
                raise UserError(
                    f"parameter {number} is off the lattice; give -{LATTICE}..{LATTICE}"
                )

    @property
    def name(self) -> str:
        """The operation's name."""
        return OPERATIONS[self.op].name

    @property
    def mode_name(self) -> str | None:
        """The mode's name after ``canonical``, or None for an operation without modes."""
        modes = OPERATIONS[self.op].modes
        return modes[self.mode if self.mode < len(modes) else 0] if modes else None

    @property
    def params(self) -> Floats:
        """float64 (6,): the parameters in -1..1, exactly ``k / 512``."""
        return np.array(self.k, dtype=np.float64) / LATTICE

    @classmethod
    def from_floats(cls, op: int, mode: int, params: Floats | list[float]) -> "Action":
        """Rounds six floats in -1..1 to the lattice; what lies outside is clipped.

        Raises:
            UserError: Not six finite numbers, or an unknown operation or mode.
        """
        values = np.asarray(params, dtype=np.float64)
        if values.shape != (N_PARAMETERS,) or not np.isfinite(values).all():
            raise UserError(f"parameters are {params!r}; give six finite numbers in -1..1")
        return cls._of(op, mode, np.rint(np.clip(values, -1, 1) * LATTICE).astype(int).tolist())

    @classmethod
    def from_bins(cls, op: int, mode: int, bins: list[int]) -> "Action":
        """Builds an action from six bin numbers in 0..16, which are lattice points."""
        return cls._of(op, mode, [int(number) * BIN_STEP - LATTICE for number in bins])

    @classmethod
    def named(
        cls, op: str, mode: str | None = None, bounds: Floats | None = None, **values: float
    ) -> "Action":
        """Finds the lattice point nearest to physical values.

        Args:
            op: Name of the operation, e.g. ``"cylinder"``.
            mode: Name of the mode; the first one where it is left out.
            bounds: (2, 3) bounding box of the solid before the operation, mm; needed to place a
                part. Left out means an empty solid.
            **values: Physical values by parameter name. A place left out is the middle of the box
                in x and y, and the table in z; every other parameter must be given.

        Raises:
            UserError: An unknown name, a missing value or a value out of range.
        """
        operation = OPERATIONS[lookup(op)]
        if mode is not None and mode not in operation.modes:
            raise UserError(
                f"{op} has no mode {mode!r}; {closest(mode, operation.modes or ('-',))}"
            )
        index = operation.modes.index(mode) if mode is not None else 0
        box = ORIGIN_BOUNDS if bounds is None else np.asarray(bounds, dtype=np.float64)
        used = operation.used(index)
        for name in values:
            if name not in {parameter.name for _, parameter in used}:
                names = [parameter.name for _, parameter in used]
                raise UserError(f"{op} has no {name!r} here; {closest(name, names or ('-',))}")
        k = [0] * N_PARAMETERS
        for position, parameter in used:
            if parameter.name in values:
                k[position] = _lattice_point(op, parameter, values[parameter.name], box)
            elif parameter.kind != "place":
                raise UserError(f"{op} needs {parameter.name}; add {parameter.name}=...")
            elif parameter.axis == 2:
                k[position] = parameter.nearest(0.0, box)
        return cls._of(lookup(op), index, k)

    @classmethod
    def _of(cls, op: int, mode: int, k: list[int]) -> "Action":
        return cls(int(op), int(mode), tuple(k))


def _lattice_point(op: str, parameter: Parameter, value: float, box: Floats) -> int:
    """Returns the nearest lattice point, or raises UserError for a value out of range."""
    low, high = parameter.limits(box)
    if parameter.kind == "place" and box[0, parameter.axis] >= box[1, parameter.axis]:
        return 0
    slack = (high - low) / (4 * LATTICE)
    if not low - slack <= value <= high + slack:
        text = f"{op} {parameter.name} is {value:g}; give {low:g} to {high:g} {parameter.unit}"
        raise UserError(text.rstrip())
    return parameter.nearest(value, box)


def lookup(name: str) -> int:
    """Returns the index of an operation, or raises UserError with the closest names."""
    if name not in INDEX:
        raise UserError(f"no operation {name!r}; {closest(name, NAMES)}")
    return INDEX[name]


def canonical(action: Action) -> Action:
    """Returns the action with 0 for every parameter and mode that it does not look at.

    Two actions with the same canonical form do the same thing to every solid. A mode beyond those
    an operation has counts as its first.
    """
    operation = OPERATIONS[action.op]
    mode = action.mode if action.mode < len(operation.modes) else 0
    kept = {position for position, _ in operation.used(mode)}
    k = [number if position in kept else 0 for position, number in enumerate(action.k)]
    return Action._of(action.op, mode, k)


def binned(action: Action) -> Action:
    """Returns the action with every parameter moved to the nearest of the 17 bins."""
    k = [math.floor(number / BIN_STEP + 0.5) * BIN_STEP for number in action.k]
    return Action._of(action.op, action.mode, k)


def physical(action: Action, bounds: Floats) -> dict[str, float]:
    """Returns the physical values of the parameters an action uses.

    Args:
        action: Any action.
        bounds: (2, 3) bounding box of the solid before it, mm.

    Returns:
        Millimetres, degrees, ratios or counts by parameter name. ``scale`` in mode ``uniform``
        also has ``factor_y``, and ``revolve`` also has ``y``, so that scripts need no special case.
    """
    action = canonical(action)
    operation = OPERATIONS[action.op]
    used = operation.used(action.mode)
    values = {p.name: p.value(action.k[position], bounds) for position, p in used}
    if operation.name == "scale" and action.mode_name == "uniform":
        values["factor_y"] = values["factor_x"]
    if operation.name == "revolve":
        values["y"] = float(bounds[0, 1] + bounds[1, 1]) / 2
    return values


def describe(action: Action, bounds: Floats) -> str:
    """Returns one line in physical units, e.g. ``hollow: wall 2.20 mm, floor 2.20 mm``.

    Args:
        action: Any action.
        bounds: (2, 3) bounding box of the solid before it, mm.
    """
    operation = OPERATIONS[action.op]
    values = physical(action, bounds)
    words = []
    for _, parameter in operation.used(canonical(action).mode):
        if parameter.kind == "place":
            continue
        number = values[parameter.name]
        text = f"{number:.0f}" if parameter.kind == "integer" else f"{number:.2f}"
        words.append(f"{parameter.name} {text} {parameter.unit}".rstrip())
    place = [f"{axis} {values[axis]:.1f}" for axis in "xyz" if axis in values]
    if place:
        words.append("at " + " ".join(place))
    head = f"{operation.name} {action.mode_name}" if operation.modes else operation.name
    return f"{head}: {', '.join(words)}" if words else head
