"""Knowledge distillation of any ``nn.Module``: taps by layer name, losses, one distiller.

The names are resolved on first use: the train command reads the options from this package without
waiting for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlgen.distill.base import DistillLoss, Features, Layout
    from rlgen.distill.distiller import Distiller
    from rlgen.distill.losses import LOSSES
    from rlgen.distill.online import branch
    from rlgen.distill.taps import Taps, tap

__all__ = ["LOSSES", "DistillLoss", "Distiller", "Features", "Layout", "Taps", "branch", "tap"]

_HOMES = {
    "LOSSES": "rlgen.distill.losses",
    "DistillLoss": "rlgen.distill.base",
    "Distiller": "rlgen.distill.distiller",
    "Features": "rlgen.distill.base",
    "Layout": "rlgen.distill.base",
    "Taps": "rlgen.distill.taps",
    "branch": "rlgen.distill.online",
    "tap": "rlgen.distill.taps",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'rlgen.distill' has no attribute {name!r}")
