"""Agents that train a model beside their own loss, and the random one that trains nothing else."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from counting_env import assert_whole, counting_vector
from gymnasium import spaces
from PIL import Image
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.policies import ActorCriticPolicy

from rlgen.agents import A2C, PPO
from rlgen.agents.disentangled import (
    DisentangledA2C,
    DisentangledPolicy,
    DisentangledPPO,
    DisentangledRandom,
)
from rlgen.agents.disentangled.random_policy import _uniform
from rlgen.agents.job import compose_train_config
from rlgen.agents.registry import AGENTS
from rlgen.agents.state import restore_training_state, training_state
from rlgen.core.errors import UserError
from rlgen.envs import make_vec
from rlgen.train import main

PPO_SIZES = {"n_steps": 8, "batch_size": 12, "n_epochs": 2}
PAIRS = [(PPO, DisentangledPPO, PPO_SIZES), (A2C, DisentangledA2C, {"n_steps": 8})]
OURS = [*[(ours, sizes) for _, ours, sizes in PAIRS], (DisentangledRandom, PPO_SIZES)]


def made(algorithm: type, sizes: dict[str, Any], env: Any = None, **kwargs: Any) -> Any:
    env = counting_vector() if env is None else env
    return algorithm("MlpPolicy", env, seed=4, device="cpu", **{**sizes, **kwargs})


def collected(model: Any) -> Any:
    _, callback = model._setup_learn(1000)
    callback.on_training_start({}, {})
    model.collect_rollouts(model.env, callback, model.rollout_buffer, model.n_steps)
    return model


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: w.clone() for name, w in model.policy.state_dict().items()}


@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1"])
@pytest.mark.parametrize(("base", "ours", "sizes"), PAIRS)
def test_without_weight_it_is_the_base_bit_for_bit(base, ours, sizes, env):
    plain = base(
        DisentangledPolicy, make_vec(env, 3, seed=1), seed=4, max_grad_norm=0.05, **sizes
    ).learn(240)
    same = made(ours, sizes, make_vec(env, 3, seed=1), alpha=0, max_grad_norm=0.05)
    decoder = [p.clone() for p in same.policy.vae.decoder.parameters()]
    same.learn(240)
    assert plain.why_not_fast is None
    for name, weight in weights(plain).items():
        assert torch.equal(weight, weights(same)[name]), name
    assert np.array_equal(plain.rollout_buffer.returns, same.rollout_buffer.returns)
    for before, after in zip(decoder, same.policy.vae.decoder.parameters(), strict=True):
        assert torch.equal(before, after)
        assert after.grad is None


@pytest.mark.parametrize(("ours", "sizes"), OURS)
def test_the_noise_has_a_generator_of_its_own(ours, sizes):
    model = made(ours, sizes)
    assert model.purposes[-1] == "noise"
    other = made(ours, sizes, beta=9.0)
    before = model.generators["noise"].bit_generator.state
    for agent in (model, other):
        collected(agent)
    assert model.generators["noise"].bit_generator.state == before  # acting needs none
    assert np.array_equal(model.rollout_buffer.actions, other.rollout_buffer.actions)


@pytest.mark.parametrize("cut", [False, True], ids=["terminated", "truncated"])
@pytest.mark.parametrize("box", [False, True], ids=["choices", "torques"])
@pytest.mark.parametrize(("ours", "sizes"), OURS)
def test_targets_are_what_the_action_led_to_and_never_a_reset(ours, sizes, box, cut):
    model = made(ours, sizes, counting_vector(box=box, cut=cut))
    for _ in range(2):
        collected(model)
    rollout = model.rollout_buffer
    assert rollout.episode_starts[1:].any()
    after = model._next.frames(rollout, model.network)
    sums = np.clip(rollout.actions, -2, 2).reshape(len(after), -1).sum(1)
    assert_whole(rollout.stored.flatten(0, 1), sums, after)
    assert after[:, 2].min() == 1  # step 0 is a reset state
    torch.testing.assert_close(model._targets, model.policy.vae.targets(after))
    m = model.policy.vae.action_dim
    assert model._vectors.shape == (len(after), m)
    assert model._vectors.abs().max() <= 1


@pytest.mark.parametrize("network", ["conv", "nature"])
def test_targets_of_images(network):
    model = collected(
        made(DisentangledPPO, PPO_SIZES, counting_vector(form="image"), network=network)
    )
    assert (model.network.packed is not None) == (network == "nature")
    frames = model.network.as_targets(model._targets)
    assert frames.shape[1:] == (3, 36, 36)
    now = (model.num_timesteps // 3 - 8 + np.arange(8)) % 5 + 1  # every episode has five steps
    expected = torch.from_numpy(40 * now.repeat(3)).float() / 255
    torch.testing.assert_close(frames[:, 0, 0, 0], expected)
    assert (frames.flatten(1) == frames[:, 0, 0, :1]).all()


@pytest.mark.parametrize(
    ("ours", "options"),
    [
        (DisentangledPPO, {"alpha": 0.1, "beta": 0.1}),
        (DisentangledRandom, {"objective": "capacity", "gamma_c": 0.1}),
    ],
)
def test_the_model_learns_what_the_action_does(ours, options):
    """The last observed number is the action's sum, which nothing but the action tells."""
    sizes = {"n_steps": 24, "batch_size": 24, "n_epochs": 8, "learning_rate": 1e-2}
    model = collected(made(ours, sizes, **options))
    before = model.describe_model()
    model.learn(720)
    after = model.describe_model()
    assert after["nll"] < 0.6 * before["nll"]
    assert after["action_gain"] > 0.2
    assert after["kl"] == pytest.approx(after["kl_mapped"] + after["kl_unmapped"], rel=1e-4)
    assert 0 < after["sigma"] < 2


@pytest.mark.parametrize(("ours", "sizes"), OURS)
def test_every_part_of_the_model_is_trained(ours, sizes):
    model = made(ours, sizes)
    before = [p.clone() for p in model.policy.vae.parameters()]
    model.learn(24)
    assert model.logger.name_to_value["train/model_loss"] > 0
    for old, new in zip(before, model.policy.vae.parameters(), strict=True):
        assert not torch.equal(old, new)


def test_what_is_logged():
    model = made(DisentangledPPO, PPO_SIZES, objective="capacity", capacity=10.0, capacity_steps=8)
    model.learn(72)
    logged = model.logger.name_to_value
    assert logged["train/model_loss"] > 0
    found = model.describe_model()
    assert found["capacity"] == 10.0
    names = {"nll", "kl", "kl_mapped", "kl_unmapped", "sigma", "action_gain"}
    assert names <= set(found)
    quiet, loud = made(DisentangledPPO, PPO_SIZES), made(DisentangledPPO, PPO_SIZES)
    quiet.learn(72, log_interval=100)
    loud.learn(72, log_interval=1)
    for name, weight in weights(quiet).items():
        assert torch.equal(weight, weights(loud)[name])


@pytest.mark.parametrize(("ours", "steps"), [(DisentangledPPO, 8), (DisentangledA2C, 2)])
def test_gradient_steps_are_counted(ours, steps):
    """Two rollouts of 24 samples: PPO takes two passes in minibatches of 12."""
    model = made(ours, dict(OURS)[ours]).learn(48)
    assert model.updates_done() == steps


def test_the_random_agent_counts_its_steps_and_acts_at_random():
    model = made(DisentangledRandom, PPO_SIZES).learn(48)
    assert model.updates_done() == 8
    obs = np.zeros((600, 4), np.float32)
    actions, _ = model.predict(obs, deterministic=True)
    assert np.bincount(actions, minlength=3).min() > 150
    collected(model)
    mean, _ = evaluate_policy(model, counting_vector(), 3, warn=False)
    assert mean == 5


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (spaces.Discrete(3), [0, 1, 2]),
        (spaces.MultiDiscrete([2, 3]), [[0, 0], [1, 1], [1, 2]]),
        (spaces.Box(-2, 4, (2,)), [[-2, -2], [1, 1], [3.4, 3.4]]),
        (spaces.Box(-np.inf, np.inf, (1,)), [[-1], [0], [0.8]]),
    ],
)
def test_uniform_actions(space, expected):
    chance = np.array([0.0, 0.5, 0.9])[:, None].repeat(np.prod(space.shape or (1,)), axis=1)
    np.testing.assert_allclose(_uniform(space, chance), expected, rtol=1e-6)


@pytest.mark.parametrize(("ours", "sizes"), OURS)
def test_a_loaded_agent_goes_on_as_the_saved_one(ours, sizes, tmp_path):
    model = made(ours, sizes, latent_dim=7, objective="capacity").learn(96)
    model.save(tmp_path / "agent")
    loaded = ours.load(tmp_path / "agent", env=counting_vector(), device="cpu")
    assert loaded.policy.vae.latent_dim == 7
    for agent in (model, loaded):
        agent.set_env(counting_vector())
        agent.learn(96)
    for name, weight in weights(model).items():
        assert torch.equal(weight, weights(loaded)[name]), name


@pytest.mark.parametrize(("ours", "sizes"), [*OURS, (DisentangledPPO, {**PPO_SIZES, "alpha": 0.0})])
def test_a_resumed_agent_equals_an_uninterrupted_one(ours, sizes):
    model = made(ours, sizes).learn(96)
    tensors, state = training_state(model)
    tensors = {file: {k: t.clone() for k, t in group.items()} for file, group in tensors.items()}
    other = made(ours, sizes)
    restore_training_state(other, tensors, state)
    states = []
    for agent in (model, other):
        torch.manual_seed(0)
        agent.set_env(counting_vector())
        agent.learn(96, reset_num_timesteps=False)
        states.append(weights(agent))
    assert any(not torch.equal(states[0][k], tensors["policy"][k]) for k in states[0])
    for name, weight in states[0].items():
        assert torch.equal(weight, states[1][name]), name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fast": False}, "has no slow road; leave out fast=False"),
        ({"alpha": -1.0}, "alpha=-1.0 is no weight"),
        ({"objective": "vae"}, "objective='vae' is unknown"),
        ({"latent_dim": 3}, "latent_dim=4 or more"),
        ({"critic": "shared"}, "critic='shared' is unknown"),
        ({"policy": "MultiInputPolicy"}, "cannot use Dict observations"),
        ({"policy": ActorCriticPolicy}, "not ActorCriticPolicy; type MlpPolicy or CnnPolicy"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments, message):
    arguments = {"policy": "MlpPolicy", **PPO_SIZES, **arguments}
    with pytest.raises(UserError, match=message) as caught:
        DisentangledPPO(env=counting_vector(), **arguments)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="acts at random"):
        DisentangledRandom(DisentangledPolicy, counting_vector())
    with pytest.raises(UserError, match="trains nothing"):
        DisentangledRandom("MlpPolicy", counting_vector(), alpha=0.0)


@pytest.mark.parametrize(
    ("arguments", "name", "beta"),
    [
        (["env=Breakout"], "disentangled_a2c", 10.0),  # the paper's, as its beta
        (["env=Breakout", "agent.base=ppo"], "disentangled_ppo", 10.0),
        (["env=CartPole-v1"], "disentangled_ppo", 4.0),
        (["env=Sprites", "agent.base=random"], "disentangled_random", 6.0),
        (["env=CartPole-v1", "agent.base=a2c", "agent.beta=2"], "disentangled_a2c", 2.0),
    ],
)
def test_the_command_takes_the_base(arguments, name, beta):
    config = compose_train_config(["agent=disentangled", *arguments])
    assert (config["agent"]["name"], config["agent"]["beta"]) == (name, beta)
    assert AGENTS[name].__name__.lower() == name.replace("_", "")


def test_an_unknown_base_is_told():
    with pytest.raises(UserError, match=r"agent.base=dqn is unknown; allowed: a2c, ppo, random"):
        compose_train_config(["agent=disentangled", "agent.base=dqn", "env=CartPole-v1"])


@pytest.mark.parametrize(
    ("env", "base"), [("CartPole-v1", "ppo"), ("CartPole-v1", "random"), ("Sprites", "random")]
)
def test_a_run_leaves_its_traversal(tmp_path: Path, env: str, base: str) -> None:
    run = tmp_path / "run"
    arguments = ["agent=disentangled", f"agent.base={base}", f"env={env}", "preset=smoke"]
    arguments += ["total_timesteps=128", "n_envs=2", "video=false", "eval_every=0"]
    assert main([*arguments, "eval_episodes=1", f"run_dir={run}"]) == 0
    picture = np.asarray(Image.open(run / "latents" / "traversal.png"))
    assert picture.std() > 1
    assert "latents/traversal.png" in (run / "card.md").read_text()
    assert (run / "learning_curve.png").exists()
    if env == "Sprites":  # a row for each of ten coordinates, a column for each of eleven values
        assert picture.shape == (16 + 66 * 10, 76 + 66 * 11, 3)
