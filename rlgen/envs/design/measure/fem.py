"""How much weight any body carries: linear elasticity on a grid of box-shaped cells.

Scope: small deformations, one isotropic material, the lowest nodes clamped to the table, a force
pressing down on the top layer. A cell that is partly solid is as much softer. Buckling is judged
by how far the top sways under a sideways force, so that bodies on separate legs are not taken
for one column, as ``strength`` would. Parts less than about three cells thick bend as the grid
happens to lie on them, which makes tens of percent. Meant for the end of an episode.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator, cg

from rlgen.core.errors import UserError
from rlgen.envs.design.measure.brick import CORNERS, brick
from rlgen.envs.design.measure.occupancy import Occupancy, occupancy
from rlgen.envs.design.measure.rigid_blocks import RigidBlocks
from rlgen.envs.design.measure.strength import PLASTIC, Material
from rlgen.envs.design.mesh import Floats, Mesh

EMPTY_BELOW = 0.05
"""Cells filled less than this count as empty."""
TOLERANCE = 1e-4
"""Residual, relative to the load, at which the solver stops; stresses are then good to 1e-4."""
SWAY_TOLERANCE = 1e-2
"""The same where only a flexibility is wanted: its error goes with the square, to about 1e-6."""
CANDIDATES = 6
"""Grids that keep to the limit and are compared."""
MAX_ITERATIONS = 4000
CHUNK = 256
"""Cells per matrix product: small enough that BLAS does not start threads for it."""
DIRECTIONS = 32
"""Directions in which an eccentric load is tried."""


@dataclass(frozen=True)
class FemResult:
    """What the analysis of one body gave; all zero for a body without load path.

    Attributes:
        load_limit: The lesser of ``yield_load`` and ``buckling_load``, N.
        yield_load: Force at which the peak stress reaches the strength, N.
        buckling_load: Force at which the body would buckle sideways, N.
        deflection: How far the top sinks under ``load_limit``, mm.
        compliance: How far the top sinks per newton, mm/N.
        sway: How far the top moves per newton sideways, in its weakest direction, mm/N.
        unknowns: Degrees of freedom that were solved for.
    """

    load_limit: float = 0.0
    yield_load: float = 0.0
    buckling_load: float = 0.0
    deflection: float = 0.0
    compliance: float = 0.0
    sway: float = 0.0
    unknowns: int = 0


def fem_load_limit(
    mesh: Mesh,
    eccentricity: float = 0.0,
    material: Material = PLASTIC,
    max_unknowns: int = 7000,
) -> float:
    """Returns the force in N on top of a body at which it yields or buckles, see ``analyse``."""
    return analyse(mesh, eccentricity, material, max_unknowns).load_limit


def compliance(mesh: Mesh, material: Material = PLASTIC, max_unknowns: int = 7000) -> float:
    """Returns how far the top sinks per newton of centred load, mm/N; 0 for an empty mesh."""
    return analyse(mesh, 0.0, material, max_unknowns).compliance


def analyse(
    mesh: Mesh,
    eccentricity: float = 0.0,
    material: Material = PLASTIC,
    max_unknowns: int = 7000,
) -> FemResult:
    """Solves a body under load and finds what it can carry.

    The force is spread evenly over the top layer of cells; an eccentricity adds a pressure that
    grows linearly across it, in the worst of ``DIRECTIONS`` directions. The peak stress is the
    largest von Mises stress at a node, the mean of its cells' stresses there. That is a proxy:
    at sharp inner corners the true peak grows with every refinement. The layer of cells that is
    clamped is left out for the same reason, unless it is the only one.

    The buckling load is pi^2 H / (12 s), with H the height and s the sway: a prism clamped at its
    foot has s = H^3 / (3 E I), which gives Euler's pi^2 E I / (2 H)^2.

    Args:
        mesh: A closed surface, standing as it will be loaded.
        eccentricity: How far beside the middle of the top layer the force acts, mm; 0 or more.
        material: What it is made of.
        max_unknowns: Limits how fine the grid is, 200 or more.

    Returns:
        Limits and flexibilities.

    Raises:
        UserError: The eccentricity is below zero, or the grid would be too coarse.
    """
    if not eccentricity >= 0:
        raise UserError(f"eccentricity = {eccentricity} mm; give 0 or more")
    if max_unknowns < 200:
        raise UserError(f"max_unknowns = {max_unknowns}; give 200 or more")
    if not len(mesh):
        return FemResult()
    grid = _fitting_grid(mesh, max_unknowns)
    if not grid.fill[:, :, -1].any():
        return FemResult()
    system = _System(grid, material)
    loads = _vertical_loads(system, 1 if eccentricity == 0 else 3)
    moves = np.stack([system.solve(load) for load in loads])
    peak = _peak_stress(system, moves, eccentricity)
    flexibility = _flexibility(system, loads[0])
    sway = float(np.linalg.eigvalsh(flexibility)[-1])
    compliance = float(loads[0] @ moves[0])
    height = float(mesh.bounds[1, 2] - mesh.bounds[0, 2])
    yields = material.strength / peak
    buckles = math.pi**2 * height / (12.0 * sway)
    limit = min(yields, buckles)
    return FemResult(limit, yields, buckles, limit * compliance, compliance, sway, system.unknowns)


class _System:
    """The equations of one grid: stiffness, without its clamped nodes, and how to solve them.

    Attributes:
        places: float64 (n, 3): the nodes, mm, clamped ones included.
        nodes: int64 (cells, 8): nodes of each solid cell.
        layer: int64 (cells,): its layer, counted from the table.
        fill: float64 (cells,): its filled share.
        top: The uppermost layer of the grid.
        stress: float64 (8, 6, 24): MPa at a cell's corners per mm of its displacements.
        free: bool (3 n,): displacements that are not clamped.
        unknowns: Number of displacements that are free.
    """

    def __init__(self, grid: Occupancy, material: Material) -> None:
        cells = np.stack(np.nonzero(grid.fill), axis=1)
        shape = np.array(grid.fill.shape) + 1
        flat = np.ravel_multi_index(tuple((cells[:, None] + CORNERS).T), tuple(shape)).T
        used, numbered = np.unique(flat, return_inverse=True)
        index = np.stack(np.unravel_index(used, tuple(shape)), axis=1)
        self._index, self.places = index, grid.origin + index * grid.cell
        self.nodes = numbered.reshape(-1, 8)
        self.layer, self.fill = cells[:, 2], grid.fill[tuple(cells.T)]
        self.top = grid.fill.shape[2] - 1
        size = (float(grid.cell[0]), float(grid.cell[1]), float(grid.cell[2]))
        stiffness, self.stress = brick(size, material.poisson)
        self._stiffness, self.stress = material.youngs * stiffness, material.youngs * self.stress
        self.free = np.repeat(index[:, 2] > 0, 3)
        self.unknowns = int(self.free.sum())
        self._prepare()

    def _prepare(self) -> None:
        number = np.full(len(self.free), self.unknowns)  # clamped ones share one more, always 0
        number[self.free] = np.arange(self.unknowns)
        of_cell = number[(3 * self.nodes[:, :, None] + np.arange(3)).reshape(-1, 24)]
        padding = -len(of_cell) % CHUNK
        places = np.pad(of_cell, ((0, padding), (0, 0)), constant_values=self.unknowns)
        weights = np.repeat(np.pad(self.fill, (0, padding)), 24)
        self._gather = places.reshape(-1, CHUNK, 24)
        self._scatter = csr_array(
            (weights, (places.ravel(), np.arange(places.size))),
            shape=(self.unknowns + 1, places.size),
        )[: self.unknowns]
        self._diagonal = self._scatter @ np.tile(self._stiffness.diagonal(), len(places))
        self._padded = np.zeros(self.unknowns + 1)
        free = self.free[::3]
        self._blocks = RigidBlocks(self.places[free], self._index[free], self._multiply)

    def _multiply(self, moves: Floats) -> Floats:
        self._padded[:-1] = moves.ravel()
        return self._scatter @ (self._padded.take(self._gather) @ self._stiffness).ravel()

    def _precondition(self, residual: Floats) -> Floats:
        return residual / self._diagonal + self._blocks.correct(residual)

    def solve(self, load: Floats, tolerance: float = TOLERANCE) -> Floats:
        """Returns the displacements (3 n,) in mm under forces (3 n,) in N, node by node."""
        shape = (self.unknowns, self.unknowns)
        operator = LinearOperator(shape, matvec=self._multiply, dtype=np.float64)
        guess = LinearOperator(shape, matvec=self._precondition, dtype=np.float64)
        moves, _ = cg(operator, load[self.free], rtol=tolerance, maxiter=MAX_ITERATIONS, M=guess)
        result = np.zeros(len(self.free))
        result[self.free] = moves
        return result


def _fitting_grid(mesh: Mesh, max_unknowns: int) -> Occupancy:
    """Returns a grid that keeps to the limit, reduced to what stands on the table.

    Of the finest few it is the one that fits best: half-filled cells bend too little, because
    their material counts as spread over all of the cell. The first guess of the size takes a node
    per cell of the volume and one more per cell of the surface.
    """
    volume = float(np.einsum("ij,ij->", mesh.corners[:, 0], mesh.area_vectors)) / 3.0
    area = float(np.linalg.norm(mesh.area_vectors, axis=1).sum())
    sizes = np.geomspace(1.0, 100.0, 156)  # mm, 3 percent apart
    expected = 3.0 * (volume / sizes**3 + area / sizes**2)
    guess = int(np.argmax(expected < 1.1 * max_unknowns))
    best, least, fitting = None, math.inf, 0
    for size in sizes[guess:]:
        grid = _standing(occupancy(mesh, float(size)))
        if 3 * _node_count(grid.fill > 0) > max_unknowns:
            continue
        blur = float((grid.fill * (1.0 - grid.fill)).sum() / max(grid.fill.sum(), 1e-12))
        if best is None or blur < 0.9 * least:
            best, least = grid, blur
        fitting += 1
        if fitting == CANDIDATES:
            break
    return best if best is not None else grid


def _standing(grid: Occupancy) -> Occupancy:
    """Removes cells that are nearly empty, or not joined face to face to the lowest layer."""
    solid = grid.fill >= EMPTY_BELOW
    parts, _ = ndimage.label(solid)
    grounded = np.unique(parts[:, :, 0])
    keep = solid & np.isin(parts, grounded[grounded > 0])
    return Occupancy(np.where(keep, grid.fill, 0.0), grid.cell, grid.origin)


def _node_count(solid: NDArray[np.bool_]) -> int:
    """Returns how many corners the solid cells have above the lowest layer of nodes."""
    used = np.zeros(np.array(solid.shape) + 1, bool)
    nx, ny, nz = solid.shape
    for i, j, k in CORNERS:
        used[i : i + nx, j : j + ny, k : k + nz] |= solid
    return int(used[:, :, 1:].sum())


def _vertical_loads(system: _System, count: int) -> Floats:
    """Returns (1 or 3, 3 n): 1 N down on the top layer; then 1 N mm of tilt along x and y.

    With w the shares of the nodes and r their places about the middle, a pressure
    w (J^-1 e) . r with J = sum w r r^T moves the resultant by e.
    """
    cells = np.flatnonzero(system.layer == system.top)
    upper = system.nodes[cells][:, CORNERS[:, 2] == 1]
    share = np.bincount(upper.ravel(), np.repeat(system.fill[cells], 4), len(system.places))
    share = share / share.sum()
    beside = system.places[:, :2] - share @ system.places[:, :2]
    spread = np.linalg.inv(beside.T @ (beside * share[:, None]))
    forces = np.concatenate([share[None], (share[:, None] * beside @ spread).T])[:count]
    loads = np.zeros((count, len(share), 3))
    loads[:, :, 2] = -forces
    return loads.reshape(count, -1)


def _flexibility(system: _System, down: Floats) -> Floats:
    """Returns (2, 2): how far the top moves along x and y per newton along x and y, mm/N."""
    sideways = np.stack([np.roll(down, -2), np.roll(down, -1)])  # z's entries become x's and y's
    moves = np.stack([system.solve(load, SWAY_TOLERANCE) for load in sideways])
    return sideways @ moves.T


def _peak_stress(system: _System, moves: Floats, eccentricity: float) -> float:
    """Returns the largest von Mises stress at a node, in MPa per N of load.

    The square of that stress is a quadratic form of the stresses, so each node needs only the
    products of its load cases, whatever the direction of the eccentricity.
    """
    above = system.layer > 0 if system.top > 0 else system.layer >= 0
    nodes, weight = system.nodes[above], np.repeat(system.fill[above], 8)
    of_cell = (3 * nodes[:, :, None] + np.arange(3)).reshape(-1, 24)
    at_corners = moves[:, of_cell] @ system.stress.reshape(48, 24).T
    corner = at_corners.reshape(len(moves), -1, 6)  # (cases, cells x 8, 6)
    average = csr_array(
        (weight, (nodes.ravel(), np.arange(nodes.size))), shape=(len(system.places), nodes.size)
    )
    total = np.maximum(average.sum(axis=1), 1e-12)
    stress = np.stack([average @ case for case in corner]) / total[:, None]
    mises = np.diag([1.5, 1.5, 1.5, 3.0, 3.0, 3.0])
    mises[:3, :3] -= 0.5
    products = np.einsum("ina,ab,jnb->nij", stress, mises, stress, optimize=True)
    if len(moves) == 1:
        return float(np.sqrt(products.max()))
    angles = np.arange(DIRECTIONS) * 2.0 * np.pi / DIRECTIONS
    beside = eccentricity * np.stack([np.cos(angles), np.sin(angles)])
    mix = np.concatenate([np.ones((1, DIRECTIONS)), beside])
    return float(np.sqrt(np.einsum("id,nij,jd->nd", mix, products, mix, optimize=True).max()))
