"""Continual learning: tasks one after another, without the data of earlier ones.

The names are resolved on first use, so that importing the package does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlgen.continual.capacity import Capacity
    from rlgen.continual.cnet import CNet
    from rlgen.continual.cnet_learner import CNetLearner
    from rlgen.continual.experience import Experience
    from rlgen.continual.hcnet import HCNet
    from rlgen.continual.hnet import TASK_INDICES, TaskIndex
    from rlgen.continual.learner import Learner, Prediction
    from rlgen.continual.learners import LEARNERS
    from rlgen.continual.recipe import Recipe

__all__ = [
    "LEARNERS",
    "TASK_INDICES",
    "CNet",
    "CNetLearner",
    "Capacity",
    "Experience",
    "HCNet",
    "Learner",
    "Prediction",
    "Recipe",
    "TaskIndex",
]

_HOMES = {
    "LEARNERS": "rlgen.continual.learners",
    "TASK_INDICES": "rlgen.continual.hnet",
    "CNet": "rlgen.continual.cnet",
    "CNetLearner": "rlgen.continual.cnet_learner",
    "Capacity": "rlgen.continual.capacity",
    "Experience": "rlgen.continual.experience",
    "HCNet": "rlgen.continual.hcnet",
    "Learner": "rlgen.continual.learner",
    "Prediction": "rlgen.continual.learner",
    "Recipe": "rlgen.continual.recipe",
    "TaskIndex": "rlgen.continual.hnet",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'rlgen.continual' has no attribute {name!r}")
