"""The configuration of a command: YAML groups, ``key=value`` arguments, sweeps.

This is the only file that imports Hydra. Groups are names looked up in registries; no file names
a Python object.
"""

import copy
import functools
import itertools
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rlgen.core.errors import UserError, closest

T = TypeVar("T")
FREE = (
    "env_kwargs",
    "domains",
    "model.density_options",
    "learner.index_options",
)  # mappings of any keys
CONF = Path(str(resources.files("rlgen") / "conf"))


def options(group: str) -> list[str]:
    """Returns the choices of a configuration group, such as ``agent``."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def expand_sweep(arguments: Sequence[str]) -> list[list[str]]:
    """Expands ``seed=1,2`` or ``seed=range(0,5)`` into one argument list per combination.

    Raises:
        UserError: If an argument is not of the form ``key=value``.
    """
    axes: list[list[str]] = []
    for override in _parse(arguments):
        key = override.get_key_element()
        if override.is_sweep_override():
            axes.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        else:
            axes.append([override.input_line or ""])
    return [list(combination) for combination in itertools.product(*axes)]


def given(arguments: Sequence[str]) -> dict[str, str]:
    """Returns the arguments as a dictionary of strings, for the few that steer the others."""
    return {o.key_or_group: str(o.value()) for o in _parse(arguments) if o.value() is not None}


def compose_config(
    name: str, arguments: Sequence[str], schemas: Mapping[str, type] | None = None
) -> dict[str, Any]:
    """Composes a configuration file with its groups and the user's arguments.

    Args:
        name: File in ``rlgen/conf`` without its ending.
        arguments: ``key=value`` items as typed; later ones win.
        schemas: Dataclasses that the files name in their defaults (``agent/ppo_schema``): they
            give the options, their types and their defaults.

    Returns:
        Plain dictionaries, lists and values.

    Raises:
        UserError: If an argument names an unknown key or choice, or has a value of a wrong type.
    """
    _check_choices(arguments)
    return copy.deepcopy(_compose(CONF, name, tuple(arguments), tuple((schemas or {}).items())))


@functools.lru_cache(maxsize=64)  # an agent's plain form is composed again and again
def _compose(
    folder: Path,
    name: str,
    arguments: tuple[str, ...],
    schemas: tuple[tuple[str, type], ...],
) -> dict[str, Any]:
    for path, options_class in schemas:
        _store_schema(path, options_class)
    try:
        opened = [_open_mapping(argument) for argument in arguments]
        with initialize_config_dir(str(folder), version_base="1.3"):
            config = compose(name, overrides=opened)
        return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(_one_line(error, arguments)) from None


def _store_schema(path: str, options_class: type) -> None:
    """Makes a dataclass known to Hydra, unless it is: to store all takes as long as to compose."""
    store = ConfigStore.instance()
    found: Any = store.repo
    for part in f"{path}.yaml".split("/"):
        found = found.get(part) if isinstance(found, dict) else None
    if found is None or OmegaConf.get_type(found.node) is not options_class:
        group, _, name = path.rpartition("/")
        store.store(name=name, node=options_class, group=group or None)


def _open_mapping(argument: str) -> str:
    """Lets the keys of free mappings be typed like all others, though no file lists them."""
    free = tuple(f"{name}{end}" for name in FREE for end in ".=")
    return f"++{argument}" if argument.startswith(free) else argument


def check_options(options_class: type[T], arguments: Sequence[str]) -> T:
    """Fills a dataclass of options from ``key=value`` arguments.

    Args:
        options_class: The dataclass.
        arguments: As typed.

    Raises:
        UserError: If a key is unknown or a value has a wrong type.
    """
    config = OmegaConf.structured(options_class)
    for override in _parse(arguments):
        key = override.key_or_group
        if key not in config:
            raise UserError(f"unknown option {key}; {closest(key, map(str, config))}")
        try:
            OmegaConf.update(config, key, override.value())
        except OmegaConfBaseException as error:
            message = str(error).splitlines()[0]
            raise UserError(f"{override.input_line}: {message}") from None
    return OmegaConf.to_object(config)  # type: ignore[return-value]


def load_yaml(path: Path) -> dict[str, Any]:
    """Reads a configuration that :func:`save_yaml` wrote.

    Raises:
        UserError: If it cannot be read.
    """
    try:
        values = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except Exception as error:
        raise UserError(f"cannot read {path}: {str(error).splitlines()[0]}") from None
    if not isinstance(values, dict):
        raise UserError(f"{path} holds no configuration")
    return values  # type: ignore[return-value]


def to_yaml(values: dict[str, Any]) -> str:
    """Returns a configuration as YAML text."""
    return OmegaConf.to_yaml(OmegaConf.create(values))


def update(values: dict[str, Any], arguments: Sequence[str]) -> dict[str, Any]:
    """Returns a configuration with ``key=value`` arguments applied to it.

    Raises:
        UserError: If a key is unknown.
    """
    config = OmegaConf.create(values)
    for override in _parse(arguments):
        key = override.key_or_group
        if key.startswith(tuple(f"{name}." for name in FREE)):
            OmegaConf.update(config, key, override.value(), force_add=True)
            continue
        if OmegaConf.select(config, key, default=_MISSING) is _MISSING:
            raise UserError(f"unknown option {key}; {closest(key, _keys(values))}")
        value, old = override.value(), OmegaConf.select(config, key)
        old = OmegaConf.to_container(old) if OmegaConf.is_config(old) else old
        if not _same_kind(value, old):
            kind = type(old).__name__
            raise UserError(f"{override.input_line}: {key} takes {kind}, such as {key}={old}")
        OmegaConf.update(config, key, value)
    return OmegaConf.to_container(config)  # type: ignore[return-value]


def _same_kind(value: Any, old: Any) -> bool:
    """Tells whether a value can stand where another was; nothing is known of an old None."""
    if old is None or value is None:
        return True
    if isinstance(old, dict) or isinstance(value, dict):
        return isinstance(old, dict) and isinstance(value, dict)
    if isinstance(old, bool) or isinstance(value, bool):
        return isinstance(old, bool) and isinstance(value, bool)
    if isinstance(old, float):
        return isinstance(value, (int, float))
    return isinstance(value, type(old)) or not isinstance(old, (int, str))


_MISSING = object()


def _keys(values: dict[str, Any], prefix: str = "") -> list[str]:
    keys = []
    for key, value in values.items():
        keys.append(prefix + key)
        if isinstance(value, dict):
            keys += _keys(value, f"{prefix}{key}.")
    return keys


def _parse(arguments: Sequence[str]) -> list[Override]:
    parsed = []
    for argument in arguments:
        try:
            parsed += OverridesParser.create().parse_overrides([argument])
        except HydraException:
            raise UserError(
                f"cannot read the argument {argument!r}; type key=value, such as seed=1 "
                "(quote values that hold commas or spaces: \"key='a, b'\")"
            ) from None
    return parsed


def _check_choices(arguments: Sequence[str]) -> None:
    for key, value in given(arguments).items():
        if "/" not in key and (CONF / key).is_dir() and value not in options(key):
            raise UserError(f"unknown {key} {value!r}; {closest(value, options(key))}")


def _one_line(error: Exception, arguments: Sequence[str]) -> str:
    """Finds in Hydra's nested errors the line that tells what is wrong, and with which argument."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    text = str(cause)
    about = next((a for a in arguments if a in str(error)), "")
    full_key = re.search(r"full_key: (\S+)", text)
    key = full_key.group(1) if full_key else about.split("=")[0].lstrip("+~")
    object_type = re.search(r"object_type=(\w+)", text)
    if "not in" in text and object_type:
        schema = ConfigStore.instance().repo
        names = _option_names(schema)
        if key in names:
            group = key.split(".")[0]
            chosen = given(arguments).get(group, "this one")
            return f"{group}={chosen} has no option {key}; others have it, see --help"
        return f"unknown option {key}; {closest(key, names)}"
    value = f" (in {about})" if about else ""
    return f"{key}: {text.strip().splitlines()[0]}{value}"


def _option_names(tree: dict[str, Any], prefix: str = "") -> list[str]:
    """Returns the keys of all stored schemas; those of a group carry its name."""
    names: list[str] = []
    for name, node in tree.items():
        if isinstance(node, dict):
            if name != "hydra":
                names += _option_names(node, f"{name}.")
        elif not name.startswith("_") and "schema" in name:
            names += [prefix + str(key) for key in node.node]
    return names
