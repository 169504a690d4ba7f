"""Reinforcement-learning agents; every one is a Stable-Baselines3 algorithm."""

from rlgen.agents.a2c import A2C
from rlgen.agents.g2n import G2AC, G2PPO
from rlgen.agents.ppo import PPO
from rlgen.agents.registry import AGENTS

__all__ = ["A2C", "AGENTS", "G2AC", "G2PPO", "PPO"]
