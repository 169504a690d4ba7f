"""The traversal sheet that a run leaves: what every coordinate of its latent does."""

from pathlib import Path

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.vec_env import VecEnv

from rlgen.agents.disentangled.extractor import acting_extractor
from rlgen.agents.disentangled.traverse import traversal_sheet
from rlgen.core.errors import UserError


def sample_states(model: BaseAlgorithm, env: VecEnv, count: int) -> torch.Tensor:
    """Lets an agent act and returns the states it came to, as its model takes them.

    Args:
        model: An agent with a ``DisentangledExtractor``.
        env: Its observations are normalised as the agent knows them; it is reset first.
        count: How many states, 1 or more.

    Returns:
        (count, *observation_shape), float; images within 0..1.

    Raises:
        UserError: If the agent has no such extractor, or the count is below 1.
    """
    if count < 1:
        raise UserError(f"count={count} is too small; type 1 or more")
    extractor = acting_extractor(model.policy)
    observations, seen = env.reset(), []
    for _ in range(-(-count // env.num_envs)):
        tensor, _ = model.policy.obs_to_tensor(observations)  # type: ignore[arg-type]
        prepared = preprocess_obs(
            tensor,
            model.policy.observation_space,
            normalize_images=model.policy.normalize_images,
        )
        assert isinstance(prepared, torch.Tensor)
        seen.append(extractor.to_model(prepared))
        actions, _ = model.predict(observations)  # type: ignore[arg-type]
        observations, _, _, _ = env.step(np.asarray(actions))
    return torch.cat(seen)[:count]


def draw_traversal(model: BaseAlgorithm, env: VecEnv, path: Path, *, states: int = 128) -> None:
    """Writes the traversal sheet of an agent's model.

    Args:
        model: An agent with a ``DisentangledExtractor``.
        env: Where it acts, to come to states.
        path: The .png file; its folder is made. It is complete or absent.
        states: Over how many states effects of vectors are averaged; a picture is traversed from
            the last of them.
    """
    observations = sample_states(model, env, states)
    sheet = traversal_sheet(acting_extractor(model.policy).vae, observations.flip(0))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    sheet.save(temporary, "PNG")
    temporary.replace(path)
