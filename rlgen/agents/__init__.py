"""Reinforcement-learning agents; every one is a Stable-Baselines3 algorithm.

The names are resolved on first use: the commands read the agents' options from this package
without waiting for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlgen.agents.a2c import A2C
    from rlgen.agents.disentangled import DisentangledA2C, DisentangledPPO, DisentangledRandom
    from rlgen.agents.g2n import G2AC, G2PPO
    from rlgen.agents.option_critic import A2OC, PPOC, HellingerRegularizer, OptionCritic
    from rlgen.agents.ppo import PPO

__all__ = [
    "A2C",
    "A2OC",
    "G2AC",
    "G2PPO",
    "PPO",
    "PPOC",
    "DisentangledA2C",
    "DisentangledPPO",
    "DisentangledRandom",
    "HellingerRegularizer",
    "OptionCritic",
]

_HOMES = {
    "A2C": "rlgen.agents.a2c",
    "A2OC": "rlgen.agents.option_critic",
    "DisentangledA2C": "rlgen.agents.disentangled",
    "DisentangledPPO": "rlgen.agents.disentangled",
    "DisentangledRandom": "rlgen.agents.disentangled",
    "G2AC": "rlgen.agents.g2n",
    "G2PPO": "rlgen.agents.g2n",
    "HellingerRegularizer": "rlgen.agents.option_critic",
    "OptionCritic": "rlgen.agents.option_critic",
    "PPO": "rlgen.agents.ppo",
    "PPOC": "rlgen.agents.option_critic",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'rlgen.agents' has no attribute {name!r}")
