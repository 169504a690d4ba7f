"""Replay: some pictures of each earlier task are kept and learned again.

The usual experience replay, with an equal share of the memory per task, drawn at random. It keeps
data (``keeps_data``), which the C-net does not; its memory is counted in bytes. Joint training is
the same with all pictures kept: the upper end of every comparison. Each step adds a batch of every
earlier task, so that a step of task J costs J batches.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rlgen.continual.baselines.learner import Baseline, Strategy
from rlgen.continual.experience import Experience, as_tensors
from rlgen.continual.heads import HeadedNetwork
from rlgen.continual.learner import LEARNERS, TaskRecord
from rlgen.continual.recipe import Recipe
from rlgen.core.ranges import check_range


class Replay(Strategy):
    """Losses of kept pictures beside those of the new task.

    Args:
        memory: Pictures kept of all earlier tasks together; None for all.
        weight: Of the mean loss of earlier tasks for each of them.
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

    def penalties(
        self, network: HeadedNetwork, images: Tensor, labels: Tensor, step: int
    ) -> dict[str, Tensor]:
        """Returns the loss of a batch of each earlier task."""
        if not self.kept:
            return {}
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        terms = []
        for task, kept in enumerate(self.kept):
            rows = torch.randint(len(kept["labels"]), (len(labels),), generator=generator)
            rows = rows.to(images.device)
            shown = (kept["images"][rows] / 255 - kept["mean"]) / kept["deviation"]
            logits = network(shown.contiguous(), task)
            terms.append(nn.functional.cross_entropy(logits, kept["labels"][rows]))
        return {"replay": self.weight * torch.stack(terms).sum()}

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
