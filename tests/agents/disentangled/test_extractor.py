"""The extractor inside SB3's policies: features, layouts, saves, refusals."""

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from counting_env import counting_vector
from gymnasium import spaces
from stable_baselines3 import A2C, DQN, PPO, SAC
from stable_baselines3.common.preprocessing import preprocess_obs

from rlgen.agents.disentangled import (
    ActionConditionalVAE,
    DisentangledExtractor,
    acting_extractor,
)
from rlgen.agents.disentangled.extractor import model_shape
from rlgen.core.errors import UserError


def policy_kwargs(m: int, n: int, **vae) -> dict:
    return {
        "features_extractor_class": DisentangledExtractor,
        "features_extractor_kwargs": {"latent_dim": n, "action_dim": m, **vae},
    }


@pytest.mark.parametrize(
    ("space", "shape", "likelihood"),
    [
        (spaces.Box(-1, 1, (4,)), (4,), "gaussian"),
        (spaces.Box(0, 255, (3, 36, 40), np.uint8), (3, 36, 40), "bernoulli"),
        (spaces.Box(0, 255, (36, 40, 3), np.uint8), (3, 36, 40), "bernoulli"),
        (spaces.Box(0, 1, (10, 10, 6), bool), (6, 10, 10), "bernoulli"),
        (spaces.Box(0, 1, (10, 10, 10), bool), (10, 10, 10), "bernoulli"),
        (spaces.Discrete(5), (5,), "bernoulli"),
        (spaces.MultiDiscrete([2, 3]), (5,), "bernoulli"),
        (spaces.MultiBinary(4), (4,), "bernoulli"),
    ],
)
def test_features_are_mean_and_deviation_for_every_space(space, shape, likelihood):
    extractor = DisentangledExtractor(space, 6, 2)
    assert extractor.vae.observation_shape == model_shape(space) == shape
    assert extractor.vae.likelihood == likelihood
    space.seed(0)
    raw = torch.as_tensor(np.stack([space.sample() for _ in range(3)]))
    ready = preprocess_obs(raw, space)
    features = extractor(ready)
    assert features.shape == (3, extractor.features_dim) == (3, 12)
    in_layout = extractor.to_model(ready)
    assert in_layout.shape == (3, *shape)
    assert torch.equal(features, torch.cat(extractor.vae.encode(in_layout), dim=1))


def test_channels_come_first_in_the_model():
    extractor = DisentangledExtractor(spaces.Box(0, 1, (6, 6, 2), bool), 3, 1)
    image = torch.zeros(1, 6, 6, 2)
    image[0, 4, 1, 1] = 1
    assert extractor.to_model(image)[0, 1, 4, 1] == 1


@pytest.mark.parametrize(
    ("algorithm", "env", "m"),
    [
        (PPO, "CartPole-v1", 2),
        (A2C, "CartPole-v1", 2),
        (DQN, "CartPole-v1", 2),
        (SAC, "Pendulum-v1", 1),
    ],
)
def test_sb3_algorithms_act_through_it_and_keep_it_in_their_files(
    tmp_path: Path, algorithm, env, m
):
    torch.manual_seed(0)
    model = algorithm("MlpPolicy", env, policy_kwargs=policy_kwargs(m, 4), seed=0, device="cpu")
    extractor = acting_extractor(model.policy)
    assert isinstance(extractor.vae, ActionConditionalVAE)
    observation = model.observation_space.sample()
    before, _ = model.predict(observation, deterministic=True)
    # Whatever acts must read this very encoder: change it and the action may change.
    tensor = torch.as_tensor(observation[None])
    acted = []
    hook = extractor.register_forward_hook(lambda *a: acted.append(a[2]))
    again, _ = model.predict(observation, deterministic=True)
    hook.remove()
    np.testing.assert_array_equal(before, again)
    assert torch.equal(acted[0], extractor.vae.latents(tensor))
    model.save(tmp_path / "model.zip")
    loaded = algorithm.load(tmp_path / "model.zip", device="cpu")
    theirs = acting_extractor(loaded.policy)
    assert torch.equal(theirs(tensor), extractor(tensor))
    np.testing.assert_array_equal(loaded.predict(observation, deterministic=True)[0], before)


def test_images_reach_it_through_sb3_s_transposition():
    env = counting_vector(2, form="image")
    model = PPO(
        "CnnPolicy",
        env,
        n_steps=8,
        batch_size=16,
        device="cpu",
        policy_kwargs=policy_kwargs(3, 5, channels=(4, 4, 4)),
    )
    assert acting_extractor(model.policy).vae.observation_shape == (3, 36, 36)
    model.learn(16)


def test_policies_without_it_are_told():
    model = PPO("MlpPolicy", gym.make("CartPole-v1"), device="cpu")
    with pytest.raises(UserError, match="ActorCriticPolicy has no DisentangledExtractor"):
        acting_extractor(model.policy)


@pytest.mark.parametrize(
    ("space", "n", "m", "message"),
    [
        (spaces.Dict({"a": spaces.Discrete(2)}), 4, 2, "observations of Dict are not one array"),
        (spaces.Box(-1, 1, (4,)), 2, 2, "type latent_dim=3 or more"),
    ],
)
def test_mistakes_are_told(space, n, m, message):
    with pytest.raises(UserError, match=message):
        DisentangledExtractor(space, n, m)
