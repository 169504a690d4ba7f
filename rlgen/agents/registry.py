"""The table from agent names, as the command line takes them, to algorithm classes."""

from stable_baselines3.common.base_class import BaseAlgorithm

from rlgen.core.registry import Registry

AGENTS: Registry[type[BaseAlgorithm]] = Registry("agent")
