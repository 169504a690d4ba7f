"""Scores and videos of a trained agent."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, sync_envs_normalization

from rlgen.agents.build import build_env
from rlgen.core.errors import MissingExtraError, UserError
from rlgen.core.stats import bootstrap_interval
from rlgen.envs import make_vec, resolve_env

Frame = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Score:
    """Returns and lengths of evaluation episodes.

    Attributes:
        returns: Raw undiscounted returns.
        lengths: Steps.
    """

    returns: npt.NDArray[np.float64]
    lengths: npt.NDArray[np.int64]

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(self.returns.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """95 % bootstrap interval of the mean over the episodes."""
        low, high = bootstrap_interval(self.returns)
        return float(low), float(high)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.mean:.2f} [{low:.2f}, {high:.2f}] over {len(self.returns)} episodes"


def score(
    model: BaseAlgorithm,
    config: dict[str, Any],
    *,
    episodes: int,
    deterministic: bool,
    n_envs: int | None = None,
) -> Score:
    """Plays whole episodes with raw rewards; a gated agent plays as its elite.

    Atari games begin with up to 30 no-ops and run over all lives.

    Args:
        model: The agent.
        config: Of its run.
        episodes: How many episodes.
        deterministic: Take the most probable action, instead of sampling.
        n_envs: Environments side by side.
    """
    env = build_env(config, training=False, n_envs=n_envs or min(episodes, config["n_envs"]))
    try:
        trained = model.get_env()
        if trained is not None and model.get_vec_normalize_env() is not None:
            sync_envs_normalization(trained, env)
        returns, lengths = evaluate_policy(
            model, env, episodes, deterministic=deterministic, return_episode_rewards=True
        )
    finally:
        env.close()
    return Score(np.asarray(returns, dtype=np.float64), np.asarray(lengths))


def record_video(
    model: BaseAlgorithm,
    config: dict[str, Any],
    path: Path,
    *,
    max_steps: int = 2000,
    deterministic: bool = False,
    decorate: Callable[[Frame, Any], Frame] | None = None,
) -> int:
    """Writes one episode as a video, frame by frame.

    Args:
        model: The agent.
        config: Of its run.
        path: The .mp4 file; its folder is made.
        max_steps: Steps after which the recording stops.
        deterministic: Take the most probable action, instead of sampling.
        decorate: Draws into a frame, given the policy's state after it.

    Returns:
        Number of frames.

    Raises:
        MissingExtraError: If imageio with ffmpeg is not installed.
        UserError: If the environment cannot be drawn.
    """
    try:
        import imageio.v2 as imageio
        import imageio_ffmpeg  # noqa: F401  (found by imageio when it writes)
    except ModuleNotFoundError as error:
        raise MissingExtraError("a video", "video") from error
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # Gymnasium's pygame needs no display
    env = drawable_env(model, config)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    frames = 0
    rate = 30 if resolve_env(config["env"]).family != "minatar" else 10
    try:
        writer: Any
        with imageio.get_writer(temporary, format="FFMPEG", fps=rate, macro_block_size=2) as writer:
            for frame, state in _play(model, env, max_steps, deterministic):
                writer.append_data(frame if decorate is None else decorate(frame, state))
                frames += 1
    except gym.error.DependencyNotInstalled as error:
        raise MissingExtraError("a video of " + config["env"], "classic") from error
    finally:
        env.close()
    temporary.replace(path)
    return frames


def _play(
    model: BaseAlgorithm, env: VecEnv, max_steps: int, deterministic: bool
) -> Iterator[tuple[Frame, Any]]:
    observations = env.reset()
    state = None  # of recurrent policies, and the options of those that have some
    starts = np.ones(1, dtype=bool)
    for _ in range(max_steps):
        try:
            frame = env.get_images()[0]
        except gym.error.DependencyNotInstalled:
            raise
        except Exception as error:  # such as MuJoCo's own, where there is no OpenGL
            reason = str(error).split("\n")[0]
            raise UserError(f"no video: the environment cannot be drawn here ({reason})") from None
        if frame is None:
            raise UserError("no video: the environment draws no pictures")
        actions, state = model.predict(observations, state, starts, deterministic)  # type: ignore[arg-type]
        yield visible_frame(frame), state
        observations, _, starts, infos = env.step(actions)
        if "episode" in infos[0]:
            return


def visible_frame(frame: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Turns fractions into bytes and enlarges tiny pictures, such as MinAtar's 10x10."""
    if frame.dtype != np.uint8:
        frame = (255 * np.clip(frame, 0, 1)).astype(np.uint8)
    factor = max(1, 160 // frame.shape[0])
    return frame.repeat(factor, axis=0).repeat(factor, axis=1) if factor > 1 else frame


def drawable_env(model: BaseAlgorithm, config: dict[str, Any]) -> VecEnv:
    """Builds one environment that draws itself, normalised as the agent knows it.

    Raises:
        UserError: If it cannot be drawn.
    """
    name = resolve_env(config["env"])
    backend = "auto" if name.family == "atari" else "sync"
    try:
        env: VecEnv = make_vec(
            config["env"],
            1,
            seed=config["seed"] + 20_000,
            backend=backend,
            training=False,
            render_mode="rgb_array",
            env_kwargs={} if name.family == "atari" else dict(config["env_kwargs"]),
        )
    except TypeError as error:  # an environment without a render mode
        raise UserError(f"no video: {name.id} cannot be drawn ({error})") from None
    normalizer = model.get_vec_normalize_env()
    if normalizer is not None:
        env = VecNormalize(env, training=False, norm_reward=False, clip_obs=normalizer.clip_obs)
        sync_envs_normalization(model.get_env(), env)  # type: ignore[arg-type]
    return env
