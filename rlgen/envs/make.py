"""One call from an environment's name to a vector environment that SB3 can train on."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from stable_baselines3.common.vec_env import VecEnv

from rlgen.core.errors import MissingExtraError, UserError
from rlgen.envs.atari import make_atari_vector
from rlgen.envs.names import EnvName, resolve_env
from rlgen.envs.vector import GymVecEnv

BACKENDS = ("auto", "native", "sync", "async", "sb3")
_EXTRA_BY_FAMILY = {
    "mujoco": "mujoco",
    "box2d": "box2d",
    "minatar": "minatar",
    "classic": "classic",
}


def make_vec(
    env: str,
    n_envs: int = 1,
    *,
    seed: int | None = None,
    backend: str = "auto",
    training: bool = True,
    render_mode: str | None = None,
    env_kwargs: dict[str, Any] | None = None,
) -> VecEnv:
    """Builds ``n_envs`` copies of an environment, ready for any SB3 algorithm.

    Atari runs on ale-py's native vector environment, our own on theirs; other environments are
    stepped one by one in this process. ``infos[i]["episode"]`` holds the raw return and length of
    each ended episode.

    Args:
        env: A name that :func:`rlgen.envs.resolve_env` understands.
        n_envs: Number of copies, at least 1.
        seed: Seed of the first copy; the others follow it.
        backend: ``native`` (Atari only), ``sync`` and ``async`` (Gymnasium's vectors), ``sb3``
            (SB3's own ``make_vec_env`` or ``make_atari_env``), or ``auto``: the fastest that fits.
        training: On Atari, clip the rewards and let a lost life end an episode for the learner.
        render_mode: Passed to the environment; Atari then leaves the native road.
        env_kwargs: Keyword arguments of the environment; on Atari's native road those of
            :func:`rlgen.envs.atari.make_atari_vector`.

    Raises:
        UserError: If the name, the number or the backend is not valid.
        MissingExtraError: If the environment needs an optional dependency.
    """
    if n_envs < 1:
        raise UserError(f"n_envs={n_envs} is too small; type n_envs=1 or more")
    if backend not in BACKENDS:
        raise UserError(f"backend={backend!r} is unknown; allowed: {', '.join(BACKENDS)}")
    name = resolve_env(env)
    kwargs = dict(env_kwargs or {})
    if backend == "native" and (name.family != "atari" or render_mode):
        raise UserError("backend=native exists for Atari without rendering; use backend=auto")
    try:
        vec = _build(name, n_envs, backend, training, render_mode, kwargs)
    except gym.error.DependencyNotInstalled as error:
        raise MissingExtraError(name.id, _EXTRA_BY_FAMILY.get(name.family, "dev")) from error
    except TypeError as error:
        if not kwargs:
            raise
        reason = str(error).split(" was raised from")[0]
        raise UserError(f"env_kwargs={kwargs} do not fit {name.id}: {reason}") from error
    vec.seed(None if seed is None else int(seed))
    return vec


def _build(
    name: EnvName,
    n_envs: int,
    backend: str,
    training: bool,
    render_mode: str | None,
    kwargs: dict[str, Any],
) -> VecEnv:
    if name.family == "atari":
        if backend in ("auto", "native") and not render_mode:
            vector = make_atari_vector(name.id, n_envs, training=training, **kwargs)
            return GymVecEnv(vector, clip_reward=training)
        return make_atari_sb3(name.id, n_envs, training, render_mode, kwargs)
    if render_mode:  # else not passed at all: not every environment takes it
        kwargs["render_mode"] = render_mode
    if backend == "sb3":
        from stable_baselines3.common.env_util import make_vec_env

        return make_vec_env(name.id, n_envs, env_kwargs=kwargs)
    return GymVecEnv(_gym_vector(name, n_envs, backend, kwargs))


def _gym_vector(name: EnvName, n_envs: int, backend: str, kwargs: dict[str, Any]) -> VectorEnv:
    def make() -> gym.Env:
        return gym.make(name.id, disable_env_checker=True, **kwargs)

    if name.family == "design":  # ours knows how to start processes and to share a cache
        kwargs["mode"] = "async" if backend == "async" else "sync"
        backend = "auto"
    if backend == "auto" and name.id.startswith("rlgen/"):  # ours end episodes as SB3 wants
        return gym.make_vec(name.id, n_envs, vectorization_mode="vector_entry_point", **kwargs)
    fns: list[Callable[[], gym.Env]] = [make for _ in range(n_envs)]
    if backend == "async":
        return AsyncVectorEnv(fns, copy=False, autoreset_mode=AutoresetMode.SAME_STEP)
    return SyncVectorEnv(fns, copy=False, autoreset_mode=AutoresetMode.SAME_STEP)


def make_atari_sb3(
    env_id: str,
    n_envs: int,
    training: bool,
    render_mode: str | None = None,
    env_kwargs: dict[str, Any] | None = None,
) -> VecEnv:
    """Builds Atari by SB3's ``make_atari_env`` and ``VecFrameStack``: the fallback road.

    Args:
        env_id: Such as ``ALE/Breakout-v5``; frame skip and sticky actions of the id are undone,
            as SB3's wrappers expect.
        n_envs: Number of environments.
        training: Clip the rewards and let a lost life end an episode.
        render_mode: Passed to the emulator.
        env_kwargs: Further keyword arguments of the emulator; ``max_frames`` is taken too, as on
            the native road.

    Returns:
        Observations uint8 (n_envs, 84, 84, 4); SB3 moves the channels to the front itself.
    """
    import ale_py
    from stable_baselines3.common.env_util import make_atari_env
    from stable_baselines3.common.vec_env import VecFrameStack

    gym.register_envs(ale_py)
    defaults = {"frameskip": 1, "repeat_action_probability": 0.0, "render_mode": render_mode}
    kwargs = dict(env_kwargs or {})
    if "max_frames" in kwargs:
        kwargs["max_num_frames_per_episode"] = kwargs.pop("max_frames")
    vec = make_atari_env(
        env_id,
        n_envs,
        wrapper_kwargs={"terminal_on_life_loss": training, "clip_reward": training},
        env_kwargs={**defaults, **kwargs},
    )
    return VecFrameStack(vec, n_stack=4)
