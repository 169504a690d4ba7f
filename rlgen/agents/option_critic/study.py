"""What a trained agent's options do: steps recorded from it, the nine indicators, and pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv

from rlgen.agents.option_critic.drawings import (
    draw_distance_matrix,
    draw_option_map,
    draw_timeline,
)
from rlgen.agents.option_critic.indicators import (
    OptionRecord,
    cluster_states,
    restriction_test,
    summarize,
    tables,
)
from rlgen.core.errors import UserError


def record_options(
    model: BaseAlgorithm,
    env: VecEnv,
    steps: int = 10_000,
    *,
    deterministic: bool = False,
    seed: int = 0,
) -> OptionRecord:
    """Plays with an agent and records what its options do.

    States are numbered where the environment numbers them; else they are 64 clusters of what the
    policy's heads read.

    Args:
        model: An agent whose policy has ``option_outputs`` and ``enter``.
        env: Where it plays, with raw rewards.
        steps: Environment steps, at least; whole rounds of all environments are played.
        deterministic: Take the most probable action, option and termination.
        seed: Of the clusters.

    Raises:
        UserError: If the agent has no options.
    """
    policy: Any = model.policy
    _check_options(model)
    rows: dict[str, list[Any]] = {name: [] for name in ("options", "actions", "rewards")}
    rows |= {name: [] for name in ("starts", "terminated", "parameters", "beta", "q")}
    rows |= {name: [] for name in ("option_probs", "states")}
    numbered = isinstance(env.observation_space, spaces.Discrete)
    observations: Any = env.reset()
    state, starts = None, np.ones(env.num_envs, dtype=bool)
    for _ in range(-(-steps // env.num_envs)):
        tensor, _ = policy.obs_to_tensor(observations)
        with torch.no_grad():
            outputs = policy.option_outputs(tensor)
        actions, after, terminated = policy.act(outputs, state, starts, deterministic)
        rows["starts"].append(starts)
        rows["terminated"].append(terminated)
        rows["options"].append(after[0])
        rows["actions"].append(actions)
        rows["parameters"].append(outputs.parameters.cpu().numpy())
        rows["beta"].append(outputs.beta.cpu().numpy())
        rows["q"].append(outputs.values.cpu().numpy())
        rows["option_probs"].append(outputs.option_log_probs.exp().cpu().numpy())
        rows["states"].append(observations if numbered else outputs.latent_pi.cpu().numpy())
        observations, rewards, starts, _ = env.step(policy.within_bounds(actions))
        rows["rewards"].append(rewards)
        state = after
    stacked = {name: np.stack(values) for name, values in rows.items()}
    states = stacked.pop("states")
    if not numbered:
        flat = states.reshape(-1, states.shape[-1]).astype(np.float32)
        clusters = cluster_states(flat, generator=np.random.default_rng(seed))
        states = clusters.reshape(states.shape[:2])
    log_std = getattr(policy, "log_std", None)
    return OptionRecord(
        states=states,
        log_std=None if log_std is None else log_std.detach().cpu().numpy(),
        **stacked,
    )


def restricted_returns(
    model: BaseAlgorithm, env: VecEnv, episodes: int, *, deterministic: bool = False
) -> dict[str, Any]:
    """Plays with one option alone, and without each one; see :func:`restriction_test`."""
    policy: Any = model.policy
    _check_options(model)

    def play(allowed: npt.NDArray[np.bool_]) -> list[float]:
        policy.allowed = None if allowed.all() else allowed
        returns, _ = evaluate_policy(
            model, env, episodes, deterministic=deterministic, return_episode_rewards=True
        )
        return returns  # type: ignore[return-value]

    try:
        return restriction_test(play, policy.n_options)
    finally:
        policy.allowed = None


def study_options(
    record: OptionRecord, folder: Path, *, rooms: bool, seed: int = 0
) -> tuple[dict[str, float], dict[str, npt.NDArray[np.float64]], list[Path]]:
    """Computes the indicators of a record and draws it.

    Args:
        record: The steps.
        folder: Where the pictures go.
        rooms: Whether the states are the cells of Four Rooms, which gives a map.
        seed: Of the Monte-Carlo indicators.

    Returns:
        Indicators by name, those of each option or pair by name, and the pictures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    of_options = tables(record, generator)
    pictures = [
        draw_distance_matrix(of_options["hellinger"], folder / "distances.png"),
        draw_timeline(record, folder / "timeline.png"),
    ]
    if rooms:
        pictures.append(draw_option_map(record, folder / "map.png"))
    return summarize(record, generator), of_options, pictures


def _check_options(model: BaseAlgorithm) -> None:
    if not hasattr(model.policy, "option_outputs"):
        raise UserError(
            f"{type(model).__name__} has no options; indicators=true is for agent=a2oc, ppoc and "
            "option_critic"
        )
