"""The four-rooms grid of the option-critic papers: one environment, and a fast vector of them.

Both play by the same tables, and :func:`transition_matrix` is the exact law of both. Layout,
start, goals and slip rule are those seen in released code (option-critic, arXiv 1609.05140).
Arguments out of range raise :class:`rlgen.core.errors.UserError` everywhere.
"""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from rlgen.core.errors import UserError

Ints = npt.NDArray[np.int64]
Picture = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]
Place = int | Sequence[int]  # a free cell by its number, or by its row and column

GRID: Bools = np.ones((13, 13), dtype=np.bool_)  # where walls are
GRID[1:12, 1:12] = False
GRID[1:12, 6] = GRID[6, 1:6] = GRID[7, 7:12] = True
GRID[[3, 6, 7, 10], [6, 2, 9, 6]] = False  # the four doorways
CELLS: Ints = np.argwhere(~GRID)  # (104, 2): row and column of each free cell, row by row
_NUMBERS: Ints = np.full(GRID.shape, -1)
_NUMBERS[tuple(CELLS.T)] = np.arange(len(CELLS))
GOAL = int(_NUMBERS[7, 9])  # 62, the east doorway
# A moved goal lies in the lower-right room or in the doorway to its west.
LATER_GOALS: Ints = np.sort([*_NUMBERS[8:12, 7:12].ravel(), _NUMBERS[10, 6]])

ACTIONS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}
RENDER_MODES = ("rgb_array", "ansi")
CELL_PIXELS = 16
WALL_COLOR, FLOOR_COLOR, EDGE_COLOR = (52, 58, 64), (241, 243, 245), (20, 20, 20)
GOAL_COLOR, AGENT_COLOR = (64, 192, 87), (34, 108, 224)
_SLOTS = 12  # divisible by 2, 3 and 4, the numbers of free neighbours that a cell can have


def _tables() -> tuple[Ints, Ints]:
    """Tells where actions lead, (104, 4), and where they may end, (104, 4, 13).

    Into a wall an action leads nowhere, without a slip. Else the first 12 of the 13 slots are a
    slip, the free neighbours of the new cell, each equally often; the last is the new cell itself.
    """
    steps = CELLS[:, None] + np.array([*ACTIONS.values()])
    reached = _NUMBERS[steps[..., 0], steps[..., 1]]
    leads = np.where(reached < 0, np.arange(len(CELLS))[:, None], reached)
    ends = np.empty((*leads.shape, _SLOTS + 1), dtype=np.int64)
    for (cell, action), there in np.ndenumerate(leads):
        around = [near for near in leads[there] if near != there]
        slips = np.repeat(around, _SLOTS // len(around))
        ends[cell, action] = cell if there == cell else [*slips, there]
    return leads, ends


NEXT_CELLS, OUTCOMES = _tables()
for _table in (GRID, CELLS, _NUMBERS, LATER_GOALS, NEXT_CELLS, OUTCOMES):
    _table.setflags(write=False)


def transition_matrix(slip: float = 1 / 3, goal: Place | None = GOAL) -> npt.NDArray[np.float64]:
    """Returns the probability of each next cell, (104, 4, 104); rows sum to 1.

    Args:
        slip: Probability of a slip after a move.
        goal: Cell that is never left, as episodes end there. None: there is no such cell.
    """
    slip = _probability("slip", slip)
    weights = np.append(np.full(_SLOTS, slip / _SLOTS), 1 - slip)
    matrix = np.einsum("k,sakn->san", weights, np.eye(len(CELLS))[OUTCOMES])
    if goal is not None:
        matrix[_cell("goal", goal)] = np.eye(len(CELLS))[_cell("goal", goal)]
    return matrix


def cell_number(row: int, column: int) -> int:
    """Returns the number of a free cell; anything else is a :class:`UserError`."""
    return _cell("cell", (row, column))


def paint_cells(colors: npt.ArrayLike, goal: Place | None = None, cell: int = 16) -> Picture:
    """Returns a picture of the rooms, (13 * cell, 13 * cell, 3), as for a map of options.

    Args:
        colors: One per free cell, uint8 (104, 3): red, green and blue.
        goal: Cell to mark with a diamond.
        cell: Side of a cell in pixels, at least 4.
    """
    rows, cell = np.asarray(colors), _count("cell", cell, 4, CELL_PIXELS)
    if rows.shape != (len(CELLS), 3) or rows.dtype != np.uint8:
        raise _bad(f"colors={rows.dtype}{rows.shape}", "uint8 (104, 3)", "colors.astype(np.uint8)")
    tiles = np.full((*GRID.shape, 3), WALL_COLOR, dtype=np.uint8)
    tiles[tuple(CELLS.T)] = rows
    picture = tiles.repeat(cell, axis=0).repeat(cell, axis=1)
    if goal is not None:
        _mark(picture, _cell("goal", goal), 1, GOAL_COLOR)
    return picture


def _mark(picture: Any, number: int, power: int, color: tuple[int, int, int]) -> None:
    """Puts a diamond (power 1) or a disc (power 2) with a dark edge on a cell."""
    cell = len(picture) // len(GRID)
    reach = abs((2 * np.arange(cell) + 1) / cell - 1) ** power  # 0 in the middle, 1 at the rim
    distance = reach[:, None] + reach
    top, left = CELLS[number] * cell
    tile = picture[top : top + cell, left : left + cell]
    tile[distance < 0.8], tile[distance < 0.5] = EDGE_COLOR, color


def _render(mode: str | None, agent: int, goal: int) -> Any:
    if mode == "ansi":
        text = np.where(GRID, "#", ".")
        text[tuple(CELLS[goal])], text[tuple(CELLS[agent])] = "G", "A"
        return "\n".join("".join(line) for line in text)
    if mode is None:
        return None
    picture = paint_cells(np.full((len(CELLS), 3), FLOOR_COLOR, np.uint8), goal)
    _mark(picture, agent, 2, AGENT_COLOR)
    return picture


def _bad(given: str, allowed: str, instead: str) -> UserError:
    return UserError(f"{given} is not valid; allowed: {allowed}; type {instead}")


def _is_count(value: Any, least: int) -> bool:
    return not isinstance(value, bool) and isinstance(value, Integral) and int(value) >= least


def _count(name: str, value: Any, least: int, example: int) -> int:
    if not _is_count(value, least):
        raise _bad(f"{name}={value!r}", f"whole numbers from {least}", f"{name}={example}")
    return int(value)


def _probability(name: str, value: Any) -> float:
    if isinstance(value, (int, float, np.number)) and 0 <= value <= 1:
        return float(value)
    raise _bad(f"{name}={value!r}", "probabilities from 0 to 1", f"{name}=0.333")


def _cell(name: str, place: Any) -> int:
    if _is_count(place, 0) and place < len(CELLS):
        return int(place)
    if isinstance(place, (Sequence, np.ndarray)) and len(place) == 2:
        inside = all(_is_count(at, 0) and at < len(GRID) for at in place)
        if inside and _NUMBERS[place[0], place[1]] >= 0:
            return int(_NUMBERS[place[0], place[1]])
    allowed = f"numbers from 0 to {len(CELLS) - 1}, or (row, column) of a cell that is no wall"
    raise _bad(f"{name}={place!r}", allowed, f"{name}={GOAL} or {name}=(7, 9)")


class _Rules:
    """The checked arguments of both environments, and the draws that depend on them."""

    def __init__(self, mode: Any, goal: Any, slip: Any, goal_after: Any, new_goal: Any) -> None:
        if mode not in (None, *RENDER_MODES):
            raise _bad(f"render_mode={mode!r}", "None, rgb_array, ansi", "render_mode='ansi'")
        self.goal = _cell("goal", goal)
        self.slip = _probability("slip", slip)
        self.goal_after = None if goal_after is None else _count("goal_after", goal_after, 1, 1000)
        self._later = np.setdiff1d(LATER_GOALS, self.goal)
        if new_goal is not None:
            self._later = np.array([_cell("new_goal", new_goal)])
            if goal_after is None or self._later[0] == self.goal:
                allowed = "another cell than the first goal, together with goal_after"
                raise _bad(f"new_goal={new_goal!r}", allowed, "new_goal=103, goal_after=1000")

    def draw_slots(self, rng: np.random.Generator, size: int | None = None) -> Any:
        """Draws slots of :data:`OUTCOMES`; numbers beyond the first 12 slots mean "no slip"."""
        scale = _SLOTS / self.slip if self.slip else np.inf
        return np.minimum((1 - rng.random(size)) * scale, _SLOTS).astype(np.int64)

    def draw_goals(self, rng: np.random.Generator, size: int | None = None) -> Any:
        return self._later[rng.integers(len(self._later), size=size)]

    def draw_starts(self, rng: np.random.Generator, goals: Any, size: int | None = None) -> Any:
        """Draws uniformly among all cells but the goal."""
        starts = rng.integers(len(CELLS) - 1, size=size)
        return starts + (starts >= goals)


class FourRoomsEnv(gym.Env):
    """Four rooms, joined by four doorways, and a goal to walk to.

    ## Description
    A 13 x 13 grid, outer wall included, with 104 free cells numbered row by row. The doorways are
    (3, 6), (6, 2), (7, 9) and (10, 6). A move into a wall leaves the agent where it is. Any other
    brings it to the intended cell and then, with probability ``slip``, on to a free neighbour *of
    that cell*, all equally likely. Layout and all rules here: seen in released code.

    ## Observation Space
    ``Discrete(104)``: the number of the agent's cell. The goal is not observed.

    ## Action Space
    | Action of ``Discrete(4)`` | 0  | 1    | 2    | 3     |
    |---------------------------|----|------|------|-------|
    | Direction (our order)     | up | down | left | right |

    ## Rewards
    1 where a step, slip included, ends on the goal, else 0.

    ## Starting State
    Uniform over all cells but the goal.

    ## Episode End
    Terminated on the goal; ``gymnasium.make`` truncates after 1,000 steps. The info always holds
    ``goal``, a cell's number, and ``position``, the agent's (row, column).

    ## Version History
    * v0: first version.

    Args:
        render_mode: ``rgb_array`` (208 x 208 pixels), ``ansi`` (13 lines of text) or None.
        goal: Cell of the goal, by number or (row, column).
        slip: Probability of a slip after a move; 1/3 seen in released code.
        goal_after: Finished episodes after which the goal moves, once; 1,000 seen in released code.
            A reset after at least one step counts one; a reset with a seed begins anew.
        new_goal: Where it moves to. None: drawn from the lower-right room and its west doorway.
    """

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": 4}  # noqa: RUF012

    def __init__(
        self,
        render_mode: str | None = None,
        goal: Place = GOAL,
        slip: float = 1 / 3,
        goal_after: int | None = None,
        new_goal: Place | None = None,
    ) -> None:
        self._rules = _Rules(render_mode, goal, slip, goal_after, new_goal)
        self.render_mode = render_mode
        self.observation_space = spaces.Discrete(len(CELLS))
        self.action_space = spaces.Discrete(len(ACTIONS))
        self.goal, self.cell, self._episodes, self._moved = self._rules.goal, 0, 0, False

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[int, dict]:
        """Begins an episode; with a seed, the count of episodes and the goal begin anew too."""
        super().reset(seed=seed)
        if seed is not None:
            self.goal, self._episodes = self._rules.goal, 0
        elif self._moved:
            self._episodes += 1
            if self._episodes == self._rules.goal_after:
                self.goal = int(self._rules.draw_goals(self.np_random))
        self._moved = False
        self.cell = int(self._rules.draw_starts(self.np_random, self.goal))
        return self.cell, self._info()

    def step(self, action: int) -> tuple[int, float, bool, bool, dict]:
        """Moves the agent."""
        self.cell = int(OUTCOMES[self.cell, action, self._rules.draw_slots(self.np_random)])
        self._moved = True
        ended = self.cell == self.goal
        return self.cell, float(ended), ended, False, self._info()

    def render(self) -> Any:
        """Returns a picture, a text or None, as the render mode says."""
        return _render(self.render_mode, self.cell, self.goal)

    def _info(self) -> dict[str, Any]:
        return {"goal": self.goal, "position": tuple(CELLS[self.cell].tolist())}


class FourRoomsVectorEnv(VectorEnv):
    """Many :class:`FourRoomsEnv` in NumPy arrays; an ended episode resets in the same step.

    All rooms share a generator; each counts its own episodes and moves its own goal (``goals``).
    A vector of one room plays the very games of the single environment. To stay fast, the info
    tells ``goal`` and ``position`` at a reset only, and ``final_info`` where an episode ended.

    Args:
        num_envs: Number of rooms.
        max_episode_steps: Steps after which an episode is truncated.
        render_mode: As all that follow, an argument of :class:`FourRoomsEnv` for every room.
    """

    metadata = {**FourRoomsEnv.metadata, "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int = 1,
        max_episode_steps: int = 1000,
        render_mode: str | None = None,
        goal: Place = GOAL,
        slip: float = 1 / 3,
        goal_after: int | None = None,
        new_goal: Place | None = None,
    ) -> None:
        self._rules = _Rules(render_mode, goal, slip, goal_after, new_goal)
        self.num_envs = _count("num_envs", num_envs, 1, 8)
        self._limit = _count("max_episode_steps", max_episode_steps, 1, 1000)
        self.render_mode = render_mode
        self.single_observation_space = spaces.Discrete(len(CELLS))
        self.single_action_space = spaces.Discrete(len(ACTIONS))
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.goals = np.full(self.num_envs, self._rules.goal)
        self._cells, self._steps, self._episodes = np.zeros((3, self.num_envs), dtype=np.int64)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[Ints, dict]:
        """Begins an episode in all rooms, or in those of ``options["reset_mask"]``."""
        super().reset(seed=seed)
        mask = np.full(self.num_envs, (options or {}).get("reset_mask", True), dtype=bool)
        if seed is not None:
            self.goals[mask] = self._rules.goal
            self._episodes[mask] = self._steps[mask] = 0
        self._begin(mask)
        return self._cells.copy(), self._info(mask)

    def _begin(self, mask: Bools) -> None:
        rooms = np.flatnonzero(mask)
        if self._rules.goal_after is not None:
            finished = rooms[self._steps[rooms] > 0]
            self._episodes[finished] += 1
            movers = finished[self._episodes[finished] == self._rules.goal_after]
            self.goals[movers] = self._rules.draw_goals(self.np_random, len(movers))
        self._steps[rooms] = 0
        self._cells[rooms] = self._rules.draw_starts(self.np_random, self.goals[rooms], len(rooms))

    def step(self, actions: Ints) -> tuple[Ints, npt.NDArray[np.float64], Bools, Bools, dict]:
        """Moves all agents; where an episode ends, the next one begins at once."""
        slots = self._rules.draw_slots(self.np_random, self.num_envs)
        self._cells = OUTCOMES[self._cells, actions, slots]
        self._steps += 1
        terminated, truncated = self._cells == self.goals, self._steps >= self._limit
        ended = terminated | truncated
        info: dict[str, Any] = {}
        if ended.any():
            info = {"final_obs": np.where(ended, self._cells, np.array(None)), "_final_obs": ended}
            info |= {"final_info": self._info(ended), "_final_info": ended.copy()}
            self._begin(ended)
            info |= self._info(ended)
        return self._cells.copy(), terminated.astype(np.float64), terminated, truncated, info

    def _info(self, mask: Bools) -> dict[str, Any]:
        told = {"goal": self.goals.copy(), "position": CELLS[self._cells]}
        return {**told, "_goal": mask.copy(), "_position": mask.copy()}

    def render(self) -> tuple[Any, ...]:
        """Returns a picture, a text or None for each room, as the render mode says."""
        rooms = zip(self._cells.tolist(), self.goals.tolist(), strict=True)
        return tuple(_render(self.render_mode, *room) for room in rooms)
