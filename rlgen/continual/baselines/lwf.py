"""Learning without forgetting: old heads answer new pictures as the old network did.

Z. Li, D. Hoiem, "Learning without Forgetting", ECCV 2016. Spec hc_net gives the temperatures of
its baselines, 1 and 2; the weight is not given there and is 1 here. The term is
`weight T^2 sum_old KL(softmax(old / T) || softmax(new / T))`, batch mean, on pictures of the new
task alone; the factor T^2 keeps the size of its gradients.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rlgen.continual.baselines.learner import Baseline, Strategy
from rlgen.continual.experience import Experience, TaskRecord
from rlgen.continual.heads import HeadedNetwork
from rlgen.continual.learner import LEARNERS
from rlgen.continual.recipe import Recipe
from rlgen.core.ranges import check_range


class LwF(Strategy):
    """The penalty of learning without forgetting.

    Args:
        weight: Of the penalty, 0 or more.
        temperature: T, above 0.
    """

    def __init__(self, weight: float = 1.0, temperature: float = 2.0) -> None:
        check_range("weight", weight, 0.0, 1e6)
        check_range("temperature", temperature, 1e-3, 1e3)
        self.weight, self.temperature = weight, temperature
        self.old: HeadedNetwork | None = None

    def begin(self, network: HeadedNetwork, experience: Experience, seed: int) -> None:
        """Keeps a frozen copy of the network, if there are tasks to remember."""
        self.old = None
        if len(network.heads) > 1:
            self.old = copy.deepcopy(network).eval().requires_grad_(False)

    def terms(
        self, network: HeadedNetwork, images: Tensor, labels: Tensor, step: int
    ) -> dict[str, Tensor]:
        """Returns the task's term and the distillation of all old heads, of one pass."""
        if self.old is None:
            return super().terms(network, images, labels, step)
        features = network.body(images)
        with torch.no_grad():
            known = self.old.body(images)
        kept = [
            distillation(new(features), old(known), self.temperature)
            for new, old in zip(network.heads[:-1], self.old.heads[:-1], strict=True)
        ]
        return {
            "task": nn.functional.cross_entropy(network.heads[-1](features), labels),
            "lwf": self.weight * torch.stack(kept).sum(),
        }

    def end(self, network: HeadedNetwork, experience: Experience, record: TaskRecord) -> None:
        """Drops the copy."""
        self.old = None

    def tensors(self) -> dict[str, Tensor]:
        """Returns the copy's weights inside a task."""
        return {} if self.old is None else dict(self.old.state_dict())

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Puts the copy's weights back; it was made when the task began."""
        if tensors and self.old is not None:
            self.old.load_state_dict(tensors)


def distillation(new: Tensor, old: Tensor, temperature: float) -> Tensor:
    """Returns T^2 KL(softmax(old / T) || softmax(new / T)), the mean over the batch.

    Args:
        new: Logits (B, classes) that learn.
        old: Logits to keep.
        temperature: T.
    """
    learns, keeps = ((logits / temperature).log_softmax(1) for logits in (new, old))
    divergence = nn.functional.kl_div(learns, keeps, reduction="batchmean", log_target=True)
    return divergence * temperature**2


@LEARNERS.register("lwf")
def lwf(
    network: nn.Module,
    shape: Sequence[int],
    recipe: Recipe | None = None,
    *,
    weight: float = 1.0,
    temperature: float = 2.0,
    **options: Any,
) -> Baseline:
    """Returns a learner by learning without forgetting.

    Args:
        network: See :class:`Baseline`.
        shape: See there.
        recipe: See there.
        weight: Of the penalty.
        temperature: T.
        **options: ``seed``, ``device``, ``route``.
    """
    return Baseline("lwf", LwF(weight, temperature), network, shape, recipe, **options)
