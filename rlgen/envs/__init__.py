"""Gymnasium environments by name, and the road from any vector environment into SB3.

Importing this package registers ``rlgen/FourRooms-v0`` with Gymnasium.
"""

import gymnasium as gym

from rlgen.envs.make import make_vec
from rlgen.envs.names import EnvName, resolve_env
from rlgen.envs.vector import GymVecEnv

__all__ = ["EnvName", "GymVecEnv", "make_vec", "resolve_env"]

gym.register(
    id="rlgen/FourRooms-v0",
    entry_point="rlgen.envs.four_rooms:FourRoomsEnv",
    vector_entry_point="rlgen.envs.four_rooms:FourRoomsVectorEnv",
    max_episode_steps=1000,
)
