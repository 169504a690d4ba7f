"""Scores any model against a task or a brief: a found design, or a designer's own mesh.

Both are measured at the resolution of final values and by the same formulas, so they can stand
side by side. A mesh is put onto the table first. What a found design respects by construction is
looked up for a mesh, and for a design that was made in another space: whether it fits into the
design space and leaves keep-out volumes free. One that does not is treated as one that breaks a
hard limit.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rlgen.core.errors import UserError
from rlgen.envs.design.measure.conditions import INDEX, in_order
from rlgen.envs.design.measure.metrics import evaluate
from rlgen.envs.design.mesh import Floats, Mesh
from rlgen.envs.design.shape.geometry import covered_share, volume_body
from rlgen.envs.design.shape.history import Design
from rlgen.envs.design.shape.solids import EMPTY, Solid, from_mesh
from rlgen.envs.design.shape.space import DesignSpace
from rlgen.envs.design.task.tasks import FALLEN_GATE, Task, satisfactions, score

ALWAYS = ("height", "footprint", "volume")
"""Metrics that are told whatever the task asks for."""
_SLACK = 1e-3  # mm by which a mesh may leave the space, and mm3 it may have in a keep-out volume


class Wanted(Protocol):
    """Anything with a task and a design space, such as a brief."""

    @property
    def task(self) -> Task:
        """What is wanted."""

    @property
    def space(self) -> DesignSpace:
        """Where the design may be."""


@dataclass(frozen=True)
class Evaluation:
    """How good a model is.

    Attributes:
        score: 0..``task.best``.
        metrics: Value per metric in its unit: those of the task, and height, footprint, volume.
        satisfactions: Share 0..1 per wish, in the order of the task's targets.
        broken: What is hard and not met, in words; empty where all is well.
        covered: Share of the keep-in volumes that is solid, 0..1.
    """

    score: float
    metrics: dict[str, float]
    satisfactions: dict[str, float]
    broken: tuple[str, ...] = ()
    covered: float = 1.0


def evaluate_design(
    model: Mesh | Design | Solid,
    wanted: Task | Wanted,
    names: Iterable[str] = ALWAYS,
    precise: bool = True,
) -> Evaluation:
    """Measures and scores a model.

    The score is that of :mod:`rlgen.envs.design.task.tasks`, times the covered share of the keep-in
    volumes where there are some.

    Args:
        model: A design, its solid, or a closed mesh in mm.
        wanted: A task, or a brief.
        names: Metrics to tell besides those of the task.
        precise: At the resolution of final values.

    Raises:
        UserError: A metric is unknown.
    """
    task = wanted if isinstance(wanted, Task) else wanted.task
    space = _space(model, wanted)
    mesh = standing(model, space) if isinstance(model, Mesh) else model.mesh
    told = in_order([*task.metrics, *names])
    values = evaluate(mesh, told, task.conditions, precise=precise)
    result = score(values, task, empty=not len(mesh))
    broken = list(_broken_limits(values, task))
    solid = _solid(model, mesh, bool(space.keep_in or space.keep_out))
    foreign = isinstance(model, Mesh) or (isinstance(model, Design) and model.space != space)
    if foreign and len(mesh):
        outside = _outside(mesh, solid, space)
        if outside and not broken and values[INDEX["upright"]] > 0.5:
            result *= FALLEN_GATE
        broken += outside
    covered = covered_share(solid, space)
    if covered < 1.0:
        broken.append(f"only {covered:.0%} of the keep-in volumes are solid")
    if len(mesh) and values[INDEX["upright"]] <= 0.5:
        broken.append("it does not stand as designed")
    met = satisfactions(values, task)
    return Evaluation(
        score=result * covered,
        metrics={name: float(values[INDEX[name]]) for name in told},
        satisfactions={str(t): share for t, share in zip(task.targets, met, strict=True)},
        broken=tuple(broken),
        covered=covered,
    )


def standing(mesh: Mesh, space: DesignSpace) -> Mesh:
    """Returns a mesh on the table, and in the middle of the space unless it lies inside of it.

    A model that was saved from this space keeps its place, which matters for reach and base.
    """
    if not len(mesh):
        return mesh
    low, high = mesh.bounds
    shift = np.array([0.0, 0.0, -low[2]])
    limits = space.bounds[:, :2]
    if (low[:2] < limits[0] - _SLACK).any() or (high[:2] > limits[1] + _SLACK).any():
        shift[:2] = -(low[:2] + high[:2]) / 2
    return mesh.moved(np.eye(3), shift) if shift.any() else mesh


def _space(model: Mesh | Design | Solid, wanted: Task | Wanted) -> DesignSpace:
    if not isinstance(wanted, Task):
        return wanted.space
    return model.space if isinstance(model, Design) else DesignSpace()


def _broken_limits(values: Floats, task: Task) -> Iterable[str]:
    for limit in task.limits:
        value = float(values[INDEX[limit.metric]])
        if limit.satisfaction(value) < 1.0:
            yield f"limit {limit} is broken: {value:.4g}"


def _solid(model: Mesh | Design | Solid, mesh: Mesh, needed: bool) -> Solid:
    """Returns the kernel's solid; that of a foreign mesh only where it is needed."""
    if isinstance(model, Design):
        return model.solid
    if isinstance(model, Solid):
        return model
    if not needed or not len(mesh):
        return EMPTY
    body = from_mesh(mesh)
    if body is None:
        raise UserError("the model cuts through itself; repair it in your CAD program")
    return Solid(body)


def _outside(mesh: Mesh, solid: Solid, space: DesignSpace) -> list[str]:
    """Says how a foreign mesh leaves the design space."""
    told = []
    low, high = mesh.bounds
    if (low < space.bounds[0] - _SLACK).any() or (high > space.bounds[1] + _SLACK).any():
        size = " x ".join(f"{side:.4g}" for side in high - low)
        room = " x ".join(f"{side:.4g}" for side in space.size)
        told.append(f"{size} mm do not fit into {room} mm")
    for volume in space.keep_out:
        if (volume_body(volume, space.segments) ^ solid.body).volume() > _SLACK:
            told.append(f"it reaches into a keep-out {type(volume).__name__.lower()}")
    return told
