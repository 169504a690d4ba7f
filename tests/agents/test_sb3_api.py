"""Our agents inside plain SB3 scripts: callbacks, evaluation, saving and loading."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stable_baselines3
import torch
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    CheckpointCallback,
    EvalCallback,
)
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.vec_env import VecNormalize
from tiny_envs import vector

from rlgen.agents import A2C, G2AC, G2PPO, PPO
from rlgen.agents.registry import AGENTS
from rlgen.core.errors import NonFiniteLossError, UserError

ENVS = 4
AGENT_CLASSES = [PPO, A2C, G2PPO, G2AC]
GENETIC = [G2PPO, G2AC]


def build(algorithm: type, env: Any = None, **kwargs: Any) -> Any:
    options = {"n_steps": 8, "seed": 2, "device": "cpu"}
    options |= {"batch_size": 16, "n_epochs": 2} if issubclass(algorithm, PPO) else {}
    options |= {"population_size": 8} if algorithm in GENETIC else {}
    return algorithm("MlpPolicy", vector(ENVS) if env is None else env, **{**options, **kwargs})


def weights(model: Any) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.policy.parameters()])


def observations(count: int = 50) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, 4)).astype(np.float32)


def test_agents_have_names() -> None:
    assert [AGENTS[name] for name in ("a2c", "g2ac", "g2ppo", "ppo")] == [A2C, G2AC, G2PPO, PPO]
    with pytest.raises(UserError, match=r"unknown agent 'g2po'; did you mean 'g2ppo'"):
        AGENTS["g2po"]


@pytest.mark.parametrize("algorithm", AGENT_CLASSES)
def test_callbacks_and_evaluation(algorithm: type, tmp_path: Path) -> None:
    evaluation = EvalCallback(
        vector(2), n_eval_episodes=3, eval_freq=16, log_path=str(tmp_path), verbose=0
    )
    checkpoints = CheckpointCallback(save_freq=16, save_path=str(tmp_path), name_prefix="agent")
    model = build(algorithm).learn(256, [evaluation, checkpoints])
    assert model.num_timesteps == 256
    with np.load(tmp_path / "evaluations.npz") as data:
        assert data["timesteps"].tolist() == [64, 128, 192, 256]
    steps = sorted(int(path.stem.split("_")[1]) for path in tmp_path.glob("agent_*_steps.zip"))
    assert steps == [64, 128, 192, 256]
    mean, _ = evaluate_policy(model, vector(2), n_eval_episodes=4)
    assert np.isfinite(mean)
    loaded = algorithm.load(tmp_path / "agent_256_steps", device="cpu")
    assert loaded.num_timesteps == 256


@pytest.mark.parametrize("algorithm", AGENT_CLASSES)
def test_trains_on_sb3s_environments(algorithm: type) -> None:
    env = VecNormalize(make_vec_env("CartPole-v1", ENVS, seed=0))
    model = build(algorithm, env, policy_kwargs={"net_arch": {"pi": [8], "vf": [12]}})
    before = weights(model).clone()
    model.learn(128)
    assert not torch.equal(weights(model), before)
    assert env.obs_rms.count > 128


@pytest.mark.parametrize("algorithm", AGENT_CLASSES)
def test_takes_the_name_of_an_environment(algorithm: type) -> None:
    model = build(algorithm, "CartPole-v1", n_steps=16).learn(32)
    assert model.n_envs == 1


@pytest.mark.parametrize("form", ["function", "one", "list", "nested"])
def test_callback_forms(form: str) -> None:
    calls = []

    class Count(BaseCallback):
        def _on_step(self) -> bool:
            calls.append(1)
            return True

    def count(_locals: dict, _globals: dict) -> bool:
        calls.append(1)
        return True

    callback = {
        "function": count,
        "one": Count(),
        "list": [Count()],
        "nested": CallbackList([Count()]),
    }[form]
    build(G2PPO).learn(64, callback)
    assert len(calls) == 16


@pytest.mark.parametrize("algorithm", AGENT_CLASSES)
def test_callback_stops_the_training(algorithm: type) -> None:
    model = build(algorithm).learn(1000, lambda local, _: local["self"].num_timesteps < 20)
    assert model.num_timesteps == 20


@pytest.mark.parametrize("algorithm", AGENT_CLASSES)
def test_loaded_agent_goes_on_as_the_saved_one(algorithm: type, tmp_path: Path) -> None:
    model = build(algorithm).learn(640)
    model.save(tmp_path / "agent")
    loaded = algorithm.load(tmp_path / "agent", env=vector(ENVS), device="cpu")
    assert torch.equal(weights(loaded), weights(model))
    if algorithm in GENETIC:
        assert model.evolution.generation > 0
    for trained in (model, loaded):
        trained.learn(640)
    assert torch.equal(weights(loaded), weights(model))


@pytest.mark.parametrize("algorithm", GENETIC)
def test_population_is_saved(algorithm: type, tmp_path: Path) -> None:
    model = build(algorithm).learn(960)
    model.save(tmp_path / "agent")
    loaded = algorithm.load(tmp_path / "agent", device="cpu")
    first, second = model.evolution, loaded.evolution
    np.testing.assert_array_equal(first.population, second.population)
    for name in ("generation", "elite", "elite_steps", "evolve_steps", "evolving"):
        assert getattr(first, name) == getattr(second, name)
    assert torch.equal(model.gates.elite, loaded.gates.elite)
    assert first.generator.random() == second.generator.random()
    assert second.generator is loaded.generators["genes"]


@pytest.mark.parametrize("n_envs", [2, 8])
def test_loads_with_another_number_of_environments(n_envs: int, tmp_path: Path) -> None:
    build(G2PPO).learn(320).save(tmp_path / "agent")
    model = G2PPO.load(tmp_path / "agent", env=vector(n_envs), device="cpu")
    population = model.evolution.population.copy()
    generation = model.evolution.generation
    assert model.gates.acting.shape == (n_envs, 64)
    model.learn(640)
    assert model.evolution.generation > generation
    assert model.evolution.population.shape == population.shape


def test_loading_with_an_unfit_number_of_environments(tmp_path: Path) -> None:
    build(G2PPO).save(tmp_path / "agent")
    with pytest.raises(UserError, match="does not divide over n_envs=3"):
        G2PPO.load(tmp_path / "agent", env=vector(3), device="cpu")


@pytest.mark.parametrize("algorithm", AGENT_CLASSES)
def test_sb3_loads_what_we_save(algorithm: type, tmp_path: Path) -> None:
    """SB3's class predicts the same actions; of a genetic agent it is the elite that answers."""
    model = build(algorithm).learn(640)
    if algorithm in GENETIC:
        model.evolution.population[model.evolution.elite, ::2] = 0
        model.publish_gates()
    model.save(tmp_path / "agent")
    base = stable_baselines3.PPO if issubclass(algorithm, PPO) else stable_baselines3.A2C
    loaded = base.load(tmp_path / "agent", device="cpu")
    ours, theirs = (m.predict(observations(), deterministic=True)[0] for m in (model, loaded))
    np.testing.assert_array_equal(ours, theirs)
    logits = [
        m.policy.get_distribution(torch.from_numpy(observations())).distribution.logits
        for m in (model, loaded)
    ]
    assert torch.equal(*logits)
    assert type(loaded) is base


@pytest.mark.parametrize("algorithm", [PPO, A2C])
def test_loads_what_sb3_saves(algorithm: type, tmp_path: Path) -> None:
    base = {PPO: stable_baselines3.PPO, A2C: stable_baselines3.A2C}[algorithm]
    theirs = base("MlpPolicy", vector(ENVS), n_steps=16, device="cpu", seed=1)
    theirs.save(tmp_path / "agent")
    ours = algorithm.load(tmp_path / "agent", env=vector(ENVS), device="cpu")
    assert ours.why_not_fast is None
    assert torch.equal(weights(ours), weights(theirs))
    ours.learn(64)
    assert not torch.equal(weights(ours), weights(theirs))


@pytest.mark.parametrize("algorithm", AGENT_CLASSES)
def test_parameters_can_be_set(algorithm: type) -> None:
    model, other = build(algorithm).learn(64), build(algorithm, seed=9)
    assert not torch.equal(weights(model), weights(other))
    other.set_parameters(model.get_parameters())
    assert torch.equal(weights(model), weights(other))
    # The fast path reads the same memory: both collect and learn on from the same weights.
    values = [m.policy.predict_values(torch.from_numpy(observations())) for m in (model, other)]
    assert torch.equal(*values)


@pytest.mark.parametrize("algorithm", GENETIC)
def test_set_gates_stay_the_elites(algorithm: type) -> None:
    model, other = build(algorithm), build(algorithm)
    model.gates.elite[::2] = 0
    other.set_parameters(model.get_parameters())
    other.learn(64)
    assert torch.equal(other.gates.elite, model.gates.elite)


@pytest.mark.parametrize("algorithm", AGENT_CLASSES)
def test_takes_sb3s_arguments_by_position(algorithm: type) -> None:
    model = algorithm("MlpPolicy", vector(ENVS), 1e-4, 16)
    assert (model.learning_rate, model.n_steps) == (1e-4, 16)


@pytest.mark.parametrize("algorithm", AGENT_CLASSES)
def test_predictions(algorithm: type) -> None:
    model = build(algorithm)
    certain = [model.predict(observations(), deterministic=True)[0] for _ in range(2)]
    np.testing.assert_array_equal(*certain)
    drawn = [model.predict(observations())[0] for _ in range(2)]
    assert (drawn[0] != drawn[1]).any()
    assert model.predict(observations(1)[0])[0].shape == ()


@pytest.mark.parametrize("algorithm", AGENT_CLASSES)
def test_seed_decides_the_training(algorithm: type) -> None:
    first, second, other = (build(algorithm, seed=s).learn(320) for s in (2, 2, 3))
    assert torch.equal(weights(first), weights(second))
    assert not torch.equal(weights(first), weights(other))


@pytest.mark.parametrize("algorithm", GENETIC)
def test_ungated_policy_is_refused(algorithm: type) -> None:
    with pytest.raises(UserError, match="needs a gated policy, not ActorCriticPolicy; type Mlp"):
        algorithm(ActorCriticPolicy, vector(ENVS), n_steps=16)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("algorithm", AGENT_CLASSES)
def test_broken_reward_stops_the_training(algorithm: type, fast: bool) -> None:
    model = build(algorithm, vector(ENVS, broken_at=3), fast=fast)
    with pytest.raises(NonFiniteLossError, match=r"train/\w+ is not finite at step 32") as error:
        model.learn(640)
    assert error.value.step == 32
    assert error.value.term.startswith("train/")
    assert "loss" in error.value.term


def test_an_unknown_genetic_option_names_the_closest() -> None:
    with pytest.raises(
        UserError, match="unknown genetic_kwargs 'mutaton'; did you mean 'mutation'"
    ):
        G2PPO("MlpPolicy", "CartPole-v1", genetic_kwargs={"mutaton": 0.1})
