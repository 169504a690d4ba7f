"""The policy on a latent: its parts, their sizes, and where gradients go."""

from typing import Any

import numpy as np
import pytest
import torch
from counting_env import counting_vector
from gymnasium import spaces
from stable_baselines3 import PPO as SB3PPO
from stable_baselines3.common.torch_layers import FlattenExtractor

from rlgen.agents.disentangled.policy import DisentangledPolicy, default_latent_dim
from rlgen.core.errors import UserError

VECTOR, IMAGE = spaces.Box(-1, 1, (4,)), spaces.Box(0, 255, (3, 36, 36), np.uint8)


def made(observations: spaces.Space = VECTOR, actions: Any = None, **kwargs: Any) -> Any:
    torch.manual_seed(0)
    return DisentangledPolicy(observations, actions or spaces.Discrete(2), lambda _: 1e-3, **kwargs)


def batch(space: spaces.Space, count: int = 5) -> torch.Tensor:
    space.seed(3)
    return torch.from_numpy(np.stack([space.sample() for _ in range(count)]))


@pytest.mark.parametrize(
    ("space", "n"),
    [
        (spaces.Discrete(4), 6),
        (spaces.Box(-1, 1, (6,)), 12),  # the paper's Half-Cheetah
        (spaces.MultiDiscrete([3, 3, 3, 3]), 10),  # and its dSprites
        (spaces.MultiDiscrete([2, 3]), 12),
    ],
)
def test_the_latents_size_goes_by_the_action(space, n):
    assert default_latent_dim(space) == n
    assert made(actions=space).vae.latent_dim == n


def test_layers_of_vectors_and_images():
    flat, seen = made(), made(IMAGE)
    assert [m.out_features for m in flat.mlp_extractor.policy_net[::2]] == [64, 64]
    assert [m.out_features for m in flat.mlp_extractor.value_net[::2]] == [64, 64]
    assert flat.mlp_extractor.value_net[0].in_features == 4
    assert [m.out_features for m in seen.mlp_extractor.policy_net[::2]] == [64]
    assert isinstance(seen.mlp_extractor.policy_net[1], torch.nn.ReLU)
    assert len(seen.mlp_extractor.value_net) == 0
    own = made(net_arch={"pi": [8], "vf": [9]}, features_extractor_kwargs={"hidden": (7,)})
    assert own.mlp_extractor.policy_net[0].weight.shape == (8, 8)  # reads 2n = 8 numbers
    assert own.mlp_extractor.value_net[0].weight.shape == (9, 4)
    assert own.vae.encoder_head.in_features == 7


@pytest.mark.parametrize("observations", [VECTOR, IMAGE], ids=["vector", "image"])
@pytest.mark.parametrize("critic", ["own", "detached"])
def test_no_gradient_between_critic_and_encoder(observations, critic):
    policy = made(observations, critic=critic)
    obs = batch(observations)
    actor = {id(p) for m in (policy.vae, policy.mlp_extractor.policy_net) for p in m.parameters()}
    actor |= {id(p) for p in policy.action_net.parameters()}

    def reached(loss: torch.Tensor) -> set[int]:
        policy.zero_grad()
        loss.backward()
        return {id(p) for p in policy.parameters() if p.grad is not None and p.grad.any()}

    by_value = reached(policy.predict_values(obs).sum())
    assert by_value
    assert not by_value & actor
    by_policy = reached(policy.get_distribution(obs).log_prob(torch.tensor([0, 1, 0, 0, 1])).sum())
    assert by_policy <= actor
    assert id(policy.vae.encoder_head.weight) in by_policy
    assert not by_policy & {id(p) for p in policy.vae.decoder.parameters()}


def test_the_critics_trunk_is_like_the_encoders_with_other_weights():
    policy = made(IMAGE)
    ours, theirs = policy.vae.encoder_trunk, policy.vf_features_extractor.trunk
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert one.shape == other.shape
        assert one.data_ptr() != other.data_ptr()
    assert not torch.equal(next(ours.parameters()), next(theirs.parameters()))
    assert isinstance(made().vf_features_extractor, FlattenExtractor)
    assert not list(made(critic="detached").vf_features_extractor.parameters())


def test_the_actor_reads_mean_and_deviation_and_no_noise():
    policy = made()
    obs = batch(VECTOR)
    h = torch.cat(policy.vae.encode(obs), dim=1)
    logits = policy.action_net(policy.mlp_extractor.policy_net(h))
    for seed in (0, 1):  # whatever noise there is
        torch.manual_seed(seed)
        given = policy.get_distribution(obs).distribution.logits
        assert torch.allclose(given, logits.log_softmax(1))


def test_sb3s_own_algorithm_takes_it_and_the_policy_is_saved(tmp_path):
    model = SB3PPO(
        DisentangledPolicy,
        counting_vector(),
        n_steps=8,
        batch_size=24,
        policy_kwargs={"latent_dim": 4, "features_extractor_kwargs": {"hidden": (8,)}},
    ).learn(48)
    model.policy.save(tmp_path / "policy.pt")
    loaded = DisentangledPolicy.load(tmp_path / "policy.pt")
    assert loaded.vae.latent_dim == 4
    obs = np.ones((2, 4), np.float32)
    assert np.array_equal(
        loaded.predict(obs, deterministic=True)[0], model.predict(obs, deterministic=True)[0]
    )
    for name, weight in model.policy.state_dict().items():
        assert torch.equal(weight, loaded.state_dict()[name])


@pytest.mark.parametrize(
    ("observations", "actions", "kwargs", "message"),
    [
        (VECTOR, spaces.Discrete(4), {"latent_dim": 4}, "latent_dim=5 or more"),
        (VECTOR, spaces.Discrete(2), {"critic": "shared"}, "critic='shared' is unknown"),
        (VECTOR, spaces.MultiBinary(3), {}, "cannot use MultiBinary actions; allowed: Box"),
        (spaces.Dict({"a": VECTOR}), spaces.Discrete(2), {}, "cannot use Dict observations"),
        (
            VECTOR,
            spaces.Discrete(2),
            {"features_extractor_class": FlattenExtractor},
            "needs a DisentangledExtractor, not FlattenExtractor",
        ),
    ],
)
def test_mistakes_are_told_in_one_line(observations, actions, kwargs, message):
    with pytest.raises(UserError, match=message) as caught:
        made(observations, actions, **kwargs)
    assert "\n" not in str(caught.value)
