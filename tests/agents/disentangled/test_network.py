"""The fast computation of a disentangled policy is what its modules compute."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import MultiCategoricalDistribution

from rlgen.agents.disentangled.fused import model_loss
from rlgen.agents.disentangled.loss import Objective, reconstruction_nll
from rlgen.agents.disentangled.network import DisentangledNetwork
from rlgen.agents.disentangled.packed import unpack_frames
from rlgen.agents.disentangled.policy import DisentangledPolicy
from rlgen.agents.heads import MultiCategoricalHead

FRAMES = spaces.Box(0, 255, (4, 36, 36), np.uint8)
CASES: dict[str, tuple[spaces.Space, spaces.Space, dict[str, Any]]] = {
    "vector": (spaces.Box(-1, 1, (5,)), spaces.Discrete(3), {}),
    "torques": (spaces.Box(-1, 1, (5,)), spaces.Box(-1, 1, (2,)), {}),
    "matrix": (spaces.Box(-1, 1, (2, 3)), spaces.Box(-1, 1, (2,)), {}),
    "several": (spaces.Box(-1, 1, (5,)), spaces.MultiDiscrete([3, 2]), {}),
    "numbers": (spaces.Discrete(6), spaces.Discrete(3), {}),
    "elu": (spaces.Box(-1, 1, (5,)), spaces.Discrete(3), {"activation_fn": torch.nn.ELU}),
    "conv": (spaces.Box(0, 255, (3, 16, 16), np.uint8), spaces.Discrete(3), {}),
    "binary": (spaces.Box(0, 1, (10, 10, 4), bool), spaces.Discrete(3), {}),
    "nature": (FRAMES, spaces.Discrete(3), {"features_extractor_kwargs": {"network": "nature"}}),
}
ROADS = {"vector", "torques", "matrix", "several", "numbers"}, {"nature"}  # NumPy, packed


def made(case: str, **kwargs: Any) -> tuple[Any, DisentangledNetwork]:
    torch.manual_seed(1)
    observations, actions, own = CASES[case]
    policy = DisentangledPolicy(observations, actions, lambda _: 1e-3, **{**own, **kwargs})
    with torch.no_grad():
        policy.action_net.weight.mul_(60)  # SB3 starts near uniform actions
        for name, parameter in policy.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(std=0.1)
    assert DisentangledNetwork.why_unsupported(policy) is None
    network = DisentangledNetwork(policy, torch.float32)
    network.prepare_rollout()
    return policy, network


def observed(policy: Any, network: DisentangledNetwork, count: int = 6) -> tuple[Any, Any]:
    """Observations as SB3 hands them to a policy, and as the rollout keeps them."""
    space = policy.observation_space
    space.seed(5)
    seen = np.stack([space.sample() for _ in range(count)])
    stored = torch.zeros((count, *network.stored_shape), dtype=network.stored_dtype)
    network.store(seen, stored)
    return torch.from_numpy(seen), stored


@pytest.mark.parametrize("critic", ["own", "detached"])
@pytest.mark.parametrize("case", CASES)
def test_outputs_and_gradients_are_the_modules(case, critic):
    policy, network = made(case, critic=critic)
    assert (network.fused is not None) == (case in ROADS[0])
    assert (network.packed is not None) == (case in ROADS[1])
    obs, stored = observed(policy, network)
    parameters, values = network.act(stored)
    policy.action_space.seed(0)
    actions = torch.from_numpy(np.stack([policy.action_space.sample() for _ in range(len(obs))]))

    def grads(of: Any) -> list[torch.Tensor]:
        policy.zero_grad()
        of.backward()
        return [torch.zeros(1) if p.grad is None else p.grad.clone() for p in policy.parameters()]

    value, log_prob, entropy = policy.evaluate_actions(obs, actions)
    theirs = grads((value[:, 0] * log_prob).sum() + entropy.sum())
    out, ours_value, h = network.evaluate_all(stored)
    np.testing.assert_allclose(parameters, out.detach(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(values, value[:, 0].detach(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(network.values(stored), values, rtol=1e-5, atol=1e-6)
    ours_log_prob, ours_entropy = network.head.evaluate(out, actions)
    np.testing.assert_allclose(ours_log_prob.detach(), log_prob.detach(), rtol=1e-4, atol=1e-4)
    latents = network.latents(stored).detach()
    np.testing.assert_allclose(latents, h.detach(), rtol=1e-5, atol=1e-6)
    ours = grads((ours_value * ours_log_prob).sum() + ours_entropy.sum())
    assert any(g.abs().max() > 1e-3 for g in ours)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "objective",
    [
        Objective("beta", beta=3.0),
        Objective("capacity", gamma_c=7.0, capacity=0.0),
        Objective("capacity", gamma_c=7.0, capacity=40.0, capacity_steps=10),  # C above the KL
    ],
    ids=["beta", "above", "below"],
)
@pytest.mark.parametrize("case", ["vector", "numbers"])
def test_the_fused_objective_is_the_models(case, objective):
    """Value and gradients; that of the encoder is weighted by alpha, the decoder's is not."""
    alpha, step = 0.25, 5
    policy, network = made(case)
    _, stored = observed(policy, network)
    vae, rng = policy.vae, np.random.default_rng(0)
    eps = rng.standard_normal((6, vae.latent_dim), dtype=np.float32)
    actions = torch.eye(3)[rng.integers(3, size=6)]
    target = torch.from_numpy(rng.random((6, *vae.target_shape), dtype=np.float32))

    mu, sigma = vae.encode(stored)
    prediction = vae.decode(vae.sample(mu, sigma, torch.from_numpy(eps)) + vae.map_action(actions))
    given = {"likelihood": vae.likelihood, "step": step}
    objective(prediction, target, mu, sigma, **given).loss.backward()
    theirs = {name: p.grad.clone() for name, p in vae.named_parameters()}
    value = objective(prediction, target, mu, sigma, **given).loss.item()

    policy.zero_grad()
    h = network.evaluate_all(stored)[2]
    arrays = (eps, actions.numpy(), target.numpy())
    loss = model_loss(h, network.fused.decoder, *arrays, alpha=alpha, objective=objective, **given)
    assert loss.item() == pytest.approx(alpha * value, rel=1e-5)
    (2 * loss).backward()
    for name, parameter in vae.named_parameters():
        weight = 2.0 if name.startswith("decoder") else 2 * alpha
        torch.testing.assert_close(
            parameter.grad, weight * theirs[name], rtol=1e-3, atol=1e-5, msg=name
        )
    assert all(p.grad is None for p in policy.mlp_extractor.parameters())


def test_no_gradient_where_the_deviation_is_cut():
    policy, network = made("vector")
    n = policy.vae.latent_dim
    with torch.no_grad():
        policy.vae.encoder_head.bias[n] = 99.0  # log-variance far above its range
    _, stored = observed(policy, network)
    h = network.evaluate_all(stored)[2]
    assert torch.allclose(h[:, n], torch.full((6,), float(np.exp(2.0))))
    h.sum().backward()
    assert policy.vae.encoder_head.bias.grad[n] == 0
    assert policy.vae.encoder_head.bias.grad[n + 1] != 0


def test_the_newest_frame_is_unpacked():
    policy, network = made("nature")
    obs, stored = observed(policy, network)
    frames = network.next_frames(stored)
    assert torch.equal(unpack_frames(frames, 1), obs[:, -1:])
    rollout = network.next_frames(stored.view(2, 3, *stored.shape[1:]))
    assert torch.equal(rollout.flatten(0, 1), frames)
    torch.testing.assert_close(network.as_targets(frames), obs[:, -1:] / 255)


@pytest.mark.parametrize("channels", [4, 3], ids=["grey", "colours"])
def test_the_packed_decoder_is_the_modules(channels):
    space = spaces.Box(0, 255, (channels, 36, 36), np.uint8)
    torch.manual_seed(2)
    options = {"features_extractor_kwargs": {"network": "nature"}}
    policy = DisentangledPolicy(space, spaces.Discrete(2), lambda _: 1e-3, **options)
    network = DisentangledNetwork(policy, torch.float32)
    _, stored = observed(policy, network)
    frames, z = network.next_frames(stored), torch.randn(6, 4)
    likelihoods, grads = [], []
    plain = policy.vae.decode(z), network.as_targets(frames)
    for prediction, target in (plain, network.predict(z, frames)):
        policy.zero_grad()
        nll = reconstruction_nll(prediction, target, "bernoulli")
        nll.mean().backward()
        likelihoods.append(nll.detach())
        grads.append([p.grad.clone() for p in policy.vae.decoder.parameters()])
    assert network.packed_decoder is not None
    torch.testing.assert_close(*likelihoods)
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_a_frame_that_would_be_cropped_is_not_packed():
    space = spaces.Box(0, 255, (1, 38, 36), np.uint8)
    options = {"features_extractor_kwargs": {"network": "nature"}}
    policy = DisentangledPolicy(space, spaces.Discrete(2), lambda _: 1e-3, **options)
    assert DisentangledNetwork(policy, torch.float32).packed is None


def test_several_choices_are_sb3s_distribution():
    rng, choices = np.random.default_rng(0), np.array([3, 2, 4])
    head, theirs = MultiCategoricalHead(choices), MultiCategoricalDistribution(choices.tolist())
    logits = torch.from_numpy(rng.standard_normal((50, 9), dtype=np.float32))
    theirs.proba_distribution(logits)
    actions, log_probs = head.sample(logits.numpy(), rng)
    assert actions.min() == 0
    assert actions.max(axis=0).tolist() == [2, 1, 3]
    chosen = torch.from_numpy(actions)
    np.testing.assert_allclose(log_probs, theirs.log_prob(chosen), rtol=1e-5, atol=1e-5)
    ours, entropy = head.evaluate(logits, chosen)
    torch.testing.assert_close(ours, theirs.log_prob(chosen))
    torch.testing.assert_close(entropy, theirs.entropy())
    assert head.kl(logits, logits).abs().max() < 1e-6
    assert (head.kl(logits, logits.flip(0)) > 0).any()


def test_several_choices_are_drawn_as_often_as_they_should():
    logits = np.log(np.array([[0.7, 0.2, 0.1, 0.9, 0.1]], np.float32)).repeat(20_000, axis=0)
    actions, _ = MultiCategoricalHead(np.array([3, 2])).sample(logits, np.random.default_rng(1))
    assert (actions[:, 0] == 0).mean() == pytest.approx(0.7, abs=0.02)
    assert (actions[:, 1] == 1).mean() == pytest.approx(0.1, abs=0.02)
