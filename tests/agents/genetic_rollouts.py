"""Small genetic agents, and a watch on who acts under which gates."""

from typing import Any

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from tiny_envs import vector

from rlgen.agents import G2PPO

STEPS, ENVS = 16, 4
ALL = STEPS * ENVS


class Watch(BaseCallback):
    """Keeps who acted where, under which gates, and what came of it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[dict[str, Any]] = []

    def _on_rollout_start(self) -> None:
        self.gates = self.model.gates.acting.numpy().copy()

    def _on_step(self) -> bool:
        self.seen.append(
            {
                "obs": np.array(self.model._last_obs),
                "gates": self.gates,
                "ended": np.array(["episode" in info for info in self.locals["infos"]]),
                "evolving": self.model.evolution.evolving,
            }
        )
        self.gates = self.model.gates.acting.numpy().copy()  # the evolution knows this step now
        return True

    def stacked(self, name: str) -> np.ndarray:
        return np.stack([step[name] for step in self.seen])


class Evolving(Watch):
    """Lets the evolving phase begin with the training, with some relabelling of individuals."""

    def __init__(self, order: list[int] | None = None) -> None:
        super().__init__()
        self.order = order

    def _on_training_start(self) -> None:
        evolution = self.model.evolution
        evolution.evolving = True
        evolution.restart_episodes(ENVS)
        if self.order is not None:
            place = np.argsort(self.order)
            evolution.population = evolution.population[self.order]
            evolution.elite = int(place[evolution.elite])
            evolution.assigned = place[evolution.assigned]


def build(
    algorithm: type = G2PPO, env: Any = None, policy: str = "MlpPolicy", **kwargs: Any
) -> Any:
    options = {"n_steps": STEPS, "seed": 3, "device": "cpu", "population_size": ENVS}
    options |= {"stats_samples": ALL, "policy_kwargs": {"net_arch": [16]}}
    if algorithm is G2PPO:
        options |= {"batch_size": ALL, "n_epochs": 1}
    model = algorithm(policy, env or vector(ENVS), **{**options, **kwargs})
    with torch.no_grad():
        model.policy.action_net.weight.mul_(60)  # SB3 starts near uniform actions
    return model


def foreign_rollout(algorithm: type = G2PPO, **kwargs: Any) -> tuple[Any, Watch]:
    """Returns an agent after one rollout of all individuals, before its update."""
    model, watch = build(algorithm, **kwargs), Evolving()
    model.train = lambda: None
    model.learn(ALL, watch)
    del model.train
    return model, watch


def samples(model: Any, watch: Watch) -> dict[str, torch.Tensor]:
    """The rollout as SB3's policy sees it, flat, with the elite's and the actors' numbers."""
    policy, buffer = model.policy, model.rollout_buffer
    obs = torch.from_numpy(watch.stacked("obs")).flatten(0, 1)
    actions = torch.from_numpy(buffer.actions).flatten()
    values, log_prob, entropy = policy.evaluate_actions(obs, actions)
    gates = torch.from_numpy(watch.stacked("gates")).flatten(0, 1)
    features = policy.extract_features(obs)
    own = policy._get_action_dist_from_latent(policy.mlp_extractor.forward_actor(features, gates))
    return {
        "values": values.flatten(),
        "log_prob": log_prob,
        "entropy": entropy,
        "own_log_prob": own.log_prob(actions),
        "own_logits": own.distribution.logits,
        "elite_logits": policy.get_distribution(obs).distribution.logits,
        "stored": torch.from_numpy(buffer.log_probs).flatten(),
        "advantages": torch.from_numpy(buffer.advantages).flatten(),
        "returns": torch.from_numpy(buffer.returns).flatten(),
        "elite": (gates == policy.mlp_extractor.elite).all(dim=1),
    }
