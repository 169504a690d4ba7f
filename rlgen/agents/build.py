"""From a configuration to an agent on its environment."""

from dataclasses import fields
from importlib import import_module
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.type_aliases import Schedule
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from rlgen.agents.options import GeneticOptions
from rlgen.agents.registry import AGENTS
from rlgen.core.errors import UserError
from rlgen.envs import make_vec, resolve_env
from rlgen.nets import DesignExtractor, MinAtarCNN

# Options that are not keyword arguments of the algorithm.
_OURS = {
    "name",
    "base",
    "policy",
    "net_arch",
    "normalize",
    "lr_schedule",
    "clip_schedule",
    "gate_layers",
}
_GENETIC = [f.name for f in fields(GeneticOptions) if f.name != "population_size"]
for _module in ("a2c", "ppo", "g2n", "option_critic", "disentangled"):  # each registers its agents
    import_module(f"rlgen.agents.{_module}")


def schedule(value: float, kind: str, option: str) -> float | Schedule:
    """Returns a constant, or a function of the remaining progress (1 at the start, 0 at the end).

    Raises:
        UserError: If the kind is unknown.
    """
    if kind == "constant":
        return value
    if kind == "linear":
        return lambda remaining: remaining * value
    raise UserError(f"{option}={kind!r} is unknown; allowed: constant, linear")


def build_env(
    config: dict[str, Any], *, training: bool = True, n_envs: int | None = None
) -> VecEnv:
    """Builds the vector environment of a configuration.

    Args:
        config: As the train command composes it.
        training: For learning, or for evaluation: no reward clipping, whole games, frozen
            statistics.
        n_envs: Number of environments, if not the configuration's.
    """
    env_kwargs = dict(config["env_kwargs"])
    family = resolve_env(config["env"]).family
    if family == "design" and config["agent"]["name"] == "maskable_ppo":
        env_kwargs.setdefault("mask_in_observation", True)  # scores and videos read it there
    seed = config["seed"] if training else config["seed"] + 10_000
    limit = None if training else config["eval_max_steps"]
    if limit is not None and family != "design":  # those end by themselves
        atari = family == "atari"
        env_kwargs |= {"max_frames": 4 * limit} if atari else {"max_episode_steps": limit}
    vec = make_vec(
        config["env"],
        n_envs or config["n_envs"],
        seed=seed,
        backend=config["backend"],
        training=training,
        env_kwargs=env_kwargs,
    )
    if config["agent"]["normalize"]:
        return VecNormalize(
            vec,
            training=training,
            norm_reward=training,
            clip_obs=5.0,
            gamma=config["agent"]["gamma"],
        )
    return vec


def build_agent(config: dict[str, Any], env: VecEnv) -> BaseAlgorithm:
    """Builds the algorithm of a configuration on an environment.

    Raises:
        UserError: If an option does not fit the agent or the environment.
    """
    options = dict(config["agent"])
    if options["name"] == "maskable_ppo":  # its library is an extra
        import_module("rlgen.agents.maskable")
    algorithm = AGENTS[options["name"]]
    kwargs = {key: value for key, value in options.items() if key not in _OURS}
    if "population_size" in options:
        kwargs["genetic_kwargs"] = {key: kwargs.pop(key) for key in _GENETIC}
        kwargs["gate_layers"] = tuple(options["gate_layers"])
    kwargs["learning_rate"] = schedule(
        options["learning_rate"], options["lr_schedule"], "agent.lr_schedule"
    )
    if "clip_range" in options:
        kwargs["clip_range"] = schedule(
            options["clip_range"], options["clip_schedule"], "agent.clip_schedule"
        )
    policy, policy_kwargs = _policy(options, env)
    _check_sizes(options, env.num_envs)
    try:
        return algorithm(  # type: ignore[call-arg]
            policy,
            env,
            policy_kwargs=policy_kwargs,
            seed=config["seed"],
            device=_device(config["device"], policy_kwargs, policy),
            precision=config["precision"],
            n_threads=config["threads"],
            **kwargs,
        )
    except (AssertionError, AttributeError, NotImplementedError, RuntimeError, ValueError) as error:
        # SB3 checks spaces and sizes by assertions whose text is meant for the user.
        reason = str(error).strip().split("\n")[0]
        raise UserError(
            f"agent={options['name']} cannot use env={config['env']}: {reason}"
        ) from None


def _policy(options: dict[str, Any], env: VecEnv) -> tuple[str, dict[str, Any]]:
    space = env.observation_space
    policy_kwargs: dict[str, Any] = {}
    if options["net_arch"] is not None:
        policy_kwargs["net_arch"] = list(options["net_arch"])
    if options["policy"] != "auto":
        return options["policy"], policy_kwargs
    if isinstance(space, spaces.Dict):
        if {"geometry", "scalars"} <= space.spaces.keys():
            policy_kwargs |= {"features_extractor_class": DesignExtractor}
        return "MultiInputPolicy", policy_kwargs
    if isinstance(space, spaces.Discrete) and options["base"] == "option_critic":
        return "TabularPolicy", policy_kwargs
    if is_image_space(space):
        return "CnnPolicy", policy_kwargs
    if space.shape is not None and len(space.shape) == 3 and space.dtype == bool:
        if "latent_dim" in options:  # the model has convolutions of its own
            return "CnnPolicy", policy_kwargs
        policy_kwargs |= {"features_extractor_class": MinAtarCNN}
        policy_kwargs.setdefault("net_arch", [])
    return "MlpPolicy", policy_kwargs


def _check_sizes(options: dict[str, Any], n_envs: int) -> None:
    for name in ("n_steps", "batch_size", "n_epochs"):
        if name in options and options[name] < 1:
            raise UserError(f"agent.{name}={options[name]} is too small; type 1 or more")
    rollouts = "batch_size" in options and "n_steps" in options
    if rollouts and (options["n_steps"] * n_envs) % options["batch_size"]:
        total = options["n_steps"] * n_envs
        raise UserError(
            f"agent.batch_size={options['batch_size']} does not divide a rollout of n_steps * "
            f"n_envs = {options['n_steps']} * {n_envs} = {total}; type a divisor of {total}"
        )


def _device(device: str, policy_kwargs: dict[str, Any], policy: str) -> str:
    """``auto``: the accelerator for convolutional networks, the CPU for small ones."""
    if device == "auto":
        small = policy == "MlpPolicy" and "features_extractor_class" not in policy_kwargs
        return "cpu" if small else "auto"
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError):
        raise UserError(f"device={device!r} is not there; type device=cpu or device=auto") from None
    return device
