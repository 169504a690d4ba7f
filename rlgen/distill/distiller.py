"""One module for all of distillation: networks, losses, taps.

    distiller = Distiller(student, teacher, {"kd": 1.0, "ofd": 1e-3}, example=(3, 32, 32))
    optimizer = SGD(distiller.parameters(), 0.1)
    loss, parts = distiller((images, labels))

Offline: ``student`` learns from fixed ``teachers``. Online: ``peers`` learn from each other; their
losses are those with ``online = True``. The objective is

    task_weight * task + sum over losses of weight * loss

with the task's loss (cross-entropy) summed over peers. A loss whose weight is 0 is not computed, so
such a run equals one without it to the last bit; building a distiller draws no number from torch's
global generator.

Teachers are in evaluation and without gradients by construction: they are not among ``modules()``,
``parameters()`` or ``state_dict()``, and ``train()`` does not reach them; ``to()`` does. A loss may
want their batch norms to use the batch's statistics; then they run once more in that mode, with
their running statistics as they were. On a student nothing remains: hooks exist during
``forward`` only.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rlgen.core.errors import UserError, closest
from rlgen.distill.arguments import (
    as_list,
    check_options,
    checked_weights,
    freeze,
    require_one_device,
    trained_networks,
)
from rlgen.distill.base import DistillLoss, Features
from rlgen.distill.batches import example_inputs, home_of, split_batch, to_device
from rlgen.distill.layers import Inputs, batch_statistics
from rlgen.distill.losses import LOSSES
from rlgen.distill.online import computed_once, shared_modules
from rlgen.distill.views import Snapshot, TapOption, View, choose_taps

Task = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Observation:
    """What one forward of all networks gave.

    Attributes:
        networks: Of the student, or of each peer, with history.
        teachers: Of each teacher, by the statistics its batch norms used.
        labels: As they came with the batch.
    """

    networks: list[Snapshot]
    teachers: dict[str, list[Snapshot]]
    labels: Tensor | None


class Distiller(nn.Module):
    """Student and teachers, or peers, with weighted losses; see the module's docstring.

    Args:
        student: The network to be trained; any module, also wrapped by DDP or ``torch.compile``.
        teachers: One or more trained networks. They are put into evaluation and frozen.
        losses: Weights by name in :data:`rlgen.distill.losses.LOSSES`; 0 or more.
        peers: Instead of the two above: two or more networks that are trained together. They may
            share layers (:func:`rlgen.distill.online.branch`).
        taps: Which layers the losses read; see :func:`rlgen.distill.views.choose_taps`.
        example: A batch, or the shape of one picture (C, H, W), for the dry run from which
            connectors are built; needed wherever there are losses.
        options: Keyword options of the losses, by name.
        task: Compares an output with the labels; cross-entropy by default.
        task_weight: Weight of the task's loss; 0.1 beside KD at 0.9 is usual.
        seed: For the initial weights of connectors.

    Attributes:
        weights: Weights by name; may be changed between steps.
        losses: The losses by name; connectors are theirs.

    Raises:
        UserError: If networks are missing or share weights wrongly, or a loss, an option, a layer
            or a shape does not fit.
    """

    def __init__(
        self,
        student: nn.Module | None = None,
        teachers: nn.Module | Sequence[nn.Module] = (),
        losses: Mapping[str, float] | None = None,
        *,
        peers: Sequence[nn.Module] = (),
        taps: TapOption | None = None,
        example: Any = None,
        options: Mapping[str, Mapping[str, Any]] | None = None,
        task: Task | None = None,
        task_weight: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.weights = checked_weights(losses)
        classes = {name: LOSSES[name] for name in self.weights}
        fixed = as_list(teachers)
        networks = trained_networks(student, peers, fixed, classes)
        require_one_device([*networks, *fixed])
        if student is not None:
            self.student = student
        else:
            self.peers = nn.ModuleList(networks)
        self._teachers = tuple(freeze(teacher) for teacher in fixed)  # a tuple registers nothing
        self._shared = shared_modules(networks)
        plan = choose_taps(classes, networks, fixed, taps)
        views = [
            View(model, wanted) for model, wanted in zip([*networks, *fixed], plan, strict=True)
        ]
        self._views, self._teacher_views = views[: len(networks)], views[len(networks) :]
        self.task: Task = cross_entropy if task is None else task
        self.task_weight = task_weight
        self.losses = nn.ModuleDict()
        self._build(classes, options or {}, example, seed)

    @property
    def networks(self) -> list[nn.Module]:
        """The student alone, or the peers."""
        return [view.model for view in self._views]

    @property
    def teachers(self) -> tuple[nn.Module, ...]:
        """The fixed networks."""
        return self._teachers

    def forward(self, batch: Any = None, **inputs: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the objective and its parts for a batch.

        Args:
            batch: (inputs, labels); a mapping with ``labels`` among its keys, whose rest are the
                networks' keywords; or inputs alone, which have no task loss.
            **inputs: Such a mapping, written as keywords.

        Returns:
            The scalar to minimise, and the unweighted parts ("task" and each loss by its name),
            detached.
        """
        return self.compare(self.observe(inputs if batch is None else batch))

    def observe(self, batch: Any) -> Observation:
        """Runs all networks on a batch, the teachers on the very tensors the student gets."""
        inputs, labels = split_batch(batch)
        with computed_once(self._shared):
            networks = [view.run(inputs) for view in self._views]
        modes = {self._loss(n).teacher_bn for n, w in self.weights.items() if w}
        wanted = sorted(modes) if self._teachers else []
        return Observation(networks, {m: self._run_teachers(inputs, m) for m in wanted}, labels)

    def compare(self, seen: Observation) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns the objective and its parts for what the networks gave."""
        terms: list[Tensor] = []
        parts: dict[str, Tensor] = {}
        if seen.labels is not None and self.task_weight:
            task = torch.stack([self._task_of(n, seen.labels) for n in seen.networks]).sum()
            terms.append(self.task_weight * task)
            parts["task"] = task.detach()
        for name, weight in self.weights.items():
            if weight:
                value = self.loss_of(name, seen)
                terms.append(weight * value)
                parts[name] = value.detach()
        if not terms:
            raise UserError(
                "nothing is to be minimised: the batch has no labels and no loss weight"
            )
        return torch.stack(terms).sum(), parts

    def loss_of(self, name: str, seen: Observation) -> Tensor:
        """Returns one loss, unweighted and with history."""
        loss = self._loss(name)
        if loss.needs_labels and seen.labels is None:
            raise UserError(f"loss {name!r} reads labels; give batches (inputs, labels)")
        students = self.features(name, seen)
        if loss.online:
            return loss.forward_peers(students, seen.labels)
        teachers = seen.teachers[loss.teacher_bn]
        views = self._teacher_views
        fixed = [v.features(name, s).detach() for v, s in zip(views, teachers, strict=True)]
        value: Tensor = loss(students[0], fixed, seen.labels)
        return value

    def features(self, name: str, seen: Observation) -> list[Features]:
        """Returns what one loss reads of the student, or of each peer."""
        pairs = zip(self._views, seen.networks, strict=True)
        return [view.features(name, snapshot) for view, snapshot in pairs]

    def prepare(self, batches: Iterable[Any]) -> None:
        """Lets losses learn from the teachers before training: FT's paraphraser, OFD's margins.

        Args:
            batches: Batches as :meth:`forward` takes them, such as a data loader; iterated once or
                more. A loss without such a phase reads nothing.
        """
        for name in self.weights:
            loss = self._loss(name)
            if type(loss).prepare is not DistillLoss.prepare:
                loss.prepare(_TeacherFeatures(self, name, batches))

    def set_epoch(self, epoch: float) -> None:
        """Tells the losses how far training is, in epochs from 0."""
        for name in self.weights:
            self._loss(name).set_epoch(epoch)

    def parameter_groups(self, **options: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Returns optimiser groups: one for all, and one for each loss that wants its own.

        Args:
            **options: Of a loss's group by its name, over what its paper says:
                ``afd={"lr": 1e-4}``.
        """
        own = {name: list(self._loss(name).own_parameters()) for name in self.weights}
        apart = {id(p) for parameters in own.values() for p in parameters}
        common = [p for p in self.parameters() if id(p) not in apart]
        groups: list[dict[str, Any]] = [{"params": common, "name": "networks"}]
        for name, parameters in own.items():
            if parameters:
                settings = {**self._loss(name).group_options, **options.get(name, {})}
                groups.append({"params": parameters, "name": name, **settings})
        return groups

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """Yields what must be trained: networks and connectors, less what is frozen in them."""
        for name, parameter in super().named_parameters(prefix, recurse, remove_duplicate):
            if parameter.requires_grad:
                yield name, parameter

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        for teacher in self._teachers:  # .to(device), .half() and the like
            teacher._apply(fn, recurse)
        return self

    def _loss(self, name: str) -> DistillLoss:
        loss = self.losses[name]
        assert isinstance(loss, DistillLoss)
        return loss

    def _task_of(self, network: Snapshot, labels: Tensor) -> Tensor:
        if network.logits is None:
            raise UserError("a network gave no tensor; it must return one, or have .logits")
        return self.task(network.logits, labels)

    def _run_teachers(self, inputs: Inputs, mode: str) -> list[Snapshot]:
        snapshots = []
        for view in self._teacher_views:
            view.fall_asleep()
            statistics = batch_statistics(view.model) if mode == "batch" else nullcontext()
            with torch.no_grad(), statistics:
                snapshots.append(view.run(inputs))
        return snapshots

    def _build(
        self,
        classes: Mapping[str, type[DistillLoss]],
        options: Mapping[str, Mapping[str, Any]],
        example: Any,
        seed: int,
    ) -> None:
        """Builds the losses from a dry run of all networks."""
        for name in options:
            if name not in classes:
                raise UserError(f"options of {name!r}: no such loss here; {closest(name, classes)}")
        if not classes:
            return
        if example is None:
            raise UserError("losses are built for sizes; give example=(3, 32, 32), or a batch")
        every = [*self._views, *self._teacher_views]
        inputs = [example_inputs(example, view.model) for view in every]
        layouts = [view.layouts(x) for view, x in zip(every, inputs, strict=True)]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            for name, loss in classes.items():
                check_options(name, loss, options.get(name, {}))
                seen = [layout[name] for layout in layouts]
                self.losses[name] = loss(seen[0], seen[1:], **options.get(name, {}))
        self.losses.to(home_of(self.networks[0]))
        teachers = list(zip(every, inputs, strict=True))[len(self._views) :]
        for name, loss in classes.items():
            if loss.read_norms is not DistillLoss.read_norms:
                self._loss(name).read_norms([view.norms(name, x) for view, x in teachers])


class _TeacherFeatures:
    """The teachers' features for batches, run anew at each pass."""

    def __init__(self, distiller: Distiller, name: str, batches: Iterable[Any]) -> None:
        self.distiller, self.name, self.batches = distiller, name, batches

    def __iter__(self) -> Iterator[list[Features]]:
        views = self.distiller._teacher_views
        mode = self.distiller._loss(self.name).teacher_bn
        device = home_of(self.distiller.networks[0])
        for batch in self.batches:
            inputs = to_device(split_batch(batch)[0], device)
            snapshots = self.distiller._run_teachers(inputs, mode)
            yield [v.features(self.name, s).detach() for v, s in zip(views, snapshots, strict=True)]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Returns the mean cross-entropy; token logits (B, T, classes) count every token.

    Tokens labelled -100 are left out, as everywhere in torch.
    """
    if logits.ndim == 3 and labels.ndim == 2:
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten())
    return F.cross_entropy(logits, labels)
