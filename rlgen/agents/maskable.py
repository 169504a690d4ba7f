"""PPO that never takes a forbidden action: sb3-contrib's MaskablePPO under rlgen's commands.

The algorithm is sb3-contrib's (extra ``maskable``), after Huang and Ontañón, "A Closer Look at
Invalid Action Masking in Policy Gradient Algorithms", 2020. Added is only where masks come from
when nobody hands them over: from the observation.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from rlgen.agents.registry import AGENTS
from rlgen.core.errors import MissingExtraError, UserError

try:
    from sb3_contrib import MaskablePPO as ContribMaskablePPO
except ModuleNotFoundError as error:
    raise MissingExtraError("agent=maskable_ppo", "maskable") from error


@AGENTS.register("maskable_ppo")
class MaskablePPO(ContribMaskablePPO):
    """MaskablePPO for environments with ``action_masks`` and an ``action_mask`` observation.

    Args:
        policy: ``MlpPolicy``, ``CnnPolicy`` or ``MultiInputPolicy``.
        env: An environment or vector environment.
        precision: Taken for likeness with other agents; this one always computes in fp32.
        n_threads: The same; torch's setting is kept.
        fast: The same; there is no fast path.
        **kwargs: Those of ``sb3_contrib.MaskablePPO``.

    Raises:
        UserError: If the environment has no masks.
    """

    def __init__(
        self,
        policy: Any,
        env: Any,
        *args: Any,
        precision: str = "auto",
        n_threads: int | None = None,
        fast: bool = True,
        **kwargs: Any,
    ) -> None:
        del precision, n_threads, fast
        super().__init__(policy, env, *args, **kwargs)
        vec = self.get_env()
        if vec is not None and not vec.has_attr("action_masks"):
            raise UserError(
                "agent=maskable_ppo needs an environment with action_masks, such as env=Vessel; "
                "type agent=ppo"
            )

    def predict(
        self,
        observation: npt.NDArray[Any] | dict[str, npt.NDArray[Any]],
        state: tuple[npt.NDArray[Any], ...] | None = None,
        episode_start: npt.NDArray[Any] | None = None,
        deterministic: bool = False,
        action_masks: npt.NDArray[Any] | None = None,
    ) -> tuple[npt.NDArray[Any], tuple[npt.NDArray[Any], ...] | None]:
        """Returns actions; masks not given are read from the observation, where it holds them."""
        if action_masks is None and isinstance(observation, dict) and "action_mask" in observation:
            action_masks = self._masks_of(np.asarray(observation["action_mask"]))
        return super().predict(observation, state, episode_start, deterministic, action_masks)

    def _masks_of(self, mask: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Returns (batch, sum of choices) from masks over (operation, mode), (batch, 48)."""
        assert isinstance(self.action_space, spaces.MultiDiscrete)
        first, second, *rest = self.action_space.nvec
        pairs = mask.reshape(-1, first, second).astype(bool)
        free = np.ones((len(pairs), int(sum(rest))), dtype=bool)
        return np.concatenate([pairs.any(2), pairs.any(1), free], axis=1)
