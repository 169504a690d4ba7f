"""Mixes as users type them, and the sym-parameters they stand for."""

import math
from collections.abc import Mapping, Sequence

import torch

from rlgen.core.errors import UserError, closest

Mix = Mapping[str, float] | Sequence[float]
_PERCENT = 5.0  # a weight beyond this means that all are per cent


def resolve_mix(
    mix: Mix, domains: Sequence[str], *, extrapolate: bool = False
) -> tuple[torch.Tensor, str | None]:
    """Turns a mix into a sym-parameter.

    Args:
        mix: Weights by domain name, absent ones 0, or one weight per domain in order. Where one is
            beyond 5, all are per cent.
        domains: Names of the model's domains.
        extrapolate: Take the weights as they are: negative ones, and a sum other than 1. Training
            never saw such points.

    Returns:
        The sym-parameter (d,), and a note for the user where the weights were changed or lie
        outside of the simplex, or None.

    Raises:
        UserError: If a name is unknown, a weight is not a finite number, or is negative without
            ``extrapolate``, or all are 0.
    """
    weights = _in_order(mix, domains)
    shown = ", ".join(f"{n}: {w:g}" for n, w in zip(domains, weights, strict=True) if w)
    if not all(map(math.isfinite, weights)):
        raise UserError(f"mix {{{shown}}}: weights are finite numbers")
    if not any(weights):
        raise UserError(f"mix has no weight; give one to any of {', '.join(domains)}")
    whole = 100.0 if max(map(abs, weights)) > _PERCENT else 1.0
    if extrapolate:
        outside = min(weights) < 0 or abs(sum(weights) / whole - 1) > 1e-3
        note = f"{{{shown}}} lies outside of what was trained" if outside else None
        return torch.tensor([w / whole for w in weights], dtype=torch.float32), note
    if min(weights) < 0:
        raise UserError(
            f"mix {{{shown}}}: negative weights lie outside of what was trained; add "
            "extrapolate=true to try them"
        )
    total = sum(weights)
    note = None
    if abs(total / whole - 1) > 1e-3:
        note = f"the weights of {{{shown}}} sum to {total:.3g}; they were divided by it"
    return torch.tensor([w / total for w in weights], dtype=torch.float32), note


def _in_order(mix: Mix, domains: Sequence[str]) -> list[float]:
    known = ", ".join(domains)
    if isinstance(mix, Mapping):
        for name in mix:
            if name not in domains:
                raise UserError(
                    f"unknown domain {name!r}; {closest(str(name), domains)} (domains: {known})"
                )
        values = [mix.get(name, 0.0) for name in domains]
    elif isinstance(mix, str) or not isinstance(mix, Sequence):  # type: ignore[unreachable]
        raise UserError(f"mix={mix!r}; type weights by name, such as {{{domains[0]}: 1}}")
    elif len(mix) != len(domains):
        raise UserError(f"mix has {len(mix)} weights; there are {len(domains)} domains: {known}")
    else:
        values = list(mix)
    for name, value in zip(domains, values, strict=True):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise UserError(f"mix: the weight of {name} is {value!r}; a number is needed")
    return [float(value) for value in values]


def describe_sym(sym: torch.Tensor, domains: Sequence[str]) -> str:
    """Returns a sym-parameter as text, such as ``vangogh 0.5 + photo 0.5``."""
    pairs = zip(domains, sym.tolist(), strict=True)
    return " + ".join(f"{name} {weight:.3g}" for name, weight in pairs if abs(weight) > 5e-4)


def simplex_points(d: int) -> list[list[float]]:
    """Returns the corners of the simplex, the middles of its edges, and its centre."""
    corners = [[float(k == j) for j in range(d)] for k in range(d)]
    edges = [
        [(a + b) / 2 for a, b in zip(corners[i], corners[j], strict=True)]
        for i in range(d)
        for j in range(i + 1, d)
    ]
    return corners + edges + ([[1 / d] * d] if d > 2 else [])


def edge_points(d: int, steps: int = 5) -> list[list[list[float]]]:
    """Returns for each pair of domains ``steps`` points from the one to the other."""
    rows = []
    for i in range(d):
        for j in range(i + 1, d):
            weights = [k / (steps - 1) for k in range(steps)]
            rows.append([[(1 - w) * (k == i) + w * (k == j) for k in range(d)] for w in weights])
    return rows
