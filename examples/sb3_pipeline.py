"""A genetic agent in a plain Stable-Baselines3 script: callbacks, evaluation, save and load.

Run it with ``python examples/sb3_pipeline.py``; it writes into ``sb3_pipeline/``.
"""

from pathlib import Path

from stable_baselines3.common.callbacks import CheckpointCallback, EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecNormalize

from rlgen.agents import G2PPO
from rlgen.envs import make_vec


def main(total_timesteps: int = 50_000, folder: Path = Path("sb3_pipeline")) -> float:
    n_envs = 8
    env = VecNormalize(make_vec("CartPole-v1", n_envs, seed=0))
    eval_env = VecNormalize(
        make_vec("CartPole-v1", n_envs, seed=1), training=False, norm_reward=False
    )
    model = G2PPO("MlpPolicy", env, n_steps=32, batch_size=256, population_size=16, seed=0)
    every = max(total_timesteps // (5 * n_envs), 1)
    callbacks = [
        EvalCallback(eval_env, eval_freq=every, log_path=str(folder), verbose=0),
        CheckpointCallback(every, str(folder), save_vecnormalize=True),
    ]
    model.learn(total_timesteps, callbacks)
    model.save(folder / "model")
    env.save(str(folder / "normalizer.pkl"))

    fresh = VecNormalize.load(str(folder / "normalizer.pkl"), make_vec("CartPole-v1", 8, seed=2))
    fresh.training = fresh.norm_reward = False
    loaded = G2PPO.load(folder / "model", env=fresh)
    mean, deviation = evaluate_policy(loaded, fresh, n_eval_episodes=20)
    print(f"after generation {loaded.evolution.generation}: return {mean:.1f} +- {deviation:.1f}")
    return float(mean)


if __name__ == "__main__":
    main()
