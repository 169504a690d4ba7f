"""What every task index does: learn one task at a time, then tell which task a picture is of.

Paper: J. Kim, J. Kim, N. Kwak, "HC-Net" / "StackNet", arXiv 1809.02441; spec hc_net. That there is
a module which finds the task from the picture alone is the abstracts' (paper); that it keeps one
generative model per task and trains a binary classifier per task on generated samples is from
third-party notes (notes); the other indices here are alternatives of ours behind the same interface
(reconstructed). An index sees one task's pictures at a time and keeps none of them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from rlgen.continual.experience import Experience
from rlgen.core.errors import NonFiniteLossError, UserError
from rlgen.core.ranges import check_range
from rlgen.core.registry import Registry
from rlgen.core.seeding import step_seed
from rlgen.data.classification import LabelledBatches

Tensors = dict[str, dict[str, Tensor]]
CHUNK = 500  # pictures scored at once; bounds the memory


class TaskIndex(ABC):
    """Finds the task of a picture.

    A learner calls :meth:`begin_task`, :meth:`step` until :attr:`steps_left` is 0, and
    :meth:`end_task`. Everything random in a step is drawn from (seed, task, step), so a restored
    index goes on exactly. Until a task is ended, scores are those of the tasks before it.

    Args:
        shape: Of a picture, (C, H, W), C 1 or 3.
        size: Side to which pictures are brought, in pixels; grey ones are repeated to 3 channels.
        batch_size: Pictures per step.
        seed: Of everything random.
        device: Where.

    Attributes:
        count: T, tasks learned.
        steps_done: Steps taken in the task under way.

    Raises:
        UserError: If an option is out of range.
    """

    name: str

    def __init__(
        self,
        shape: Sequence[int],
        *,
        size: int = 32,
        batch_size: int = 64,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        check_range("size", size, 8, 1024)
        check_range("batch_size", batch_size, 2, 10**6)
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise UserError(f"pictures of {tuple(shape)}; a task index takes 1 or 3 channels")
        self.shape, self.size, self.batch_size = tuple(shape), size, batch_size
        self.seed, self.device = seed, torch.device(device)
        self.count = 0
        self.steps_done = 0
        self._batches: LabelledBatches | None = None
        self._total = 0

    # What an index is made of.

    @abstractmethod
    def _open(self, experience: Experience) -> int:
        """Gets ready for a task and returns how many steps it takes."""

    @abstractmethod
    def _take_step(self, step: int) -> dict[str, Tensor]:
        """Takes a step, from 0, of the task under way and returns its named losses."""

    @abstractmethod
    def _close(self, experience: Experience) -> None:
        """Keeps what was learned of the task under way."""

    @abstractmethod
    def _scores(self, images: Tensor) -> Tensor:
        """Returns scores (B, T) of pictures as :meth:`prepared` gives them; the highest wins."""

    @abstractmethod
    def _kept(self) -> Tensors:
        """Returns all that is kept of the tasks learned, by file and name."""

    @abstractmethod
    def _keep(self, tensors: Tensors) -> None:
        """Puts what :meth:`_kept` gave back; :attr:`count` is set already."""

    @abstractmethod
    def _progress(self) -> tuple[Tensors, dict[str, Any]]:
        """Returns the state of the task under way, by file and name, and as JSON values."""

    @abstractmethod
    def _go_on(self, tensors: Tensors, values: Mapping[str, Any]) -> None:
        """Puts what :meth:`_progress` gave back, after the task was begun anew."""

    # Learning.

    @property
    def steps_left(self) -> int:
        """Steps left in the task under way; 0 where there is none."""
        return 0 if self._batches is None else self._total - self.steps_done

    def learn_task(self, experience: Experience) -> None:
        """Learns a task at once; see :meth:`begin_task`."""
        self.begin_task(experience)
        while self.steps_left:
            self.step()
        self.end_task()

    def begin_task(self, experience: Experience) -> None:
        """Gets ready for a task; one under way that was not ended is given up.

        Args:
            experience: Its data; they are let go at its end.

        Raises:
            UserError: If its pictures have another shape.
        """
        if experience.shape != self.shape:
            raise UserError(
                f"task {experience.name} has pictures of {experience.shape}; the index takes "
                f"{self.shape}"
            )
        channels = self.shape[0]
        self._batches = LabelledBatches(
            *(experience.sets(), self.batch_size, self.seed * 10_007 + self.count, self.device),
            padding=0,
            flip=False,
            statistics=([0.0] * channels, [1.0] * channels),  # pictures stay in 0 to 1
        )
        self._experience, self.steps_done = experience, 0
        with self._drawing(-1):
            self._total = self._open(experience)

    def step(self) -> dict[str, Tensor]:
        """Takes one step of the task under way and returns its named losses.

        Raises:
            NonFiniteLossError: If one is NaN or infinite; checked every 50 steps and at the end.
        """
        if not self.steps_left:
            raise UserError("no step of a task is left in the index; begin one first")
        with self._drawing(self.steps_done):
            terms = self._take_step(self.steps_done)
        self.steps_done += 1
        if not self.steps_done % 50 or not self.steps_left:
            for name, term in terms.items():
                if not torch.isfinite(term):
                    raise NonFiniteLossError(name, self.steps_done)
        return {name: term.detach() for name, term in terms.items()}

    def end_task(self) -> None:
        """Ends the task under way, keeps what was learned, and lets its pictures go."""
        if self._batches is None:
            raise UserError("no task is under way in the index; begin one first")
        with self._drawing(self._total):
            self._close(self._experience)
        self._batches = None
        del self._experience
        self.count += 1

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Returns the task's batch of a step: pictures (B, 3, size, size) in 0 to 1, classes."""
        assert self._batches is not None
        images, labels = self._batches.at(step)
        return self.prepared(images), labels

    def all_batches(self) -> list[tuple[Tensor, Tensor]]:
        """Returns one epoch of the task under way in batches."""
        assert self._batches is not None
        return [self.batch(step) for step in range(self._batches.steps_per_epoch)]

    def _drawing(self, step: int) -> AbstractContextManager[None]:
        seed = step_seed(self.seed * 10_007 + self.count, step + 1)
        return _drawing(seed, self.device)

    # Telling.

    def prepared(self, images: Tensor) -> Tensor:
        """Returns pictures as the index's networks take them: (B, 3, size, size) in 0 to 1.

        Args:
            images: (B, C, H, W), float in 0 to 1.
        """
        if images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)
        if images.shape[2:] != (self.size, self.size):
            images = nn.functional.interpolate(
                images, (self.size, self.size), mode="bilinear", antialias=True
            )
        return images.contiguous()

    @torch.no_grad()
    def scores(self, images: Tensor) -> Tensor:
        """Returns how well pictures fit each task, (B, T); only their order has a meaning.

        Args:
            images: (B, C, H, W), float in 0 to 1.

        Raises:
            UserError: If no task was learned or pictures have another shape.
        """
        if not self.count:
            raise UserError("no task was learned yet")
        if tuple(images.shape[1:]) != self.shape:
            raise UserError(
                f"pictures of {tuple(images.shape[1:])} were given; the index takes {self.shape}"
            )
        parts = images.to(self.device, torch.float32).split(CHUNK)
        return torch.cat([self._scores(self.prepared(part)) for part in parts])

    def route(self, images: Tensor) -> Tensor:
        """Returns the number of the likeliest task of each picture, (B,): argmax of the scores.

        With one task there is nothing to find: 0.
        """
        if self.count == 1:
            return torch.zeros(len(images), dtype=torch.int64, device=self.device)
        return self.scores(images).argmax(1)

    def memory_bytes(self) -> int:
        """Returns the bytes kept between tasks."""
        return sum(value.nbytes for group in self._kept().values() for value in group.values())

    # Saving.

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """Returns everything, as named tensors by file and as JSON values; also inside a task."""
        values: dict[str, Any] = {"index": self.name, "count": self.count, "training": None}
        tensors = self._kept()
        if self._batches is not None:
            under_way, progress = self._progress()
            tensors = {**tensors, **under_way}
            values["training"] = {**progress, "step": self.steps_done}
        return {name: group for name, group in tensors.items() if group}, values

    def restore(self, tensors: Tensors, values: Mapping[str, Any]) -> None:
        """Puts what was learned before the task under way into a new index of the same arguments.

        Args:
            tensors: As :meth:`state` gave them.
            values: Likewise.

        Raises:
            UserError: If the state is of another index.
        """
        if values.get("index") != self.name:
            raise UserError(
                f"what was saved has the task index {values.get('index')}, not {self.name}"
            )
        self.count = int(values["count"])
        try:
            with self._drawing(-1):  # first weights, which those saved replace
                self._keep(tensors)
        except (KeyError, RuntimeError) as error:
            raise UserError(
                f"what was saved does not fit the task index {self.name} with these options: "
                f"{str(error).strip().splitlines()[-1].strip()}"
            ) from None

    def resume(self, tensors: Tensors, values: Mapping[str, Any]) -> None:
        """Puts the task under way back, after :meth:`restore` and :meth:`begin_task`.

        Args:
            tensors: As :meth:`state` gave them.
            values: Likewise.
        """
        self._go_on(tensors, values["training"])
        self.steps_done = int(values["training"]["step"])


@contextmanager
def _drawing(seed: int, device: torch.device) -> Iterator[None]:
    """Inside the block torch's global numbers are those of a seed; then as before."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


TASK_INDICES: Registry[Callable[..., TaskIndex]] = Registry("task index", "task_indices")
"""All task indices by name; importing :mod:`rlgen.continual.hnet` registers them."""
