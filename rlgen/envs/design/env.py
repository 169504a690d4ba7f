"""The Gymnasium environment in which an agent builds a solid by design actions.

Inspired by J. Choi et al., "Task-oriented Design through Deep Reinforcement Learning" (arXiv
1903.05271): design operations as actions, a simulated task as reward, several goals at once. The
body of that paper could not be read; operations, tasks, observations and rewards here are this
project's own, so this is not a reproduction.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlgen.core.errors import UserError, closest
from rlgen.envs.design.appraisal import Cache
from rlgen.envs.design.arguments import (
    as_allowed,
    as_seed,
    as_space,
    as_task,
    check_number,
)
from rlgen.envs.design.encodings import N_OPERATIONS, action_space, decode
from rlgen.envs.design.measure.conditions import METRICS
from rlgen.envs.design.mesh import Floats
from rlgen.envs.design.observations import Moment, Observation, Observer
from rlgen.envs.design.picture.render import construction_frames
from rlgen.envs.design.picture.showing import Screen, as_picture, as_text
from rlgen.envs.design.shape.geometry import covered_share
from rlgen.envs.design.shape.history import Design
from rlgen.envs.design.shape.masks import operation_mask
from rlgen.envs.design.shape.operations import (
    BINS,
    FINISH,
    N_MODES,
    N_PARAMETERS,
    UNDO,
    Action,
)
from rlgen.envs.design.shape.space import DesignSpace
from rlgen.envs.design.task.goal_sampling import GOAL_CONDITIONS, sample_goal
from rlgen.envs.design.task.goals import (
    achieved_goal,
    compute_reward,
    compute_terminated,
    compute_truncated,
    desired_goal,
    task_of,
)
from rlgen.envs.design.task.presets import MULTI_GOAL
from rlgen.envs.design.task.tasks import Task, satisfactions, score

REWARDS = ("dense", "sparse", "discounted_shaping")
RENDER_MODES = ("rgb_array", "human", "ansi", "rgb_array_mujoco")


class DesignEnv(gym.Env[Observation, Any]):
    """An agent builds a solid for a task.

    ## Description
    The solid stands on a table at z = 0 in a space of 160 x 160 x 160 mm. Each step is one design
    action; what it makes is clipped to the space, cleaned, and set on the table. The episode ends
    when the agent finishes, or after ``horizon`` steps; the design is scored either way.

    ## Actions
    Sixteen operations (:mod:`rlgen.envs.design.shape.table`), a mode and six parameters on a
    lattice of 1/512; three encodings (:mod:`rlgen.envs.design.encodings`). An action that the mask
    forbids or that geometry makes meaningless is a refusal: solid, history and score stay,
    ``info["refused"]`` tells why, and the step costs ``refusal_penalty``.

    ## Observations
    A dictionary of geometry, 24 numbers, 16 metrics and the last 12 actions
    (:mod:`rlgen.envs.design.observations`), in goal mode also ``achieved_goal`` and
    ``desired_goal``.

    ## Reward
    With Phi the score of the design, 0 to 1 (:mod:`rlgen.envs.design.task.tasks`), times the share
    of the space's keep-in volumes that is solid: ``dense`` Phi' - Phi, whose undiscounted sum is
    the final score less that of the start; ``sparse`` 0 and at the end Phi; ``discounted_shaping``
    gamma Phi' - Phi. Each less the penalty of a refusal.

    ## Start
    Nothing, or ``seed_design``, whose operations are locked: undo stops there. In goal mode the
    goal is given by ``reset(options={"goal": ...})`` or drawn.

    ## End
    Terminated by *finish*; truncated after ``horizon`` steps. ``info`` then holds ``final``,
    ``score``, ``metrics`` (by name), ``satisfactions`` and ``design``, the history as JSON text.

    ## Version
    v0: first version.

    Args:
        task: Name of a task, a :class:`Task`, or what ``Task.to_dict`` gives.
        preset: ``easy``, ``normal``, ``hard`` or ``open``, for a task given by name.
        encoding: ``multidiscrete``, ``hybrid`` or ``box``.
        observation: ``heights``, ``voxels``, ``image`` or ``points``.
        reward: ``dense``, ``sparse`` or ``discounted_shaping``.
        gamma: Discount of ``discounted_shaping``.
        goal: Whether observations carry goals; always so for the task ``MultiGoal``.
        horizon: Most steps of an episode.
        mask_in_observation: Put the mask of operations into the observation.
        refusal_penalty: Subtracted from the reward of a refused step.
        allowed: Names of the operations that may be used, or None for all; ``finish`` always may.
        space: The design space, or its settings.
        seed_design: A design, or its JSON file, to start from.
        render_mode: ``rgb_array``, ``human``, ``ansi``, ``rgb_array_mujoco`` (extra ``mujoco``) or
            None.
        render_size: Side of a picture in pixels.
        cache: Known designs, shared with other environments of this process.

    Raises:
        UserError: If an argument does not fit.
    """

    metadata = {"render_modes": list(RENDER_MODES), "render_fps": 2}  # noqa: RUF012
    observation_space: spaces.Dict  # type: ignore[assignment]  # Gymnasium's is of one array

    def __init__(
        self,
        task: str | Task | Mapping[str, Any] = "Vessel",
        *,
        preset: str = "normal",
        encoding: str = "multidiscrete",
        observation: str = "heights",
        reward: str = "dense",
        gamma: float = 0.99,
        goal: bool = False,
        horizon: int = 12,
        mask_in_observation: bool = False,
        refusal_penalty: float = 0.01,
        allowed: Iterable[str] | None = None,
        space: DesignSpace | Mapping[str, Any] | None = None,
        seed_design: Design | str | Path | None = None,
        render_mode: str | None = None,
        render_size: int = 256,
        cache: Cache | None = None,
    ) -> None:
        if reward not in REWARDS:
            raise UserError(f"reward={reward!r} is unknown; {closest(str(reward), REWARDS)}")
        if render_mode is not None and render_mode not in RENDER_MODES:
            raise UserError(f"render_mode={render_mode!r} is unknown; allowed: {RENDER_MODES}")
        check_number("horizon", horizon, 1, 1000, whole=True)
        check_number("gamma", gamma, 0.0, 1.0)
        check_number("refusal_penalty", refusal_penalty, 0.0, 1.0)
        check_number("render_size", render_size, 32, 4096, whole=True)
        self.preset = preset
        self.task = None if isinstance(task, str) and task == MULTI_GOAL else as_task(task, preset)
        self.goal = goal or self.task is None
        if self.goal and self.task is not None:
            desired_goal(self.task)  # refuses what a goal cannot express
        self.design_space = as_space(space)
        self.seed_design = as_seed(seed_design)
        if self.seed_design is not None and space is None:
            self.design_space = self.seed_design.space
        self.allowed = as_allowed(allowed, seeded=self.seed_design is not None)
        self.horizon = int(horizon)
        self.reward, self.gamma = reward, float(gamma)
        self.refusal_penalty = float(refusal_penalty)
        self.render_mode, self.render_size = render_mode, int(render_size)
        self.cache = Cache() if cache is None else cache
        self.observer = Observer(observation, self.design_space, self.goal, mask_in_observation)
        self.observation_space = self.observer.space
        self.encoding = encoding
        self.action_space = action_space(encoding)
        self._screen: Screen | None = None
        self.design = Design(self.design_space)
        self.steps = 0
        self.mask = np.zeros((N_OPERATIONS, N_MODES), dtype=bool)  # of the state; reset fills it

    # An episode -----------------------------------------------------------------------------

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begins an episode.

        Args:
            seed: Of the generator that draws goals and surface points.
            options: ``goal``: a desired goal, float32 (32,), in goal mode; ``design``: a
                :class:`Design` to go on with instead of ``seed_design``.

        Raises:
            UserError: If an option is unknown or does not fit.
        """
        super().reset(seed=seed)
        options = dict(options or {})
        goal, design = options.pop("goal", None), options.pop("design", None)
        if options:
            raise UserError(f"reset has no option {next(iter(options))!r}; allowed: goal, design")
        if goal is not None and not self.goal:
            raise UserError("a goal needs goal mode; type goal=True, or task='MultiGoal'")
        self._start(design, goal)
        return self._observation(), self._info(None, 0.0)

    def _start(self, design: Design | None = None, goal: Any = None) -> None:
        seed = design if design is not None else self.seed_design
        self.design = Design(self.design_space, seed=seed)
        self.steps = 0
        self.last_was_undo = False
        self.refused: str | None = None
        self.final = False
        if self.goal:
            self.current, self.desired = self._wanted(goal)
        else:
            assert self.task is not None
            self.current = self.task
        self._metrics: Floats = np.zeros(len(METRICS))
        self._measure(final=False)
        self.mask = self._mask()

    def _wanted(self, goal: Any) -> tuple[Task, NDArray[np.float32]]:
        """Returns the goal of an episode, as a task and as a vector."""
        if goal is None and self.task is None:
            drawn = sample_goal(self.np_random, self.preset, self.design_space)
            return drawn.task, drawn.desired
        if goal is None:
            assert self.task is not None
            return self.task, desired_goal(self.task)
        desired = np.asarray(goal, dtype=np.float32)
        conditions = GOAL_CONDITIONS if self.task is None else self.task.conditions
        return task_of(desired, conditions, self.task.name if self.task else MULTI_GOAL), desired

    def step(self, action: Any) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Takes one design action.

        Raises:
            UserError: If the action is outside of the action space.
        """
        taken = decode(action, self.action_space, self.mask)
        before, achieved_before = self._score, self._achieved() if self.goal else None
        self.refused = self._take(taken)
        self.steps += 1
        finished = taken.op == FINISH and self.refused is None
        out_of_steps = not finished and self.steps >= self.horizon
        self.final = finished or out_of_steps
        self._measure(self.final)
        penalty = self.refusal_penalty if self.refused else 0.0
        info = self._info(achieved_before, penalty)
        reward = self._reward(before, penalty, info)
        self.mask = self._mask()
        info["action_mask"] = self.mask
        return self._observation(), reward, finished, out_of_steps, info

    def _take(self, action: Action) -> str | None:
        """Does an action; returns the code of its refusal."""
        was_undo, self.last_was_undo = self.last_was_undo, False
        if not self.mask[action.op, action.mode]:
            self.last_was_undo = was_undo
            return "masked"
        if action.op == FINISH:
            return None
        if action.op == UNDO:
            self.design.undo()
            self.last_was_undo = True
            return None
        return self.design.apply(action)

    def _measure(self, final: bool) -> None:
        """Updates metrics and score where the reward or the end needs them."""
        if self.reward == "sparse" and not final:
            self._score = 0.0
            return
        solid, ahead = self.design.solid, self.observer.layout
        self._metrics = self.cache.metrics(solid, self.current, final, ahead)
        if self.goal:
            self._score = float(compute_reward(self._achieved(), self.desired))
        else:
            self._score = score(self._metrics, self.current, empty=solid.is_empty)
            self._score *= covered_share(solid, self.design_space)

    def _reward(self, before: float, penalty: float, info: dict[str, Any]) -> float:
        if self.goal:
            return float(self.compute_reward(self._achieved(), self.desired, info))
        if self.reward == "sparse":
            return self._score - penalty
        gamma = self.gamma if self.reward == "discounted_shaping" else 1.0
        return gamma * self._score - before - penalty

    # What is told ---------------------------------------------------------------------------

    def _observation(self) -> Observation:
        solid = self.design.solid
        views = self.cache.of(solid).views
        key = (self.observer.geometry, self.design_space, self.current.conditions.density)
        if key not in views:
            views[key] = self.observer.fixed(solid, self.current.conditions.density)
        moment = Moment(
            actions=self.design.actions,
            steps_left=1 - self.steps / self.horizon,
            refused=self.refused,
            metrics=self._metrics,
            mask=self.mask,
            achieved=self._achieved() if self.goal else None,
            desired=self.desired if self.goal else None,
        )
        return self.observer.observe(solid, views[key], moment, self.np_random)

    def _achieved(self) -> NDArray[np.float32]:
        return achieved_goal(self._metrics, self.desired)

    def _info(self, achieved_before: NDArray[np.float32] | None, penalty: float) -> dict[str, Any]:
        info: dict[str, Any] = {"action_mask": self.mask, "final": self.final}
        info["score"] = self._score
        if self.refused is not None:
            info["refused"] = self.refused
        if self.goal:
            info |= {"finished": self.final and self.steps < self.horizon, "penalty": penalty}
            info["steps_left"] = self.horizon - self.steps
            if achieved_before is not None:
                info["achieved_before"] = achieved_before
        if self.final:
            names = self.current.metrics
            values = {n: float(self._metrics[METRICS.index(n)]) for n in names}
            info["metrics"] = values
            met = satisfactions(self._metrics, self.current)
            targets = (target.metric for target in self.current.targets)
            info["satisfactions"] = dict(zip(targets, met, strict=True))
            info["design"] = self.design.to_json(metrics=values, goal=self.current.to_dict())
        return info

    def _mask(self) -> NDArray[np.bool_]:
        return operation_mask(
            self.design.solid,
            self.design.undoable,
            self.last_was_undo,
            self.design_space,
            self.allowed,
        )

    def action_masks(self) -> NDArray[np.bool_]:
        """Returns what sb3-contrib's ``MaskablePPO`` reads, bool (121,).

        It masks each number of a ``MultiDiscrete`` on its own: operations with any mode, modes with
        any operation, and all bins.
        """
        bins = np.ones(N_PARAMETERS * BINS, dtype=bool)
        return np.concatenate([self.mask.any(1), self.mask.any(0), bins])

    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Any) -> Any:
        """Returns the reward of reaching one goal when another was wanted; see ``goals``.

        Pure, and vectorised over leading dimensions, as hindsight relabelling needs.
        """
        kind = "sparse" if self.reward == "sparse" else "dense"
        gamma = self.gamma if self.reward == "discounted_shaping" else 1.0
        return compute_reward(achieved_goal, desired_goal, info, kind, gamma)

    def compute_terminated(self, achieved_goal: Any, desired_goal: Any, info: Any) -> Any:
        """Returns whether the agent had finished."""
        return compute_terminated(achieved_goal, desired_goal, info)

    def compute_truncated(self, achieved_goal: Any, desired_goal: Any, info: Any) -> Any:
        """Returns whether the steps were used up."""
        return compute_truncated(achieved_goal, desired_goal, info)

    # Pictures -------------------------------------------------------------------------------

    def render(self) -> Any:
        """Returns what ``render_mode`` says: an RGB picture, or text; ``human`` shows it.

        Raises:
            MissingExtraError: If ``rgb_array_mujoco`` lacks MuJoCo.
        """
        if self.render_mode is None:
            return None
        if self.render_mode == "ansi":
            return as_text(self.design, self._metrics, self.current, self._score)
        if self.render_mode == "rgb_array_mujoco":
            from rlgen.envs.design.measure.referee import draw

            return draw(self.design.mesh, self.render_size)
        picture = as_picture(self.design, self.current, self.render_size)
        if self.render_mode == "human":
            self._screen = self._screen or Screen()
            self._screen.show(
                picture, as_text(self.design, self._metrics, self.current, self._score)
            )
            return None
        return picture

    def render_construction(self, size: int | None = None) -> list[NDArray[np.uint8]]:
        """Returns one picture, uint8 (size, size, 3), per accepted operation."""
        meshes = [solid.mesh for _, solid in self.design.steps()]
        return construction_frames(meshes, size or self.render_size)

    def close(self) -> None:
        """Closes the window of ``human`` rendering."""
        if self._screen is not None:
            self._screen.close()
            self._screen = None
