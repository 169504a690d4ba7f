"""Gymnasium environments by name, and the road from any vector environment into SB3."""

from rlgen.envs.make import make_vec
from rlgen.envs.names import EnvName, resolve_env
from rlgen.envs.vector import GymVecEnv

__all__ = ["EnvName", "GymVecEnv", "make_vec", "resolve_env"]
