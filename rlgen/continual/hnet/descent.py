"""A network under training by Adam, whose state goes into named tensors and back."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from rlgen.core.optimizer_state import optimizer_state, restore_optimizer


class Descent:
    """A network and its optimiser, at a constant rate.

    Args:
        network: What is trained.
        rate: Learning rate.
        betas: Of Adam.
    """

    def __init__(
        self, network: nn.Module, rate: float, betas: tuple[float, float] = (0.9, 0.999)
    ) -> None:
        self.network = network.train()
        self.optimizer = torch.optim.Adam(network.parameters(), rate, betas, fused=True)

    def descend(self, loss: Tensor) -> None:
        """Moves the network's parameters, and no others, along a loss by one step."""
        parameters = list(self.network.parameters())
        gradients = torch.autograd.grad(loss, parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        self.optimizer.step()

    def state(self, name: str) -> dict[str, dict[str, Tensor]]:
        """Returns weights and moments, by file and name.

        Args:
            name: Of the network.
        """
        moments, _ = optimizer_state(self.optimizer)
        return {name: self.network.state_dict(), f"{name}_moments": moments}

    def restore(self, name: str, tensors: Mapping[str, dict[str, Tensor]]) -> None:
        """Puts a state from :meth:`state` back.

        Raises:
            KeyError: If it is not there.
            RuntimeError: If it is of another network.
        """
        self.network.load_state_dict(tensors[name])
        _, groups = optimizer_state(self.optimizer)
        restore_optimizer(self.optimizer, tensors.get(f"{name}_moments", {}), groups)
