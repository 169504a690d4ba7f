"""Atari by ale-py's native vector environment, with the preprocessing of SB3's ``make_atari_env``.

The same as SB3's road, to the bit where both see the same frames: frame skip 4, maximum over the
last two frames, grey 84x84 by area averaging, a stack of 4, the sign of the reward for the
learner, an episode for the learner per life. What the emulator's interface forces to differ:

* **Grey before maximum.** The native code takes the palette's grey and then the maximum over two
  frames; SB3 takes the maximum per colour channel and then the grey. Pixels differ only where two
  differently coloured objects overlap between the two frames, and by rounding (at most 1).
* **No-ops.** 0 to 29 frames after a reset, SB3 1 to 30. FIRE is pressed for one frame before them;
  SB3 holds FIRE and then the action after it for 4 frames each.
* **After a lost life** SB3 runs a no-op and the FIRE sequence unseen by the agent. Here the game
  stands still until FIRE, so the first action after a lost life is replaced by FIRE
  (:class:`FireAfterLifeLoss`); the frame stack goes on, SB3 clears it.
* The emulator's state is not exposed, so a run cannot be resumed inside an episode.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper

from rlgen.core.errors import UserError, closest

FIRE = 1  # index of FIRE in every minimal action set that has it
MAX_FRAMES = 108_000  # 30 minutes at 60 Hz: the usual limit of an episode


def game_name(env_id: str) -> str:
    """Returns the ROM name of an Atari id: ``ALE/SpaceInvaders-v5`` gives ``space_invaders``.

    Raises:
        UserError: If ale-py has no such game; the message offers the closest ones.
    """
    games = games_by_id()
    short = env_id.removeprefix("ALE/").split("-v")[0]
    if short not in games:
        raise UserError(f"unknown Atari game {short!r}; {closest(short, games)}")
    return games[short]


def games_by_id() -> dict[str, str]:
    """Returns all games, from the name in Gymnasium ids (``SpaceInvaders``) to the ROM's."""
    from ale_py import roms

    return {"".join(part.title() for part in rom.split("_")): rom for rom in roms.get_all_rom_ids()}


class FireAfterLifeLoss(VectorWrapper):
    """Marks lost lives in the infos, and presses FIRE on the step after one.

    ``infos["life_lost"]`` is true where ``terminated`` means a lost life and the game goes on.
    Without FIRE a game such as Breakout stands still, and a deterministic policy that never
    learnt to press it would stand still for ever. The pressed action is the environment's doing:
    what the agent chose there has no effect, as in SB3's unseen reset steps.

    Args:
        env: ale-py's vector environment with ``life_loss_info=True``.
        life_ends_episode: Report a lost life as the end of an episode (for learning), or not (for
            evaluation).
    """

    def __init__(self, env: VectorEnv, life_ends_episode: bool = True) -> None:
        super().__init__(env)
        self.life_ends_episode = life_ends_episode
        self._press = np.zeros(self.num_envs, dtype=np.bool_)
        self._frame = np.zeros(self.num_envs, dtype=np.int64)
        actions: Any = env.unwrapped.ale.get_action_set()  # type: ignore[attr-defined]
        self._has_fire = len(actions) > FIRE and actions[FIRE].name == "FIRE"

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Resets the environments; see :meth:`gymnasium.vector.VectorEnv.reset`."""
        if seed is not None and not isinstance(seed, np.ndarray):
            # The emulator takes 31 bits; SB3 draws 32 where no seed is given.
            seed = (int(seed) + np.arange(self.num_envs)) % 2**31
        observations, infos = self.env.reset(seed=seed, options=options)
        self._press[:] = False
        self._frame = infos["episode_frame_number"].astype(np.int64)
        return observations, {"lives": infos["lives"]}

    def step(self, actions: npt.NDArray[np.int64]) -> Any:
        """Steps the environments; see :meth:`gymnasium.vector.VectorEnv.step`."""
        if self._has_fire and self._press.any():
            actions = np.where(self._press, FIRE, actions)
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        # The emulator's frame count of an episode falls only when a new game has begun.
        new_game = infos["episode_frame_number"] < self._frame
        life_lost = terminated & ~new_game & ~truncated
        self._frame = infos["episode_frame_number"].astype(np.int64)
        self._press = life_lost
        if not self.life_ends_episode:
            terminated = terminated & ~life_lost
        out = {"lives": infos["lives"]}
        if life_lost.any():
            out["life_lost"] = life_lost & self.life_ends_episode
        if "final_obs" in infos:
            # The emulator fills final_obs only where a game ended; at a lost life, where the game
            # goes on, the memory is not initialised and the last observation is this one.
            ongoing = life_lost[:, None, None, None]
            out["final_obs"] = np.where(ongoing, observations, infos["final_obs"])
        return observations, rewards.astype(np.float64), terminated, truncated, out


def make_atari_vector(
    env_id: str,
    n_envs: int,
    *,
    training: bool = True,
    noop_max: int = 30,
    num_threads: int = 0,
    sticky: float = 0.0,
    max_frames: int = MAX_FRAMES,
) -> VectorEnv:
    """Builds ale-py's vector environment for one game.

    Args:
        env_id: Such as ``ALE/Breakout-v5``.
        n_envs: Number of emulators.
        training: Let a lost life end an episode for the learner.
        noop_max: Random no-op frames after a reset: 0 to ``noop_max - 1``.
        num_threads: Threads of the emulators, 0 for as many as the machine has cores.
        sticky: Probability that the emulator repeats the last action.
        max_frames: Frames after which an episode is truncated.

    Returns:
        Observations uint8 (n_envs, 4, 84, 84); rewards unclipped.
    """
    from ale_py.vector_env import AtariVectorEnv

    return FireAfterLifeLoss(
        AtariVectorEnv(
            game_name(env_id),
            n_envs,
            num_threads=num_threads,
            autoreset_mode=AutoresetMode.SAME_STEP,
            max_num_frames_per_episode=max_frames,
            repeat_action_probability=sticky,
            noop_max=noop_max,
            life_loss_info=True,
            reward_clipping=False,
        ),
        life_ends_episode=training,
    )
