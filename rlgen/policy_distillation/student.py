"""The student: a plain SB3 model with a small actor, built from a run's configuration.

Its class is ``stable_baselines3.PPO`` or ``A2C``, so that all that takes an SB3 model takes it. The
value head is one linear layer on the features and is not trained: distillation teaches to act.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gymnasium import spaces
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticCnnPolicy, ActorCriticPolicy
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.vec_env import VecEnv

from rlgen.agents.build import build_env
from rlgen.agents.session import load_trained
from rlgen.core.errors import UserError
from rlgen.core.run import read_config
from rlgen.nets import MinAtarCNN

PREFIX = "distilled_"  # of the name in the configuration's agent section
CLASSES: dict[str, type[OnPolicyAlgorithm]] = {"ppo": PPO, "a2c": A2C}
ROLLOUT = 128  # steps of a rollout, should someone train the student further


def is_picture(space: spaces.Space) -> bool:
    """Tells whether observations are pictures: SB3's kind, or MinAtar's binary ones."""
    binary = isinstance(space, spaces.Box) and len(space.shape) == 3 and space.dtype == bool
    return binary or is_image_space(space)


def policy_of(
    space: spaces.Space, widths: Sequence[int]
) -> tuple[type[ActorCriticPolicy], dict[str, Any]]:
    """Returns the policy class of a student and its arguments.

    Args:
        space: Of its observations.
        widths: Of its hidden layers. With pictures the first one ends the convolutional network
            (NatureCNN, or that of MinAtar).

    Raises:
        UserError: If SB3 has no plain policy for the observations.
    """
    if isinstance(space, (spaces.Dict, spaces.Tuple)):
        raise UserError(
            f"distiller=policy cannot use {type(space).__name__} observations; flatten them, for "
            "example by gymnasium.wrappers.FlattenObservation, and train the teacher on that"
        )
    if not is_picture(space):
        return ActorCriticPolicy, {"net_arch": {"pi": list(widths), "vf": []}}
    first, *rest = widths
    kwargs = {
        "net_arch": {"pi": rest, "vf": []},
        "features_extractor_kwargs": {"features_dim": first},
    }
    if is_image_space(space):
        return ActorCriticCnnPolicy, kwargs
    return ActorCriticPolicy, {**kwargs, "features_extractor_class": MinAtarCNN}


def build_student(config: Mapping[str, Any], env: VecEnv) -> OnPolicyAlgorithm:
    """Builds the untrained student of a run on an environment.

    Args:
        config: Of a run of ``distiller=policy``.
        env: The environment, normalised where the teacher's is.

    Raises:
        UserError: If the configuration is of no such run, or the device is not there.
    """
    options = config["agent"]
    name, widths = options["name"].removeprefix(PREFIX), options.get("widths")
    if name not in CLASSES or not widths:
        raise UserError("config.yaml is not that of a run of distiller=policy")
    policy, kwargs = policy_of(env.observation_space, widths)
    device = config["device"]
    if device == "auto" and not is_picture(env.observation_space):
        device = "cpu"
    try:
        return CLASSES[name](  # type: ignore[call-arg]
            policy,
            env,
            n_steps=ROLLOUT,
            gamma=options["gamma"],
            policy_kwargs=kwargs,
            seed=config["seed"],
            device=device,
        )
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(f"no student of {config['env']}: {reason}") from None


def load_student(run: str | Path, n_envs: int = 1) -> OnPolicyAlgorithm:
    """Returns the trained student of a run, on its environment with the saved normalisation.

    Files are read as safetensors and JSON: nothing in them is executed.

    Args:
        run: The run folder.
        n_envs: Copies of the environment.

    Raises:
        UserError: If the run has no student.
    """
    folder = Path(run)
    config = read_config(folder)
    if not str(config.get("agent", {}).get("name", "")).startswith(PREFIX):
        raise UserError(f"{folder} is no run of distiller=policy")
    model = build_student(config, build_env(config, training=False, n_envs=n_envs))
    load_trained(folder, model, "last")
    return model
