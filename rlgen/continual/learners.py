"""All learners by name; importing this module registers them."""

from rlgen.continual.baselines import ewc, finetune, joint, lwf, packnet, replay
from rlgen.continual.cnet_learner import CNetLearner
from rlgen.continual.hcnet import HCNet
from rlgen.continual.learner import LEARNERS

__all__ = [
    "LEARNERS",
    "CNetLearner",
    "HCNet",
    "ewc",
    "finetune",
    "joint",
    "lwf",
    "packnet",
    "replay",
]
