"""HC-Net: the C-net tells the class, a task index (the H-net) tells which task a picture is of.

Paper: J. Kim, J. Kim, N. Kwak, "HC-Net" / "StackNet", arXiv 1809.02441; spec hc_net, section b (two
networks that learn task after task: paper; class = argmax of the head of the task found: notes).
Each task is learned in two phases, the C-net's and then the index's (reconstructed: the two do not
depend on each other). Nothing that the C-net keeps of a task changes afterwards, so with given
tasks nothing is forgotten; with estimated ones, what is lost is what the index mistakes.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rlgen.continual.cnet_learner import CNetLearner
from rlgen.continual.experience import Experience
from rlgen.continual.hnet import TASK_INDICES, TaskIndex
from rlgen.continual.learner import LEARNERS, Route, Tensors
from rlgen.continual.recipe import Recipe
from rlgen.core.errors import UserError

PREFIX = "index_"  # of the index's files in a save


@LEARNERS.register("hcnet")
class HCNet(CNetLearner):
    """C-net and task index as one learner; see :class:`CNetLearner`.

    Args:
        network: See :class:`rlgen.continual.cnet.CNet`.
        shape: Of a picture, (C, H, W).
        recipe: Training of the C-net on each task.
        index: Name of a task index in ``TASK_INDICES``: gan, autoencoder, prototype...
        index_options: Its keywords, but for shape, seed and device.
        tasks: T, how many tasks share the channels equally.
        fractions: Rising shares instead of ``tasks``.
        grow: Whether tasks beyond T widen the network.
        start: First weights of new channels, ``"random"`` or ``"old"``.
        seed: Of everything random.
        device: Where.
        route: Finds tasks instead of the index, see :class:`Learner`; the index is learned anyway.

    Attributes:
        cnet: What was learned of classes.
        index: What was learned of tasks.

    Raises:
        UserError: If the index is unknown or an option does not fit.
    """

    name = "hcnet"

    def __init__(
        self,
        network: nn.Module,
        shape: Sequence[int],
        recipe: Recipe | None = None,
        *,
        index: str = "gan",
        index_options: Mapping[str, Any] | None = None,
        tasks: int | None = None,
        fractions: Sequence[float] | None = None,
        grow: bool = False,
        start: str = "random",
        seed: int = 0,
        device: torch.device | str = "cpu",
        route: Route | None = None,
    ) -> None:
        make, given = TASK_INDICES[index], dict(index_options or {})
        try:
            self.index: TaskIndex = make(shape, seed=seed, device=device, **given)
        except TypeError as error:
            raise UserError(f"index_options={given} do not fit index={index}: {error}") from None
        super().__init__(
            *(network, shape, recipe),
            tasks=tasks,
            fractions=fractions,
            grow=grow,
            start=start,
            seed=seed,
            device=device,
            route=route or self.index.route,
        )

    def memory_bytes(self) -> int:
        """Returns the bytes of C-net and index together."""
        return sum(self.memory_parts().values())

    def memory_parts(self) -> dict[str, int]:
        """Returns the bytes kept by ``cnet`` and by ``index``."""
        return {"cnet": self.cnet.memory_bytes(), "index": self.index.memory_bytes()}

    def _open(self, experience: Experience) -> Iterable[nn.Parameter]:
        parameters = super()._open(experience)
        self.index.begin_task(experience)
        return parameters

    def _steps_after(self) -> tuple[int, int]:
        return self.index.steps_done, self.index.steps_left

    def _step_after(self) -> dict[str, Tensor]:
        terms = self.index.step()
        named = {f"index/{name}": term for name, term in terms.items()}
        return {"loss": torch.stack(list(terms.values())).sum(), **named}

    def _close(self) -> None:
        super()._close()
        self.index.end_task()

    def _state(self) -> tuple[Tensors, dict[str, Any]]:
        tensors, values = super()._state()
        of_index, index_values = self.index.state()
        named = {PREFIX + name: group for name, group in of_index.items()}
        return {**tensors, **named}, {**values, "index": index_values}

    def _restore(self, tensors: Tensors, values: dict[str, Any]) -> None:
        super()._restore(tensors, values)
        self.index.restore(_of_index(tensors), values["index"])

    def _resume(self, tensors: Tensors, values: dict[str, Any]) -> None:
        super()._resume(tensors, values)
        self.index.resume(_of_index(tensors), values["index"])


def _of_index(tensors: Tensors) -> Tensors:
    return {
        name.removeprefix(PREFIX): group
        for name, group in tensors.items()
        if name.startswith(PREFIX)
    }
