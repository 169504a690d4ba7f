"""A training run of an agent, from its folder to its card."""

import contextlib
import json
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import KVWriter, Logger, TensorBoardOutputFormat
from stable_baselines3.common.vec_env import VecEnv, sync_envs_normalization

from rlgen.agents.build import build_env
from rlgen.agents.callbacks import (
    Checkpoints,
    EpisodeRecord,
    Evaluation,
    ShowProgress,
    StopOnSignal,
)
from rlgen.agents.designs import BestDesigns, leave_designs
from rlgen.agents.scoring import record_video, score
from rlgen.agents.state import Tensors, restore_policy, restore_training_state
from rlgen.core.checkpoint import drop_after, list_checkpoints, readable
from rlgen.core.cli import tell
from rlgen.core.curves import draw_run
from rlgen.core.errors import UserError
from rlgen.core.interrupt import StopSignal
from rlgen.core.job import newest_checkpoint, restore_newest
from rlgen.core.progress import StepBar
from rlgen.core.record import CSVWriter
from rlgen.core.run import write_text
from rlgen.envs import resolve_env

KEPT_DESIGNS = 12


class TrainingSession:
    """Holds together what a run needs: records, checkpoints, evaluation, final artefacts.

    Args:
        folder: The run folder.
        config: The resolved configuration.
        env: The environment that learns.
        model: The agent on it.
    """

    steps_option = "total_timesteps"

    def __init__(
        self, folder: Path, config: dict[str, Any], env: VecEnv, model: BaseAlgorithm
    ) -> None:
        self.total_steps: int = config["total_timesteps"]
        self.folder = folder
        self.config = config
        self.env = env
        self.model = model
        self.best_return: float | None = None
        self.resumed_at: int | None = None
        self.evaluation: Evaluation | None = None
        self.designs: BestDesigns | None = None
        if resolve_env(config["env"]).family == "design":
            self.designs = BestDesigns(folder / "designs", KEPT_DESIGNS, tell)
        self.checkpoints = Checkpoints(
            folder / "checkpoints", config["checkpoint_every"], self._extra_state, tell
        )

    @property
    def step(self) -> int:
        """Environment steps taken so far."""
        return self.model.num_timesteps

    def _extra_state(self) -> dict[str, Any]:
        best = self.best_return
        if self.evaluation is not None and self.evaluation.best_mean_reward > float("-inf"):
            best = float(self.evaluation.best_mean_reward)
        return {"best_return": best}

    def last_checkpoint(self) -> str:
        """Returns the path of the newest checkpoint, for messages."""
        return newest_checkpoint(self.folder)

    def restore(self) -> None:
        """Puts the newest readable checkpoint into the agent; a damaged one is told and skipped.

        Raises:
            UserError: If checkpoints exist and none can be read, or one fits another agent.
        """
        if not restore_newest(self.folder, self._put):
            self.resumed_at = 0
            return
        step = self.resumed_at = self.checkpoints.last_step = self.model.num_timesteps
        for kind in ("checkpoints", "best"):  # what the abandoned steps left
            drop_after(self.folder / kind, step)
        tell(
            f"resumed at step {step:,}: weights, optimiser, schedules, counters and generators as "
            "saved; environments begin new episodes"
        )

    def _put(self, tensors: Tensors, state: dict[str, Any]) -> None:
        restore_training_state(self.model, tensors, state)
        self.best_return = state["run"]["best_return"]

    def learn(self, stop: StopSignal) -> None:
        """Trains until the configured number of steps, or until ``stop`` says so."""
        config, model = self.config, self.model
        csv = CSVWriter(self.folder / "progress.csv", self.resumed_at)
        writers: list[KVWriter] = [csv, TensorBoardOutputFormat(str(self.folder))]
        model.set_logger(Logger(str(self.folder), writers))
        episodes = EpisodeRecord(self.folder / "episodes.csv", self.resumed_at)
        with StepBar(config["total_timesteps"], model.num_timesteps) as bar:
            callbacks = [self.checkpoints, episodes, ShowProgress(bar)]
            if self.designs is not None:
                callbacks.append(self.designs)
            if config["eval_every"]:
                self.evaluation = self._make_evaluation()
                callbacks.append(self.evaluation)
            with contextlib.ExitStack() as closing:
                closing.callback(model.logger.close)
                closing.callback(episodes.record.close)
                if self.evaluation is not None:
                    closing.callback(self.evaluation.eval_env.close)
                model.learn(
                    config["total_timesteps"] - model.num_timesteps,
                    callback=[*callbacks, StopOnSignal(stop)],
                    reset_num_timesteps=self.resumed_at in (None, 0),
                    **({"log_interval": config["log_every"]} if config["log_every"] else {}),
                )
                # What was recorded since the last dump belongs to the run as well.
                model.logger.dump(model.num_timesteps)

    def _make_evaluation(self) -> Evaluation:
        config = self.config
        n_envs = min(config["eval_episodes"], config["n_envs"])
        evaluation = Evaluation(
            build_env(config, training=False, n_envs=n_envs),
            self.folder / "best",
            config["eval_every"],
            config["n_envs"],
            config["eval_episodes"],
            config["eval_deterministic"],
        )
        # Its turn comes at the same steps as in a run that was never interrupted.
        evaluation.n_calls = self.model.num_timesteps // config["n_envs"]
        if self.best_return is not None:
            evaluation.best_mean_reward = self.best_return
        return evaluation

    def save(self) -> bool:
        """Saves a checkpoint now; returns whether it succeeded."""
        return self.checkpoints.save()

    def draw(self) -> None:
        """Draws ``learning_curve.png``."""
        draw_run(self.folder)

    def finish(self, command: str, seconds: float) -> None:
        """Saves the final state and makes the curve, the score, the video, the model and the card.

        Args:
            command: The command as typed, for the card.
            seconds: Wall-clock time of the training.
        """
        config, model = self.config, self.model
        self.checkpoints.save()
        model.save(self.folder / "model.zip")
        self.draw()
        result = score(
            model,
            config,
            episodes=config["eval_episodes"],
            deterministic=config["eval_deterministic"],
        )
        write_text(
            self.folder / "result.json",
            json.dumps({"steps": model.num_timesteps, "returns": result.returns.tolist()}),
        )
        video = self._make_video() if config["video"] else None
        steps = model.num_timesteps - (self.resumed_at or 0)
        card = [
            f"# {config['agent']['name']} on {config['env']}",
            "",
            f"Command: `{command}`",
            "",
            f"- {model.num_timesteps:,} steps, seed {config['seed']}, "
            f"{steps / max(seconds, 1e-9):,.0f} steps/s",
            f"- final agent: return {result}",
        ]
        best = self._extra_state()["best_return"]
        if best is not None:
            card.append(f"- best evaluation during training: mean return {best:.2f} (`best/`)")
        if self._leave_traversal():
            card.append("- what each coordinate of the latent does: `latents/traversal.png`")
        if self._leave_designs():
            card.append("- best designs, with files for CAD and printing: `designs/index.html`")
        if config["eval_max_steps"] is not None:
            card.append(f"- evaluation episodes were cut after {config['eval_max_steps']} steps")
        card += [
            "- all settings: `config.yaml`; curves: `progress.csv`, `episodes.csv`, "
            "`learning_curve.png`" + (f"; video: `{video}`" if video else ""),
            f"- go on: `python -m rlgen.train resume={self.folder} total_timesteps=...`",
            f"- score: `python -m rlgen.evaluate {self.folder}`",
            f'- in a plain SB3 script: `rlgen.agents.{type(model).__name__}.load("model.zip")`',
        ]
        write_text(self.folder / "card.md", "\n".join(card) + "\n")
        tell(f"done: return {result}; see {self.folder}/card.md")

    def _leave_traversal(self) -> bool:
        """Draws what the coordinates of an agent's latent do; returns whether there are any."""
        if not hasattr(self.model.policy, "vae"):
            return False
        from rlgen.agents.disentangled.sheet import draw_traversal

        env = build_env(self.config, training=False)
        try:
            if self.model.get_vec_normalize_env() is not None:
                sync_envs_normalization(self.env, env)
            draw_traversal(self.model, env, self.folder / "latents" / "traversal.png")
        finally:
            env.close()
        return True

    def _leave_designs(self) -> bool:
        """Makes files and a gallery of the best designs; returns whether there are any."""
        if self.designs is None or not self.designs.best:
            return False
        title = f"{self.config['agent']['name']} on {self.config['env']}"
        try:
            leave_designs(self.folder / "designs", self.designs.best, title)
        except OSError as error:
            tell(f"the gallery of designs was not written ({error})")
            return False
        return True

    def _make_video(self) -> str | None:
        config = self.config
        path = self.folder / "video" / f"step-{self.model.num_timesteps}.mp4"
        try:
            record_video(self.model, config, path, max_steps=config["video_steps"])
        except UserError as error:
            tell(f"no video: {str(error).removeprefix('no video: ')}")
            return None
        return str(path.relative_to(self.folder))


def load_trained(folder: Path, model: BaseAlgorithm, which: str = "best") -> int:
    """Puts trained weights of a run into an agent built from its configuration.

    Args:
        folder: The run folder.
        model: The agent.
        which: ``best`` (by evaluation, where there is one) or ``last``.

    Returns:
        Steps of training behind them.

    Raises:
        UserError: If the run has no readable checkpoint.
    """
    candidates = list_checkpoints(folder / "checkpoints")
    if which == "best":
        candidates += list_checkpoints(folder / "best")
    for tensors, state in readable(candidates, tell):
        restore_policy(model, tensors)
        return int(state["counters"]["num_timesteps"])
    raise UserError(f"{folder} has no readable checkpoint yet; train it: resume={folder}")
