"""Any Gymnasium vector environment as a Stable-Baselines3 ``VecEnv``.

Gymnasium and SB3 disagree about what happens when an episode ends. SB3 wants, in the same step,
the first observation of the next episode, with the last one of the old in
``infos[i]["terminal_observation"]``. Gymnasium vectors do this in the mode ``SAME_STEP``; in
``NEXT_STEP`` and ``DISABLED`` the ended sub-environments are reset here, alone, at once. A
backend that cannot reset a part of itself is refused: the usual way round it (one ignored action
after each episode) puts a transition into the learner's data that never happened.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env.base_vec_env import (
    VecEnv,
    VecEnvIndices,
    VecEnvObs,
    VecEnvStepReturn,
)

from rlgen.core.errors import UserError

Obs = Any  # an array, or a dictionary or tuple of arrays, with the environments on axis 0


class GymVecEnv(VecEnv):
    """A Gymnasium vector environment behind SB3's ``VecEnv`` interface.

    It also does the work of SB3's ``Monitor``: ``infos[i]["episode"]`` holds return ``r`` (of the
    raw rewards), length ``l`` and time ``t`` in seconds at the end of each episode, and
    ``env_is_wrapped(Monitor)`` is true.

    A step on which a sub-environment reports ``life_lost`` in its info ends an episode for the
    learner (``dones[i]``) but not for these statistics: the game goes on.

    Args:
        env: The vector environment; it is closed with this object.
        clip_reward: Hand the learner the sign of each reward, as DeepMind did on Atari. Episode
            returns stay unclipped.
        partial_reset: Whether ``env.reset(options={"reset_mask": mask})`` resets only the masked
            sub-environments. None: known to be true of Gymnasium's sync and async vectors and of
            ale-py's, taken to be false of others.

    Raises:
        UserError: If the backend neither resets in the same step nor in part.
    """

    def __init__(
        self, env: VectorEnv, *, clip_reward: bool = False, partial_reset: bool | None = None
    ) -> None:
        self.env = env
        self.clip_reward = clip_reward
        self.autoreset_mode = AutoresetMode(
            env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        )
        if partial_reset is None:
            partial_reset = _resets_in_part(env.unwrapped)
        if self.autoreset_mode is not AutoresetMode.SAME_STEP and not partial_reset:
            raise UserError(
                f"{type(env.unwrapped).__name__} resets its environments in mode "
                f"{self.autoreset_mode.name} and cannot reset some of them alone, which SB3 needs; "
                "build it with autoreset_mode=AutoresetMode.SAME_STEP"
            )
        # Buffers that the backend overwrites at its next step must not reach the learner.
        self._copy = not getattr(env.unwrapped, "copy", True)
        self._actions: npt.NDArray[Any] = np.zeros(0)
        self.episode_returns = np.zeros(env.num_envs)
        self.episode_lengths = np.zeros(env.num_envs, dtype=np.int64)
        self._start = time.time()
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> VecEnvObs:
        """Resets all sub-environments, with the seeds and options set before.

        Returns:
            Observations, environments on axis 0.

        Raises:
            UserError: If options differ between sub-environments, which vectors do not support.
        """
        if any(options != self._options[0] for options in self._options):
            raise UserError("a Gymnasium vector takes one set of reset options for all of it")
        seed, options = self._seeds[0], self._options[0] or None
        observations, infos = self.env.reset(seed=seed, options=options)
        self.reset_infos = _per_env(infos, self.num_envs)
        self._reset_seeds()
        self._reset_options()
        self.episode_returns[:] = 0
        self.episode_lengths[:] = 0
        return self._own(observations)

    def step_async(self, actions: npt.NDArray[Any]) -> None:
        """Takes the actions of the next step, environments on axis 0."""
        self._actions = actions

    def step_wait(self) -> VecEnvStepReturn:
        """Steps all sub-environments.

        Returns:
            Observations (of the new episode where one ended), float32 rewards, booleans that tell
            where an episode ended, one info dictionary per sub-environment.
        """
        observations, rewards, terminated, truncated, vector_info = self.env.step(self._actions)
        self.episode_returns += rewards
        self.episode_lengths += 1
        learner_rewards = np.asarray(np.sign(rewards) if self.clip_reward else rewards, np.float32)
        dones = np.logical_or(terminated, truncated)
        final_obs = vector_info.pop("final_obs", None)
        final_info = vector_info.pop("final_info", {})
        for key in ("_final_obs", "_final_info"):
            vector_info.pop(key, None)
        infos = _per_env(vector_info, self.num_envs)
        observations = self._own(observations)
        if dones.any():
            ended = [int(i) for i in np.flatnonzero(dones)]
            if self.autoreset_mode is AutoresetMode.SAME_STEP:
                fresh = infos  # what the step returned describes the new episodes
                infos = [*infos]
                last = _per_env(final_info, self.num_envs)
                for i in ended:
                    infos[i] = {**last[i]} if final_info else {**fresh[i]}
                terminal = [_row(final_obs, i) for i in ended]
            else:
                terminal = [_row(observations, i, copy=True) for i in ended]
                observations, fresh = self._reset_ended(dones, observations)
            for i, last_obs in zip(ended, terminal, strict=True):
                self.reset_infos[i] = fresh[i]
                self._end_episode(i, infos[i], last_obs, bool(truncated[i] and not terminated[i]))
        return observations, learner_rewards, dones, infos

    def _reset_ended(self, dones: npt.NDArray[np.bool_], observations: Obs) -> tuple[Obs, list]:
        fresh, info = self.env.reset(options={"reset_mask": dones.copy()})
        return _where(dones, fresh, observations), _per_env(info, self.num_envs)

    def _end_episode(self, i: int, info: dict[str, Any], last_obs: Obs, cut: bool) -> None:
        info["terminal_observation"] = last_obs
        info["TimeLimit.truncated"] = cut
        if info.get("life_lost", False):
            return
        info["episode"] = {
            "r": round(float(self.episode_returns[i]), 6),
            "l": int(self.episode_lengths[i]),
            "t": round(time.time() - self._start, 6),
        }
        self.episode_returns[i] = 0
        self.episode_lengths[i] = 0

    def _own(self, observations: Obs) -> Obs:
        return _map(np.copy, observations) if self._copy else observations

    def close(self) -> None:
        """Closes the vector environment."""
        self.env.close()

    def get_images(self) -> list[npt.NDArray[np.uint8] | None]:
        """Returns one RGB picture per sub-environment, or None for each where none is drawn."""
        frames = self.env.render() if self.render_mode == "rgb_array" else None
        return [None] * self.num_envs if frames is None else list(frames)  # type: ignore[arg-type]

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """Returns an attribute of sub-environments.

        Raises:
            AttributeError: If they have none of that name, or live where Python cannot look.
        """
        chosen = list(self._get_indices(indices))
        if attr_name == "render_mode":
            return [self.env.render_mode for _ in chosen]
        get_attr = self._backend("get_attr", attr_name)
        self._refuse_missing(attr_name)
        values = get_attr(attr_name)
        return [values[i] for i in chosen]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Sets an attribute of sub-environments.

        Raises:
            AttributeError: If the backend does not let Python at its sub-environments.
        """
        set_attr = self._backend("set_attr", attr_name)
        chosen = set(self._get_indices(indices))
        values = [value] * self.num_envs  # a list or tuple would be dealt out to the environments
        if len(chosen) < self.num_envs:
            old = self.get_attr(attr_name)
            values = [value if i in chosen else old[i] for i in range(self.num_envs)]
        set_attr(attr_name, values)

    def env_method(
        self,
        method_name: str,
        *method_args: Any,
        indices: VecEnvIndices = None,
        **method_kwargs: Any,
    ) -> list[Any]:
        """Calls a method of sub-environments and returns what each returned.

        Raises:
            AttributeError: If the backend does not let Python at its sub-environments, or cannot
                call it on a part of them.
        """
        chosen = list(self._get_indices(indices))
        env = self.env.unwrapped
        if isinstance(env, SyncVectorEnv):
            return [
                env.envs[i].get_wrapper_attr(method_name)(*method_args, **method_kwargs)
                for i in chosen
            ]
        call = self._backend("call", method_name)
        self._refuse_missing(method_name)
        if len(chosen) != self.num_envs:
            raise AttributeError(
                f"{type(env).__name__} calls {method_name!r} on all environments or on none; "
                "leave out indices, or use SyncVectorEnv"
            )
        return list(call(method_name, *method_args, **method_kwargs))

    def env_is_wrapped(
        self, wrapper_class: type[gym.Wrapper], indices: VecEnvIndices = None
    ) -> list[bool]:
        """Tells for each sub-environment whether a wrapper is on it (``Monitor`` always is)."""
        chosen = list(self._get_indices(indices))
        env = self.env.unwrapped
        if issubclass(wrapper_class, Monitor):
            return [True for _ in chosen]
        if not isinstance(env, SyncVectorEnv):
            return [False for _ in chosen]
        return [_is_wrapped(env.envs[i], wrapper_class) for i in chosen]

    def _refuse_missing(self, name: str) -> None:
        """An async vector would shut its workers down over a missing attribute."""
        env = self.env.unwrapped
        if isinstance(env, AsyncVectorEnv) and not all(env.call("has_wrapper_attr", name)):
            raise AttributeError(f"the environments of {type(env).__name__} have no {name!r}")

    def _backend(self, method: str, wanted: str) -> Callable[..., Any]:
        env = self.env.unwrapped
        if not hasattr(env, method):
            raise AttributeError(
                f"{type(env).__name__} has no Python sub-environments, so {wanted!r} cannot be "
                'reached in them; use make_vec(..., backend="sync")'
            )
        return getattr(env, method)


def _resets_in_part(env: VectorEnv) -> bool:
    if isinstance(env, (SyncVectorEnv, AsyncVectorEnv)):
        return True
    return type(env).__module__ == "ale_py.vector_env"


def _is_wrapped(env: gym.Env, wrapper_class: type[gym.Wrapper]) -> bool:
    while isinstance(env, gym.Wrapper):
        if isinstance(env, wrapper_class):
            return True
        env = env.env
    return False


def _per_env(info: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Splits Gymnasium's dictionary of arrays into one dictionary per sub-environment.

    A key ``k`` goes only where the mask ``_k`` is true; without a mask it goes everywhere.
    """
    infos: list[dict[str, Any]] = [{} for _ in range(count)]
    for key, values in info.items():
        if key.startswith("_") and key[1:] in info:
            continue
        mask = info.get("_" + key)
        rows: Iterable[int] = range(count) if mask is None else np.flatnonzero(mask)
        if isinstance(values, dict):
            nested = _per_env(values, count)
            for i in rows:
                infos[i][key] = nested[i]
        elif np.ndim(values) == 0:  # one value for the whole vector
            for i in rows:
                infos[i][key] = values
        elif len(values) == count:
            for i in rows:
                infos[i][key] = values[i]
    return infos


def _map(function: Callable[[Any], Any], observations: Obs) -> Obs:
    if isinstance(observations, dict):
        return {key: _map(function, value) for key, value in observations.items()}
    if isinstance(observations, tuple):
        return tuple(_map(function, value) for value in observations)
    return function(observations)


def _row(observations: Obs, i: int, copy: bool = False) -> Obs:
    return _map(lambda part: np.array(part[i]) if copy else part[i], observations)


def _where(mask: npt.NDArray[np.bool_], new: Obs, old: Obs) -> Obs:
    if isinstance(old, dict):
        return {key: _where(mask, new[key], old[key]) for key in old}
    if isinstance(old, tuple):
        return tuple(_where(mask, n, o) for n, o in zip(new, old, strict=True))
    return np.where(mask.reshape(-1, *[1] * (old.ndim - 1)), new, old)
