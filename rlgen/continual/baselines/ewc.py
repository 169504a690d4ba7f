"""Elastic weight consolidation: weights that mattered to old tasks are held by springs.

J. Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", PNAS 2017. The term
is `weight / 2 sum_j sum_i F_ji (theta_i - theta*_ji)^2` over the body's parameters, with one Fisher
diagonal and one anchor per task learned. F is the mean over pictures of the squared gradient of
log p(y | x), with y drawn from the network's own output. Heads are a task's own and need none. The
spec hc_net gives no EWC figure; weight and number of pictures are choices of this package. Of
weights 0, 1, 3 and 10, 10 had the best mean accuracy on a small stream (MNIST, Fashion-MNIST,
CIFAR-10, 600 pictures each, one seed, rate 0.1: 25.7, 35.3, 39.7, 41.7 %); with 30 the loss was
not finite within 50 steps of the second or third task: springs that stiff need a smaller rate.
Longer training leaves smaller diagonals: benchmarks/continual.py takes 30.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from rlgen.continual.baselines.learner import Baseline, Strategy
from rlgen.continual.experience import Experience, TaskRecord, as_tensors
from rlgen.continual.heads import HeadedNetwork, evaluating
from rlgen.continual.learner import LEARNERS
from rlgen.continual.recipe import Recipe
from rlgen.core.ranges import check_range


class EWC(Strategy):
    """The springs.

    Args:
        weight: Of the penalty, 0 or more.
        fisher_samples: Pictures of a task from which its Fisher diagonal is estimated, at most.
    """

    def __init__(self, weight: float = 10.0, fisher_samples: int = 500) -> None:
        check_range("weight", weight, 0.0, 1e12)
        check_range("fisher_samples", fisher_samples, 1, 10**9)
        self.weight, self.fisher_samples = weight, fisher_samples
        self.fishers: list[dict[str, Tensor]] = []
        self.anchors: list[dict[str, Tensor]] = []
        self.seed = 0

    def begin(self, network: HeadedNetwork, experience: Experience, seed: int) -> None:
        """Takes the task's seed."""
        self.seed = seed

    def terms(
        self, network: HeadedNetwork, images: Tensor, labels: Tensor, step: int
    ) -> dict[str, Tensor]:
        """Returns the task's term and the springs' energy."""
        terms = super().terms(network, images, labels, step)
        if not self.fishers:
            return terms
        now = dict(network.body.named_parameters())
        energies = [
            (fisher[name] * (now[name] - anchor[name]) ** 2).sum()
            for fisher, anchor in zip(self.fishers, self.anchors, strict=True)
            for name in now  # not the order of a file, in which sums differ in their last digits
        ]
        return {**terms, "ewc": self.weight / 2 * torch.stack(energies).sum()}

    def end(self, network: HeadedNetwork, experience: Experience, record: TaskRecord) -> None:
        """Measures the Fisher diagonal of the task and keeps the weights as its anchor."""
        device = next(network.parameters()).device
        images, _ = as_tensors(experience.train)
        generator = torch.Generator().manual_seed(self.seed)
        picked = torch.randperm(len(images), generator=generator)[: self.fisher_samples]
        seen = record.normalized(images[picked].to(device).float() / 255).contiguous()
        with evaluating(network):
            self.fishers.append(fisher_diagonal(network, seen, len(network.heads) - 1, generator))
        body = network.body.named_parameters()
        self.anchors.append({name: value.detach().clone() for name, value in body})

    def tensors(self) -> dict[str, Tensor]:
        """Returns diagonals and anchors of each task."""
        both = {"fisher": self.fishers, "anchor": self.anchors}
        return {
            f"{kind}.{task}.{name}": value
            for kind, entries in both.items()
            for task, entry in enumerate(entries)
            for name, value in entry.items()
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Puts them back."""
        found: dict[str, dict[int, dict[str, Tensor]]] = {"fisher": {}, "anchor": {}}
        for key, value in tensors.items():
            kind, task, name = key.split(".", 2)
            found[kind].setdefault(int(task), {})[name] = value
        self.fishers = [entry for _, entry in sorted(found["fisher"].items())]
        self.anchors = [entry for _, entry in sorted(found["anchor"].items())]


def fisher_diagonal(
    network: HeadedNetwork, images: Tensor, task: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Returns the diagonal of the Fisher information of the body's parameters, by name.

    Args:
        network: In eval mode.
        images: (N, C, H, W), normalised.
        task: Whose head answers.
        generator: On the CPU; draws the labels from the answers.
    """
    state = {name: value.detach() for name, value in network.state_dict().items()}
    names = [f"body.{name}" for name, _ in network.body.named_parameters()]
    rest = {name: value for name, value in state.items() if name not in names}

    def log_likelihood(weights: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        logits = functional_call(network, {**rest, **weights}, (image[None], task))
        return -nn.functional.cross_entropy(logits, label[None])

    with torch.no_grad():
        answers = network(images, task).softmax(1).cpu()
    labels = torch.multinomial(answers, 1, generator=generator)[:, 0].to(images.device)
    weights = {name: state[name] for name in names}
    each = vmap(grad(log_likelihood), in_dims=(None, 0, 0))
    sums = {name: torch.zeros_like(value) for name, value in weights.items()}
    for part, answer in zip(images.split(32), labels.split(32), strict=True):
        for name, gradients in each(weights, part, answer).items():
            sums[name] += gradients.square().sum(0)
    return {name.removeprefix("body."): total / len(images) for name, total in sums.items()}


@LEARNERS.register("ewc")
def ewc(
    network: nn.Module,
    shape: Sequence[int],
    recipe: Recipe | None = None,
    *,
    weight: float = 10.0,
    fisher_samples: int = 500,
    **options: Any,
) -> Baseline:
    """Returns a learner by elastic weight consolidation.

    Args:
        network: See :class:`Baseline`.
        shape: See there.
        recipe: See there.
        weight: Of the penalty.
        fisher_samples: Pictures per task for the Fisher diagonal.
        **options: ``seed``, ``device``, ``route``.
    """
    return Baseline("ewc", EWC(weight, fisher_samples), network, shape, recipe, **options)
