"""A disentangled DQN in a plain SB3 script: the auxiliary model trains beside the Q-values.

    python examples/disentangled_dqn.py [STEPS] [FOLDER]

The encoder's mean and standard deviation are the features that the Q-network reads; the model is
saved in FOLDER, for diffusers' ``from_pretrained``, and its per-coordinate KL is printed.
"""

import sys

import torch
from stable_baselines3 import DQN
from stable_baselines3.common.evaluation import evaluate_policy

from rlgen.agents.disentangled import (
    DisentangleCallback,
    DisentangledExtractor,
    Transitions,
    acting_extractor,
    kl_divergence,
)
from rlgen.envs import make_vec


def main(steps: int = 50_000, folder: str = "disentangled") -> float:
    """Trains, scores and saves; returns the mean return."""
    model = DQN(
        "MlpPolicy",
        make_vec("CartPole", seed=0),
        policy_kwargs={
            "features_extractor_class": DisentangledExtractor,
            # Two actions are two mapped coordinates; two more hold what the agent cannot move.
            "features_extractor_kwargs": {"latent_dim": 4, "action_dim": 2},
            "net_arch": [64],
        },
        learning_rate=2.3e-3,
        batch_size=64,
        buffer_size=50_000,
        learning_starts=min(1000, steps // 5),
        target_update_interval=10,
        train_freq=8,
        gradient_steps=4,
        exploration_fraction=0.2,
        exploration_final_eps=0.04,
        seed=0,
        device="cpu",
    )
    model.learn(steps, DisentangleCallback(alpha=0.1, beta=1.0, seed=0))
    mean, std = evaluate_policy(model, make_vec("CartPole", 4, seed=1), 10)
    print(f"return {mean:.1f} +- {std:.1f}")

    vae = acting_extractor(model.policy).vae
    visited = Transitions.from_replay_buffer(model.replay_buffer)
    with torch.no_grad():
        kl = kl_divergence(*vae.encode(visited.observations)).mean(dim=0)
    for i, nats in enumerate(kl.tolist()):
        print(f"coordinate {i} {'mapped' if i < vae.action_dim else 'unmapped':8} {nats:.3f} nats")
    vae.save_pretrained(folder)
    return float(mean)


if __name__ == "__main__":
    given = sys.argv[1:]
    main(*[int(value) for value in given[:1]], *given[1:2])
