"""A trained agent as something that designs: for searches that know no agents themselves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rlgen.core.errors import UserError
from rlgen.core.run import CONFIG, find_run, read_config
from rlgen.envs import resolve_env

Policy = Callable[[Any, Any, bool], Any]


def load_policy(text: str, root: Path, seed: int) -> tuple[Policy, dict[str, Any], str]:
    """Loads an agent that was trained to design.

    Args:
        text: A run folder, or ``latest``.
        root: Folder of all runs.
        seed: Of its sampling.

    Returns:
        What chooses actions for (observation, mask (16, 3), whether an episode begins), the
        arguments of the environment that it needs, and its name.

    Raises:
        UserError: There is no such agent, or it was not trained to design.
    """
    path = Path(text)
    if path.is_file():  # SB3's files hold pickled code; a run's checkpoints do not
        if not (path.parent / CONFIG).exists():
            raise UserError(f"{path} is a file; name the run folder that trained the agent")
        path = path.parent
    model, kwargs, name = _from_run(find_run(str(path), root))
    model.set_random_seed(seed)
    return _playing(model), kwargs, name


def _from_run(folder: Path) -> tuple[Any, dict[str, Any], str]:
    from rlgen.agents.build import build_agent, build_env
    from rlgen.agents.session import load_trained

    config = read_config(folder)
    if "agent" not in config or resolve_env(config["env"]).family != "design":
        raise UserError(f"{folder} is no agent that designs; train one: env=Vessel")
    env = build_env(config, training=False)
    model = build_agent(config, env)
    load_trained(folder, model)
    given = dict(config["env_kwargs"])
    kwargs = {k: given[k] for k in ("observation", "encoding", "goal", "reward") if k in given}
    kwargs["mask_in_observation"] = "action_mask" in _parts(model.observation_space)
    if "desired_goal" in _parts(model.observation_space):
        kwargs["goal"] = True
    return model, kwargs, f"{config['agent']['name']} {folder.name}"


def _parts(space: Any) -> Any:
    return getattr(space, "spaces", {})


def _playing(model: Any) -> Policy:
    """Returns an agent as a function; one with memory keeps it between calls."""
    from rlgen.envs.design.shape.operations import BINS, N_PARAMETERS

    masked = "Maskable" in type(model).__name__
    normalizer = model.get_vec_normalize_env()
    bins = np.ones(N_PARAMETERS * BINS, dtype=bool)
    memory: list[Any] = [None]

    def play(observation: Any, mask: Any, first: bool) -> Any:
        if normalizer is not None:
            observation = normalizer.normalize_obs(observation)
        more = {}
        if masked:
            more["action_masks"] = np.concatenate([mask.any(1), mask.any(0), bins])
        state = None if first else memory[0]
        start = np.array([first])
        action, memory[0] = model.predict(observation, state, start, **more)
        return action

    return play
