"""What every continual learner does: learn one task at a time, then tell tasks and classes.

A learner sees one :class:`~rlgen.continual.experience.Experience` at a time and keeps none of its
pictures (spec hc_net, invariant 8); one that does says so by ``keeps_data``.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rlgen.continual.experience import Experience, Progress, TaskRecord
from rlgen.continual.recipe import Recipe, Training
from rlgen.core.checkpoint import (
    CheckpointError,
    list_checkpoints,
    load_checkpoint,
    next_step,
    save_checkpoint,
)
from rlgen.core.errors import NonFiniteLossError, UserError, closest
from rlgen.core.registry import Registry
from rlgen.core.seeding import step_seed

Route = Callable[[Tensor], Tensor]
Tensors = dict[str, dict[str, Tensor]]


class Prediction(NamedTuple):
    """What a learner says about pictures.

    Attributes:
        task: (B,), numbers of tasks in the order they were learned, from 0.
        label: (B,), classes within the task.
        logits: (B, most classes of a task), of the head used; -inf beyond its own classes.
    """

    task: Tensor
    label: Tensor
    logits: Tensor


class Learner(ABC):
    """Learns tasks one after another.

    A run calls :meth:`learn_task`; one that saves inside tasks calls :meth:`begin_task`,
    :meth:`step` until :attr:`steps_left` is 0, and :meth:`end_task`. Everything random in a step is
    drawn from (seed, task, step), so a restored learner goes on exactly.

    Args:
        shape: Of a picture, (C, H, W).
        recipe: Training of each task.
        seed: Of everything random.
        device: Where.
        route: Finds tasks where none are given: pictures in 0 to 1, (B, C, H, W), to numbers of
            tasks (B,). None: the task whose head is surest, by its largest probability.

    Attributes:
        keeps_data: Whether pictures of earlier tasks are kept.
        records: What is known of each task learned.
    """

    name: str
    keeps_data: bool = False

    def __init__(
        self,
        shape: Sequence[int],
        recipe: Recipe | None = None,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        route: Route | None = None,
    ) -> None:
        self.shape = tuple(shape)
        self.recipe = recipe or Recipe()
        self.seed, self.device, self.route = seed, torch.device(device), route
        self.records: list[TaskRecord] = []
        self.training: Training | None = None

    # What a learner is made of.

    @abstractmethod
    def parameter_count(self) -> int:
        """Returns the network's parameters kept for all tasks learned; bytes tell the rest."""

    @abstractmethod
    def memory_bytes(self) -> int:
        """Returns the bytes kept between tasks: weights, statistics, pictures if any."""

    @abstractmethod
    def _open(self, experience: Experience) -> Iterable[nn.Parameter]:
        """Gets ready for a task and returns what its optimiser moves."""

    @abstractmethod
    def _terms(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Returns the terms of the loss of a normalised batch, whose sum is minimised."""

    @abstractmethod
    def _close(self) -> None:
        """Ends a task whose training is over."""

    @abstractmethod
    def _abandon(self) -> None:
        """Forgets a task under way."""

    @abstractmethod
    def _logits(self, images: Tensor, task: int) -> Tensor:
        """Returns the logits (B, C_J) of a task learned, of normalised pictures, in eval mode."""

    @abstractmethod
    def _state(self) -> tuple[Tensors, dict[str, Any]]:
        """Returns everything learned, also of a task under way."""

    @abstractmethod
    def _restore(self, tensors: Tensors, values: dict[str, Any]) -> None:
        """Puts back what was learned before the task under way, or all, if there is none."""

    @abstractmethod
    def _resume(self, tensors: Tensors, values: dict[str, Any]) -> None:
        """Puts the task under way back, after it was begun anew."""

    def _steps_after(self) -> tuple[int, int]:
        """Returns the steps taken and left of a task's second phase, for learners that have one."""
        return 0, 0

    def _step_after(self) -> dict[str, Tensor]:
        """Takes one of those steps and returns its named losses."""
        raise UserError("no step of a task is left; end it")

    # Learning.

    @property
    def tasks(self) -> list[str]:
        """Names of the tasks learned, in their order."""
        return [record.name for record in self.records]

    @property
    def steps_done(self) -> int:
        """Steps taken in the task under way."""
        return self.training.step + self._steps_after()[0] if self.training else 0

    @property
    def steps_left(self) -> int:
        """Steps left in the task under way; 0 where there is none."""
        training = self.training
        return training.total_steps - training.step + self._steps_after()[1] if training else 0

    def learn_task(self, experience: Experience, *, on_step: Progress | None = None) -> None:
        """Learns a task.

        Args:
            experience: Its data; none is kept, unless ``keeps_data``.
            on_step: Told after each step.

        Raises:
            UserError: If the task is known, its pictures have another shape, or there is no room.
            NonFiniteLossError: If the loss becomes NaN or infinite.
        """
        self.begin_task(experience)
        while self.steps_left:
            terms = self.step()
            if on_step is not None:
                on_step(self.steps_done, terms)
        self.end_task()

    def begin_task(self, experience: Experience) -> None:
        """Gets ready for a task; see :meth:`learn_task`."""
        if self.training is not None:
            raise UserError(
                f"task {self.training.experience.name} is not ended yet; end_task() or "
                "abandon_task() first"
            )
        if experience.name in self.tasks:
            raise UserError(
                f"task {experience.name} was learned before; give the repeated one another name"
            )
        if experience.shape != self.shape:
            raise UserError(
                f"task {experience.name} has pictures of {experience.shape} and the network takes "
                f"{self.shape}; bring them to one size and number of channels"
            )
        parameters = self._open(experience)
        seed = self.seed * 10_007 + len(self.records)
        self.training = Training(self.recipe, experience, parameters, seed, self.device)

    def step(self) -> dict[str, Tensor]:
        """Takes one step of the task under way and returns the terms of its loss.

        Raises:
            NonFiniteLossError: If the loss is NaN or infinite; checked every 50 steps and at the
                end, so as not to wait for the device. The task is given up.
        """
        training = self._under_way()
        if training.step == training.total_steps:
            try:
                return self._step_after()
            except NonFiniteLossError:
                self.abandon_task()
                raise
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):  # of dropout
            torch.manual_seed(step_seed(training.seed, training.step))
            images, labels = training.batches.at(training.step)
            # Not channels last: with the odd widths that shares have, training ResNets on the CPU
            # ended in a corrupted heap (torch 2.13); contiguous batches do not.
            terms = self._terms(images.contiguous(), labels)
        loss = torch.stack(list(terms.values())).sum()
        training.descend(loss)
        terms = {"loss": loss.detach(), **{f"loss/{k}": v.detach() for k, v in terms.items()}}
        due = not training.step % 50 or training.step == training.total_steps
        if due and not torch.isfinite(loss):
            self.abandon_task()  # nothing of it may be frozen
            raise NonFiniteLossError("loss", training.step)
        return terms

    def end_task(self) -> None:
        """Ends the task under way and keeps what was learned, for good.

        Raises:
            UserError: If it has steps left, or none is under way.
        """
        experience = self._under_way().experience
        if left := self.steps_left:
            name = experience.name
            raise UserError(f"task {name} has {left} steps left; take them, or abandon_task()")
        mean, deviation = map(tuple, experience.sets().statistics())
        self._close()
        self.records.append(TaskRecord(experience.name, experience.classes, mean, deviation))
        self.training = None

    def abandon_task(self) -> None:
        """Gives the task under way up; weights that tasks share stay as its steps left them."""
        self._under_way()
        self._abandon()
        self.training = None

    def _under_way(self) -> Training:
        if self.training is None:
            raise UserError("no task is under way; begin one first")
        return self.training

    # Telling.

    def number(self, task: str | int) -> int:
        """Returns the number of a task, from 0.

        Raises:
            UserError: If it was not learned.
        """
        if isinstance(task, str):
            if task not in self.tasks:
                raise UserError(f"task {task!r} was not learned; {closest(task, self.tasks)}")
            return self.tasks.index(task)
        if not 0 <= task < len(self.records):
            raise UserError(f"task={task}: {len(self.records)} tasks were learned, from 0 on")
        return task

    def logits(self, images: Tensor, task: str | int) -> Tensor:
        """Returns a task's logits (B, C_J).

        Args:
            images: (B, C, H, W), uint8, or float in 0 to 1.
            task: Name or number.

        Raises:
            UserError: If the task was not learned or the pictures have another shape.
        """
        number = self.number(task)
        if tuple(images.shape[1:]) != self.shape:
            raise UserError(
                f"pictures of {tuple(images.shape[1:])} were given; the network takes {self.shape}"
            )
        scaled = images.to(self.device, torch.float32).contiguous()
        if images.dtype == torch.uint8:
            scaled = scaled / 255
        with torch.no_grad():
            return self._logits(self.records[number].normalized(scaled), number)

    def predict(
        self, images: Tensor, task: str | int | None = None, batch_size: int = 500
    ) -> Prediction:
        """Tells task and class of pictures.

        Args:
            images: (B, C, H, W), uint8, or float in 0 to 1.
            task: Name or number of the task of all of them; None to find it for each.
            batch_size: Pictures at once.

        Raises:
            UserError: See :meth:`logits`.
        """
        if not self.records:
            raise UserError("no task was learned yet")
        parts = [self._predict(part, task) for part in images.split(batch_size)]
        return Prediction(*(torch.cat(values) for values in zip(*parts, strict=True)))

    def _predict(self, images: Tensor, task: str | int | None) -> Prediction:
        most = max(len(record.classes) for record in self.records)
        logits = torch.full((len(images), most), -torch.inf, device=self.device)
        if task is not None:
            tasks = torch.full((len(images),), self.number(task), device=self.device)
        elif len(self.records) == 1:
            tasks = torch.zeros(len(images), dtype=torch.int64, device=self.device)
        elif self.route is not None:
            scaled = images.to(self.device, torch.float32)
            tasks = self.route(scaled / 255 if images.dtype == torch.uint8 else scaled)
        else:
            tasks = self._surest(images)
        for number in tasks.unique().tolist():  # each task's part runs on its own pictures only
            mine = tasks == number
            own = self.logits(images[mine.to(images.device)], number)
            logits[mine, : own.shape[1]] = own
        return Prediction(tasks, logits.argmax(1), logits)

    def _surest(self, images: Tensor) -> Tensor:
        sure = [self.logits(images, n).softmax(1).amax(1) for n in range(len(self.records))]
        return torch.stack(sure).argmax(0)

    # Saving.

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """Returns everything, as named tensors by file and as JSON values; also inside a task."""
        tensors, values = self._state()
        records = [vars(record) for record in self.records]
        training = None
        if self.training is not None:
            moments, training = self.training.state()
            tensors = {**tensors, "moments": moments}
        tensors = {name: group for name, group in tensors.items() if group}
        return tensors, {**values, "learner": self.name, "tasks": records, "training": training}

    def restore(
        self, tensors: Tensors, values: Mapping[str, Any], experience: Experience | None = None
    ) -> None:
        """Puts a state from :meth:`state` into a new learner made with the same arguments.

        Args:
            tensors: By file and name.
            values: The rest.
            experience: The task that was under way, if one was.

        Raises:
            UserError: If the state is of another learner, or the task under way is missing.
        """
        if values.get("learner") != self.name:
            raise UserError(f"what was saved is of {values.get('learner')}, not of {self.name}")
        under_way = values["training"]
        name = under_way and under_way["name"]
        if name != (experience and experience.name):
            given = experience.name if experience else "none"
            raise UserError(
                f"what was saved is in the middle of task {name or 'none'} and data of {given} "
                "were given; give those of the task under way"
            )
        learned = {key: value for key, value in values.items() if key != "training"}
        self.records = [
            TaskRecord(r["name"], *(tuple(r[key]) for key in ("classes", "mean", "deviation")))
            for r in values["tasks"]
        ]
        self._restore(tensors, learned)
        if experience is not None:
            self.begin_task(experience)
            self._resume(tensors, learned)
            assert self.training is not None
            self.training.restore(tensors.get("moments", {}), under_way)

    def save(self, folder: Path) -> Path:
        """Saves everything learned so that a folder holds it wholly or not at all.

        Args:
            folder: Holds the newest state.
        """
        return save_checkpoint(folder, next_step(folder), *self.state(), keep=1)

    def load(self, folder: Path, experience: Experience | None = None) -> None:
        """Loads what :meth:`save` wrote into a new learner made with the same arguments.

        Args:
            folder: Given to :meth:`save`.
            experience: The task that was under way, if one was.

        Raises:
            UserError: If there is nothing, it is damaged, or it does not fit.
        """
        saved = list_checkpoints(folder)
        if not saved:
            raise UserError(f"{folder} holds no learner")
        try:
            tensors, values = load_checkpoint(saved[-1])
        except CheckpointError as error:
            raise UserError(f"{folder} cannot be read: {error}") from None
        self.restore(tensors, values, experience)


LEARNERS: Registry[Callable[..., Learner]] = Registry("learner")
