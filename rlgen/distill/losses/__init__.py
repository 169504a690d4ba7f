"""The distillation losses by name.

``LOSSES`` maps names to :class:`rlgen.distill.base.DistillLoss` classes, ``USUAL_WEIGHTS`` to the
weight beside cross-entropy that the paper or a usual library takes on CIFAR (the losses' pages tell
which). A package outside rlgen adds its own by an entry point in the group ``rlgen.losses``.
"""

from rlgen.core.registry import Registry
from rlgen.distill.base import DistillLoss
from rlgen.distill.losses.ab import AB
from rlgen.distill.losses.afd import AFD
from rlgen.distill.losses.at import AT
from rlgen.distill.losses.dml import DML
from rlgen.distill.losses.feed import FEED
from rlgen.distill.losses.ffl import FFL
from rlgen.distill.losses.fitnets import FitNets
from rlgen.distill.losses.ft import FT
from rlgen.distill.losses.kd import KD
from rlgen.distill.losses.lsfd import LSFD
from rlgen.distill.losses.ofd import OFD
from rlgen.distill.losses.one import ONE
from rlgen.distill.losses.rkd import RKD

__all__ = [
    "AB",
    "AFD",
    "AT",
    "DML",
    "FEED",
    "FFL",
    "FT",
    "KD",
    "LOSSES",
    "LSFD",
    "OFD",
    "ONE",
    "RKD",
    "USUAL_WEIGHTS",
    "FitNets",
]

LOSSES: Registry[type[DistillLoss]] = Registry("distillation loss", "losses")

USUAL_WEIGHTS: dict[str, float] = {
    "ab": 0.003,
    "afd": 1.0,
    "at": 1000.0,
    "dml": 1.0,
    "feed": 500.0,
    "ffl": 1.0,
    "fitnets": 100.0,
    "ft": 500.0,
    "kd": 0.9,  # beside 0.1 of cross-entropy, which is task_weight=0.1
    "lsfd": 10.0,
    "ofd": 0.001,
    "one": 1.0,
    "rkd": 1.0,
}

for _loss in (KD, FitNets, AT, FT, AB, RKD, DML, ONE, OFD, FEED, FFL, AFD, LSFD):
    LOSSES.register(_loss.name)(_loss)
