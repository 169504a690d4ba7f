"""A wrapper that adds a designer's own sequences to the operations an agent may choose.

The action space grows by one operation per macro, behind the sixteen of the table, in the order
of their names in the mapping; with M macros:

* ``multidiscrete``: ``MultiDiscrete([16 + M, 3] + [17] * 6)``
* ``hybrid``: ``Dict(op=Discrete(16 + M), mode=Discrete(3), params=Box(-1, 1, (6,)))``
* ``box``: ``Box(-1, 1, (16 + M + 9,))``

Mode and parameters of a macro mean nothing. Masks get a row per macro: bool (16 + M, 3). A macro
may begin when the mask allows its first action; as everywhere, the mask is a product of
operations and modes.

A macro is carried out action by action, exactly (not rounded to bins), and each of its actions is
a step of the episode: it counts for the horizon, can be refused on its own, and can be undone on
its own. The agent sees one step, with the rewards added up.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlgen.core.errors import UserError, closest
from rlgen.envs.design.encodings import N_OPERATIONS, action_space, decode, encode
from rlgen.envs.design.env import DesignEnv
from rlgen.envs.design.shape.operations import BINS, N_MODES, N_PARAMETERS, NAMES, UNDO, Action

Mask = NDArray[np.bool_]


class MacroActions(gym.Wrapper[Any, Any, Any, Any]):
    """Design environment with named sequences as further operations.

    Args:
        env: A :class:`~rlgen.envs.design.env.DesignEnv`, possibly wrapped. From then on the
            environment inside takes actions of the ``hybrid`` encoding, which is exact.
        macros: Name -> modelling actions, at least one each.

    Attributes:
        names: All operations in the order of the action space.

    Raises:
        UserError: The environment is no design environment, or a macro is empty, has the name of
            an operation or holds something else than modelling actions.
    """

    def __init__(self, env: gym.Env[Any, Any], macros: Mapping[str, Sequence[Action]]) -> None:
        super().__init__(env)
        inner = env.unwrapped
        if not isinstance(inner, DesignEnv):
            raise UserError(f"macros need a design environment such as Vessel, not {inner}")
        self.design_env: DesignEnv = inner
        self.macros = _checked(macros)
        self.names = (*NAMES, *self.macros)
        self.encoding = inner.encoding
        self.action_space = _extended(action_space(self.encoding), len(self.macros))
        inner.encoding, inner.action_space = "hybrid", action_space("hybrid")
        self._in_observation = False
        if isinstance(env.observation_space, spaces.Dict):
            parts = dict(env.observation_space.spaces)
            self._in_observation = "action_mask" in parts
            if self._in_observation:
                parts["action_mask"] = spaces.MultiBinary(len(self.names) * N_MODES)
                self.observation_space = spaces.Dict(parts)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begins an episode; as the environment inside."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._shown(observation), {**info, "action_mask": self.mask}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Takes one operation, or all actions of a macro.

        Returns:
            As of the last action, with the sum of the rewards. After a macro, ``info["macro"]``
            is its name and ``info["macro_refused"]`` has a code, or None, for each action that
            was carried out; ``info["refused"]`` is there when all of them were refused.

        Raises:
            UserError: If the action is outside of the action space.
        """
        chosen = self._decode(action)
        if isinstance(chosen, Action):
            observation, reward, terminated, truncated, info = self._take(chosen)
            return self._shown(observation), reward, terminated, truncated, self._told(info)
        name, mask = chosen, self.mask
        if not mask[self.names.index(name)].any():
            return self._forbidden(name)
        total, codes = 0.0, []
        for part in self.macros[name]:
            observation, reward, terminated, truncated, info = self._take(part)
            total += reward
            codes.append(info.get("refused"))
            if terminated or truncated:
                break
        info = {**self._told(info), "macro": name, "macro_refused": tuple(codes)}
        info.pop("refused", None)
        if all(codes):
            info["refused"] = codes[0]
        return self._shown(observation), total, terminated, truncated, info

    def _forbidden(self, name: str) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Lets the environment refuse the first action of a macro that is masked."""
        first = self.macros[name][0]
        observation, reward, terminated, truncated, info = self._take(first)
        info = {**self._told(info), "macro": name, "macro_refused": (info.get("refused"),)}
        return self._shown(observation), reward, terminated, truncated, info

    def _take(self, action: Action) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(encode(action, "hybrid"))
        return observation, float(reward), terminated, truncated, info

    @property
    def mask(self) -> Mask:
        """Mask, bool (16 + M, 3): what may be chosen."""
        base = self.design_env.mask
        rows = [base[macro[0].op, macro[0].mode] for macro in self.macros.values()]
        return np.concatenate([base, np.array(rows)[:, None] & base.any(0)])

    def action_masks(self) -> Mask:
        """Returns what sb3-contrib's ``MaskablePPO`` reads; see ``DesignEnv.action_masks``."""
        mask = self.mask
        bins = np.ones(N_PARAMETERS * BINS, dtype=bool)
        return np.concatenate([mask.any(1), mask.any(0), bins])

    def _told(self, info: dict[str, Any]) -> dict[str, Any]:
        return {**info, "action_mask": self.mask}

    def _shown(self, observation: Any) -> Any:
        """Returns the observation with the longer mask, where it holds one."""
        if not self._in_observation:
            return observation
        old = observation["action_mask"]
        return {**observation, "action_mask": self.mask.reshape(-1).astype(old.dtype)}

    def _decode(self, raw: Any) -> Action | str:
        """Returns the action, or the name of the macro, that an agent wrote."""
        base = action_space(self.encoding)
        if isinstance(base, spaces.Dict):
            op = _whole(raw.get("op") if isinstance(raw, Mapping) else None)
            if op is not None and N_OPERATIONS <= op < len(self.names):
                decode({**raw, "op": 0}, base, self.design_env.mask)  # refuses what is malformed
                return self.names[op]
            return decode(raw, base, self.design_env.mask)
        try:
            numbers = np.asarray(raw, dtype=np.float64)
        except (TypeError, ValueError):
            return decode(raw, base, self.design_env.mask)
        if numbers.shape != self.action_space.shape or not np.isfinite(numbers).all():
            raise UserError(
                f"action {str(raw)[:80]!r} is outside of {self.action_space}; "
                "draw one by action_space.sample()"
            )
        if isinstance(base, spaces.MultiDiscrete):
            op = _whole(numbers[0])
            if op is not None and N_OPERATIONS <= op < len(self.names):
                decode([0, *numbers[1:]], base, self.design_env.mask)
                return self.names[op]
            return decode(numbers, base, self.design_env.mask)
        first, extra = numbers[:N_OPERATIONS], numbers[N_OPERATIONS : len(self.names)]
        found = decode([*first, *numbers[len(self.names) :]], base, self.design_env.mask)
        if len(extra) and np.abs(extra).max() > 1 + 1e-6:
            raise UserError("a preference among macros is outside of -1..1")
        allowed = np.where(self.mask.any(1), [*first, *extra], -np.inf)
        op = int(allowed.argmax())
        return self.names[op] if op >= N_OPERATIONS else found


def _whole(value: Any) -> int | None:
    """Returns a number as an int; None where it is not whole."""
    try:
        return int(value) if float(value) == int(value) else None
    except (TypeError, ValueError):
        return None


def _checked(macros: Mapping[str, Sequence[Action]]) -> dict[str, tuple[Action, ...]]:
    if not macros:
        raise UserError("no macros are given; name at least one sequence of actions")
    found = {}
    for name, actions in macros.items():
        if name in NAMES:
            raise UserError(f"macro {name!r} has the name of an operation; choose another")
        if not isinstance(actions, Sequence) or not actions:
            raise UserError(f"macro {name!r} is empty; give at least one action")
        for action in actions:
            if not isinstance(action, Action):
                raise UserError(f"macro {name!r} holds {action!r}; give Action.named(...)")
            if action.op >= UNDO:
                hint = closest(action.name, NAMES[:UNDO])
                raise UserError(f"macro {name!r} cannot hold {action.name}; {hint}")
        found[name] = tuple(actions)
    return found


def _extended(space: spaces.Space[Any], count: int) -> spaces.Space[Any]:
    """Returns an action space with further operations."""
    if isinstance(space, spaces.MultiDiscrete):
        return spaces.MultiDiscrete([N_OPERATIONS + count, *space.nvec[1:].tolist()])
    if isinstance(space, spaces.Dict):
        return spaces.Dict({**space.spaces, "op": spaces.Discrete(N_OPERATIONS + count)})
    assert isinstance(space, spaces.Box)
    return spaces.Box(-1.0, 1.0, (space.shape[0] + count,), dtype=np.float32)
