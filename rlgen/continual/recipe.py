"""How a task is trained, and one task's optimiser and batches.

Spec hc_net, section d, all reconstructed there: SGD with momentum 0.9, rate 0.1 (VGG 0.05), batch
128, weight decay 5e-4, 160 epochs, rate times 0.1 at a half and at three quarters; random crops and
flips for CIFAR-10 only. All learners take the same recipe, so that they differ in the method alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rlgen.continual.experience import Experience
from rlgen.core.errors import UserError
from rlgen.core.optimizer_state import optimizer_state, restore_optimizer
from rlgen.core.ranges import check_range
from rlgen.data.classification import LabelledBatches


@dataclass(frozen=True)
class Recipe:
    """Training of one task.

    Attributes:
        epochs: Passes over the task's pictures.
        total_steps: Steps instead of epochs; None: as many as the epochs have.
        batch_size: Pictures per step.
        lr: Rate at the start.
        momentum: Of SGD.
        weight_decay: Of trainable entries.
        milestones: Shares of the steps, in (0, 1), after which the rate falls.
        gamma: Factor by which it falls.
        padding: Border for random crops, in pixels; 0 for none.
        flip: Whether half of the pictures are mirrored.

    Raises:
        UserError: If a value is out of range.
    """

    epochs: int = 160
    total_steps: int | None = None
    batch_size: int = 128
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    milestones: tuple[float, ...] = (0.5, 0.75)
    gamma: float = 0.1
    padding: int = 0
    flip: bool = False

    def __post_init__(self) -> None:
        check_range("epochs", self.epochs, 1, 10**6)
        check_range("total_steps", self.total_steps, 1, 10**9, optional=True)
        check_range("batch_size", self.batch_size, 1, 10**6)
        check_range("lr", self.lr, 0.0, 1e3)
        check_range("momentum", self.momentum, 0.0, 1.0)
        check_range("weight_decay", self.weight_decay, 0.0, 1e3)
        check_range("gamma", self.gamma, 0.0, 1.0)
        check_range("padding", self.padding, 0, 10**3)
        if not all(0 < share < 1 for share in self.milestones):
            raise UserError(
                f"milestones={list(self.milestones)}: each is a share of the steps between 0 and "
                "1; type milestones=[0.5,0.75]"
            )

    def steps(self, per_epoch: int) -> int:
        """Returns the steps of a task.

        Args:
            per_epoch: Steps of one pass.
        """
        return self.total_steps or self.epochs * per_epoch

    def rate(self, step: int, total: int) -> float:
        """Returns the learning rate of a step, counted from 0, of ``total``."""
        passed = sum(step >= share * total for share in self.milestones)
        return self.lr * self.gamma**passed

    def batches(self, experience: Experience, seed: int, device: torch.device) -> LabelledBatches:
        """Returns a task's batches, normalised by its own statistics."""
        return LabelledBatches(
            *(experience.sets(), self.batch_size, seed, device),
            padding=self.padding,
            flip=self.flip,
        )


class Training:
    """A task under way: batches, optimiser, steps taken.

    Args:
        recipe: How.
        experience: The task's data.
        parameters: What the optimiser moves, and nothing else.
        seed: Of the batches and of dropout.
        device: Where.
    """

    def __init__(
        self,
        recipe: Recipe,
        experience: Experience,
        parameters: Iterable[nn.Parameter],
        seed: int,
        device: torch.device,
    ) -> None:
        self.recipe, self.experience, self.seed, self.device = recipe, experience, seed, device
        self.batches = recipe.batches(experience, seed, device)
        self.total_steps = recipe.steps(self.batches.steps_per_epoch)
        self.parameters = list(parameters)
        self.optimizer = torch.optim.SGD(
            self.parameters, recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay
        )
        if recipe.momentum:
            # What a parameter without a gradient yet, such as an old head's, would start from:
            # so there are moments of every parameter to save.
            for parameter in self.parameters:
                self.optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        self.step = 0

    def descend(self, loss: Tensor) -> None:
        """Moves the parameters along a loss by one step."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate(self.step, self.total_steps)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.step += 1

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Returns moments, and the other values as JSON takes them."""
        moments, groups = optimizer_state(self.optimizer)
        return moments, {"step": self.step, "groups": groups, "name": self.experience.name}

    def restore(self, moments: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Puts a state from :meth:`state` back.

        Raises:
            ValueError: If it is of other parameters.
        """
        if moments:
            restore_optimizer(self.optimizer, moments, values["groups"])
        self.step = int(values["step"])
