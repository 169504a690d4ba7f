"""Environment names as people type them, resolved to Gymnasium ids."""

import importlib
from dataclasses import dataclass

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from rlgen.core.errors import MissingExtraError, UserError, closest
from rlgen.envs.atari import game_name, games_by_id

# Families share default settings; the name is that of the files in rlgen/conf/settings/*/.
_FAMILY_BY_ENTRY = {
    "gymnasium.envs.classic_control": "classic",
    "gymnasium.envs.toy_text": "classic",
    "gymnasium.envs.box2d": "box2d",
    "gymnasium.envs.mujoco": "mujoco",
    "minatar": "minatar",
    "rlgen.envs.four_rooms": "grid",
    "rlgen.envs.design": "design",
}


@dataclass(frozen=True)
class EnvName:
    """A resolved environment.

    Attributes:
        id: What ``gymnasium.make`` takes, with a leading ``module:`` where the user gave one.
        family: Group of default settings: atari, minatar, classic, box2d, mujoco, grid, design or
            other.
        short: The name without version, for run folders and titles.
    """

    id: str
    family: str
    short: str


def resolve_env(name: str) -> EnvName:
    """Resolves a name such as ``Breakout``, ``ALE/Breakout-v5`` or ``my_pkg:MyEnv-v0``.

    A bare Atari name means ``ALE/<name>-v5``; anything else must be a registered Gymnasium id,
    with or without its version. ``module:id`` imports the module first, so that it can register
    its environments.

    Raises:
        UserError: If nothing has that name; the message offers the closest ones.
        MissingExtraError: If the name needs an optional dependency.
    """
    if name.startswith("ALE/") or name in games_by_id():
        rom_title = name.removeprefix("ALE/").split("-v")[0]
        game_name(name)
        version = name.split("-v")[1] if "-v" in name else "5"
        if version != "5":
            raise UserError(f"Atari games exist here in version 5 only; type env={rom_title}")
        return EnvName(f"ALE/{rom_title}-v5", "atari", rom_title)
    module, _, bare = name.rpartition(":")
    if module:
        _import_for(name, module)
    if bare.startswith("MinAtar/"):
        _register_minatar(bare)
    env_id = _with_version(bare)
    spec = gym.registry.get(env_id)
    if spec is None:
        known = {*gym.registry, *games_by_id()}
        raise UserError(f"unknown environment {name!r}; {closest(bare, known)}")
    short = env_id.rsplit("-v", 1)[0].removeprefix("rlgen/").replace("/", "-")
    return EnvName(f"{module}:{env_id}" if module else env_id, _family(spec), short)


def _with_version(name: str) -> str:
    """Adds the newest registered version to a name without one, and ``rlgen/`` to our own."""
    if f"rlgen/{name}" in gym.registry:
        return f"rlgen/{name}"
    if name in gym.registry or "-v" in name:
        return name
    for bare in (name, f"rlgen/{name}"):  # ours need not be spelled out
        versions = [
            spec.version
            for spec in gym.registry.values()
            if spec.version is not None and spec.id.rsplit("-v", 1)[0] == bare
        ]
        if versions:
            return f"{bare}-v{max(versions)}"
    return name


def _family(spec: EnvSpec) -> str:
    entry = spec.entry_point if isinstance(spec.entry_point, str) else ""
    for prefix, family in _FAMILY_BY_ENTRY.items():
        if entry.startswith(prefix):
            return family
    return "other"


def _import_for(name: str, module: str) -> None:
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise UserError(
            f"env={name!r} asks to import {module!r} first, which fails: {error}"
        ) from error


def _register_minatar(name: str) -> None:
    if any(env_id.startswith("MinAtar/") for env_id in gym.registry):
        return
    try:
        import minatar.gym
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"env={name}", "minatar") from error
    minatar.gym.register_envs()
