"""An optimiser's state as named tensors and plain values, and back; nothing is pickled."""

from typing import Any

import torch


def optimizer_state(
    optimizer: torch.optim.Optimizer,
) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """Returns the moments by name, and the settings of each parameter group as JSON values."""
    state = optimizer.state_dict()
    moments = {
        f"{index}.{name}": torch.as_tensor(value)
        for index, entry in state["state"].items()
        for name, value in entry.items()
    }
    groups = [
        {key: value for key, value in group.items() if key != "params"}
        for group in state["param_groups"]
    ]
    return moments, groups


def restore_optimizer(
    optimizer: torch.optim.Optimizer,
    moments: dict[str, torch.Tensor],
    groups: list[dict[str, Any]],
) -> None:
    """Puts a state from :func:`optimizer_state` into an optimiser of the same parameters.

    Raises:
        ValueError: If the parameter groups or the numbers of parameters differ.
    """
    entries: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in moments.items():
        index, _, name = key.partition(".")
        entries.setdefault(int(index), {})[name] = value
    ids = optimizer.state_dict()["param_groups"]
    known = {index for group in ids for index in group["params"]}
    if entries and set(entries) != known:
        raise ValueError(f"moments of {len(entries)} parameters, there are {len(known)}")
    restored = [{**group, "params": now["params"]} for group, now in zip(groups, ids, strict=True)]
    for group in restored:  # JSON has no tuples
        if "betas" in group:
            group["betas"] = tuple(group["betas"])
    optimizer.load_state_dict({"state": entries, "param_groups": restored})
    for parameter, entry in optimizer.state.items():
        for name, value in entry.items():
            # Moments must lie in memory as their parameter does (channels last, say): fused
            # kernels walk both by address.
            if torch.is_tensor(value) and value.shape == parameter.shape:
                entry[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
