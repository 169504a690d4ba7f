"""Where teachers come from: a trained run of an agent, or a short one that is made first."""

import shlex
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from rlgen.agents.build import build_agent, build_env
from rlgen.agents.session import TrainingSession
from rlgen.agents.state import Tensors, restore_policy
from rlgen.core.checkpoint import list_checkpoints, readable
from rlgen.core.cli import tell
from rlgen.core.compose import to_yaml
from rlgen.core.errors import UserError
from rlgen.core.interrupt import StopSignal
from rlgen.core.run import CONFIG, write_text
from rlgen.policy_distillation.student import build_student

TEACHER = "teacher"  # folder of a short teacher in the run of its student


@dataclass
class LoadedTeacher:
    """A trained agent.

    Attributes:
        model: The algorithm, on an environment of its own.
        config: Of its run.
        step: Environment steps it was trained for.
        population: Chromosomes of G2N, (M, d), or None.
        normalizer: Statistics of its observations, as its checkpoint holds them, or None.
    """

    model: BaseAlgorithm
    config: dict[str, Any]
    step: int
    population: npt.NDArray[np.uint8] | None
    normalizer: dict[str, Any] | None


def build_teacher(config: Mapping[str, Any], env: VecEnv) -> BaseAlgorithm:
    """Builds the untrained agent of a configuration; students can teach too."""
    return (build_student if "distiller" in config else build_agent)(dict(config), env)


def load_teacher(
    folder: Path, config: dict[str, Any], model: BaseAlgorithm, which: str
) -> LoadedTeacher:
    """Puts a run's weights into an agent that was built from its configuration.

    Args:
        folder: The run.
        config: Its configuration.
        model: The agent.
        which: ``best`` by evaluation, where there is one, or ``last``.

    Raises:
        UserError: If there is no readable checkpoint, or it fits another agent.
    """
    saved = list_checkpoints(folder / "checkpoints")
    if which == "best":
        saved += list_checkpoints(folder / "best")
    for tensors, state in readable(saved, tell):
        restore_policy(model, tensors)
        step = int(state["counters"]["num_timesteps"])
        return LoadedTeacher(model, config, step, _population(tensors), tensors.get("normalizer"))
    raise UserError(f"teacher={folder} has no readable checkpoint yet; train it: resume={folder}")


def _population(tensors: Tensors) -> npt.NDArray[np.uint8] | None:
    return tensors["evolution"]["population"].numpy() if "evolution" in tensors else None


def train_short_teacher(run: Path, config: dict[str, Any]) -> Path:
    """Trains an agent inside a run, unless one was trained there; an unfinished one begins anew.

    Args:
        run: The run of the student.
        config: Of the agent.

    Returns:
        The agent's run folder.

    Raises:
        KeyboardInterrupt: If the user stops it.
    """
    folder = run / TEACHER
    if (folder / CONFIG).exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tell(f"training a short teacher: {config['agent']['name']} on {config['env']}, in {folder}")
    env, begin = build_env(config), time.monotonic()
    try:
        session = TrainingSession(folder, config, env, build_agent(config, env))
        with StopSignal() as stop:
            session.learn(stop)
            if stop.stopped:
                tell(f"go on with: python -m rlgen.train resume={shlex.quote(str(run))}")
                raise KeyboardInterrupt
        session.finish("trained first by distiller=policy", time.monotonic() - begin)
    finally:
        env.close()
    # Last: it makes the folder a run, and tells that it is whole. The student's is written again
    # behind it, because the newest run is the one that "latest" means.
    write_text(folder / CONFIG, to_yaml(config))
    write_text(run / CONFIG, (run / CONFIG).read_text(encoding="utf-8"))
    return folder
