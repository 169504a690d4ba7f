"""rlgen: reinforcement-learning and generative research methods as parts of the usual tools.

Importing this package is cheap: the public names below are resolved on first use, so that
``import rlgen`` and ``--help`` never wait for torch.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_LAZY = {
    "A2C": "rlgen.agents",
    "G2AC": "rlgen.agents",
    "G2PPO": "rlgen.agents",
    "GymVecEnv": "rlgen.envs",
    "PPO": "rlgen.agents",
    "make_vec": "rlgen.envs",
}

__all__ = ["A2C", "G2AC", "G2PPO", "PPO", "GymVecEnv", "__version__", "make_vec"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'rlgen' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
