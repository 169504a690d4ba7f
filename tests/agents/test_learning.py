"""The genetic agent learns CartPole."""

from stable_baselines3.common.evaluation import evaluate_policy

from rlgen.agents import G2PPO
from rlgen.envs import make_vec


def test_g2ppo_learns_cartpole() -> None:
    model = G2PPO(
        "MlpPolicy",
        make_vec("CartPole-v1", 8, seed=0),
        n_steps=32,
        batch_size=256,
        n_epochs=10,
        learning_rate=1e-3,
        gae_lambda=0.8,
        gamma=0.98,
        population_size=16,
        seed=0,
        device="cpu",
    )
    model.learn(60_000)
    assert model.evolution.generation > 5
    mean, _ = evaluate_policy(model, make_vec("CartPole-v1", 8, seed=100), n_eval_episodes=16)
    assert mean > 300
