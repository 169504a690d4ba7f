"""Names of environments as people type them."""

import sys
from collections.abc import Iterator

import gymnasium as gym
import pytest

from rlgen.core.errors import MissingExtraError, UserError
from rlgen.envs import EnvName, resolve_env


@pytest.fixture
def own_module(tmp_path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module on the import path that registers ``Own-v0`` and ``Own-v2`` when imported."""
    (tmp_path / "own_envs_for_names.py").write_text(
        "import gymnasium\n"
        "for version in (0, 2):\n"
        "    gymnasium.register(id=f'Own-v{version}', entry_point='own_envs_for_names:Own')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield "own_envs_for_names"
    sys.modules.pop("own_envs_for_names", None)
    for version in (0, 2):
        gym.registry.pop(f"Own-v{version}", None)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("CartPole-v1", EnvName("CartPole-v1", "classic", "CartPole")),
        ("CartPole-v0", EnvName("CartPole-v0", "classic", "CartPole")),
        ("CartPole", EnvName("CartPole-v1", "classic", "CartPole")),
        ("FrozenLake-v1", EnvName("FrozenLake-v1", "classic", "FrozenLake")),
        ("LunarLander-v3", EnvName("LunarLander-v3", "box2d", "LunarLander")),
        ("HalfCheetah-v5", EnvName("HalfCheetah-v5", "mujoco", "HalfCheetah")),
        ("Breakout", EnvName("ALE/Breakout-v5", "atari", "Breakout")),
        ("SpaceInvaders", EnvName("ALE/SpaceInvaders-v5", "atari", "SpaceInvaders")),
        ("ALE/Pong-v5", EnvName("ALE/Pong-v5", "atari", "Pong")),
        ("ALE/Pong", EnvName("ALE/Pong-v5", "atari", "Pong")),
        ("MinAtar/Breakout", EnvName("MinAtar/Breakout-v1", "minatar", "MinAtar-Breakout")),
        ("MinAtar/Freeway-v0", EnvName("MinAtar/Freeway-v0", "minatar", "MinAtar-Freeway")),
    ],
)
def test_resolves(typed: str, expected: EnvName) -> None:
    assert resolve_env(typed) == expected


@pytest.mark.parametrize("typed", ["Own-v2", "Own"])
def test_module_is_imported_first(own_module: str, typed: str) -> None:
    assert resolve_env(f"{own_module}:{typed}") == EnvName(f"{own_module}:Own-v2", "other", "Own")


def test_missing_module_is_named() -> None:
    with pytest.raises(UserError, match=r"'no_such_pkg' first, which fails: No module named"):
        resolve_env("no_such_pkg:Env-v0")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("Breakot", "'Breakout'"),
        ("breakout", "'Breakout'"),
        ("ALE/Breakot-v5", "'Breakout'"),
        ("CartPol-v1", "'CartPole-v1'"),
        ("MinAtar/Breakot-v1", "'MinAtar/Breakout-v1'"),
        ("HalfChetah-v5", "'HalfCheetah-v5'"),
    ],
)
def test_typo_offers_the_closest(typed: str, offered: str) -> None:
    with pytest.raises(UserError, match="did you mean") as error:
        resolve_env(typed)
    assert offered in str(error.value)


def test_other_version_of_atari_is_refused() -> None:
    with pytest.raises(UserError, match=r"version 5 only; type env=Breakout"):
        resolve_env("ALE/Breakout-v4")


def test_missing_minatar_names_the_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for env_id in [name for name in gym.registry if name.startswith("MinAtar/")]:
        monkeypatch.delitem(gym.registry, env_id)
    monkeypatch.setitem(sys.modules, "minatar", None)
    monkeypatch.delitem(sys.modules, "minatar.gym", raising=False)
    with pytest.raises(MissingExtraError, match=r'pip install "rlgen\[minatar\]"'):
        resolve_env("MinAtar/Breakout")
