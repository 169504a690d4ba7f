"""C-net: one network whose channels are handed out to tasks in consecutive ranges.

Paper: J. Kim, J. Kim, N. Kwak, "HC-Net" / "StackNet", arXiv 1809.02441; spec hc_net, section b.
The paper's body was not readable: the mechanism is that of its abstracts and of third-party notes,
block layout, shares and private batch norms are the spec's reconstruction.

Task J reads all channels up to I^J and writes those above I^(J-1)::

              columns 1..I^(J-1)    I^(J-1)+1..I^J
    old rows  frozen                zero
    new rows  trainable             trainable

Each task's new rows are kept as tensors of their own, never as part of a larger one. So nothing
that learning does (gradient, momentum, weight decay) can reach an older task, the zero block takes
no memory, and a network that grows is not copied. A task runs as a plain smaller module that is
put together from the rows of tasks 1..J: only its portion is computed.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from rlgen.continual.capacity import Capacity
from rlgen.continual.stacking import (
    StackedLayer,
    check_resizable,
    resized,
    trace_layout,
)
from rlgen.core.errors import UserError

STARTS = ("random", "old")
Part = dict[str, Tensor]


class Masks(NamedTuple):
    """Which entries of a layer's weight (I_k^J, columns, ...) are what, in the pass of task J.

    Attributes:
        frozen: Of earlier tasks.
        trainable: New rows.
        zero: Rows of any task in columns of later ones.
    """

    frozen: Tensor
    trainable: Tensor
    zero: Tensor


class Stacked(nn.Module):
    """Parametrisation of a weight or bias: fixed rows above trainable ones.

    Args:
        old: Rows of earlier tasks, as wide as the new ones.
    """

    old: Tensor

    def __init__(self, old: Tensor) -> None:
        super().__init__()
        self.register_buffer("old", old)

    def forward(self, new: Tensor) -> Tensor:
        """Puts the rows together."""
        return torch.cat([self.old, new])

    def right_inverse(self, whole: Tensor) -> Tensor:
        """Returns the trainable rows of a whole tensor."""
        return whole[len(self.old) :].clone()


class CNet:
    """A network that learns tasks one after another and forgets nothing.

    Args:
        network: Gives the layers and how they are connected, N_k and the scale of first weights;
            see :func:`rlgen.continual.stacking.trace_layout`. It is not changed.
        shape: Of a picture, (C, H, W).
        capacity: Shares out the channels.
        start: ``"random"``: new rows are drawn at the scale of the network's own weights;
            ``"old"``: they start as copies of old rows where they read old channels.
        seed: Of the first weights, together with the task's number.

    Attributes:
        layout: Channel groups of the network.
        classes: C_J of each task learned.

    Raises:
        UserError: If the network is not of a kind that can be shared out.
    """

    def __init__(
        self,
        network: nn.Module,
        shape: Sequence[int],
        capacity: Capacity,
        *,
        start: str = "random",
        seed: int = 0,
    ) -> None:
        if start not in STARTS:
            raise UserError(f"start={start!r} is unknown; allowed: {', '.join(STARTS)}")
        self.network, self.shape = network, tuple(shape)
        self.capacity, self.start, self.seed = capacity, start, seed
        self.layout = trace_layout(network, shape)
        for task in range(capacity.tasks):  # too narrow a layer is told before the first task
            capacity.widths(task, self.layout.widths)
        check_resizable(network, self.layout, shape)
        self.classes: list[int] = []
        self._parts: list[Part] = []  # what each task added; never written to again
        self._portions: dict[int, nn.Module] = {}

    def widths(self, task: int) -> dict[str, int]:
        """Returns the channels of each group that a task uses, the pictures' included."""
        return self.layout.with_input(self.capacity.widths(task, self.layout.widths))

    def begin(self, classes: int) -> nn.Module:
        """Returns the next task's portion, whose parameters are its trainable entries alone.

        Nothing is learned until :meth:`freeze`.

        Args:
            classes: C_J.

        Raises:
            UserError: If the network is full.
        """
        task = len(self._parts)
        widths = self.widths(task)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(self.seed * 10_007 + task)
            portion = resized(self.network, self.layout, widths, classes)
            for layer in self.layout.layers:
                self._start_layer(portion, layer, task, widths)
        return portion.train()

    def freeze(self, portion: nn.Module) -> None:
        """Keeps what the next task's portion has learned, for good.

        Args:
            portion: As :meth:`begin` gave it, trained.
        """
        part: Part = {}
        for layer in self.layout.layers:
            module = portion.get_submodule(layer.name)
            for name in _tensors(module):
                part[f"{layer.name}.{name}"] = _trainable(module, name)
        for private in [*(name for name, _ in self.layout.norms), self.layout.head.name]:
            for name, value in portion.get_submodule(private).state_dict().items():
                part[f"{private}.{name}"] = value
        self._parts.append({name: value.detach().clone() for name, value in part.items()})
        self.classes.append(int(portion.get_submodule(self.layout.head.name).out_features))  # type: ignore[arg-type]

    def portion(self, task: int) -> nn.Module:
        """Returns a learned task's portion as a plain module in eval mode, kept for reuse.

        Args:
            task: Its number from 0.
        """
        if task not in self._portions:
            self._portions[task] = self.assemble(task).eval().requires_grad_(False)
        return self._portions[task]

    def assemble(self, task: int) -> nn.Module:
        """Returns a new plain module of a learned task's portion: no masks, no other task's rows.

        Args:
            task: Its number from 0.

        Raises:
            UserError: If there is no such task.
        """
        if not 0 <= task < len(self._parts):
            raise UserError(f"task={task}: {len(self._parts)} tasks are learned, from 0 on")
        widths = self.widths(task)
        with torch.random.fork_rng(devices=[]):
            module = resized(self.network, self.layout, widths, self.classes[task])
        weights = module.state_dict()
        stacked = {f"{layer.name}.{kind}" for layer in self.layout.layers for kind in _KINDS}
        weights |= {k: v for k, v in self._parts[task].items() if k not in stacked}
        for layer in self.layout.layers:
            for name in _tensors(module.get_submodule(layer.name)):
                rows = self._rows(layer, name, task, layer.columns(widths))
                weights[f"{layer.name}.{name}"] = rows
        module.load_state_dict(weights)
        return module

    def masks(self, task: int) -> dict[str, Masks]:
        """Returns what each entry of each layer's weight is in the pass of a task.

        Args:
            task: Its number from 0; it need not be learned.
        """
        ranges = [self.widths(number) for number in range(task + 1)]
        found = {}
        for layer in self.layout.layers:
            owner = torch.full((ranges[-1][layer.writes], layer.columns(ranges[-1])), -1)
            first = 0
            for number, widths in enumerate(ranges):
                owner[first : widths[layer.writes], : layer.columns(widths)] = number
                first = widths[layer.writes]
            found[layer.name] = Masks((owner >= 0) & (owner < task), owner == task, owner < 0)
        return found

    def used_parameters(self, task: int) -> int:
        """Returns how many parameters a learned task computes with: frozen and its own."""
        stacked = {layer.name for layer in self.layout.layers}
        return sum(
            value.numel()
            for number, part in enumerate(self._parts[: task + 1])
            for name, value in part.items()
            if name.rpartition(".")[0] in stacked or (number == task and not _is_statistic(name))
        )

    def parameter_count(self) -> int:
        """Returns the parameters of all tasks together; statistics of batch norms not counted."""
        return sum(
            v.numel() for part in self._parts for k, v in part.items() if not _is_statistic(k)
        )

    def memory_bytes(self) -> int:
        """Returns the bytes of everything kept; portions put together for speed are not counted."""
        return sum(value.nbytes for part in self._parts for value in part.values())

    def state(self) -> dict[str, Tensor]:
        """Returns all that was learned, by task and name."""
        return {f"{n}.{k}": v for n, part in enumerate(self._parts) for k, v in part.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Puts a state from :meth:`state` back.

        Raises:
            UserError: If it is of another network or capacity.
        """
        like = next(self.network.parameters())
        parts: dict[int, Part] = {}
        for key, value in tensors.items():
            number, _, name = key.partition(".")
            parts.setdefault(int(number), {})[name] = value.to(like.device)
        head = f"{self.layout.head.name}.weight"
        try:
            kept = [parts[number] for number in range(len(parts))]
            classes = [len(part[head]) for part in kept]
            self._parts, self.classes, self._portions = kept, classes, {}
            for task in range(len(kept)):
                self.assemble(task)
        except (KeyError, RuntimeError) as error:
            raise UserError(
                f"what was saved does not fit {type(self.network).__name__} with this capacity: "
                f"{str(error).strip().splitlines()[-1].strip()}"
            ) from None

    def _rows(self, layer: StackedLayer, name: str, task: int, columns: int) -> Tensor:
        """Stacks the rows of tasks 0..task of a weight or bias, zeros in columns they never had."""
        blocks = [part[f"{layer.name}.{name}"] for part in self._parts[: task + 1]]
        if name == "bias":
            return torch.cat(blocks)
        like = blocks[-1]
        rows = like.new_zeros(sum(map(len, blocks)), columns, *like.shape[2:])
        first = 0
        for block in blocks:
            rows[first : first + len(block), : block.shape[1]] = block
            first += len(block)
        return rows

    def _start_layer(
        self, portion: nn.Module, layer: StackedLayer, task: int, widths: Mapping[str, int]
    ) -> None:
        """Draws new rows and puts frozen ones above them."""
        module = portion.get_submodule(layer.name)
        template: Any = self.network.get_submodule(layer.name).weight
        columns = layer.columns(widths)
        # A sum over fewer channels has the same variance with larger weights.
        scale = template.std() * (template.shape[1] / columns) ** 0.5
        whole: Any = {name: getattr(module, name) for name in _tensors(module)}
        whole["weight"].normal_().mul_(scale)
        if "bias" in whole:
            whole["bias"].zero_()
        if not task:
            return
        for name, tensor in whole.items():
            old = self._rows(layer, name, task - 1, columns)
            if self.start == "old":
                new = tensor[len(old) :]
                copied = old[torch.arange(len(new), device=old.device) % len(old)]
                reach = layer.columns(self.widths(task - 1))
                if name == "weight":
                    new[:, :reach] = copied[:, :reach]
                else:
                    new.copy_(copied)
            parametrize.register_parametrization(module, name, Stacked(old))


_KINDS = ("weight", "bias")


def _tensors(module: nn.Module) -> list[str]:
    return [name for name in _KINDS if getattr(module, name, None) is not None]


def _trainable(module: nn.Module, name: str) -> Tensor:
    if parametrize.is_parametrized(module, name):
        original: Tensor = module.parametrizations[name].original  # type: ignore[index, union-attr]
        return original
    value: Tensor = getattr(module, name)
    return value


def _is_statistic(name: str) -> bool:
    return name.endswith(("running_mean", "running_var", "num_batches_tracked"))
