"""Features by layer name, read off any network from outside.

    with tap(model, ["layer1", "layer2.0.relu:input"]) as taps:
        logits = model(images)
    features = taps["layer1"]  # differentiable

A name is a module's path as ``named_modules()`` gives it, with ``:output`` (the default) or
``:input`` behind it; the value before an activation is the input of that activation. Hooks exist
only inside the ``with`` block, also when it is left by an exception. The prefixes ``module.`` and
``_orig_mod.`` of DDP and of ``torch.compile`` may be written or left out.

What is tapped is not changed by what runs after it: where a layer works in place on the tapped
tensor (an in-place ReLU, ``out += shortcut``) the tap is a clone. Whether it must be one is found
out in the first forward by the tensor's version counter, for training and evaluation apart.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Literal

import torch
from torch import Tensor, nn

from rlgen.core.errors import UserError, closest

Side = Literal["input", "output"]
WRAPPERS = ("module", "_orig_mod")  # DDP, DataParallel; torch.compile


def tap(model: nn.Module, names: Sequence[str], clone: bool | None = None) -> "Taps":
    """Taps a network; see :class:`Taps`."""
    return Taps(model, names, clone)


class Taps(Mapping[str, Tensor]):
    """Features of the last forward by tap name; a context manager, which may be entered again.

    A module that runs several times in one forward gives its last call. Where a layer gives or
    takes several values, the first tensor among them counts. Features are kept after the block
    until it is entered again or :meth:`clear` is called.

    Args:
        model: Any network, also one wrapped by DDP or ``torch.compile``.
        names: Taps, such as ``["layer1.2.relu", "layer2:input"]``.
        clone: True or False: always or never clone; None: where the layers behind need it.

    Raises:
        UserError: If a layer is unknown; the message offers the closest names.
    """

    def __init__(self, model: nn.Module, names: Sequence[str], clone: bool | None = None) -> None:
        if isinstance(names, str):
            raise UserError(f"taps are a list of names; type [{names!r}]")
        self.model = model
        self.names = tuple(names)
        layers = layer_names(model)
        self._slots = [_Slot(name, *find_layer(model, name, layers), clone) for name in self.names]
        self._handles: list[torch.utils.hooks.RemovableHandle] = []

    @torch.compiler.disable
    def __enter__(self) -> "Taps":
        if self._handles:
            raise RuntimeError("these taps are in use already; make another tap(...)")
        _let_compiled_code_see_hooks()
        self.clear()
        try:
            for slot in self._slots:
                self._handles.append(slot.hook())
        except BaseException:
            self._unhook()
            raise
        return self

    @torch.compiler.disable
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._unhook()
        for slot in self._slots:
            slot.settle()

    def __getitem__(self, name: str) -> Tensor:
        for slot in self._slots:
            if slot.name == name:
                return slot.read()
        raise UserError(f"{name!r} is not tapped; {closest(name, self.names)}")

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(self.names))

    def __len__(self) -> int:
        return len(dict.fromkeys(self.names))

    def read(self) -> tuple[Tensor, ...]:
        """Returns the features in the order of the names.

        Raises:
            UserError: If a tapped layer did not run.
        """
        return tuple(slot.read() for slot in self._slots)

    def clear(self) -> None:
        """Lets go of the features, and with them of the graph that holds them."""
        for slot in self._slots:
            slot.tensor = slot.original = None

    def _unhook(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()


class _Slot:
    """Where one tap's tensor is put.

    Its hooks only set attributes: Dynamo can trace that into the graph, and neither another slot
    nor a filled one makes it compile anew.
    """

    def __init__(self, name: str, module: nn.Module, side: Side, clone: bool | None) -> None:
        self.name, self.module, self.side = name, module, side
        self.tensor: Tensor | None = None
        self.original: Tensor | None = None  # what was cloned, to see whether that was needed
        self.version = -1  # of what was not cloned, or of the original
        # By the module's mode: a network may work in place in one mode only.
        self.clones: dict[bool, bool | None] = {True: clone, False: clone}
        self.mode = False

    def hook(self) -> torch.utils.hooks.RemovableHandle:
        if self.side == "output":
            return self.module.register_forward_hook(self._on_output)
        return self.module.register_forward_pre_hook(self._on_input, with_kwargs=True)

    def _on_output(self, module: nn.Module, arguments: Any, output: Any) -> None:
        self._keep(first_tensor(output))

    def _on_input(self, module: nn.Module, arguments: Any, keywords: Any) -> None:
        tensor = first_tensor(arguments)
        self._keep(first_tensor(keywords) if tensor is None else tensor)

    def _keep(self, tensor: Tensor | None) -> None:
        if tensor is None:
            return
        if torch.compiler.is_compiling() or tensor.is_inference():
            self.tensor = tensor.clone()  # neither has a version counter to look at
            self.version = -1
            return
        self.mode = self.module.training
        clone = self.clones[self.mode]
        # A view, and no copy: like a clone it is a node of the graph at this place, so that
        # gradients are added in the same order in the first forward and in those behind it.
        self.tensor = tensor.view_as(tensor) if clone is False else tensor.clone()
        self.original = tensor if clone is None else None
        self.version = tensor._version if clone is not True else -1

    def settle(self) -> None:
        """Learns from a finished forward whether clones are needed."""
        if self.original is not None:
            self.clones[self.mode] = self.original._version != self.version
            self.original, self.version = None, -1

    def read(self) -> Tensor:
        self.settle()
        if self.tensor is None:
            raise UserError(
                f"tap {self.name!r}: that layer gave no tensor in the last forward; "
                "tap a layer that runs, inside the with block"
            )
        if self.version >= 0 and self.tensor._version != self.version:
            raise UserError(
                f"tap {self.name!r}: a later layer changed the tensor in place; "
                "type tap(..., clone=True)"
            )
        return self.tensor


def layer_names(model: nn.Module) -> dict[str, nn.Module]:
    """Returns the layers of a network by path, without the prefixes of its wrappers.

    A path that ends in a wrapper's own name (an attribute called ``module``) keeps it.
    """
    layers: dict[str, nn.Module] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        bare = ".".join(part for part in path.split(".") if part not in WRAPPERS)
        # The innermost of equal bare names is the wrapped module itself.
        if bare:
            layers[bare] = module
    return layers


def find_layer(
    model: nn.Module, name: str, layers: Mapping[str, nn.Module] | None = None
) -> tuple[nn.Module, Side]:
    """Resolves a tap's name to a module and a side of it.

    Args:
        model: The network.
        name: Path with or without ``:input`` or ``:output``.
        layers: ``layer_names(model)`` where it is known already.

    Raises:
        UserError: If there is no such layer or side.
    """
    path, colon, side = name.rpartition(":")
    if not colon:
        path, side = name, "output"
    if side not in ("input", "output"):
        raise UserError(f"tap {name!r}: a layer has :input and :output; type {path + ':input'!r}")
    exact = dict(model.named_modules(remove_duplicate=False)).get(path) if path else None
    if exact is None:
        layers = layer_names(model) if layers is None else layers
        exact = layers.get(".".join(part for part in path.split(".") if part not in WRAPPERS))
        if exact is None:
            kind = type(unwrap(model)).__name__
            raise UserError(f"unknown layer {path!r} of {kind}; {closest(path, layers)}")
    return exact, "input" if side == "input" else "output"


def unwrap(model: nn.Module) -> nn.Module:
    """Returns the network inside the wrappers of DDP and ``torch.compile``."""
    while True:
        children = dict(model.named_children())
        inner = next((children[name] for name in WRAPPERS if name in children), None)
        if inner is None or len(children) != 1:
            return model
        model = inner


def first_tensor(value: Any) -> Tensor | None:
    """Returns the first tensor in a value, through tuples, lists and mappings; None without."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, (tuple, list)):
        for item in value:
            found = first_tensor(item)
            if found is not None:
                return found
    return None


def _let_compiled_code_see_hooks() -> None:
    """Makes ``torch.compile`` guard on hooks.

    By default its graphs do not: hooks on a network that ran compiled before would stay silent,
    and those that were traced would outlive their removal. What was compiled so far is dropped
    once per process and compiled again at its next call.
    """
    if "torch._dynamo" not in sys.modules:
        return
    import torch._dynamo as dynamo

    if dynamo.config.skip_nnmodule_hook_guards:
        dynamo.config.skip_nnmodule_hook_guards = False
        dynamo.reset()
