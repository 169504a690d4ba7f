"""Gates on hidden units: what passes them, forwards and backwards."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.policies import ActorCriticCnnPolicy, ActorCriticPolicy
from tiny_envs import ACTIONS, OBSERVATIONS, vector

from rlgen.agents import G2PPO
from rlgen.agents.g2n import GatedActorCriticCnnPolicy, GatedActorCriticPolicy, GatedMlpExtractor
from rlgen.agents.network import ActorCriticNetwork

BATCH = 6


def gated_policy(form: str = "vector", action: str = "box", **kwargs: Any) -> Any:
    torch.manual_seed(0)
    kind = GatedActorCriticCnnPolicy if form == "image" else GatedActorCriticPolicy
    policy = kind(OBSERVATIONS[form], ACTIONS[action], lambda _: 1e-3, **kwargs)
    with torch.no_grad():
        policy.action_net.weight.mul_(60)  # SB3's head starts almost at zero
    return policy


def observations(form: str = "vector", batch: int = BATCH) -> torch.Tensor:
    return torch.stack([torch.from_numpy(o) for o in _observations(form, batch)])


def _observations(form: str, batch: int) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    if form == "image":
        return list(generator.integers(0, 256, (batch, 1, 36, 36), dtype=np.uint8))
    return list(generator.standard_normal((batch, 4)).astype(np.float32))


def genes(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 2, shape)).float()


def parameters_and_values(policy: Any, obs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    features = policy.extract_features(obs)
    latent_pi, latent_vf = policy.mlp_extractor(features)
    return policy.action_net(latent_pi), policy.value_net(latent_vf)


@pytest.mark.parametrize(("form", "plain"), [("vector", ActorCriticPolicy), ("image", None)])
def test_open_gates_change_nothing(form: str, plain: type | None) -> None:
    policy = gated_policy(form)
    twin = (plain or ActorCriticCnnPolicy)(OBSERVATIONS[form], ACTIONS["box"], lambda _: 1e-3)
    twin.load_state_dict(policy.state_dict(), strict=False)
    obs = observations(form)
    for ours, theirs in zip(
        parameters_and_values(policy, obs), parameters_and_values(twin, obs), strict=True
    ):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("form", ["vector", "image"])
def test_constant_gate_is_a_network_with_zeroed_head_weights(form: str) -> None:
    policy, obs = gated_policy(form), observations(form)
    gates = policy.mlp_extractor
    open_values = parameters_and_values(policy, obs)[1]
    gates.elite.copy_(genes(gates.n_gates))
    gated, values = parameters_and_values(policy, obs)
    with torch.no_grad():
        policy.action_net.weight[:, gates.elite == 0] = 0
    gates.elite.fill_(1)
    zeroed, _ = parameters_and_values(policy, obs)
    torch.testing.assert_close(gated, zeroed)
    assert torch.equal(values, open_values), "the critic is not gated"


def test_closed_units_get_no_gradient() -> None:
    policy, obs = gated_policy(), observations()
    gates = policy.mlp_extractor
    gates.elite.copy_(genes(64))
    closed = gates.elite == 0
    actions = torch.zeros(BATCH, 2)
    values, log_prob, entropy = policy.evaluate_actions(obs, actions)
    (log_prob.sum() + entropy.sum() + values.square().sum()).backward()
    head, hidden = policy.action_net.weight.grad, gates.policy_net[2]
    assert (head[:, closed] == 0).all()
    assert (head[:, ~closed] != 0).all()
    assert (hidden.weight.grad[closed] == 0).all()
    assert (hidden.bias.grad[closed] == 0).all()
    assert (hidden.weight.grad[~closed] != 0).any(dim=1).all()


def test_shared_trunk_still_learns_from_the_critic() -> None:
    policy, obs = gated_policy("image"), observations("image")
    gates = policy.mlp_extractor
    gates.elite.copy_(genes(512))
    closed, linear = gates.elite == 0, policy.features_extractor.linear[0]
    values, log_prob, _ = policy.evaluate_actions(obs, torch.zeros(BATCH, 2))
    log_prob.sum().backward(retain_graph=True)
    assert (policy.action_net.weight.grad[:, closed] == 0).all()
    assert (linear.weight.grad[closed] == 0).all()
    values.sum().backward()
    assert (linear.weight.grad[closed] != 0).any()


@pytest.mark.parametrize("form", ["vector", "image"])
def test_batched_gates_are_a_loop_over_individuals(form: str) -> None:
    """Element-wise gating of a batch is exact; the head then sees the same numbers per row."""
    policy, obs = gated_policy(form), observations(form)
    gates = policy.mlp_extractor
    population, index = genes(3, gates.n_gates), torch.tensor([0, 2, 1, 1, 0, 2])
    features = policy.extract_features(obs)
    batched = gates.forward_actor(features, population[index])
    for row, individual in enumerate(index):
        alone = gates.forward_actor(features, population[individual])
        assert torch.equal(batched[row], alone[row])


@pytest.mark.parametrize("form", ["vector", "image"])
def test_individuals_share_values_and_differ_in_policy(form: str) -> None:
    policy = gated_policy(form)
    gates = policy.mlp_extractor
    obs = observations(form, batch=1).expand(4, *OBSERVATIONS[form].shape)
    gates.acting = genes(4, gates.n_gates)
    gates.acting[3] = gates.acting[0]
    policy.forward(obs)
    with gates.acting_gates():
        parameters, values = parameters_and_values(policy, obs)
    torch.testing.assert_close(values, values[:1].expand(4, 1), rtol=1e-6, atol=1e-6)
    assert torch.equal(parameters[0], parameters[3])
    assert (parameters[0] != parameters[1]).all()
    assert (parameters[1] != parameters[2]).all()


def test_acting_uses_own_gates_and_learning_the_elites() -> None:
    policy, obs = gated_policy(), observations()
    gates = policy.mlp_extractor
    gates.acting = genes(BATCH, 64, seed=1)
    elite_means = parameters_and_values(policy, obs)[0]
    actions, _, _ = policy.forward(obs, deterministic=True)
    assert not torch.allclose(actions, elite_means)
    latent = gates.forward_actor(policy.extract_features(obs), gates.acting)
    torch.testing.assert_close(actions, policy.action_net(latent))
    assert torch.equal(policy.get_distribution(obs).distribution.mean, elite_means)
    assert torch.equal(policy._predict(obs, deterministic=True), elite_means)
    _, log_prob, _ = policy.evaluate_actions(obs, elite_means)
    torch.testing.assert_close(log_prob, policy.get_distribution(obs).log_prob(elite_means))


def test_other_batch_sizes_take_the_elite() -> None:
    policy, obs = gated_policy(), observations()
    policy.mlp_extractor.acting = genes(BATCH + 1, 64)
    actions, _, _ = policy.forward(obs, deterministic=True)
    torch.testing.assert_close(actions, parameters_and_values(policy, obs)[0])


@pytest.mark.parametrize(
    ("form", "layers"), [("vector", (-1,)), ("vector", (0,)), ("vector", (0, 1)), ("image", (-1,))]
)
def test_fast_network_gates_alike(form: str, layers: tuple[int, ...]) -> None:
    policy = gated_policy(form, gate_layers=layers)
    network = ActorCriticNetwork(policy, torch.float32)
    gates, obs = policy.mlp_extractor, observations(form)
    gates.acting, gates.elite[:] = genes(BATCH, gates.n_gates), genes(gates.n_gates, seed=1)
    stored = torch.empty(BATCH, *network.stored_shape, dtype=network.stored_dtype)
    network.store(obs.numpy(), stored)
    with gates.acting_gates(), torch.no_grad():
        expected, values = parameters_and_values(policy, obs)
    acted, acted_values = network.act(stored)
    np.testing.assert_allclose(acted, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(acted_values, values[:, 0], rtol=1e-4, atol=1e-5)
    expected, _ = parameters_and_values(policy, obs)
    torch.testing.assert_close(network.evaluate(stored)[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("layers", "positions", "widths"),
    [((-1,), [2], [5]), ((0,), [1], [7]), ((0, 1), [1, 2], [7, 5]), ((-1, 0), [1, 2], [7, 5])],
)
def test_gate_layers_of_an_mlp(layers: tuple, positions: list, widths: list) -> None:
    extractor = GatedMlpExtractor(3, [7, 5], torch.nn.Tanh, gate_layers=layers)
    assert extractor.positions == positions
    assert extractor.widths == widths
    assert extractor.n_gates == sum(widths)


@pytest.mark.parametrize(("layers", "positions"), [((-1,), [1]), ((0,), [0]), ((0, 1), [0, 1])])
def test_features_of_an_image_count_as_a_hidden_layer(layers: tuple, positions: list) -> None:
    policy = gated_policy("image", net_arch=[9], gate_layers=layers)
    assert policy.mlp_extractor.positions == positions
    assert policy.mlp_extractor.n_gates == sum({0: 512, 1: 9}[p] for p in positions)


def test_two_gated_layers_by_hand() -> None:
    extractor = GatedMlpExtractor(3, [4, 2], torch.nn.Tanh, gate_layers=(0, 1))
    first, _, second, _ = extractor.policy_net
    x, gates = torch.randn(5, 3), torch.tensor([1.0, 0, 1, 0, 0, 1])
    hidden = torch.tanh(first(x)) * gates[:4]
    expected = torch.tanh(second(hidden)) * gates[4:]
    torch.testing.assert_close(extractor.forward_actor(x, gates), expected)
    assert (expected[:, 0] == 0).all()


@pytest.mark.parametrize(
    ("layers", "message"),
    [((2,), r"gate_layers=\[2\]: the actor has 2 hidden layer"), ((), "gate_layers is empty")],
)
def test_wrong_gate_layers(layers: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GatedMlpExtractor(3, [4, 2], torch.nn.Tanh, gate_layers=layers)


def test_gate_layers_reach_the_agent() -> None:
    model = G2PPO("MlpPolicy", vector(4), n_steps=4, batch_size=16, gate_layers=(0, 1))
    assert model.gates.positions == [1, 2]
    assert model.evolution.population.shape == (16, 128)


def test_policy_alone_survives_saving(tmp_path: Path) -> None:
    policy = gated_policy(gate_layers=(0,))
    policy.mlp_extractor.elite.copy_(genes(64))
    policy.save(str(tmp_path / "policy.pt"))
    loaded = GatedActorCriticPolicy.load(str(tmp_path / "policy.pt"), device="cpu")
    assert loaded.mlp_extractor.positions == [1]
    obs = observations()
    assert torch.equal(loaded._predict(obs, True), policy._predict(obs, True))
