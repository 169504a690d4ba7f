"""Batches in the forms that loops give them: tensors, pairs, mappings."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rlgen.core.errors import UserError
from rlgen.distill.layers import Inputs

LABELS = ("labels", "label")
SAMPLES = 2  # in a dry run


def split_batch(batch: Any) -> tuple[Inputs, Tensor | None]:
    """Parts a batch into what the networks take and the labels.

    Args:
        batch: (inputs, labels), a mapping with ``labels``, or inputs alone.

    Raises:
        UserError: If it is none of these.
    """
    if isinstance(batch, Tensor):
        return batch, None
    if isinstance(batch, Mapping) and batch:
        found = next((batch[key] for key in LABELS if key in batch), None)
        return {key: value for key, value in batch.items() if key not in LABELS}, found
    if isinstance(batch, (tuple, list)) and len(batch) == 2:
        return batch[0], batch[1]
    raise UserError(
        f"a batch is (inputs, labels), a mapping with labels, or a tensor; got {_named(batch)}"
    )


def example_inputs(example: Any, model: nn.Module) -> Inputs:
    """Returns a small input for a dry run, where the network is and as it computes.

    Args:
        example: A batch in any form, or the shape of one sample, such as (3, 32, 32).
        model: The network that is to take it.
    """
    weight = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    if isinstance(example, Sequence) and example and all(isinstance(n, int) for n in example):
        return torch.zeros(SAMPLES, *example, device=weight.device, dtype=weight.dtype)
    inputs, _ = split_batch(example)
    return _map(inputs, lambda tensor: tensor[:SAMPLES].to(weight.device))


def to_device(inputs: Inputs, device: torch.device) -> Inputs:
    """Moves the tensors of inputs to a device."""
    return _map(inputs, lambda tensor: tensor.to(device, non_blocking=True))


def home_of(model: nn.Module) -> torch.device:
    """Returns where a network's weights are; the CPU for one without."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def _map(inputs: Any, change: Any) -> Any:
    if isinstance(inputs, Tensor):
        return change(inputs)
    if isinstance(inputs, Mapping):
        return {key: _map(value, change) for key, value in inputs.items()}
    if isinstance(inputs, (tuple, list)):
        return [_map(value, change) for value in inputs]
    return inputs


def _named(batch: Any) -> str:
    size = f" of {len(batch)}" if hasattr(batch, "__len__") else ""
    return type(batch).__name__ + size
