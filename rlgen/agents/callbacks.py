"""Callbacks of a training run: records, checkpoints, progress, orderly stops."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.vec_env import VecEnv

from rlgen.agents.state import training_state
from rlgen.core.checkpoint import save_checkpoint
from rlgen.core.interrupt import StopSignal
from rlgen.core.progress import StepBar
from rlgen.core.record import CSVRecord


class EpisodeRecord(BaseCallback):
    """Writes each ended episode into ``episodes.csv``: step, return, length, wall-clock seconds.

    Args:
        path: The file.
        last_step: Step from which a resumed run goes on; later rows are dropped.
    """

    def __init__(self, path: Path, last_step: int | None = None) -> None:
        super().__init__()
        self.record = CSVRecord(path, last_step, "step")

    def _on_step(self) -> bool:
        for env in np.flatnonzero(self.locals["dones"]):
            episode = self.locals["infos"][env].get("episode")
            if episode is not None:
                row = {"step": self.num_timesteps, "return": episode["r"], "length": episode["l"]}
                self.record.add({**row, "seconds": episode["t"]})
        return True


class Checkpoints(BaseCallback):
    """Saves the training state every so many steps, between an update and the next rollout.

    A failing disk stops no run: the failure is told, the last complete checkpoint stays, and the
    next one is tried at its time.

    Args:
        folder: Where checkpoints go.
        every: Environment steps between two.
        extra: Returns further JSON values to save.
        tell: Prints a line for the user.
    """

    def __init__(
        self,
        folder: Path,
        every: int,
        extra: Callable[[], dict[str, Any]],
        tell: Callable[[str], None],
    ) -> None:
        super().__init__()
        self.folder = folder
        self.every = every
        self.extra = extra
        self.tell = tell
        self.last_step = -1

    def _on_training_start(self) -> None:
        if self.last_step < 0:
            self.last_step = self.num_timesteps
            self.save()

    def _on_rollout_start(self) -> None:
        if self.num_timesteps - self.last_step >= self.every:
            self.save()

    def _on_step(self) -> bool:
        return True

    def save(self) -> bool:
        """Saves now; returns whether it succeeded."""
        self.last_step = self.model.num_timesteps
        if not all(bool(p.isfinite().all()) for p in self.model.policy.parameters()):
            self.tell(f"no checkpoint at step {self.last_step}: weights are not finite")
            return False
        tensors, state = training_state(self.model)
        state["run"] = self.extra()
        try:
            save_checkpoint(self.folder, self.model.num_timesteps, tensors, state)
        except OSError as error:
            self.tell(
                f"checkpoint at step {self.model.num_timesteps} failed ({error}); "
                "the last complete one is kept"
            )
            return False
        return True


class ShowProgress(BaseCallback):
    """Feeds the progress bar at each step of the environments.

    Args:
        bar: The bar.
    """

    def __init__(self, bar: StepBar) -> None:
        super().__init__()
        self.bar = bar
        self._next = 0

    def _on_step(self) -> bool:
        if self.num_timesteps >= self._next:
            self._next = self.num_timesteps + 20 * self.training_env.num_envs
            self.bar.update(self.num_timesteps, self._values())
        return True

    def _on_training_end(self) -> None:
        self.bar.update(self.num_timesteps, self._values())

    def _values(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        episodes = self.model.ep_info_buffer
        if episodes:
            values["return"] = float(np.mean([episode["r"] for episode in episodes]))
        evolution = getattr(self.model, "evolution", None)
        if evolution is not None:
            values["generation"] = evolution.generation
            if np.isfinite(evolution.last_best):
                values["best fitness"] = evolution.last_best
        return values


class StopOnSignal(BaseCallback):
    """Ends learning after the current step when a signal to stop has come.

    Args:
        stop: The signal.
    """

    def __init__(self, stop: StopSignal) -> None:
        super().__init__()
        self.stop = stop

    def _on_step(self) -> bool:
        return not self.stop.stopped


class Evaluation(EvalCallback):
    """SB3's evaluation on a separate environment; the best model goes into a checkpoint folder.

    Args:
        env: Evaluation environment; whole games, unclipped rewards.
        folder: Where the best model goes.
        every: Environment steps between evaluations.
        n_envs: Environments that learn.
        episodes: Episodes per evaluation.
        deterministic: Take the most probable action.
    """

    def __init__(
        self,
        env: VecEnv,
        folder: Path,
        every: int,
        n_envs: int,
        episodes: int,
        deterministic: bool,
    ) -> None:
        super().__init__(
            env,
            callback_on_new_best=_SaveBest(folder),
            eval_freq=max(every // n_envs, 1),
            n_eval_episodes=episodes,
            deterministic=deterministic,
            verbose=0,
            warn=False,
        )

    def _init_callback(self) -> None:
        # SB3 warns here that the two environments are of different types; they are meant to be.
        if self.callback_on_new_best is not None:
            self.callback_on_new_best.init_callback(self.model)


class _SaveBest(BaseCallback):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def _on_step(self) -> bool:
        assert isinstance(self.parent, EvalCallback)
        tensors, state = training_state(self.model, further=False)
        state["run"] = {"mean_return": float(self.parent.best_mean_reward)}
        try:
            save_checkpoint(self.folder, self.model.num_timesteps, tensors, state, keep=1)
        except OSError as error:
            self.logger.warn(f"the best model at step {self.num_timesteps} was not saved: {error}")
        return True
