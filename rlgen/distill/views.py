"""A network as a set of losses sees it: which taps each loss reads, and one forward for all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from rlgen.core.errors import UserError, closest
from rlgen.distill.base import DistillLoss, Features, Layout
from rlgen.distill.layers import Inputs, call, dry, norms_before
from rlgen.distill.taps import Taps, first_tensor, unwrap

Names = Sequence[str]
# One list for all networks; or lists by role; or either of them by loss.
TapOption = Names | Mapping[str, Any]
ROLES = ("student", "teacher", "teachers", "peers")


@dataclass(frozen=True)
class Snapshot:
    """What one forward gave: the output and every tapped tensor, in the order of the view."""

    logits: Tensor | None
    tensors: tuple[Tensor, ...]


class View:
    """One network, the taps that its losses need, each layer tapped once.

    Args:
        model: The network; it is not registered anywhere.
        wanted: Tap names by loss.
    """

    def __init__(self, model: nn.Module, wanted: Mapping[str, Names]) -> None:
        self.model = model
        self.wanted = {loss: tuple(names) for loss, names in wanted.items()}
        self.names = tuple(dict.fromkeys(name for names in wanted.values() for name in names))
        self.taps = Taps(model, self.names)
        self.modules = list(model.modules())

    def run(self, inputs: Inputs) -> Snapshot:
        """Runs the network once; its hooks are gone when this returns."""
        if not self.names:
            return Snapshot(output_tensor(call(self.model, inputs)), ())
        with self.taps:
            output = call(self.model, inputs)
        tensors = self.taps.read()
        self.taps.clear()
        return Snapshot(output_tensor(output), tensors)

    def features(self, loss: str, snapshot: Snapshot) -> Features:
        """Picks what one loss reads out of a forward."""
        picked = (snapshot.tensors[self.names.index(name)] for name in self.wanted[loss])
        return Features(snapshot.logits, tuple(picked))

    def layouts(self, inputs: Inputs) -> dict[str, Layout]:
        """Returns the layout for each loss, from a dry run.

        Raises:
            UserError: If the network does not take such inputs.
        """
        try:
            with dry(self.model):
                snapshot = self.run(inputs)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            kind = type(unwrap(self.model)).__name__
            raise UserError(f"example: {kind} does not take it: {reason}") from error
        return {loss: Layout.of(self.features(loss, snapshot)) for loss in self.wanted}

    def norms(self, loss: str, inputs: Inputs) -> tuple[nn.Module | None, ...]:
        """Returns the batch norm behind each tap of a loss."""
        return norms_before(self.model, self.wanted[loss], inputs)

    def fall_asleep(self) -> None:
        """Puts a fixed network back into evaluation should someone have woken it."""
        if any(module.training for module in self.modules):
            self.model.eval()


def output_tensor(output: Any) -> Tensor | None:
    """Returns a network's output tensor: ``.logits`` or ``.sample`` where it has one, or the first.

    Hugging Face's and diffusers' networks give objects, others tensors or tuples.
    """
    for attribute in ("logits", "sample"):
        value = getattr(output, attribute, None)
        if isinstance(value, Tensor):
            return value
    return first_tensor(output)


def choose_taps(
    losses: Mapping[str, type[DistillLoss]],
    students: Sequence[nn.Module],
    teachers: Sequence[nn.Module],
    option: TapOption | None,
) -> list[dict[str, Names]]:
    """Decides what is tapped, for each network (students, then teachers) and each loss.

    Args:
        losses: Classes by name.
        students: The student, or the peers.
        teachers: The fixed networks.
        option: ``["layer3"]`` for every network; ``{"student": [...], "teacher": [...]}``, with
            ``"teachers": [[...], [...]]`` where they differ, and ``"peers"`` likewise; or one of
            these for each loss by its name: ``{"at": [...], "ofd": {...}}``. None: the places
            that the losses name, for networks with ``tap_names``.

    Raises:
        UserError: If a loss that reads features is left without taps, or a key is unknown.
    """
    by_loss: Mapping[str, TapOption | None] = dict.fromkeys(losses, option)
    if isinstance(option, Mapping) and not set(option) <= set(ROLES):
        for key in option:
            if key in ROLES:
                raise UserError(f"taps for {key!r}: keys are networks or losses, not both")
            if key not in losses:
                raise UserError(f"taps for {key!r}: {closest(key, [*losses, *ROLES])}")
        by_loss = {name: option.get(name) for name in losses}
    plan: list[dict[str, Names]] = [{} for _ in (*students, *teachers)]
    for name, loss in losses.items():
        chosen: list[Names] = [()] * len(plan)
        if loss.needs_taps:
            taps = by_loss[name]
            chosen = [
                *_names_of("peers" if loss.online else "student", loss, students, taps),
                *_names_of("teachers", loss, teachers, taps),
            ]
        for wanted, names in zip(plan, chosen, strict=True):
            wanted[name] = names
    return plan


def _names_of(
    role: str, loss: type[DistillLoss], models: Sequence[nn.Module], option: TapOption | None
) -> list[Names]:
    """Returns the tap names of one loss for the networks of one role."""
    if isinstance(option, Mapping):
        if role == "teachers" and "teacher" in option:
            option = option["teacher"]
        else:
            option = option.get(role)
    if option is None:
        return [_own_places(model, loss) for model in models]
    names = _as_lists(option, len(models), role)
    if not all(names):
        raise UserError(f"loss {loss.name!r} reads features; name at least one tap per network")
    return names


def _as_lists(option: Any, count: int, role: str) -> list[Names]:
    if isinstance(option, str):
        raise UserError(f"taps are a list of names; type [{option!r}]")
    if not option or any(isinstance(names, str) for names in option):
        return [tuple(option)] * count
    if len(option) != count:
        raise UserError(f"taps of the {role}: {len(option)} lists for {count} networks")
    return [tuple(names) for names in option]


def _own_places(model: nn.Module, loss: type[DistillLoss]) -> Names:
    model = unwrap(model)
    names = getattr(model, "tap_names", None)
    if not callable(names):
        raise UserError(
            f"loss {loss.name!r} reads features of {type(model).__name__}: name the layers, "
            'taps=["layer3"] or taps={"student": [...], "teacher": [...]}'
        )
    own: Names = names(loss.tap_place)
    return own
