"""PackNet: train, prune, train what is left, freeze; the next task takes what was pruned.

A. Mallya, S. Lazebnik, "PackNet: Adding Multiple Tasks to a Single Network by Iterative Pruning",
CVPR 2018. The rival of the spec hc_net (sections a and e): it needs the true task, and a task uses
scattered weights of the full width where the C-net uses whole channels.

* Task J trains all free weights of convolutions and linear layers; those of earlier tasks take part
  and stay as they are. Then, in every layer, the free weights smallest in magnitude are set to zero
  and given back, and the rest is trained on before it is frozen.
* Masks of tasks are disjoint: each weight belongs to one task or to none.
* Biases, batch norms with their statistics and the head are private to each task here, as in the
  C-net. The paper freezes biases and batch norms after its first task, a network trained on
  ImageNet; ours starts from nothing, and the normalisation of a first small task would not serve
  the others.
* Free weights of a later task start at zero, as pruning left them (so does the authors' released
  code), or at random values (``start``).
* The paper prunes a fixed share (50 % or 75 %) of the free weights; equal shares for a known number
  of tasks (``tasks``) are ours, so as to compare with the C-net's equal slices. Both phases
  together take the recipe's steps, so that all learners have the same budget.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from rlgen.continual.experience import Experience
from rlgen.continual.heads import HeadedNetwork, evaluating
from rlgen.continual.learner import LEARNERS, Learner, Route, Tensors
from rlgen.continual.recipe import Recipe
from rlgen.core.errors import UserError
from rlgen.core.ranges import check_range

STARTS = ("zero", "random")
FREE = 0  # owner of a weight that no task has; task J, counted from 1, has owner J
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
HEAD = ("head.weight", "head.bias")
Named = dict[str, Tensor]


@LEARNERS.register("packnet")
class PackNet(Learner):
    """Packs tasks into one network by pruning.

    Args:
        network: Ends in a linear layer; becomes the learner's body and loses that layer.
        shape: Of a picture, (C, H, W).
        recipe: Training of each task, both phases together.
        tasks: T, how many tasks share each layer's weights equally; the last one is not pruned.
        prune: Share in (0, 1) of the free weights that each task gives back, instead of ``tasks``;
            0.5 where neither is given.
        retrain: Share in (0, 1) of a task's steps that come after pruning.
        start: First values of free weights after the first task, ``"zero"`` or ``"random"`` at the
            scale of the network's own.
        seed: Of everything random.
        device: Where.
        route: See :class:`Learner`; the method itself has none.

    Attributes:
        weights: Shared weights by name, 0 where free.
        owners: Who has each of them, uint8: 0 or the task's number from 1.

    Raises:
        UserError: If an option is out of range, or the network has no weights to share.
    """

    name = "packnet"

    def __init__(
        self,
        network: nn.Module,
        shape: Sequence[int],
        recipe: Recipe | None = None,
        *,
        tasks: int | None = None,
        prune: float | None = None,
        retrain: float = 0.5,
        start: str = "zero",
        seed: int = 0,
        device: torch.device | str = "cpu",
        route: Route | None = None,
    ) -> None:
        super().__init__(shape, recipe, seed=seed, device=device, route=route)
        if tasks is not None and prune is not None:
            raise UserError("packnet: give either tasks=3 or prune=0.5, not both")
        check_range("tasks", tasks, 1, 255, optional=True)
        for option, value in (("prune", 0.5 if prune is None else prune), ("retrain", retrain)):
            if not 0 < value < 1:
                raise UserError(f"{option}={value} is no share between 0 and 1; type {option}=0.5")
        if start not in STARTS:
            raise UserError(f"start={start!r} is unknown; allowed: {', '.join(STARTS)}")
        self.planned, self.prune, self.retrain, self.start = tasks, prune or 0.5, retrain, start
        headed = HeadedNetwork(network.to(self.device), shape)
        # The body is never written to: it runs with the tensors of a task in place of its own.
        self.body, self.features = headed.body.requires_grad_(False), headed.features
        self.weights = {name: torch.zeros_like(value) for name, value in _shared(self.body).items()}
        if not self.weights:
            raise UserError(f"{type(network).__name__} has no convolution or linear layer to share")
        self.owners = {n: torch.zeros_like(v, dtype=torch.uint8) for n, v in self.weights.items()}
        self._own: list[Named] = []  # biases, norms and head of each task
        self._learning: _Learning | None = None
        self._ready: dict[int, Named] = {}  # all tensors of a task's pass, kept for reuse

    def parameter_count(self) -> int:
        """Returns the weights that belong to tasks, and each task's biases, norms and head."""
        owned = sum(int((owner != FREE).sum()) for owner in self.owners.values())
        learned = {name for name, _ in self.body.named_parameters()} | set(HEAD)
        return owned + sum(v.numel() for own in self._own for n, v in own.items() if n in learned)

    def memory_bytes(self) -> int:
        """Returns the bytes of weights, of their owners and of what is private to tasks."""
        groups = (self.weights, self.owners, *self._own)
        return sum(value.nbytes for group in groups for value in group.values())

    def _open(self, experience: Experience) -> Iterable[nn.Parameter]:
        task = len(self.records)
        self._check_room(task)
        free = {name: owner == FREE for name, owner in self.owners.items()}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed * 10_007 + task)
            head = nn.Linear(self.features, len(experience.classes))
            values = {name: self._start_values(name, task) for name in self.weights}
        given = {**dict(self.body.named_parameters()), **dict(self.body.named_buffers())}
        own = {name: value for name, value in given.items() if name not in self.weights}
        own |= dict(zip(HEAD, (head.weight, head.bias), strict=True))
        statistics = {name for name, _ in self.body.named_buffers()}
        self._learning = _Learning(
            mine=free,
            values={name: nn.Parameter(value) for name, value in values.items()},
            own={
                n: nn.Parameter(_copy(v, self.device))
                for n, v in own.items()
                if n not in statistics
            },
            statistics={n: _copy(v, self.device) for n, v in own.items() if n in statistics},
        )
        return self._learning.parameters()

    def _start_values(self, name: str, task: int) -> Tensor:
        given = self.body.get_parameter(name).detach()
        if not task:
            return given.clone()
        if self.start == "zero":
            return torch.zeros_like(given)
        return (torch.randn(given.shape) * given.std().cpu()).to(self.device)

    def _check_room(self, task: int) -> None:
        if self.planned is not None and task >= self.planned:
            raise UserError(
                f"the network is full: its weights were shared out to {self.planned} tasks and all "
                f"are learned; begin with tasks={task + 1}"
            )
        for name, owner in self.owners.items():
            free = int((owner == FREE).sum())
            if self._keeps(free) < 1:
                raise UserError(
                    f"the network is full: {free} weights of {name} are free, too few for one more "
                    "task; take a wider network, fewer tasks or a larger prune"
                )

    def _keeps(self, free: int) -> int:
        """Returns how many of a layer's free weights the next task, or that under way, keeps."""
        if self.planned is None:
            return round(free * (1 - self.prune))
        return free // (self.planned - len(self.records))

    def _terms(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        training, learning = self.training, self._learning
        assert training is not None
        assert learning is not None
        last = max(round(training.total_steps * self.retrain), 1)
        # Not at one step alone: a resumed run may have another number of them.
        if not learning.pruned and training.step >= training.total_steps - last:
            learning.pruned = True
            for name, mine in learning.mine.items():
                count = self._keeps(int(mine.sum()))
                learning.mine[name] = largest(learning.values[name], mine, count)
        self.body.train()
        logits = self._run(learning.tensors(self.weights), images)
        return {"task": nn.functional.cross_entropy(logits, labels)}

    def _close(self) -> None:
        assert self._learning is not None
        learned = self._learning.tensors(self.weights)
        for name, mine in self._learning.mine.items():
            self.weights[name] = learned.pop(name).detach()
            self.owners[name][mine] = len(self.records) + 1
        self._own.append({name: value.detach().clone() for name, value in learned.items()})
        self._learning = None

    def _abandon(self) -> None:
        self._learning = None

    def _logits(self, images: Tensor, task: int) -> Tensor:
        if task not in self._ready:
            earlier = {
                name: torch.where((owner != FREE) & (owner <= task + 1), self.weights[name], 0)
                for name, owner in self.owners.items()
            }
            self._ready[task] = {**earlier, **self._own[task]}
        with evaluating(self.body):
            return self._run(self._ready[task], images)

    def _run(self, tensors: Mapping[str, Tensor], images: Tensor) -> Tensor:
        body = {name: value for name, value in tensors.items() if name not in HEAD}
        features: Tensor = functional_call(self.body, body, (images,))
        return nn.functional.linear(features, *(tensors[name] for name in HEAD))

    def _state(self) -> tuple[Tensors, dict[str, Any]]:
        own = {f"{n}.{k}": v for n, group in enumerate(self._own) for k, v in group.items()}
        tensors: Tensors = {"weights": self.weights, "owners": self.owners, "own": own}
        if self._learning is not None:
            tensors |= self._learning.groups()
        pruned = self._learning is not None and self._learning.pruned
        return tensors, {"planned": self.planned, "prune": self.prune, "pruned": pruned}

    def _restore(self, tensors: Tensors, values: dict[str, Any]) -> None:
        if (values["planned"], values["prune"]) != (self.planned, self.prune):
            raise UserError(
                f"what was saved has tasks={values['planned']}, prune={values['prune']}, this "
                f"learner tasks={self.planned}, prune={self.prune}; make it with the same"
            )
        _copy_into(self.weights, tensors["weights"])
        _copy_into(self.owners, tensors["owners"])
        self._own = [{} for _ in self.records]
        for key, value in tensors.get("own", {}).items():
            number, _, name = key.partition(".")
            self._own[int(number)][name] = value.to(self.device)
        self._ready = {}

    def _resume(self, tensors: Tensors, values: dict[str, Any]) -> None:
        assert self._learning is not None
        for group, named in self._learning.groups().items():
            _copy_into(named, tensors.get(group, {}))
        self._learning.pruned = values["pruned"]


@dataclass
class _Learning:
    """A task under way.

    Attributes:
        mine: Which shared weights it moves, bool; fewer after pruning.
        values: Its values of them; others are not used.
        own: Biases, affine parameters of norms, head.
        statistics: Buffers, such as those of batch norms.
        pruned: Whether weights were given back.
    """

    mine: Named
    values: dict[str, nn.Parameter]
    own: dict[str, nn.Parameter]
    statistics: Named
    pruned: bool = False

    def parameters(self) -> list[nn.Parameter]:
        """Returns what the optimiser moves."""
        return [*self.values.values(), *self.own.values()]

    def tensors(self, weights: Named) -> Named:
        """Returns all tensors of its pass: its own entries and, elsewhere, those of ``weights``.

        So no gradient, momentum or weight decay reaches a frozen weight.
        """
        mixed = {k: torch.where(self.mine[k], v, weights[k]) for k, v in self.values.items()}
        return {**mixed, **self.own, **self.statistics}

    def groups(self) -> Tensors:
        """Returns its tensors by kind and name."""
        return {
            "mine": self.mine,
            "values": {name: value.detach() for name, value in self.values.items()},
            "learning": {name: value.detach() for name, value in self.own.items()},
            "statistics": self.statistics,
        }


def largest(values: Tensor, among: Tensor, count: int) -> Tensor:
    """Returns a mask of the ``count`` values largest in magnitude.

    Args:
        values: Of any shape.
        among: bool, of the same shape: those that may be chosen.
        count: At most as many as there are; of equal values the first are taken.
    """
    magnitudes = torch.where(among, values.detach().abs(), -1.0).flatten()
    order = magnitudes.argsort(descending=True, stable=True)
    chosen = torch.zeros_like(magnitudes, dtype=torch.bool)
    chosen[order[:count]] = True
    return chosen.view(values.shape)


def _shared(body: nn.Module) -> Named:
    """Returns the weights of convolutions and linear layers by name."""
    weights = {
        f"{name}.weight" if name else "weight"
        for name, module in body.named_modules()
        if isinstance(module, LAYERS)
    }
    return {name: value.detach() for name, value in body.named_parameters() if name in weights}


def _copy(value: Tensor, device: torch.device) -> Tensor:
    return value.detach().clone().to(device)


def _copy_into(mine: Named, saved: Named) -> None:
    same = mine.keys() == saved.keys()
    if not same or any(mine[name].shape != saved[name].shape for name in mine):
        raise UserError("what was saved does not fit the network; make it with the same one")
    for name, value in saved.items():
        mine[name].copy_(value)
