"""The layer that turns features into logits: where it is, and one for each task.

Spec hc_net, section b: head `h_J` has C_J rows, one per class of task J alone.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from rlgen.core.errors import UserError


def find_head(network: nn.Module, shape: Sequence[int]) -> str:
    """Returns the name of the linear layer whose output is the network's.

    Args:
        network: Maps pictures (B, C, H, W) to logits (B, classes).
        shape: Of a picture, (C, H, W).

    Raises:
        UserError: If the network does not take such pictures or does not end in a linear layer.
    """
    seen: dict[str, Tensor] = {}
    handles = [
        module.register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out}))
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        out = dry_run(network, shape)
    finally:
        for handle in handles:
            handle.remove()
    found = next((name for name, value in seen.items() if value is out and name), None)
    if found is None:
        raise UserError(
            f"{type(network).__name__} does not end in a linear layer of its own; each task needs "
            "its own in that place, so let forward() return the output of an nn.Linear"
        )
    return found


@torch.no_grad()
def dry_run(network: nn.Module, shape: Sequence[int]) -> Tensor:
    """Runs a network on one black picture in eval mode.

    Args:
        network: Keeps its mode.
        shape: (C, H, W).

    Raises:
        UserError: If it does not take such pictures.
    """
    parameter = next(network.parameters(), torch.empty(0))
    example = torch.zeros(1, *shape, device=parameter.device, dtype=parameter.dtype)
    with evaluating(network):
        try:
            out = network(example)
        except Exception as error:  # anything a user's forward() may raise
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(
                f"{type(network).__name__} does not run on pictures of {tuple(shape)}: {reason}"
            ) from None
    if not isinstance(out, Tensor):
        raise UserError(f"{type(network).__name__} gives no tensor of logits")
    return out


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Puts a network into eval mode and every module back into its own afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


class HeadedNetwork(nn.Module):
    """One body for all tasks and a linear head for each.

    Args:
        network: Is changed: its own head becomes the identity.
        shape: Of a picture, (C, H, W).

    Raises:
        UserError: See :func:`find_head`.
    """

    def __init__(self, network: nn.Module, shape: Sequence[int]) -> None:
        super().__init__()
        name = find_head(network, shape)
        self.features = int(network.get_submodule(name).in_features)  # type: ignore[arg-type]
        network.set_submodule(name, nn.Identity())
        self.body = network
        self.heads = nn.ModuleList()

    def add_head(self, classes: int) -> nn.Linear:
        """Adds the head of the next task; weights come from torch's generator.

        Args:
            classes: C_J.
        """
        like = next(self.body.parameters())
        head = nn.Linear(self.features, classes, device=like.device, dtype=like.dtype)
        self.heads.append(head)
        return head

    def forward(self, images: Tensor, task: int) -> Tensor:
        """Maps pictures (B, C, H, W) to the logits (B, C_J) of a task, numbered from 0."""
        logits: Tensor = self.heads[task](self.body(images))
        return logits
