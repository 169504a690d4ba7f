"""Replay: some pictures of each earlier task are kept and learned again.

The usual experience replay, with an equal share of the memory per task, drawn at random. It keeps
data (``keeps_data``), which the C-net does not; its memory is counted in bytes. Joint training is
the same with all pictures kept: the usual upper end of comparisons.

Each step adds a batch of every earlier task, so that a step of task J costs J batches. All go
through the network at once: batch norms see the mixture of tasks in training whose statistics they
use afterwards. The loss is the weighted mean over tasks, so that the rate means the same for any
number of them.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rlgen.continual.baselines.learner import Baseline, Strategy
from rlgen.continual.experience import Experience, TaskRecord, as_tensors
from rlgen.continual.heads import HeadedNetwork
from rlgen.continual.learner import LEARNERS
from rlgen.continual.recipe import Recipe
from rlgen.core.ranges import check_range
from rlgen.core.seeding import step_seed


class Replay(Strategy):
    """Losses of kept pictures beside those of the new task.

    Args:
        memory: Pictures kept of all earlier tasks together; None for all.
        weight: Of each earlier task's loss, where the new task's has 1.
    """

    keeps_data: bool = True

    def __init__(self, memory: int | None = 500, weight: float = 1.0) -> None:
        check_range("memory", memory, 1, 10**9, optional=True)
        check_range("weight", weight, 0.0, 1e6)
        self.memory, self.weight = memory, weight
        self.kept: list[dict[str, Tensor]] = []
        self.seed = 0

    def begin(self, network: HeadedNetwork, experience: Experience, seed: int) -> None:
        """Takes the task's seed."""
        self.seed = seed

    def terms(
        self, network: HeadedNetwork, images: Tensor, labels: Tensor, step: int
    ) -> dict[str, Tensor]:
        """Returns the loss of the new task and, of a batch of each, that of earlier ones."""
        if not self.kept:
            return super().terms(network, images, labels, step)
        shown, wanted = [], []
        generator = torch.Generator().manual_seed(step_seed(self.seed, step))
        for kept in self.kept:
            rows = torch.randint(len(kept["labels"]), (len(labels),), generator=generator)
            rows = rows.to(images.device)
            shown.append((kept["images"][rows] / 255 - kept["mean"]) / kept["deviation"])
            wanted.append(kept["labels"][rows])
        parts = network.body(torch.cat([*shown, images]).contiguous()).split(len(labels))
        losses = torch.stack(
            [
                nn.functional.cross_entropy(head(part), answers)
                for head, part, answers in zip(network.heads, parts, [*wanted, labels], strict=True)
            ]
        )
        total = 1 + self.weight * len(self.kept)
        return {"task": losses[-1] / total, "replay": self.weight * losses[:-1].sum() / total}

    def end(self, network: HeadedNetwork, experience: Experience, record: TaskRecord) -> None:
        """Keeps pictures of the task and makes room among the older ones."""
        device = next(network.parameters()).device
        images, labels = as_tensors(experience.train)
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(len(labels), generator=generator)
        channels = {
            name: torch.tensor(values, device=device)[:, None, None]
            for name, values in (("mean", record.mean), ("deviation", record.deviation))
        }
        share = None if self.memory is None else max(self.memory // (len(self.kept) + 1), 1)
        new = {"images": images[order].contiguous().to(device), "labels": labels[order].to(device)}
        self.kept.append({**new, **channels})
        for kept in self.kept:  # in random order, so the first ones are a sample
            kept["images"], kept["labels"] = (
                kept[name][:share].clone() for name in ("images", "labels")
            )

    def tensors(self) -> dict[str, Tensor]:
        """Returns pictures, labels and normalisation of each task."""
        return {f"{task}.{k}": v for task, kept in enumerate(self.kept) for k, v in kept.items()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Puts them back."""
        count = len({name.split(".")[0] for name in tensors})
        parts = ("images", "labels", "mean", "deviation")
        self.kept = [{part: tensors[f"{n}.{part}"] for part in parts} for n in range(count)]


@LEARNERS.register("replay")
def replay(
    network: nn.Module,
    shape: Sequence[int],
    recipe: Recipe | None = None,
    *,
    memory: int = 500,
    weight: float = 1.0,
    **options: Any,
) -> Baseline:
    """Returns a learner that keeps some pictures.

    Args:
        network: See :class:`Baseline`.
        shape: See there.
        recipe: See there.
        memory: Pictures kept of all earlier tasks together.
        weight: Of each earlier task's loss.
        **options: ``seed``, ``device``, ``route``.
    """
    return Baseline("replay", Replay(memory, weight), network, shape, recipe, **options)
