"""A designer's brief: a TOML file that says what is wanted, where, and what is not negotiable.

::

    name = "Travel cup"
    description = "a light cup that stands in a car"
    task = "Vessel"                  # optional: start from a ready-made task ...
    preset = "hard"                  # ... in one of its presets
    operations = ["cylinder", "revolve", "hollow", "scale"]     # optional: allowed ones
    horizon = 8                      # operations at most, 12 where left out
    seed = "handle.json"             # optional: a design to start from, kept as it is

    [[wishes]]                       # soft: the more of them are met, the higher the score
    metric = "capacity"
    at_least = 250                   # or at_most, or about with within = how far off is worth 0
    weight = 2

    [[limits]]                       # hard: what breaks one gets a tenth of its score
    metric = "overhang"
    at_most = 0.01

    [[limits]]
    box = [90, 90, 140]              # mm; makes the design space as small

    [space]                          # mm
    size = [160, 160, 160]
    keep_out = [{shape = "box", low = [-10, -10, 0], high = [10, 10, 40]}]
    keep_in = [{shape = "cylinder", centre = [0, 0], radius = 10, z_low = 0, z_high = 5}]

    [material]
    density = 1.24                   # g/cm3; also youngs and strength in MPa

    [payload]
    mass = 500                       # g, for the metric loaded_tip
    at = "top"                       # or "arm"

    [conditions]                     # how metrics are measured
    tilt = 20

Wishes for a metric that the task has one for replace it. The form is this project's own.
"""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from rlgen.core.errors import UserError, closest
from rlgen.envs.design.measure.conditions import (
    Conditions,
    checked_choice,
    checked_count,
    checked_number,
)
from rlgen.envs.design.shape.history import Design
from rlgen.envs.design.shape.masks import check_allowed
from rlgen.envs.design.shape.space import DesignSpace
from rlgen.envs.design.solve.feasibility import check_feasible
from rlgen.envs.design.task.presets import MULTI_GOAL, TASK_NAMES, make_task
from rlgen.envs.design.task.targets import KINDS, Target
from rlgen.envs.design.task.tasks import PRESETS, Task

HORIZON = 12
_KEYS = ("name", "description", "task", "preset", "operations", "horizon", "seed")
_TABLES = ("wishes", "limits", "space", "material", "payload", "conditions")
_WISH = ("metric", *KINDS, "within", "weight")
_MATERIAL = ("density", "youngs", "strength")
_LONGEST = 1 << 20  # bytes of a brief


@dataclass(frozen=True, eq=False)
class Brief:
    """What is wanted of a design, and where and with which operations it is built.

    Attributes:
        name: Shown to people.
        task: Wishes, limits and conditions.
        space: Where the design may be.
        allowed: Names of the operations that may be used, None for all.
        seed: A design to start from, whose operations are locked, or None.
        horizon: Most operations of a design, those of the seed not counted.
    """

    name: str
    task: Task
    space: DesignSpace
    allowed: tuple[str, ...] | None = None
    seed: Design | None = None
    horizon: int = HORIZON

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Reads a brief.

        Args:
            path: A TOML file as in the module's docstring; ``seed`` is relative to it.

        Raises:
            UserError: The file cannot be read, a key or a value is wrong, or what it asks for
                cannot be.
        """
        path = Path(path)
        data = _parsed(path)
        try:
            return cls.from_dict(data, path.parent)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], folder: Path = Path()) -> Self:
        """Builds a brief from the values of its TOML text.

        Args:
            data: As ``tomllib`` returns them.
            folder: What ``seed`` is relative to.

        Raises:
            UserError: As :meth:`load`.
        """
        _check_keys(data, (*_KEYS, *_TABLES), "a brief")
        if not data:
            raise UserError("it is empty; give task = 'Vessel', or [[wishes]]")
        name = _text(data, "name", "brief")
        limits, box = _limits(data.get("limits", []))
        seed = _seed(data, folder)
        space = _space(data, seed, box)
        task = _task(data, name, limits)
        if seed is not None and seed.space != space:
            seed = Design(space, seed=seed)
        allowed = _operations(data, seeded=seed is not None)
        horizon = checked_count(
            "horizon", checked_number("horizon", data.get("horizon", HORIZON), 1, 1000)
        )
        check_feasible(task, space)
        return cls(name, task, space, allowed, seed, horizon)

    @classmethod
    def of_task(cls, task: str | Task, preset: str = "normal") -> Self:
        """Returns a ready-made task, or any other, as a brief without further wishes.

        Raises:
            UserError: The task has no such name or preset, or no fixed targets.
        """
        if task == MULTI_GOAL:
            raise UserError(f"{MULTI_GOAL} has no fixed wishes; name another task, or a brief.toml")
        found = task if isinstance(task, Task) else make_task(task, preset)
        return cls(found.name, found, DesignSpace())

    @property
    def description(self) -> str:
        """One line."""
        return self.task.description

    def env_kwargs(self) -> dict[str, Any]:
        """Returns the arguments with which ``DesignEnv`` sets this brief."""
        return {
            "task": self.task,
            "space": self.space,
            "allowed": self.allowed,
            "seed_design": self.seed,
            "horizon": self.horizon,
        }

    def start(self) -> Design:
        """Returns the design that everything starts from: the locked seed, or nothing."""
        return Design(self.space, seed=self.seed)

    def forked(self, design: Design, keep: int) -> Self:
        """Returns the same brief, starting from the first operations of a design.

        Args:
            design: The design.
            keep: How many of its operations are kept and locked.

        Raises:
            UserError: It has fewer operations, or they cannot be built in this space.
        """
        if not 0 <= keep <= len(design):
            raise UserError(f"keep={keep} is not possible; the design has {len(design)} operations")
        seed = Design(self.space, seed=design.first(keep)) if keep else None
        check_allowed(self.allowed, seeded=seed is not None)
        return replace(self, seed=seed)


def read_wanted(text: str, level: str = "normal") -> Brief:
    """Returns the brief that a command's argument names: a TOML file or a task.

    Args:
        text: As typed.
        level: Preset of the task: ``"easy"``, ``"normal"``, ``"hard"`` or ``"open"``.

    Raises:
        UserError: It is neither, or see :meth:`Brief.load`.
    """
    checked_choice("level", level, PRESETS)
    if text in TASK_NAMES:
        return Brief.of_task(text, level)
    if Path(text).suffix.lower() == ".toml" or Path(text).is_file():
        if level != "normal":
            raise UserError(f"level={level} belongs to a task's name; write preset into {text}")
        return Brief.load(text)
    raise UserError(
        f"{text!r} is neither a file brief.toml nor a task; {closest(text, TASK_NAMES)}"
    )


def is_wanted(text: str) -> bool:
    """Tells whether a command's argument names a brief or a task, not a model."""
    return text in TASK_NAMES or Path(text).suffix.lower() == ".toml"


def _parsed(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _LONGEST:
            raise UserError(f"{path} is larger than a brief can be; give a short TOML file")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UserError(f"cannot read {path}: {reason}; name a brief such as brief.toml") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not a text file; give a brief in TOML") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(f"{path} is not TOML: {str(error).splitlines()[0]}") from None


def _check_keys(data: Any, allowed: Iterable[str], what: str) -> None:
    if not isinstance(data, Mapping):
        raise UserError(f"{what} must be a table, not {str(data)[:60]!r}")
    for key in data:
        if key not in allowed:
            raise UserError(f"{what} has no {str(key)[:60]!r}; {closest(str(key), allowed)}")


def _text(data: Mapping[str, Any], key: str, default: str = "") -> str:
    value = data.get(key, default)
    if not isinstance(value, str):
        raise UserError(f"{key} = {str(value)[:60]} is not a text; put it into quotes")
    return value


def _rows(value: Any, key: str) -> list[Any]:
    if not isinstance(value, list):
        raise UserError(f"{key} is {str(value)[:60]!r}; write each one below its own [[{key}]]")
    return value


def _limits(value: Any) -> tuple[tuple[Target, ...], tuple[float, ...] | None]:
    """Returns the hard limits, and the size of the box if one of them is a box."""
    targets, box = [], None
    for number, row in enumerate(_rows(value, "limits"), 1):
        what = f"limit {number}"
        if isinstance(row, Mapping) and "box" in row:
            _check_keys(row, ("box",), what)
            sides = row["box"]
            if not isinstance(sides, list) or len(sides) != 3:
                raise UserError(f"{what}: box = {str(sides)[:60]}; give three sides in mm")
            sides = tuple(checked_number(f"{what}: box", side, 1.0, 1000.0) for side in sides)
            box = sides if box is None else tuple(map(min, box, sides))
        else:
            target = _target(row, what, hard=True)
            targets.append(target)
    return tuple(targets), box


def _target(row: Any, what: str, hard: bool = False) -> Target:
    """Returns a wish or a limit from its table."""
    allowed = ("box", "metric", *KINDS[:2]) if hard else _WISH
    _check_keys(row, allowed, what)
    kinds = [kind for kind in KINDS if kind in row]
    if "metric" not in row or len(kinds) != 1:
        choices = ", ".join(kind for kind in KINDS if kind in allowed)
        raise UserError(f"{what} needs metric = '...' and one of {choices}; got {dict(row)!r}")
    kind = kinds[0]
    if kind == "about" and "within" not in row:
        raise UserError(f"{what}: about = {row[kind]} needs within = how far off is worth nothing")
    if kind != "about" and "within" in row:
        raise UserError(f"{what}: within goes with about, not with {kind}; leave it out")
    if not isinstance(row["metric"], str):
        raise UserError(f"{what}: metric = {row['metric']!r} is not a text; put it into quotes")
    try:
        return Target(
            row["metric"], kind, row[kind], row.get("weight", 1.0), row.get("within", 0.0)
        )
    except UserError as error:
        raise UserError(f"{what}: {error}") from None


def _seed(data: Mapping[str, Any], folder: Path) -> Design | None:
    if "seed" not in data:
        return None
    design = Design.load(folder / _text(data, "seed"))
    if design.solid.is_empty:
        raise UserError(f"seed = {data['seed']!r} holds no operations; leave seed out")
    return design


def _space(
    data: Mapping[str, Any], seed: Design | None, box: tuple[float, ...] | None
) -> DesignSpace:
    """Returns the design space: the one asked for, else the seed's, cut to the box limit."""
    fields = DesignSpace().to_dict() if seed is None else seed.space.to_dict()
    given = data.get("space", {})
    _check_keys(given, fields, "space")
    for key in ("size",):
        if key in given and not isinstance(given[key], list):
            raise UserError(f"space: size = {given[key]!r}; give three sides in mm")
    space = DesignSpace.from_dict({**fields, **given})
    if box is None:
        return space
    x, y, z = map(min, space.size, box)
    return replace(space, size=(x, y, z))


def _task(data: Mapping[str, Any], name: str, limits: tuple[Target, ...]) -> Task:
    """Returns wishes, limits and conditions, upon those of the base task."""
    base = None
    if "task" in data:
        base = Brief.of_task(_text(data, "task"), _text(data, "preset", "normal")).task
    elif "preset" in data:
        raise UserError("preset goes with task = '...'; leave it out, or name a task")
    rows = enumerate(_rows(data.get("wishes", []), "wishes"), 1)
    wishes = [_target(row, f"wish {number}") for number, row in rows]
    replaced = {wish.metric for wish in wishes}
    kept = [t for t in base.targets if t.metric not in replaced] if base else []
    if not kept and not wishes:
        raise UserError("it has no wishes; add [[wishes]], or task = 'Vessel'")
    return Task(
        name=name,
        targets=(*kept, *wishes),
        conditions=_conditions(data, base.conditions if base else Conditions()),
        limits=limits,
        open=base.open if base else False,
        description=_text(data, "description", base.description if base else ""),
    )


def _conditions(data: Mapping[str, Any], base: Conditions) -> Conditions:
    fields = base.to_dict()
    given = data.get("conditions", {})
    _check_keys(given, Conditions.__dataclass_fields__, "conditions")
    material = data.get("material", {})
    _check_keys(material, _MATERIAL, "material")
    payload = data.get("payload", {})
    _check_keys(payload, ("mass", "at"), "payload")
    if payload and "mass" not in payload:
        raise UserError("payload needs mass = grams")
    carried = {f"payload{'_at' * (key == 'at')}": value for key, value in payload.items()}
    for key in (*material, *carried):
        if key in given:
            raise UserError(f"{key} is given twice; leave it out of [conditions]")
    return Conditions.from_dict({**fields, **given, **material, **carried})


def _operations(data: Mapping[str, Any], seeded: bool) -> tuple[str, ...] | None:
    names = data.get("operations")
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"operations = {str(names)[:60]}; give a list such as ['box', 'hollow']")
    check_allowed(names, seeded=seeded)
    return tuple(dict.fromkeys(names))
