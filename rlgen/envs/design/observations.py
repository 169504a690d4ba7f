"""What an agent sees of a design: geometry, numbers, metrics, its last actions, goals, the mask.

Inspired by arXiv 1903.05271, whose own observations could not be read. All bounds are finite.
Under ``geometry`` stands one of

* ``heights``: top and bottom height and thickness of a grid of columns, float32 (3, 32, 32), 0..1;
* ``voxels``: uint8 (32, 32, 32), 1 where there is material;
* ``image``: an isometric and a front view beside each other, uint8 (64, 128, 3);
* ``points``: places on the surface, float32 (512, 3), -1..1, drawn anew each time.

``scalars`` (24,), each clipped to -1..1: bounding box low and high (6), volume, area, centre of
mass (3), radii of gyration (3), inner radius of the support polygon, genus / 8, triangles by their
limit, steps left, and which refusal the last step was (6, one-hot).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlgen.core.errors import UserError, closest
from rlgen.envs.design.encodings import FEATURES, N_OPERATIONS, one_hot
from rlgen.envs.design.measure.balance import inner_radius, support_polygon
from rlgen.envs.design.measure.conditions import METRICS, SCALES
from rlgen.envs.design.measure.grids import Layout, height_maps, surface_points, voxels
from rlgen.envs.design.measure.mass import mass_properties
from rlgen.envs.design.mesh import Floats, Mesh
from rlgen.envs.design.picture.raster import draw
from rlgen.envs.design.shape.geometry import REFUSALS
from rlgen.envs.design.shape.operations import N_MODES, Action
from rlgen.envs.design.shape.solids import Solid
from rlgen.envs.design.shape.space import DesignSpace
from rlgen.envs.design.task.goals import GOAL_LIMIT, goal_spaces

GEOMETRIES = ("heights", "voxels", "image", "points")
N_SCALARS = 24
LAST_ACTIONS = 12
CELLS = 32
POINTS = 512
PIXELS = 64

Observation = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Moment:
    """What an observation shows beside the solid.

    Attributes:
        actions: Accepted actions, oldest first.
        steps_left: Share of the horizon that is left, 0..1.
        refused: Code of the last refusal, or None.
        metrics: float64 (16,), 0 where not measured.
        mask: bool (16, 3).
        achieved: float32 (32,), in goal mode.
        desired: float32 (32,), in goal mode.
    """

    actions: tuple[Action, ...]
    steps_left: float
    refused: str | None
    metrics: Floats
    mask: NDArray[np.bool_]
    achieved: NDArray[np.float32] | None = None
    desired: NDArray[np.float32] | None = None


class Observer:
    """Builds observations and knows their space.

    Args:
        geometry: One of ``GEOMETRIES``.
        space: The design space.
        goal: Whether observations carry goals.
        with_mask: Whether they carry the mask of operations.

    Attributes:
        space: Of the observations.

    Raises:
        UserError: If the geometry is unknown.
    """

    def __init__(self, geometry: str, space: DesignSpace, goal: bool, with_mask: bool) -> None:
        if geometry not in GEOMETRIES:
            raise UserError(f"observation={geometry!r} is unknown; {closest(geometry, GEOMETRIES)}")
        self.geometry = geometry
        self.design_space = space
        self.goal = goal
        self.with_mask = with_mask
        parts: dict[str, spaces.Space] = {
            "geometry": _geometry_space(geometry),
            "scalars": spaces.Box(-1.0, 1.0, (N_SCALARS,), dtype=np.float32),
            "metrics": spaces.Box(-GOAL_LIMIT, GOAL_LIMIT, (len(METRICS),), dtype=np.float32),
            "history": spaces.Box(-1.0, 1.0, (LAST_ACTIONS, FEATURES), dtype=np.float32),
        }
        if goal:
            parts["achieved_goal"], parts["desired_goal"] = goal_spaces()
        if with_mask:
            parts["action_mask"] = spaces.MultiBinary(N_OPERATIONS * N_MODES)
        self.space = spaces.Dict(parts)

    @property
    def layout(self) -> Layout | None:
        """The columns that :meth:`fixed` will look at, or None where it looks at none."""
        return (self.design_space.size, CELLS) if self.geometry in ("heights", "voxels") else None

    def fixed(self, solid: Solid, density: float) -> tuple[NDArray[Any] | None, Floats]:
        """Returns what only depends on the solid: its geometry, and numbers of its shape, (17,).

        The geometry is None for ``points``, which are drawn anew each time. Callers may keep both.
        """
        picture = None if self.geometry == "points" else self._geometry(solid.mesh)
        return picture, self._shape_numbers(solid, density)

    def observe(
        self,
        solid: Solid,
        fixed: tuple[NDArray[Any] | None, Floats],
        moment: Moment,
        rng: np.random.Generator,
    ) -> Observation:
        """Returns the observation of a moment.

        Args:
            solid: The design's solid.
            fixed: What :meth:`fixed` said of it.
            moment: Everything else.
            rng: Draws the places of ``points``.
        """
        geometry, numbers = fixed
        if geometry is None:
            geometry = surface_points(solid.mesh, rng, POINTS, self.design_space.size)
        refusal = np.array([moment.refused == code for code in REFUSALS])
        scalars = np.concatenate([numbers[:-1], [moment.steps_left], numbers[-1:], refusal])
        history = np.zeros((LAST_ACTIONS, FEATURES), dtype=np.float32)
        last = moment.actions[-LAST_ACTIONS:]
        for row, action in zip(history[len(history) - len(last) :], last, strict=True):
            row[:] = one_hot(action)
        limit = np.clip(moment.metrics / SCALES, -GOAL_LIMIT, GOAL_LIMIT)
        observation: Observation = {
            "geometry": geometry.copy(),  # it is kept; what is handed out is the caller's
            "scalars": np.clip(scalars, -1.0, 1.0).astype(np.float32),
            "metrics": limit.astype(np.float32),
            "history": history,
        }
        if moment.achieved is not None and moment.desired is not None:
            observation["achieved_goal"] = moment.achieved
            observation["desired_goal"] = moment.desired.copy()
        if self.with_mask:
            observation["action_mask"] = moment.mask.reshape(-1).astype(np.int8)
        return observation

    def _geometry(self, mesh: Mesh) -> NDArray[Any]:
        size = self.design_space.size
        if self.geometry == "heights":
            return height_maps(mesh, size, CELLS)
        if self.geometry == "voxels":
            return voxels(mesh, size, CELLS)
        frame = self.design_space.bounds
        views = [draw(mesh, PIXELS, view, frame=frame) for view in ("isometric", "front")]
        return np.concatenate(views, axis=1)

    def _shape_numbers(self, solid: Solid, density: float) -> Floats:
        """Returns 16 numbers of the shape and the share of triangles, (17,)."""
        if solid.is_empty:
            return np.zeros(17)
        size, mesh = np.array(self.design_space.size), solid.mesh
        half = np.array([size[0] / 2, size[1] / 2, size[2]])
        mass = mass_properties(mesh, density)
        moments = np.linalg.eigvalsh(mass.inertia) / max(mass.mass, 1e-12)
        polygon = support_polygon(mesh)
        radius = inner_radius(polygon, mass.centre[:2]) if len(polygon) > 2 else 0.0
        across = 2 * (size[0] * size[1] + size[1] * size[2] + size[0] * size[2])
        return np.concatenate(
            [
                (solid.bounds / half).reshape(-1),
                [mass.volume / size.prod(), mass.area / across],
                mass.centre / half,
                np.sqrt(np.maximum(moments, 0.0)) / size.max(),
                [2 * radius / size.max(), solid.genus / 8],
                [solid.n_triangles / self.design_space.max_triangles],
            ]
        )


def _geometry_space(geometry: str) -> spaces.Box:
    if geometry == "heights":
        return spaces.Box(0.0, 1.0, (3, CELLS, CELLS), dtype=np.float32)
    if geometry == "voxels":
        return spaces.Box(0, 1, (CELLS, CELLS, CELLS), dtype=np.uint8)
    if geometry == "image":
        return spaces.Box(0, 255, (PIXELS, 2 * PIXELS, 3), dtype=np.uint8)
    return spaces.Box(-1.0, 1.0, (POINTS, 3), dtype=np.float32)
