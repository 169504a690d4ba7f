"""Many design environments at once: in this process with one cache, or in processes of their own.

Worker processes are spawned, not forked: after the parent has used the geometry kernel, forked
workers gain nothing. Only observations and small texts cross the border between processes.
"""

import os
from functools import partial
from typing import Any

from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from rlgen.core.errors import UserError, closest
from rlgen.envs.design.appraisal import Cache
from rlgen.envs.design.env import DesignEnv

MODES = ("sync", "async")
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TBB_NUM_THREADS")


def design_vector(
    num_envs: int = 1, *, mode: str = "sync", pin: bool = False, **kwargs: Any
) -> VectorEnv:
    """Builds a vector of design environments, which begin new episodes in the step that ends one.

    Args:
        num_envs: How many, at least 1.
        mode: ``sync``: one after the other in this process, sharing what is known of designs;
            ``async``: a spawned process each, with one thread.
        pin: Bind each process of ``async`` to one core, where the system can.
        **kwargs: Of :class:`DesignEnv`.

    Raises:
        UserError: If an argument does not fit.
    """
    if mode not in MODES:
        raise UserError(f"mode={mode!r} is unknown; {closest(str(mode), MODES)}")
    if num_envs < 1:
        raise UserError(f"num_envs={num_envs} is too small; type 1 or more")
    same_step = AutoresetMode.SAME_STEP
    if mode == "sync":
        cache = kwargs.pop("cache", None) or Cache()
        fns = [partial(DesignEnv, cache=cache, **kwargs) for _ in range(num_envs)]
        return SyncVectorEnv(fns, copy=False, autoreset_mode=same_step)
    if kwargs.pop("cache", None) is not None:
        raise UserError("cache is not shared between processes; leave it out, or type mode='sync'")
    DesignEnv(**kwargs).close()  # a mistake is told here, in one line, not by every process
    cores = sorted(os.sched_getaffinity(0)) if pin and hasattr(os, "sched_getaffinity") else []
    workers = [
        partial(_worker_env, cores[i % len(cores)] if cores else None, kwargs)
        for i in range(num_envs)
    ]
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))  # read when a worker loads its libraries
    try:
        return AsyncVectorEnv(workers, copy=False, context="spawn", autoreset_mode=same_step)
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


def _worker_env(core: int | None, kwargs: dict[str, Any]) -> DesignEnv:
    """Makes the environment of a process."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    return DesignEnv(**kwargs)
