"""Everything that training an agent changes, as tensors and plain values, and back.

Not saved, because the emulators do not expose it: the inside of running episodes. After a restore
all environments begin new ones.
"""

import random
from collections import deque
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecNormalize

from rlgen.core.errors import UserError
from rlgen.core.optimizer_state import optimizer_state, restore_optimizer
from rlgen.core.seeding import generator_state, restore_generator

Tensors = dict[str, dict[str, torch.Tensor]]
_COUNTERS = ("num_timesteps", "_n_updates", "_episode_num", "_current_progress_remaining")


def training_state(model: BaseAlgorithm, *, further: bool = True) -> tuple[Tensors, dict[str, Any]]:
    """Returns the state of an agent: named tensors by file, and JSON values.

    Args:
        model: The agent.
        further: Whether what only going on needs, a replay buffer, belongs to it.
    """
    optimizers = {
        name: optimizer_state(optimizer) for name, optimizer in _optimizers(model).items()
    }
    tensors: Tensors = {
        "policy": dict(model.policy.state_dict()),
        **{name: moments for name, (moments, _) in optimizers.items()},
        "random": _random_tensors(),
    }
    state: dict[str, Any] = {
        "algorithm": type(model).__name__,
        "counters": {name: getattr(model, name) for name in _COUNTERS},
        **{f"{name}_groups": groups for name, (_, groups) in optimizers.items()},
        "generators": {
            name: generator_state(generator)
            for name, generator in getattr(model, "generators", {}).items()
        },
        "python_random": list(random.getstate()[1]),
        "action_space_random": generator_state(model.action_space.np_random),
        "recent_episodes": [
            {key: episode[key] for key in ("r", "l", "t")} for episode in model.ep_info_buffer or []
        ],
    }
    if further and hasattr(model, "extra_state"):
        tensors["replay"], state["extra"] = model.extra_state()
    evolution = getattr(model, "evolution", None)
    if evolution is not None:
        counters, arrays = evolution.state()
        state["evolution"] = counters
        tensors["evolution"] = {name: torch.from_numpy(a) for name, a in arrays.items()}
    normalizer = model.get_vec_normalize_env()
    if normalizer is not None:
        tensors["normalizer"] = _normalizer_tensors(normalizer)
    return tensors, state


def restore_training_state(model: BaseAlgorithm, tensors: Tensors, state: dict[str, Any]) -> None:
    """Puts a state from :func:`training_state` into an agent built from the same configuration.

    Raises:
        UserError: If it belongs to another algorithm or to networks of another shape.
    """
    if state["algorithm"] != type(model).__name__:
        raise UserError(
            f"the checkpoint is of {state['algorithm']}, the agent is {type(model).__name__}; "
            "leave out agent= when resuming"
        )
    restore_policy(model, tensors)
    for name, optimizer in _optimizers(model).items():
        restore_optimizer(optimizer, tensors[name], state[f"{name}_groups"])
    for name, value in state["counters"].items():
        setattr(model, name, value)
    for name, value in state["generators"].items():
        restore_generator(model.generators[name], value)  # type: ignore[attr-defined]
    _restore_random(model, tensors["random"], state)
    if "extra" in state:
        model.restore_extra(tensors["replay"], state["extra"])  # type: ignore[attr-defined]
    if "evolution" in state:
        arrays = {name: tensor.numpy() for name, tensor in tensors["evolution"].items()}
        model.evolution.restore(state["evolution"], arrays)  # type: ignore[attr-defined]
        model.publish_gates()  # type: ignore[attr-defined]


def _optimizers(model: BaseAlgorithm) -> dict[str, torch.optim.Optimizer]:
    """Returns an agent's optimisers: SB3's, and that of terminations; tables have none."""
    names = ("optimizer", "option_optimizer")
    found = {name: getattr(model.policy, name, None) for name in names}
    return {name: optimizer for name, optimizer in found.items() if optimizer is not None}


def restore_policy(model: BaseAlgorithm, tensors: Tensors) -> None:
    """Puts only the weights, gates and normalisation of a state into an agent.

    Raises:
        UserError: If they are of another shape.
    """
    try:
        model.policy.load_state_dict(tensors["policy"])
    except RuntimeError as error:
        reason = str(error).split("\n")[1].strip()
        raise UserError(f"the checkpoint does not fit the agent: {reason}") from None
    normalizer = model.get_vec_normalize_env()
    if normalizer is not None and "normalizer" in tensors:
        _restore_normalizer(normalizer, tensors["normalizer"])


def _random_tensors() -> dict[str, torch.Tensor]:
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002  (SB3 draws from it)
    tensors = {
        "torch": torch.get_rng_state(),
        "numpy_key": torch.from_numpy(numpy_state["state"]["key"].astype(np.int64)),
        "numpy_pos": torch.tensor(numpy_state["state"]["pos"]),
    }
    if torch.cuda.is_available():
        tensors["cuda"] = torch.cuda.get_rng_state()
    return tensors


def _restore_random(
    model: BaseAlgorithm, tensors: dict[str, torch.Tensor], state: dict[str, Any]
) -> None:
    torch.set_rng_state(tensors["torch"])
    if "cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["cuda"])
    numpy_state: Any = np.random.get_state(legacy=False)  # noqa: NPY002
    numpy_state["state"] = {
        "key": tensors["numpy_key"].numpy().astype(np.uint32),
        "pos": int(tensors["numpy_pos"]),
    }
    np.random.set_state(numpy_state)  # noqa: NPY002
    version, _, gauss = random.getstate()
    random.setstate((version, tuple(state["python_random"]), gauss))
    restore_generator(model.action_space.np_random, state["action_space_random"])
    model.ep_info_buffer = deque(state["recent_episodes"], maxlen=model._stats_window_size)
    model.ep_success_buffer = deque(maxlen=model._stats_window_size)


def _normalizer_tensors(normalizer: VecNormalize) -> dict[str, torch.Tensor]:
    tensors = {}
    for name in ("obs_rms", "ret_rms"):
        moments: Any = getattr(normalizer, name)
        for part in ("mean", "var", "count"):
            tensors[f"{name}.{part}"] = torch.as_tensor(
                np.asarray(getattr(moments, part), dtype=np.float64)
            )
    return tensors


def _restore_normalizer(normalizer: VecNormalize, tensors: dict[str, torch.Tensor]) -> None:
    for name in ("obs_rms", "ret_rms"):
        moments: Any = getattr(normalizer, name)
        moments.mean = tensors[f"{name}.mean"].numpy().copy()
        moments.var = tensors[f"{name}.var"].numpy().copy()
        moments.count = float(tensors[f"{name}.count"])
