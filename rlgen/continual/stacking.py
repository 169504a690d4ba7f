"""Channel groups of a feed-forward network: which layers must be cut at the same place.

Spec hc_net, sections b and c: task J uses channels 1..I_k^J of layer k, and all layers joined by a
shortcut have the same I^J, so that additions act on whole ranges. Here torch.fx gives the graph of
any traceable ``nn.Module``; a walk along it joins channels that are added, multiplied, normalised
or filtered depth-wise, and refuses what would let a later channel change an earlier one
(concatenation, layer and group norm, grouped convolutions). [reconstructed: the paper names VGG
and ResNet; how its code finds the ranges is not known.]
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn.utils.parametrize import is_parametrized

from rlgen.continual.heads import dry_run, evaluating, find_head
from rlgen.core.errors import UserError

INPUT = "input"
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
# Modules and functions that keep channels apart: no channel of their output reads another one.
_POOLS = ("MaxPool", "AvgPool", "AdaptiveMaxPool", "AdaptiveAvgPool")
_APART_MODULES = (
    *(getattr(nn, f"{pool}{dim}d") for pool in _POOLS for dim in (1, 2, 3)),
    *(nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh),
    *(nn.Sigmoid, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Softplus, nn.SELU, nn.CELU),
    *(nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout),
    *(nn.Upsample, nn.ZeroPad2d, nn.ReflectionPad2d),
)
# fmt: off
_APART = frozenset((
    "relu", "relu_", "relu6", "leaky_relu", "elu", "gelu", "silu", "mish", "tanh", "sigmoid",
    "hardtanh", "hardswish", "hardsigmoid", "softplus", "selu", "celu", "dropout", "dropout2d",
    "clamp", "neg", "abs", "exp", "sqrt", "square", "pow", "contiguous", "clone", "to", "float",
    "interpolate", "max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d",
    "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d",
    "adaptive_max_pool2d",
))
_BETWEEN = frozenset((
    "add", "iadd", "add_", "sub", "isub", "mul", "imul", "mul_", "truediv", "div", "maximum",
    "minimum",
))
# fmt: on
_OVER_PIXELS = frozenset(("mean", "sum", "amax"))
_RESHAPED = frozenset(("flatten", "view", "reshape"))


@dataclass(frozen=True)
class StackedLayer:
    """A layer with weights that is cut along its channels.

    Attributes:
        name: Of the module.
        reads: Group of its input channels; ``"input"`` for the pictures'.
        writes: Group of its output channels.
        per_channel: Columns of its weight for each channel read; above 1 behind a flattened map.
        depthwise: Whether each channel reads only itself.
    """

    name: str
    reads: str
    writes: str
    per_channel: int = 1
    depthwise: bool = False

    def columns(self, widths: Mapping[str, int]) -> int:
        """Returns the columns of its weight where groups have these widths."""
        return 1 if self.depthwise else widths[self.reads] * self.per_channel


@dataclass(frozen=True)
class Layout:
    """Channel groups of a network.

    Attributes:
        widths: N_k, channels of each group, by the name of the first layer that writes it.
        inputs: Channels of the pictures.
        layers: Layers with weights, in the order of the computation, without the head.
        norms: Batch norms and the groups of their channels; each task has its own set.
        head: The last linear layer, of which each task has its own.
    """

    widths: Mapping[str, int]
    inputs: int
    layers: tuple[StackedLayer, ...]
    norms: tuple[tuple[str, str], ...]
    head: StackedLayer

    def with_input(self, widths: Mapping[str, int]) -> dict[str, int]:
        """Adds the pictures' channels to the widths of the groups."""
        return {INPUT: self.inputs, **widths}


def trace_layout(network: nn.Module, shape: Sequence[int]) -> Layout:
    """Finds the channel groups of a network.

    Args:
        network: Feed-forward, of convolutions, linear layers, batch norms and what keeps channels
            apart; ends in a linear layer.
        shape: Of a picture, (C, H, W).

    Raises:
        UserError: If it is not of this kind; the message names the layer or function.
    """
    head = find_head(network, shape)
    try:
        graph = fx.symbolic_trace(network)
    except Exception as error:  # whatever a user's forward() does with a proxy
        raise UserError(
            f"{type(network).__name__} cannot be traced by torch.fx ({str(error).splitlines()[0]});"
            " write its forward() without conditions on tensors"
        ) from None
    like = next(network.parameters())
    with torch.no_grad(), evaluating(graph):
        ShapeProp(graph).propagate(torch.zeros(1, *shape, device=like.device, dtype=like.dtype))
    walk = _Walk(network, head, shape[0])
    for node in graph.graph.nodes:
        walk.visit(node)
    return walk.layout()


class _Walk:
    """Follows the channels along a graph; groups are joined in a union-find forest."""

    def __init__(self, network: nn.Module, head: str, inputs: int) -> None:
        self.network, self.head = network, head
        self.sizes = {INPUT: inputs}
        self.parents = {INPUT: INPUT}
        self.groups: dict[fx.Node, str | None] = {}
        self.layers: dict[str, StackedLayer] = {}
        self.norms: dict[str, str] = {}

    def root(self, group: str) -> str:
        while self.parents[group] != group:
            group = self.parents[group]
        return group

    def join(self, one: str, two: str, where: str) -> str:
        one, two = self.root(one), self.root(two)
        if one == two:
            return one
        if self.sizes[one] != self.sizes[two]:
            raise UserError(f"{where}: {self.sizes[one]} and {self.sizes[two]} channels are joined")
        if INPUT in (one, two):
            raise UserError(
                f"{where} joins a layer's channels to those of the pictures, which cannot be "
                "shared out to tasks; put a convolution between"
            )
        self.parents[two] = one
        return one

    def visit(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            self.groups[node] = INPUT
        elif node.op == "get_attr":
            self._check_constant(str(node.target))
            self.groups[node] = None
        elif node.op == "call_module":
            self.groups[node] = self._module(node)
        elif node.op != "output":
            self.groups[node] = self._function(node)

    def _check_constant(self, name: str) -> None:
        owner, _, attribute = name.rpartition(".")
        if isinstance(getattr(self.network.get_submodule(owner), attribute), nn.Parameter):
            raise UserError(
                f"parameter {name} belongs to no convolution, linear layer or batch norm; only "
                "the weights of those can be shared out to tasks"
            )

    def _module(self, node: fx.Node) -> str:
        name = str(node.target)
        module = self.network.get_submodule(name)
        given = self._read(node.args[0], name)
        if isinstance(module, (*CONVOLUTIONS, nn.Linear)):
            return self._layer(name, module, given, node.args[0])
        if isinstance(module, NORMS):
            group = self.norms.setdefault(name, given)
            return self.join(group, given, name)
        if isinstance(module, _APART_MODULES) or _is_flatten(module):
            return given
        raise UserError(
            f"{name} ({type(module).__name__}) mixes channels or is unknown, so that later tasks "
            "would change earlier ones; use convolutions, linear layers, batch norms, "
            "activations, pooling, dropout and sums"
        )

    def _layer(self, name: str, module: Any, given: str, source: Any) -> str:
        if is_parametrized(module) or module._forward_pre_hooks:
            raise UserError(
                f"{name} has a parametrisation or a hook (weight or spectral norm), which its "
                "share of channels would lose; remove it"
            )
        self._check_shared(name, module)
        size = self.sizes[self.root(given)]
        linear = isinstance(module, nn.Linear)
        rows = module.out_features if linear else module.out_channels
        columns = module.in_features if linear else module.in_channels
        if linear and (len(_shape(source)) != 2 or columns % size):
            raise UserError(f"{name} reads no flat features (B, C); put a flatten(1) before it")
        depthwise = not linear and module.groups > 1
        if depthwise and not module.groups == rows == columns:
            raise UserError(
                f"{name} has {module.groups} groups; a convolution to be shared out has 1, or as "
                "many as channels (depth-wise)"
            )
        own = given if depthwise else self.layers[name].writes if name in self.layers else name
        if own not in self.parents:
            self.parents[own], self.sizes[own] = own, rows
        layer = StackedLayer(name, given, own, columns // size, depthwise)
        before = self.layers.setdefault(name, layer)
        self.join(before.reads, given, name)  # where one layer is used twice
        return own

    def _check_shared(self, name: str, module: Any) -> None:
        for other in self.layers:
            if other != name and self.network.get_submodule(other).weight is module.weight:
                raise UserError(f"{name} and {other} share one weight; give each its own")

    def _function(self, node: fx.Node) -> str | None:
        name = node.target if isinstance(node.target, str) else node.target.__name__
        groups = [self.groups[n] for n in node.all_input_nodes if self.groups[n] is not None]
        if not groups or "tensor_meta" not in node.meta or name in ("size", "getattr", "dim"):
            return None  # a number, such as a picture's height
        first = groups[0]
        assert first is not None
        if name in _APART or (name in _OVER_PIXELS and 1 not in _dims(node)):
            return first
        if name in _BETWEEN:
            for other in groups[1:]:
                assert other is not None
                first = self.join(first, other, f"{name} ({node.name})")
            return first
        if name in _RESHAPED and _flattens(node):
            return first
        raise UserError(
            f"{name}() in forward() ({node.name}) mixes channels, has a fixed number of them or is "
            "unknown; sums, products, activations, pooling, means over pixels and flatten(1) are "
            "known"
        )

    def _read(self, source: Any, where: str) -> str:
        group = self.groups.get(source)
        if group is None:
            raise UserError(f"{where} reads no channels that can be followed")
        return group

    def layout(self) -> Layout:
        def rooted(layer: StackedLayer) -> StackedLayer:
            reads, writes = self.root(layer.reads), self.root(layer.writes)
            return StackedLayer(layer.name, reads, writes, layer.per_channel, layer.depthwise)

        layers = {name: rooted(layer) for name, layer in self.layers.items()}
        head = layers.pop(self.head)
        if any(head.writes in (layer.reads, layer.writes) for layer in layers.values()):
            raise UserError(f"the last layer {self.head} is used inside the network too")
        norms = tuple((name, self.root(group)) for name, group in self.norms.items())
        for layer in layers.values():
            if layer.writes == INPUT:
                raise UserError(f"{layer.name} filters the pictures depth-wise; it has no channels")
        written = dict.fromkeys(layer.writes for layer in layers.values())
        widths = {group: self.sizes[group] for group in written}
        return Layout(widths, self.sizes[INPUT], tuple(layers.values()), norms, head)


def resized(
    network: nn.Module, layout: Layout, widths: Mapping[str, int], classes: int
) -> nn.Module:
    """Returns a copy of a network whose channel groups have other widths.

    Its forward() is the network's own; weights are new, by torch's generator.

    Args:
        network: Is not changed.
        layout: Of the network.
        widths: Channels of each group, 1 or more.
        classes: Rows of the head.
    """
    copied = copy.deepcopy(network)
    widths = layout.with_input(widths)
    like = next(network.parameters())
    for layer in (*layout.layers, layout.head):
        rows = classes if layer is layout.head else widths[layer.writes]
        columns = rows if layer.depthwise else layer.columns(widths)
        fresh = _sized(network.get_submodule(layer.name), rows, columns, layer.depthwise)
        copied.set_submodule(layer.name, fresh.to(like.device, like.dtype))
    for name, group in layout.norms:
        old: Any = network.get_submodule(name)
        fresh = type(old)(widths[group], old.eps, old.momentum, old.affine, old.track_running_stats)
        copied.set_submodule(name, fresh.to(like.device, like.dtype))
    return copied


def check_resizable(network: nn.Module, layout: Layout, shape: Sequence[int]) -> None:
    """Runs the network once with half of its channels.

    Raises:
        UserError: If its forward() does not work with fewer channels.
    """
    half = {group: (width + 1) // 2 for group, width in layout.widths.items()}
    with torch.random.fork_rng(devices=[]):
        dry_run(resized(network, layout, half, 2), shape)


def _sized(layer: Any, rows: int, columns: int, depthwise: bool) -> nn.Module:
    bias = layer.bias is not None
    if isinstance(layer, nn.Linear):
        return nn.Linear(columns, rows, bias)
    groups = rows if depthwise else 1
    convolution: nn.Module = type(layer)(
        *(columns, rows, layer.kernel_size, layer.stride, layer.padding, layer.dilation, groups),
        *(bias, layer.padding_mode),
    )
    return convolution


def _shape(node: Any) -> Sequence[int]:
    return tuple(node.meta["tensor_meta"].shape)


def _is_flatten(module: nn.Module) -> bool:
    return isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) == (1, -1)


def _flattens(node: fx.Node) -> bool:
    """Tells whether a reshape is (B, C, H, W) to (B, C H W), whatever the number of channels."""
    before, after = _shape(node.all_input_nodes[0]), _shape(node)
    literal = isinstance(node.args[-1], int) and node.args[-1] > 1
    if node.target == "flatten" or getattr(node.target, "__name__", "") == "flatten":
        literal = False
    return len(after) == 2 and after[0] == before[0] and not literal


def _dims(node: fx.Node) -> tuple[int, ...]:
    """Returns the axes over which a node reduces, all where none are named."""
    axes: Any = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
    count = len(_shape(node.all_input_nodes[0]))
    if axes is None:
        return tuple(range(count))
    return tuple(axis % count for axis in ([axes] if isinstance(axes, int) else axes))
