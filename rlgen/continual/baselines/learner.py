"""One network with a head per task, learned task after task by a strategy.

Vocabulary of the field's libraries: a strategy is what a method adds to fine-tuning. All baselines
are this learner; they differ in the strategy alone and take the recipe of the C-net. Batch norms
are shared by all tasks, which is part of what these methods forget.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rlgen.continual.experience import Experience, TaskRecord
from rlgen.continual.heads import HeadedNetwork, evaluating
from rlgen.continual.learner import Learner, Route, Tensors
from rlgen.continual.recipe import Recipe
from rlgen.core.errors import UserError

NETWORK, STRATEGY = "network", "strategy"


class Strategy:
    """Fine-tuning, and what a method may add to it.

    Attributes:
        keeps_data: Whether pictures of earlier tasks are kept.
    """

    keeps_data: bool = False

    def begin(self, network: HeadedNetwork, experience: Experience, seed: int) -> None:
        """Is called when a task begins, with its head in place.

        Args:
            network: With the heads of all tasks, the new one last.
            experience: The task's data.
            seed: Of this task.
        """

    def terms(
        self, network: HeadedNetwork, images: Tensor, labels: Tensor, step: int
    ) -> dict[str, Tensor]:
        """Returns the weighted terms of a batch's loss; here the newest head's cross-entropy.

        Args:
            network: In training mode.
            images: (B, C, H, W), normalised.
            labels: (B,).
            step: Number from 0.
        """
        logits = network(images, len(network.heads) - 1)
        return {"task": nn.functional.cross_entropy(logits, labels)}

    def end(self, network: HeadedNetwork, experience: Experience, record: TaskRecord) -> None:
        """Is called when a task's training is over."""

    def tensors(self) -> dict[str, Tensor]:
        """Returns what the strategy keeps, by name."""
        return {}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Puts what :meth:`tensors` gave back."""


class Baseline(Learner):
    """Learns tasks in one network.

    Args:
        name: Of the method.
        strategy: What it adds to fine-tuning.
        network: Ends in a linear layer; becomes the learner's body and loses that layer.
        shape: Of a picture, (C, H, W).
        recipe: Training of each task.
        seed: Of everything random.
        device: Where.
        route: See :class:`Learner`.
    """

    def __init__(
        self,
        name: str,
        strategy: Strategy,
        network: nn.Module,
        shape: Sequence[int],
        recipe: Recipe | None = None,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        route: Route | None = None,
    ) -> None:
        super().__init__(shape, recipe, seed=seed, device=device, route=route)
        self.name, self.strategy = name, strategy
        self.keeps_data = strategy.keeps_data
        self.network = HeadedNetwork(network.to(self.device), shape)

    def parameter_count(self) -> int:
        """Returns the parameters of the body and of all heads."""
        return sum(p.numel() for p in self.network.parameters())

    def memory_bytes(self) -> int:
        """Returns the bytes of the network and of what the strategy keeps."""
        kept = [*self.network.state_dict().values(), *self.strategy.tensors().values()]
        return sum(value.nbytes for value in kept)

    def _open(self, experience: Experience) -> Iterable[nn.Parameter]:
        task = len(self.records)
        seed = self.seed * 10_007 + task
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network.add_head(len(experience.classes))
        self.strategy.begin(self.network, experience, seed)
        self.network.train()
        return self.network.parameters()

    def _terms(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        assert self.training is not None
        return self.strategy.terms(self.network, images, labels, self.training.step)

    def _close(self) -> None:
        assert self.training is not None
        experience = self.training.experience
        mean, deviation = map(tuple, experience.sets().statistics())
        record = TaskRecord(experience.name, experience.classes, mean, deviation)
        self.strategy.end(self.network, experience, record)

    def _abandon(self) -> None:
        del self.network.heads[len(self.records) :]

    def _logits(self, images: Tensor, task: int) -> Tensor:
        with evaluating(self.network):
            logits: Tensor = self.network(images, task)
        return logits

    def _state(self) -> tuple[Tensors, dict[str, Any]]:
        return {NETWORK: self.network.state_dict(), STRATEGY: self.strategy.tensors()}, {}

    def _restore(self, tensors: Tensors, values: dict[str, Any]) -> None:
        if not tensors:
            return
        for record in self.records:
            self.network.add_head(len(record.classes))
        heads = len(self.records)
        learned = {
            name: value
            for name, value in tensors[NETWORK].items()
            if not name.startswith("heads.") or int(name.split(".")[1]) < heads
        }
        _load(self.network, learned)
        self.strategy.restore(_moved(tensors.get(STRATEGY, {}), self.device))

    def _resume(self, tensors: Tensors, values: dict[str, Any]) -> None:
        _load(self.network, tensors[NETWORK])
        self.strategy.restore(_moved(tensors.get(STRATEGY, {}), self.device))


def _load(network: nn.Module, weights: dict[str, Tensor]) -> None:
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise UserError(f"what was saved does not fit the network: {reason}") from None


def _moved(tensors: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    return {name: value.to(device) for name, value in tensors.items()}
