"""What a distiller is given, checked: one clear line for each mistake."""

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from rlgen.core.errors import UserError, closest
from rlgen.distill.base import DistillLoss
from rlgen.distill.batches import home_of


def as_list(teachers: nn.Module | Sequence[nn.Module]) -> list[nn.Module]:
    """Returns the teachers as a list; a single one may be given as such."""
    if isinstance(teachers, nn.ModuleList) or not isinstance(teachers, nn.Module):
        return list(teachers)
    return [teachers]


def checked_weights(losses: Mapping[str, float] | None) -> dict[str, float]:
    """Returns the losses' weights, each finite and 0 or more."""
    if losses is not None and not isinstance(losses, Mapping):
        raise UserError('losses are weights by name; type losses={"kd": 1.0}')
    weights = {name: float(weight) for name, weight in (losses or {}).items()}
    for name, weight in weights.items():
        if not math.isfinite(weight) or weight < 0:
            raise UserError(f"weight {weight} of loss {name!r}: it is 0 or more")
    return weights


def trained_networks(
    student: nn.Module | None,
    peers: Sequence[nn.Module],
    teachers: Sequence[nn.Module],
    losses: Mapping[str, type[DistillLoss]],
) -> list[nn.Module]:
    """Returns the networks to be trained, after a check that the call makes sense."""
    online = [name for name, loss in losses.items() if loss.online]
    offline = [name for name, loss in losses.items() if not loss.online]
    if (student is None) == (not peers):
        raise UserError("give a student (and teachers), or peers=[first, second]")
    if peers:
        if len(peers) < 2 or teachers:
            raise UserError("peers are two networks or more, and have no teachers")
        if offline:
            raise UserError(f"loss {offline[0]!r} needs a student and a teacher, and not peers")
        return list(peers)
    assert student is not None
    if online:
        raise UserError(f"loss {online[0]!r} trains peers; give peers=[first, second]")
    if offline and not teachers:
        raise UserError(f"loss {offline[0]!r} needs a teacher; give Distiller(student, teacher)")
    own = {id(parameter) for parameter in student.parameters()}
    if any(id(parameter) in own for teacher in teachers for parameter in teacher.parameters()):
        raise UserError("the teacher shares weights with the student; give copy.deepcopy(teacher)")
    return [student]


def freeze(teacher: nn.Module) -> nn.Module:
    """Puts a teacher into evaluation and ends its training."""
    return teacher.eval().requires_grad_(False)


def require_one_device(networks: Sequence[nn.Module]) -> None:
    """Checks that all networks are where the first one is; those without weights are anywhere."""
    homes = [home_of(network) for network in networks if any(True for _ in network.parameters())]
    for home in homes[1:]:
        if home != homes[0]:
            raise UserError(
                f"networks are on {homes[0]} and {home}; move all with .to('{homes[0]}')"
            )


def check_options(name: str, loss: type[DistillLoss], options: Mapping[str, Any]) -> None:
    """Checks the names of a loss's options against its constructor's keywords."""
    known = [
        parameter.name
        for parameter in inspect.signature(loss).parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    for option in options:
        if option not in known:
            allowed = closest(option, known) if known else "it has none"
            raise UserError(f"unknown option {option!r} of loss {name!r}; {allowed}")
