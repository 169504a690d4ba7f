"""Gymnasium environments by name, and the road from any vector environment into SB3.

Importing this package registers ``rlgen/FourRooms-v0``, ``rlgen/Sprites-v0`` and the design tasks
(``rlgen/Vessel-v0``, ...) with Gymnasium; SB3 and torch are imported when a name that needs them is
used.
"""

from typing import TYPE_CHECKING, Any

import gymnasium as gym

if TYPE_CHECKING:
    from rlgen.envs.make import make_vec
    from rlgen.envs.names import EnvName, resolve_env
    from rlgen.envs.vector import GymVecEnv

__all__ = ["EnvName", "GymVecEnv", "make_vec", "resolve_env"]

_HOMES = {"EnvName": "names", "GymVecEnv": "vector", "make_vec": "make", "resolve_env": "names"}
DESIGN_TASKS = ("Mast", "Vessel", "Stool", "NestCup", "Reach", "PrintCup", "MultiGoal")

gym.register(
    id="rlgen/FourRooms-v0",
    entry_point="rlgen.envs.four_rooms:FourRoomsEnv",
    vector_entry_point="rlgen.envs.four_rooms:FourRoomsVectorEnv",
    max_episode_steps=1000,
)
gym.register(
    id="rlgen/Sprites-v0",
    entry_point="rlgen.envs.sprites:SpritesEnv",
    vector_entry_point="rlgen.envs.sprites_vector:SpritesVectorEnv",
    max_episode_steps=30,
)
for _task in DESIGN_TASKS:
    gym.register(
        id=f"rlgen/{_task}-v0",
        entry_point="rlgen.envs.design.env:DesignEnv",
        vector_entry_point="rlgen.envs.design.vector:design_vector",
        kwargs={"task": _task},
    )


def __getattr__(name: str) -> Any:
    """Imports a public name at its first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
