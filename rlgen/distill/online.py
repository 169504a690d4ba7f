"""Peers that share their low layers: one stem, a branch each.

ONE and FFL train branches behind a common stem (specs kd_baselines, section 7, and ffl). Here
branches are whole networks that hold the *same* modules below a named layer: each keeps its own
``state_dict`` and works alone, and what all of them hold is trained once. :func:`computed_once`
runs that part once per batch.

The specs' networks are split between stages; a split of any network at any layer is ours.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from rlgen.core.errors import UserError
from rlgen.distill.taps import find_layer


def branch(make: Callable[[], nn.Module], at: str, count: int) -> list[nn.Module]:
    """Builds peers of one architecture that share everything below a layer.

        peers = branch(lambda: make_classifier("resnet32", classes=100), at="layer3", count=3)

    Args:
        make: Builds one network; called once per peer, so that their own layers start apart.
        at: First layer that each peer has for itself, by its path.
        count: How many peers, 2 or more.

    Raises:
        UserError: If the layer is unknown or the first one, or there are too few peers.
    """
    if count < 2:
        raise UserError(f"count={count}: branches are 2 or more")
    peers = [make() for _ in range(count)]
    share_below(peers, at)
    return peers


def share_below(peers: Sequence[nn.Module], at: str) -> list[str]:
    """Gives all peers the first one's layers below a layer, in the order of registration.

    With ``at="features.12"`` these are what is registered before ``features``, and in
    ``features`` what is before ``12``.

    Args:
        peers: Networks of one architecture; all but the first are changed.
        at: First layer that stays each peer's own.

    Returns:
        The paths of the shared layers.

    Raises:
        UserError: If a peer has no such layer, or nothing is below it.
    """
    for peer in peers:
        find_layer(peer, at)
    first = peers[0]
    shared = []
    path = at.split(".")
    for depth in range(len(path)):
        parent = ".".join(path[:depth])
        for name, _ in first.get_submodule(parent).named_children():
            if name == path[depth]:
                break
            shared.append(f"{parent}.{name}" if parent else name)
    if not shared:
        raise UserError(f"at={at!r} is the first layer: nothing is left to share")
    for peer in peers[1:]:
        for name in shared:
            peer.set_submodule(name, first.get_submodule(name))
    return shared


def shared_modules(peers: Sequence[nn.Module]) -> list[nn.Module]:
    """Returns the modules that more than one peer holds, the outermost only.

    Raises:
        UserError: If a network is given twice, so that it would learn from itself.
    """
    for one, other in pairwise(sorted(peers, key=id)):
        if one is other:
            raise UserError("a network is among the peers twice; give copies or build it anew")
    holders: dict[nn.Module, int] = {}
    for peer in peers:
        for module in set(peer.modules()):
            holders[module] = holders.get(module, 0) + 1
    shared = {module for module, count in holders.items() if count > 1}
    inside = {child for module in shared for child in module.modules() if child is not module}
    return [m for m in dict.fromkeys(m for p in peers for m in p.modules()) if m in shared - inside]


@contextmanager
def computed_once(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Lets each module compute once for the same input tensors; further calls get the same output.

    So a shared stem runs once per batch and its batch norms count the batch once. An input is the
    same if it is the same tensor object: where a network does something of its own between two
    shared modules, those behind it run once per peer, with equal results. Hooks run at every call.

    Args:
        modules: Of :func:`shared_modules`.
    """
    try:
        for module in modules:
            # An attribute of the instance comes before the method of its class.
            module.forward = _remembering(module.forward)
        yield
    finally:
        for module in modules:
            module.__dict__.pop("forward", None)


def _remembering(forward: Callable[..., Any]) -> Callable[..., Any]:
    calls: list[tuple[tuple[Any, ...], Mapping[str, Any], Any]] = []

    def once(*arguments: Any, **keywords: Any) -> Any:
        for given, named, output in calls:
            if _same(given, arguments) and _same_named(named, keywords):
                return output
        output = forward(*arguments, **keywords)
        calls.append((arguments, keywords, output))
        return output

    return once


def _same(one: Sequence[Any], other: Sequence[Any]) -> bool:
    return len(one) == len(other) and all(
        a is b if isinstance(a, Tensor) or isinstance(b, Tensor) else a == b
        for a, b in zip(one, other, strict=True)
    )


def _same_named(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one.keys() == other.keys() and _same(list(one.values()), [other[key] for key in one])
