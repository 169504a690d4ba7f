"""``python -m rlgen.list layers model=...``: the names that taps, teachers and losses go by."""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlgen.core.cli import run_command
from rlgen.core.errors import UserError, closest

if TYPE_CHECKING:
    import torch
    from torch import nn

    from rlgen.distill.layers import LayerRow

HELP = """usage: python -m rlgen.list layers|models|losses|learners [key=value ...]

  layers            every layer of a network by its tap name, with shapes and parameters
    model=NAME        a network of rlgen, or module:function of your own that returns one
    input=3,32,32     shape of one sample; without it your own network is listed without shapes
    dtype=float32     of the input; int64 for tokens
    classes=10        of a classifier of rlgen
    scale=2           of a super-resolution network of rlgen: 2, 3 or 4
    find=relu         only layers whose name or kind holds this
  models            the classifiers and super-resolution networks of rlgen
    find=wrn          only those whose name holds this
  losses            the distillation losses, and what each of them reads
  learners          the continual learners, and what finds a picture's task

A tap is a layer's name, with :input behind it for what goes in: layer2.0.relu1:input.

examples:
  python -m rlgen.list layers model=resnet20 input=3,32,32
  python -m rlgen.list layers model=edsr_small input=3,24,24 scale=3
  python -m rlgen.list layers model=my_package.nets:make_net input=1,28,28 find=relu"""

CHANNELS = 3  # of a picture, where no input says otherwise
SIZE = 32


@dataclass
class ListOptions:
    """Options of the command; see ``HELP``."""

    model: str = ""
    input: str = ""
    dtype: str = "float32"
    classes: int = 10
    scale: int = 2
    find: str = ""


@dataclass
class FindOptions:
    """Options of the listing of models."""

    find: str = ""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    return run_command(_work, lambda: HELP, argv)


def _work(arguments: list[str]) -> int:
    listings = {"layers": _layers, "models": _models, "losses": _losses, "learners": _learners}
    if not arguments or "=" in arguments[0]:
        raise UserError("say what to list; type: python -m rlgen.list layers model=resnet20")
    what, *rest = arguments
    if what not in listings:
        raise UserError(f"unknown listing {what!r}; {closest(what, listings)}")
    listings[what](rest)
    return 0


def _layers(arguments: list[str]) -> None:
    from rlgen.core.compose import check_options
    from rlgen.distill.layers import describe_layers

    for argument in arguments:
        if "=" not in argument:
            raise UserError(f"{argument!r} is not key=value; type model={argument}")
    # Commas would be a list of values to sweep over.
    arguments = [f"input='{a[6:]}'" if a.startswith("input=") else a for a in arguments]
    options = check_options(ListOptions, arguments)
    if not options.model:
        raise UserError("model= is missing; type model=resnet20, or model=my_module:make_net")
    model, inputs = _model_and_input(options)
    try:
        rows = describe_layers(model, inputs)
    except Exception as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"input={options.input}: {options.model} does not take it: {first}"
        ) from None
    wanted = options.find.lower()
    shown = [row for row in rows if wanted in f"{row.name} {row.kind}".lower()]
    if not shown:
        raise UserError(f"find={options.find}: no layer of {options.model} has that in its name")
    _print_layers(options.model, shown, sum(p.numel() for p in model.parameters()))


def _model_and_input(options: ListOptions) -> tuple["nn.Module", "torch.Tensor | None"]:
    import torch

    shape = _shape(options.input)
    dtype = getattr(torch, options.dtype, None)
    if not isinstance(dtype, torch.dtype):
        raise UserError(f"dtype={options.dtype}: no such type; type float32 or int64")
    if ":" in options.model:
        model = _own_model(options.model)
    else:
        shape = shape or (CHANNELS, SIZE, SIZE)
        model = _model_of_rlgen(options, shape[0])
    return model, torch.zeros(2, *shape, dtype=dtype) if shape else None


def _model_of_rlgen(options: ListOptions, channels: int) -> "nn.Module":
    from rlgen.nets.classifiers import CLASSIFIERS, make_classifier
    from rlgen.nets.super_resolution import SUPER_RESOLVERS, make_super_resolver

    name = options.model
    if name in SUPER_RESOLVERS:
        return make_super_resolver(name, options.scale, channels)
    if name not in CLASSIFIERS:
        hint = closest(name, [*CLASSIFIERS, *SUPER_RESOLVERS])
        raise UserError(f"unknown network {name!r}; {hint}")
    return make_classifier(name, options.classes, channels)


def _own_model(name: str) -> "nn.Module":
    """Imports what the user named, and calls it where it is not a network yet."""
    from importlib import import_module

    from torch import nn

    module, _, attribute = name.partition(":")
    sys.path.insert(0, "")  # the current folder, also where the command is called by its name
    try:
        made: Any = getattr(import_module(module), attribute)
        made = made if isinstance(made, nn.Module) else made()
    except (ImportError, AttributeError, TypeError) as error:
        raise UserError(f"model={name}: {error}") from None
    finally:
        sys.path.remove("")
    if not isinstance(made, nn.Module):
        raise UserError(f"model={name} gives {type(made).__name__}, and no torch.nn.Module")
    return made


def _shape(text: str) -> tuple[int, ...]:
    parts = text.replace("x", ",").split(",") if text else []
    if not all(part.strip().isdigit() and int(part) > 0 for part in parts):
        raise UserError(f"input={text}: numbers above 0 are wanted; type input=3,32,32")
    return tuple(int(part) for part in parts)


def _print_layers(name: str, rows: "Sequence[LayerRow]", parameters: int) -> None:
    table = _table(f"{name}: {parameters:,} parameters", "layer", "kind", "input", "output")
    table.add_column("parameters", justify="right")
    for row in rows:
        kind = f"{row.kind}, in place" if row.inplace else row.kind
        count = f"{row.parameters:,}" if row.parameters else ""
        table.add_row(row.name, kind, _size(row.taken), _size(row.given), count)
    _console().print(table)


def _models(arguments: list[str]) -> None:
    from rlgen.core.compose import check_options
    from rlgen.nets.classifiers import CLASSIFIERS, make_classifier
    from rlgen.nets.super_resolution import SUPER_RESOLVERS, make_super_resolver

    wanted = check_options(FindOptions, arguments).find.lower()
    kinds: tuple[tuple[str, str, Iterable[str], Callable[[str], nn.Module]], ...] = (
        ("classifiers", "10 classes", CLASSIFIERS, make_classifier),
        ("super-resolution networks", "x2", SUPER_RESOLVERS, make_super_resolver),
    )
    shown = False
    for title, of, names, make in kinds:
        found = [name for name in names if wanted in name]
        if found:
            _print_models(title, of, found, make)
        shown = shown or bool(found)
    if not shown:
        raise UserError(f"find={wanted}: no network has that in its name")


def _print_models(
    title: str, of: str, names: list[str], make: "Callable[[str], nn.Module]"
) -> None:
    import torch

    table = _table(title, "name")
    table.add_column(f"parameters, {of}", justify="right")
    for name in names:
        with torch.device("meta"):  # shapes without weights
            net = make(name)
        count = sum(parameter.numel() for parameter in net.parameters())
        table.add_row(name, f"{count:,}")
    _console().print(table)


def _losses(arguments: list[str]) -> None:
    from rlgen.distill.losses import LOSSES

    _refuse(arguments)
    table = _table("distillation losses", "name", "trains", "reads", "what it is")
    for name in LOSSES:
        loss = LOSSES[name]
        place = f"features ({loss.tap_place})" if loss.needs_taps else "outputs"
        reads = f"{place}, labels" if loss.needs_labels else place
        module = sys.modules[loss.__module__].__doc__ or loss.__doc__ or ""
        table.add_row(name, "peers" if loss.online else "a student", reads, module.split("\n")[0])
    _console().print(table)


def _learners(arguments: list[str]) -> None:
    import rlgen.density_index  # noqa: F401 - registers the index "density"
    from rlgen.continual import LEARNERS, TASK_INDICES

    _refuse(arguments)
    items: dict[str, Any] = {"continual learners": LEARNERS}
    items["task indices (learner.index)"] = TASK_INDICES
    for title, registry in items.items():
        table = _table(title, "name", "what it is")
        for name in registry:
            module = sys.modules[registry[name].__module__].__doc__ or ""
            table.add_row(name, module.split("\n")[0])
        _console().print(table)


def _refuse(arguments: list[str]) -> None:
    if arguments:
        raise UserError(f"{arguments[0]!r}: this listing has no options")


def _size(shape: tuple[int, ...] | None) -> str:
    return "" if shape is None else "x".join(map(str, shape))


def _table(title: str, *columns: str) -> Any:
    from rich.table import Table

    table = Table(title=title)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _console() -> Any:
    from rich.console import Console

    return Console()


if __name__ == "__main__":
    sys.exit(main())
