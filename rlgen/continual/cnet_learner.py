"""C-net as a learner: each task trains new channels and its head alone.

Spec hc_net, section b: cross-entropy over the C_J classes of the task, weight 1, no distillation
and no penalty. Which task a picture is of is told by ``route`` (the H-net), or given.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rlgen.continual.capacity import Capacity
from rlgen.continual.cnet import CNet
from rlgen.continual.experience import Experience
from rlgen.continual.learner import LEARNERS, Learner, Route, Tensors
from rlgen.continual.recipe import Recipe
from rlgen.core.errors import UserError

PART = "under_way"


@LEARNERS.register("cnet")
class CNetLearner(Learner):
    """Learns each task in channels of its own; see :class:`rlgen.continual.cnet.CNet`.

    Args:
        network: See there.
        shape: Of a picture, (C, H, W).
        recipe: Training of each task.
        tasks: T, how many tasks share the channels equally.
        fractions: Rising shares instead of ``tasks``.
        grow: Whether tasks beyond T widen the network.
        start: First weights of new channels, ``"random"`` or ``"old"``.
        seed: Of everything random.
        device: Where.
        route: See :class:`Learner`.

    Attributes:
        cnet: What was learned.
    """

    name = "cnet"

    def __init__(
        self,
        network: nn.Module,
        shape: Sequence[int],
        recipe: Recipe | None = None,
        *,
        tasks: int | None = None,
        fractions: Sequence[float] | None = None,
        grow: bool = False,
        start: str = "random",
        seed: int = 0,
        device: torch.device | str = "cpu",
        route: Route | None = None,
    ) -> None:
        super().__init__(shape, recipe, seed=seed, device=device, route=route)
        capacity = Capacity(tasks, fractions, grow)
        self.cnet = CNet(network.to(self.device), shape, capacity, start=start, seed=seed)
        self._portion: nn.Module | None = None

    def parameter_count(self) -> int:
        """Returns the parameters of all tasks together."""
        return self.cnet.parameter_count()

    def memory_bytes(self) -> int:
        """Returns the bytes of weights and statistics."""
        return self.cnet.memory_bytes()

    def _open(self, experience: Experience) -> Iterable[nn.Parameter]:
        self._portion = self.cnet.begin(len(experience.classes))
        return self._portion.parameters()

    def _terms(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        assert self._portion is not None
        return {"task": nn.functional.cross_entropy(self._portion(images), labels)}

    def _close(self) -> None:
        assert self._portion is not None
        self.cnet.freeze(self._portion)
        self._portion = None

    def _abandon(self) -> None:
        self._portion = None

    def _logits(self, images: Tensor, task: int) -> Tensor:
        logits: Tensor = self.cnet.portion(task)(images)
        return logits

    def _state(self) -> tuple[Tensors, dict[str, Any]]:
        under_way = {} if self._portion is None else self._portion.state_dict()
        fractions = {"fractions": list(self.cnet.capacity.fractions)}
        return {"cnet": self.cnet.state(), PART: under_way}, fractions

    def _restore(self, tensors: Tensors, values: dict[str, Any]) -> None:
        if values["fractions"] != list(self.cnet.capacity.fractions):
            raise UserError(
                f"what was saved shares channels out as {values['fractions']}, this learner as "
                f"{list(self.cnet.capacity.fractions)}; make it with the same tasks or fractions"
            )
        self.cnet.restore(tensors.get("cnet", {}))

    def _resume(self, tensors: Tensors, values: dict[str, Any]) -> None:
        assert self._portion is not None
        self._portion.load_state_dict(tensors[PART])
