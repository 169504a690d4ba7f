"""Methods to compare the C-net with; importing this package enters them in ``LEARNERS``."""

from rlgen.continual.baselines.ewc import EWC, ewc
from rlgen.continual.baselines.finetune import finetune
from rlgen.continual.baselines.joint import joint
from rlgen.continual.baselines.learner import Baseline, Strategy
from rlgen.continual.baselines.lwf import LwF, lwf
from rlgen.continual.baselines.packnet import PackNet
from rlgen.continual.baselines.replay import Replay, replay

__all__ = [
    "EWC",
    "Baseline",
    "LwF",
    "PackNet",
    "Replay",
    "Strategy",
    "ewc",
    "finetune",
    "joint",
    "lwf",
    "replay",
]
