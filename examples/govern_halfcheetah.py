"""Steer a cheetah by one latent coordinate: train, find what drives its speed, and film it.

    python examples/govern_halfcheetah.py [STEPS] [VIDEO.mp4] [ENV]

Disentangled PPO is trained in a plain SB3 script. Then each coordinate to which the action is
mapped is held at seven values, the speed is ranked against them, and the clearest coordinate is
moved from one end to the other during the filmed episode. Without a display: MUJOCO_GL=egl.
"""

import sys
from pathlib import Path

import numpy as np
from stable_baselines3.common.vec_env import VecNormalize, sync_envs_normalization

from rlgen.agents import DisentangledPPO
from rlgen.agents.disentangled.behavior import sweep
from rlgen.agents.disentangled.govern import Governor
from rlgen.agents.disentangled.panel import below_frames
from rlgen.agents.disentangled.rules import Schedule
from rlgen.agents.scoring import record_video
from rlgen.envs import make_vec

FILMED = 300  # steps


def main(
    steps: int = 400_000, video: str = "govern.mp4", env: str = "HalfCheetah-v5", episodes: int = 4
) -> int:
    """Trains, ranks and films; returns the coordinate that drives the speed best."""
    training = VecNormalize(make_vec(env, 8, seed=0), clip_obs=5.0)
    model = DisentangledPPO(
        "MlpPolicy", training, n_steps=256, batch_size=256, learning_rate=6e-4, seed=0, device="cpu"
    )
    model.learn(steps)

    short = make_vec(env, episodes, training=False, env_kwargs={"max_episode_steps": 200})
    trial = VecNormalize(short, training=False, norm_reward=False, clip_obs=5.0)
    sync_envs_normalization(training, trial)
    governor = Governor(model)
    clearest = {}
    for coordinate in range(governor.action_dim):
        found = sweep(governor, trial, coordinate, np.linspace(-3, 3, 7).tolist(), episodes)
        clearest[coordinate] = speed = found.monotony()["info x_velocity"]
        print(
            f"coordinate {coordinate}: speed {speed.low:+.2f} at -3, {speed.high:+.2f} at 3, "
            f"rank correlation {speed.pooled:+.2f}"
        )
    best = max(clearest, key=lambda coordinate: abs(clearest[coordinate].pooled))

    governor.rules = [Schedule(best, [(0, -3.0), (FILMED // 3, -3.0), (FILMED - 1, 3.0)])]
    config = {"env": env, "seed": 0, "env_kwargs": {"camera_name": "track"}}
    options = {"max_steps": FILMED, "decorate": below_frames(governor)}
    record_video(governor, config, Path(video), **options)
    print(f"coordinate {best} goes from -3 to 3 in {video}")
    return best


if __name__ == "__main__":
    given = sys.argv[1:]
    main(*map(int, given[:1]), *given[1:3])
