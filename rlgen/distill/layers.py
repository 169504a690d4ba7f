"""What a dry run tells about a network's layers: shapes, and the norm behind a tap."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from rlgen.distill.taps import find_layer, first_tensor, layer_names

Inputs = Tensor | Mapping[str, Any] | Sequence[Any]


@dataclass(frozen=True)
class LayerRow:
    """One layer as the listing shows it.

    Attributes:
        name: Its path, which is its tap name.
        kind: Name of its class.
        parameters: How many numbers it holds, its children's included.
        taken: Shape of its input without the batch, of the last call; None if it did not run.
        given: Shape of its output without the batch.
        inplace: Whether it overwrites its input.
    """

    name: str
    kind: str
    parameters: int
    taken: tuple[int, ...] | None
    given: tuple[int, ...] | None
    inplace: bool


def call(model: nn.Module, inputs: Inputs) -> Any:
    """Calls a network with a tensor, with keywords (a mapping) or with several arguments."""
    if isinstance(inputs, Tensor):
        return model(inputs)
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs)


@contextmanager
def dry(model: nn.Module) -> Iterator[None]:
    """Puts a network into evaluation, without gradients, and each layer's mode back afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Makes batch norms use the batch's statistics while their running ones stay as they are.

    OFD's and AB's teachers want this (spec ofd, section b): the original scripts put the teacher
    into training mode, where its running statistics drift.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    before = [(norm.training, norm.track_running_stats) for norm in norms]
    try:
        for norm in norms:
            norm.training, norm.track_running_stats = True, False
        yield
    finally:
        for norm, (training, track) in zip(norms, before, strict=True):
            norm.training, norm.track_running_stats = training, track


def describe_layers(model: nn.Module, inputs: Inputs | None = None) -> list[LayerRow]:
    """Returns a row for each layer, in the order of registration.

    Args:
        model: Any network; it is run once, in evaluation and without gradients.
        inputs: What it takes, a batch of one or more; None: no run, no shapes.
    """
    shapes: dict[nn.Module, tuple[tuple[int, ...] | None, tuple[int, ...] | None]] = {}

    def record(module: nn.Module, arguments: Any, keywords: Any, output: Any) -> None:
        taken = first_tensor(arguments)
        taken = first_tensor(keywords) if taken is None else taken
        shapes[module] = (_shape(taken), _shape(first_tensor(output)))

    layers = layer_names(model)
    with ExitStack() as stack, dry(model):
        for module in dict.fromkeys(layers.values()):
            handle = module.register_forward_hook(record, with_kwargs=True)
            stack.callback(handle.remove)
        if inputs is not None:
            call(model, inputs)
    rows = []
    for name, module in layers.items():
        taken, given = shapes.get(module, (None, None))
        count = sum(parameter.numel() for parameter in module.parameters())
        inplace = bool(getattr(module, "inplace", False))
        rows.append(LayerRow(name, type(module).__name__, count, taken, given, inplace))
    return rows


def norms_before(
    model: nn.Module, names: Sequence[str], inputs: Inputs
) -> tuple[nn.Module | None, ...]:
    """Returns for each tap the last batch norm that ran before it with a tensor of its shape.

    After a residual sum that is the last norm of the branch, whose statistics OFD takes for those
    of the sum (spec ofd, section c).

    Args:
        model: Any network; it is run once, in evaluation and without gradients.
        names: Taps.
        inputs: What it takes.
    """
    ran: list[tuple[nn.Module, torch.Size]] = []
    found: dict[str, nn.Module | None] = {}

    def note(module: nn.Module, arguments: Any, output: Tensor) -> None:
        ran.append((module, output.shape))

    def look(name: str, tensor: Tensor | None) -> None:
        shape = None if tensor is None else tensor.shape
        found[name] = next((norm for norm, size in reversed(ran) if size == shape), None)

    with ExitStack() as stack, dry(model):
        # Before the taps' hooks: a norm that is tapped itself is the one that is meant.
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                stack.callback(module.register_forward_hook(note).remove)
        for name in dict.fromkeys(names):
            stack.callback(_look_at(model, name, look).remove)
        call(model, inputs)
    return tuple(found.get(name) for name in names)


def _look_at(model: nn.Module, name: str, look: Any) -> torch.utils.hooks.RemovableHandle:
    module, side = find_layer(model, name)
    if side == "output":
        return module.register_forward_hook(
            lambda _module, _arguments, output: look(name, first_tensor(output))
        )
    return module.register_forward_pre_hook(
        lambda _module, arguments: look(name, first_tensor(arguments))
    )


def _shape(tensor: Tensor | None) -> tuple[int, ...] | None:
    return None if tensor is None else tuple(tensor.shape[1:])
