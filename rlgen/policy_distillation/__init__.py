"""Distilling trained agents into one small policy: ``python -m rlgen.train distiller=policy``.

This package stands above the families, because it joins two of them: :mod:`rlgen.agents` and
:mod:`rlgen.distill`. Names are resolved on first use, so that options can be read without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlgen.policy_distillation.distributions import ActionDistribution, distribution_of
    from rlgen.policy_distillation.student import build_student, load_student

__all__ = ["ActionDistribution", "build_student", "distribution_of", "load_student"]

_HOMES = {
    "ActionDistribution": "distributions",
    "build_student": "student",
    "distribution_of": "distributions",
    "load_student": "student",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"rlgen.policy_distillation.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'rlgen.policy_distillation' has no attribute {name!r}")
