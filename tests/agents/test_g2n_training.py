"""The genetic agents in training: whose samples, which loss, whose turn."""

from functools import partial
from typing import Any

import gymnasium as gym
import pytest
import torch
from genetic_rollouts import ALL, ENVS, STEPS, Evolving, Watch, build, foreign_rollout, samples
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3 import PPO as SB3PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv
from tiny_envs import TinyEnv, vector

from rlgen.agents import G2AC, G2PPO
from rlgen.core.errors import UserError
from rlgen.envs import GymVecEnv

SGD = {"optimizer_class": torch.optim.SGD, "net_arch": [16]}


def flat(policy: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in policy.parameters()]).clone()


@pytest.mark.parametrize("fast", [True, False])
def test_ratio_is_one_for_the_elite_and_elite_over_individual_for_others(fast: bool) -> None:
    model, watch = foreign_rollout(fast=fast)
    data = samples(model, watch)
    elite = data["elite"]
    assert 0 < elite.sum() < ALL
    ratio = (data["log_prob"] - data["stored"]).exp()
    torch.testing.assert_close(ratio[elite], torch.ones(int(elite.sum())), rtol=1e-5, atol=1e-5)
    expected = (data["log_prob"] - data["own_log_prob"]).exp()
    torch.testing.assert_close(ratio, expected, rtol=1e-4, atol=1e-5)
    assert (ratio[~elite] - 1).abs().max() > 0.05


def test_g2ppo_loss_is_ppos_with_the_elites_gates() -> None:
    options = {"learning_rate": 1.0, "max_grad_norm": 1e9, "policy_kwargs": SGD}
    model, watch = foreign_rollout(**options)
    options |= {"n_steps": STEPS, "batch_size": ALL, "n_epochs": 1, "device": "cpu"}
    twin = SB3PPO(model.policy_class, model.env, **options)
    twin.policy.load_state_dict(model.policy.state_dict())
    buffer, source = twin.rollout_buffer, model.rollout_buffer
    buffer.observations = watch.stacked("obs")
    buffer.actions = source.actions[..., None]
    for name in ("rewards", "values", "log_probs", "advantages", "returns"):
        setattr(buffer, name, getattr(source, name).copy())
    buffer.full = True
    twin.set_logger(Logger(None, []))
    before = flat(model.policy)
    model.train()
    twin.train()
    ours, theirs = flat(model.policy) - before, flat(twin.policy) - before
    assert (ours - theirs).norm() / theirs.norm() < 1e-4


@pytest.mark.parametrize("train_on", ["all", "elite"])
@pytest.mark.parametrize("is_clip", [None, 1.0, 0.7])
def test_g2ac_loss_by_hand(train_on: str, is_clip: float | None) -> None:
    """L = -mean[w A log pi] - 0.01 mean[H] + 0.5 mean[(R - V)^2], w = min(c, rho) or 1."""
    options = {"learning_rate": 1.0, "max_grad_norm": 1e9, "ent_coef": 0.01, "policy_kwargs": SGD}
    options |= {"use_rms_prop": False, "train_on": train_on, "is_clip": is_clip}
    model, watch = foreign_rollout(G2AC, **options)
    data = samples(model, watch)
    weight = (data["log_prob"] - data["stored"]).exp().detach().clamp(max=is_clip or 1e9)
    weight = weight if is_clip else torch.ones(ALL)
    assert (weight < 1).any() or is_clip is None
    terms = (
        -weight * data["advantages"] * data["log_prob"]
        - 0.01 * data["entropy"]
        + 0.5 * (data["returns"] - data["values"]) ** 2
    )
    keep = data["elite"] if train_on == "elite" else torch.ones(ALL, dtype=torch.bool)
    assert keep.sum() < ALL or train_on == "all"
    model.policy.zero_grad()
    terms[keep].mean().backward()
    expected = -torch.cat([p.grad.flatten() for p in model.policy.parameters()])
    before = flat(model.policy)
    model.train()
    step = flat(model.policy) - before
    assert (step - expected).norm() / expected.norm() < 1e-4


def test_closed_units_of_the_elite_do_not_learn() -> None:
    model, _ = foreign_rollout()
    model.evolution.population[0, ::2] = 0
    model.publish_gates()
    head = model.policy.action_net.weight.detach().clone()
    model.train()
    moved = (model.policy.action_net.weight != head).any(dim=0)
    assert not moved[::2].any()
    assert moved[1::2].all()


def test_relabelling_individuals_changes_no_weight() -> None:
    weights = []
    for order in (None, [2, 0, 3, 1]):
        model = build(env=vector(ENVS, limit=100, goal=99))
        watch = Evolving(order)
        model.learn(ALL, watch)
        assert len({row.tobytes() for row in watch.stacked("gates").reshape(ALL, -1)}) == ENVS
        weights.append(flat(model.policy))
    assert torch.equal(*weights)


@pytest.mark.parametrize("algorithm", [G2PPO, G2AC])
@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(("population", "envs"), [(8, 4), (4, 4), (2, 4), (3, 1)])
def test_gates_change_only_between_episodes(
    algorithm: type, fast: bool, population: int, envs: int
) -> None:
    options = {"population_size": population, "fast": fast, "n_steps": 6}
    options |= {"batch_size": 6 * envs} if algorithm is G2PPO else {}
    model, watch = build(algorithm, vector(envs), **options), Watch()
    model.learn(900, watch)
    gates, ended = watch.stacked("gates"), watch.stacked("ended")
    changed = (gates[1:] != gates[:-1]).any(axis=2)
    assert not changed[~ended[:-1]].any()
    assert changed.any()
    assert watch.stacked("evolving").any()
    assert model.evolution.generation > 1
    total = model.evolution.elite_steps + model.evolution.evolve_steps
    assert total == model.num_timesteps


class Lives(gym.Wrapper):
    """Ends an episode for the learner every two steps, while the game goes on."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.over, self.count = True, 0

    def reset(self, **kwargs: Any) -> Any:
        self.count = 0
        if self.over:
            return self.env.reset(**kwargs)
        return self.env.unwrapped._observe(), {}

    def step(self, action: Any) -> Any:
        obs, reward, terminated, truncated, info = self.env.step(action)
        self.over, self.count = terminated or truncated, self.count + 1
        return obs, reward, terminated or self.count == 2, truncated, info


def test_a_lost_life_is_no_turn() -> None:
    env = DummyVecEnv([lambda: Lives(Monitor(TinyEnv())) for _ in range(ENVS)])
    model, watch = build(env=env), Watch()
    model.learn(20 * ALL, watch)
    gates, ended = watch.stacked("gates"), watch.stacked("ended")
    assert not (gates[1:] != gates[:-1]).any(axis=2)[~ended[:-1]].any()
    assert model.evolution.generation > 0


def test_unmonitored_environments_are_scored_by_their_rewards() -> None:
    scores = []
    for wrap in (Monitor, lambda env: env):
        env = DummyVecEnv([lambda i=i, w=wrap: w(TinyEnv(start=0.25 * i)) for i in range(ENVS)])
        model = build(env=env).learn(20 * ALL)
        assert model.evolution.generation > 0
        scores.append(model.evolution.last_best)
    assert scores[0] == pytest.approx(scores[1])


def test_best_individual_becomes_the_elite() -> None:
    """Only one individual opens the gate of a unit that says *forward*; it must win."""
    model = build(env=vector(ENVS), learning_rate=0.0)
    with torch.no_grad():
        model.policy.action_net.weight.zero_()
        model.policy.action_net.weight[1, 0] = 50
        model.policy.mlp_extractor.policy_net[0].bias[0] = 5
    population = model.evolution.population
    population[:] = 1
    population[:, 0] = [0, 0, 1, 0]
    model.evolution.evolving = True

    class Stop(BaseCallback):
        def _on_step(self) -> bool:
            return self.model.evolution.generation == 0

    model.learn(50 * ALL, Stop())
    assert model.evolution.generation == 1
    assert model.evolution.population[0, 0] == 1
    assert model.gates.elite[0] == 1


@pytest.mark.parametrize("clip_reward", [True, False])
def test_long_episodes_are_scored_by_unclipped_rewards(clip_reward: bool) -> None:
    """Nobody moves forward, so after 5 steps a walker's return is the sum of -0.5t - 0.3t."""
    fns = [partial(TinyEnv, limit=10_000) for _ in range(ENVS)]
    env = GymVecEnv(
        SyncVectorEnv(fns, autoreset_mode=AutoresetMode.SAME_STEP), clip_reward=clip_reward
    )
    model = build(env=env, learning_rate=0.0, genetic_kwargs={"max_gen_steps": 5})
    with torch.no_grad():
        model.policy.action_net.weight.zero_()
        model.policy.action_net.bias[:] = torch.tensor([50.0, -50.0])
    model.learn(2 * ALL, Evolving())
    assert model.evolution.generation == 1
    assert model.evolution.last_best == pytest.approx(-0.8 * (1 + 2 + 3 + 4 + 5))


@pytest.mark.parametrize(
    ("policy", "env_kwargs"),
    [
        ("MultiInputPolicy", {"observation": "dict"}),
        ("MlpPolicy", {"action": "multi_discrete"}),
        ("CnnPolicy", {"observation": "image"}),
        ("MlpPolicy", {"observation": "discrete", "action": "box"}),
    ],
)
@pytest.mark.parametrize("algorithm", [G2PPO, G2AC])
def test_evolves_on_other_spaces(algorithm: type, policy: str, env_kwargs: dict) -> None:
    policy_kwargs = {"net_arch": [16], "share_features_extractor": policy != "CnnPolicy"}
    options = {"policy": policy, "policy_kwargs": policy_kwargs}
    model = build(algorithm, vector(ENVS, **env_kwargs), **options).learn(20 * ALL)
    assert model.evolution.generation > 0


@pytest.mark.parametrize(
    ("algorithm", "kwargs", "message"),
    [
        (G2PPO, {"train_on": "best"}, "train_on='best' is unknown; allowed: all, elite"),
        (G2PPO, {"train_on": "elite", "fast": False}, "train_on=elite needs the fast path"),
        (G2PPO, {"population_size": 6}, "does not divide over n_envs=4"),
        (G2AC, {"is_clip": 0.0}, "is_clip=0.0 is not positive"),
        (G2AC, {"is_clip": 1.0, "fast": False}, "is_clip needs the fast path"),
    ],
)
def test_wrong_options(algorithm: type, kwargs: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(algorithm, **kwargs)
