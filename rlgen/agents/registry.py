"""The table from agent names, as the command line takes them, to algorithm classes."""

from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from rlgen.core.registry import Registry

AGENTS: Registry[type[OnPolicyAlgorithm]] = Registry("agent")
