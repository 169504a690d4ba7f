"""Measures a design: sixteen numbers from a mesh, each by a deterministic evaluator.

:func:`evaluate` computes only what is asked for, and what several metrics share (mass, pose on
the table, liquid on the level) once. It needs neither Gymnasium nor a history, so a designer's
own STL is measured like a found design. The set of metrics is a proposal of this project, see
:data:`~rlgen.envs.design.measure.conditions.METRIC_INFO` for units and meanings.

Two metrics are tied to others. A body that rolls over has ``tip`` 0, and one that rolls over
under its payload ``loaded_tip`` 0. ``spill`` is what remains of the ``capacity``: a hollow that
opens only when tilted was never filled.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain, islice

import numpy as np

from rlgen.envs.design.measure.balance import Payload, RestPose, rest_pose
from rlgen.envs.design.measure.columns import Columns, cast_grids, lay_grid
from rlgen.envs.design.measure.conditions import (
    INDEX,
    METRIC_INFO,
    METRICS,
    METRICS_VERSION,
    Conditions,
    MetricInfo,
    in_order,
    normalised,
)
from rlgen.envs.design.measure.grids import Layout, keep_columns, space_grid
from rlgen.envs.design.measure.liquid import capacity, spill
from rlgen.envs.design.measure.mass import MassProperties, mass_properties
from rlgen.envs.design.measure.nesting import nesting_pitch
from rlgen.envs.design.measure.printing import (
    overhang_share,
    support_volume,
    wall_grids,
    wall_thickness,
)
from rlgen.envs.design.measure.reach import base, footprint, height, reach
from rlgen.envs.design.measure.sections import cut
from rlgen.envs.design.measure.strength import Material, load_limit, pad
from rlgen.envs.design.mesh import Floats, Mesh

__all__ = [
    "METRICS",
    "METRICS_VERSION",
    "METRIC_INFO",
    "Conditions",
    "MetricInfo",
    "evaluate",
    "normalised",
]
DEFAULTS = Conditions()
GRIDDED = ("load", "support", "wall", "nest")
"""Metrics whose final values are measured more finely; those of the others are the same."""
_EDGE = 1e-6  # mm; points of a section this close to the outermost one hold the payload together


def evaluate(
    mesh: Mesh,
    names: Sequence[str] = METRICS,
    conditions: Conditions = DEFAULTS,
    precise: bool = False,
    ahead: Layout | None = None,
) -> Floats:
    """Measures a design.

    Args:
        mesh: The design, standing on z = 0.
        names: Metrics to compute; the others stay 0.
        conditions: Circumstances of the measurement.
        precise: Whether to use the finer grids of ``conditions``, and ``fidelity`` for the load,
            as for final values.
        ahead: A layout whose columns will be asked of :func:`grids.space_columns` next. Where
            metrics need columns, these are cast with them, which costs little.

    Returns:
        float64 (16,) in the order of :data:`METRICS`, in their units; zeros for an empty mesh.

    Raises:
        UserError: A name is unknown.
    """
    metrics = np.zeros(len(METRICS))
    wanted = _wanted(tuple(names))
    if len(mesh):
        bench = _Bench(mesh, names, conditions, precise, ahead)
        for index, measure in wanted:
            metrics[index] = measure(bench)
    return metrics


@dataclass(eq=False)
class _Bench:
    """A mesh under measurement; what several metrics need is computed at first use."""

    mesh: Mesh
    names: Sequence[str]
    conditions: Conditions
    precise: bool
    ahead: Layout | None = None

    @cached_property
    def mass(self) -> MassProperties:
        return mass_properties(self.mesh, self.conditions.density)

    @cached_property
    def pose(self) -> RestPose:
        return rest_pose(self.mesh, self.mass)

    @property
    def tip(self) -> float:
        return self.pose.tip if self.pose.upright else 0.0

    @property
    def loaded_tip(self) -> float:
        """0 also where there is nothing to hang the payload on."""
        if not self.conditions.payload:
            return self.tip
        place = self.arm if self.conditions.payload_at == "arm" else self.top
        if place is None:
            return 0.0
        pose = rest_pose(self.mesh, self.mass, (Payload(self.conditions.payload, place),))
        return pose.tip if pose.upright else 0.0

    @cached_property
    def pad(self) -> tuple[float, Floats]:
        return pad(self.mesh)

    @property
    def top(self) -> tuple[float, float, float]:
        """The middle of the level area at the very top."""
        x, y = self.pad[1].tolist()
        return x, y, float(self.mesh.bounds[1, 2])

    @property
    def arm(self) -> tuple[float, float, float] | None:
        """The outermost point in +x at the reach height; the middle of them where it is a side."""
        level = self.conditions.reach_height
        x, y = cut(self.mesh, np.array([level])).start
        if not len(x):
            return None
        furthest = float(x.max())
        outer = y[x > furthest - _EDGE]
        return furthest, float((outer.min() + outer.max()) / 2), level

    @cached_property
    def capacity(self) -> float:
        return capacity(self.mesh, self.conditions.cell_precise)

    @property
    def spill(self) -> float:
        if self.capacity <= 0.0:
            return 0.0
        c = self.conditions
        return min(spill(self.mesh, c.tilt, c.azimuths, c.cell_precise), self.capacity)

    @property
    def load(self) -> float:
        c = self.conditions
        material = Material(c.youngs, c.strength, c.density)
        if self.precise and c.fidelity == "fem":
            from rlgen.envs.design.measure.fem import fem_load_limit

            return fem_load_limit(self.mesh, c.eccentricity, material)
        return load_limit(self.mesh, c.eccentricity, material=material)

    @cached_property
    def columns(self) -> dict[str, list[Columns]]:
        """What the wanted metrics look at, cast together."""
        c, grids = self.conditions, {}
        if "wall" in self.names:
            count = c.wall_count_precise if self.precise else c.wall_count
            grids["wall"] = wall_grids(self.mesh, count)
        if "nest" in self.names or "support" in self.names:
            cell = c.cell_precise if self.precise else c.cell
            grids["upright"] = [lay_grid(self.mesh, cell)]
        if self.ahead is not None:
            grids["ahead"] = [space_grid(*self.ahead)]
        cast = iter(cast_grids(self.mesh, list(chain(*grids.values()))))
        found = {name: list(islice(cast, len(some))) for name, some in grids.items()}
        if self.ahead is not None:
            keep_columns(self.mesh, self.ahead, found["ahead"][0])
        return found

    @property
    def wall(self) -> float:
        return wall_thickness(self.mesh, columns=self.columns["wall"])

    @property
    def nest(self) -> float:
        return nesting_pitch(self.mesh, columns=self.columns["upright"][0]) / height(self.mesh)

    @property
    def support(self) -> float:
        return support_volume(self.mesh, columns=self.columns["upright"][0])


_MEASURES: dict[str, Callable[[_Bench], float]] = {
    "tip": lambda bench: bench.tip,
    "loaded_tip": lambda bench: bench.loaded_tip,
    "upright": lambda bench: float(bench.pose.upright),
    "capacity": lambda bench: bench.capacity,
    "spill": lambda bench: bench.spill,
    "load": lambda bench: bench.load,
    "pad": lambda bench: bench.pad[0] / 100.0,
    "height": lambda bench: height(bench.mesh),
    "footprint": lambda bench: footprint(bench.mesh),
    "volume": lambda bench: bench.mass.volume / 1000.0,
    "overhang": lambda bench: overhang_share(bench.mesh),
    "support": lambda bench: bench.support,
    "wall": lambda bench: bench.wall,
    "nest": lambda bench: bench.nest,
    "reach": lambda bench: reach(bench.mesh, bench.conditions.reach_height),
    "base": lambda bench: base(bench.mesh),
}


@lru_cache(maxsize=256)
def _wanted(names: tuple[str, ...]) -> tuple[tuple[int, Callable[[_Bench], float]], ...]:
    """Returns place and evaluator of the named metrics, in the fixed order."""
    return tuple((INDEX[name], _MEASURES[name]) for name in in_order(names))
