"""What is known of designs: metrics, scores and observations, kept by the hash of the mesh.

An undo, a refusal or the same design in another episode or environment costs nothing: a design is
measured once. Metrics while designing are coarser than those at the end (see ``Conditions``), so a
design has up to two sets of them.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from rlgen.envs.design.measure.conditions import INDEX
from rlgen.envs.design.measure.grids import Layout
from rlgen.envs.design.measure.metrics import GRIDDED, evaluate
from rlgen.envs.design.mesh import Floats
from rlgen.envs.design.shape.solids import Solid
from rlgen.envs.design.task.tasks import Task


@dataclass
class Known:
    """What was found out about one solid; each entry is filled at first use."""

    metrics: dict[Any, Floats] = field(default_factory=dict)
    views: dict[Any, Any] = field(default_factory=dict)


class Cache:
    """The designs that were met last, for any number of environments in one process.

    Args:
        size: How many designs are kept; the one unused for longest goes first.

    Attributes:
        hits: How often something asked for was known.
        misses: How often it was not.
    """

    def __init__(self, size: int = 4096) -> None:
        self.size = size
        self.hits = self.misses = 0
        self._known: OrderedDict[str, Known] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def of(self, solid: Solid) -> Known:
        """Returns what is known of a solid, to be read and added to."""
        key = solid.sha256
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = Known()
            if len(self._known) > self.size:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        return known

    def metrics(
        self, solid: Solid, task: Task, precise: bool, ahead: Layout | None = None
    ) -> Floats:
        """Returns the metrics that a task's score needs, float64 (16,), read-only.

        Args:
            solid: The design.
            task: What is measured, and how.
            precise: At the resolution of final values.
            ahead: Columns that will be asked for next, see ``evaluate``.
        """
        key = (task.metrics, task.conditions, precise)
        known = self.of(solid).metrics
        values = known.get(key)
        if values is None:
            self.misses += 1
            values = self._measured(solid, task, precise, ahead)
            values.setflags(write=False)
            known[key] = values
        else:
            self.hits += 1
        return values

    def _measured(self, solid: Solid, task: Task, precise: bool, ahead: Layout | None) -> Floats:
        """Measures a design; final values of what needs no grid are those that are known."""
        coarse = self.of(solid).metrics.get((task.metrics, task.conditions, False))
        if not precise or coarse is None:
            return evaluate(solid.mesh, task.metrics, task.conditions, precise, ahead)
        gridded = [name for name in task.metrics if name in GRIDDED]
        values = evaluate(solid.mesh, gridded, task.conditions, precise=True)
        for name in task.metrics:
            if name not in GRIDDED:
                values[INDEX[name]] = coarse[INDEX[name]]
        return values
