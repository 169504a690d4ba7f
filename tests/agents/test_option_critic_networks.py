"""The option-critic with replay: targets and losses by hand, gradients, the buffer."""

from typing import Any

import numpy as np
import pytest
import torch
from option_critics import DEEP, deep, sigmoid
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import DummyVecEnv
from tiny_envs import TinyEnv

from rlgen.agents.option_critic.option_critic import OptionCritic
from rlgen.agents.option_critic.option_replay import OptionBatch
from rlgen.envs import make_vec


def batch_by_hand() -> OptionBatch:
    return OptionBatch(
        observations=torch.zeros(3, 4),
        options=torch.tensor([0, 1, 2]),
        actions=torch.tensor([0, 1, 0]),
        rewards=torch.tensor([1.0, 2.0, 3.0]),
        next_observations=torch.zeros(3, 4),
        terminal=torch.tensor([0.0, 1.0, 0.0]),
        tested=torch.tensor([1.0, 0.0, 0.0]),
    )


def constant_heads(model: OptionCritic) -> None:
    """Q = (1, 2, 4), Q' = (10, 20, 40), beta = sigmoid(0, 1, 2), whatever the state."""
    policy = model.policy
    for net, bias in (
        (policy.value_net, [1.0, 2.0, 4.0]),
        (policy.target[2], [10.0, 20.0, 40.0]),
        (policy.termination_net, [0.0, 1.0, 2.0]),
    ):
        torch.nn.init.zeros_(net.weight)
        with torch.no_grad():
            net.bias.copy_(torch.tensor(bias))


def test_targets_by_hand():
    model = deep(gamma=0.5, deliberation_cost=2.0)
    constant_heads(model)
    rules, batch = model._deep, batch_by_hand()
    beta = model.policy.beta(model.policy.latent(batch.next_observations))
    expected = [
        1 + 0.5 * (0.5 * 10 + 0.5 * (40 - 2)),
        2.0,
        3 + 0.5 * ((1 - sigmoid(2)) * 40 + sigmoid(2) * (40 - 2)),
    ]
    y = rules.targets(batch, beta)
    assert not y.requires_grad
    np.testing.assert_allclose(y, expected, rtol=1e-6)
    errors = np.abs(np.array(expected) - [1, 2, 4])
    huber = np.where(errors < 1, 0.5 * errors**2, errors - 0.5).mean()
    loss = rules.value_loss(batch.observations, batch.options, y)
    assert loss.item() == pytest.approx(huber, rel=1e-6)


@pytest.mark.parametrize("baseline", [True, False])
def test_head_losses_by_hand(baseline):
    model = deep(gamma=0.5, baseline=baseline, termination_reg=0.3, ent_coef=0.0)
    constant_heads(model)
    rules, batch = model._deep, batch_by_hand()
    y = np.array([1 + 0.5 * 25, 2.0, 3 + 0.5 * 40])
    gain = y - ([1, 2, 4] if baseline else 0)
    log_probs = model.policy.logits(model.policy.latent(batch.observations)).log_softmax(2)
    chosen = log_probs[[0, 1, 2], [0, 1, 2], [0, 1, 0]].detach().numpy()
    terms = rules.head_losses(batch)
    assert terms["policy_loss"].item() == pytest.approx(-(chosen * gain).mean(), rel=1e-5)
    # Only the first sample's option was tested, at s'.
    assert terms["termination_loss"].item() == pytest.approx(0.5 * (1 - 4 + 0.3) / 3, rel=1e-5)
    rules.at_next = False
    everywhere = [sigmoid(k) * (q - 4 + 0.3) for k, q in enumerate((1, 2, 4))]
    term = rules.head_losses(batch)["termination_loss"]
    assert term.item() == pytest.approx(np.mean(everywhere), rel=1e-5)


def reached(policy: torch.nn.Module, term: torch.Tensor) -> set[str]:
    """Returns the heads or modules that a term trains."""
    names, parameters = zip(*policy.named_parameters(), strict=True)
    trained = [p.requires_grad for p in parameters]
    picked = [p for p, t in zip(parameters, trained, strict=True) if t]
    names = [n for n, t in zip(names, trained, strict=True) if t]
    grads = torch.autograd.grad(term, picked, allow_unused=True, retain_graph=True)
    found = (n for n, g in zip(names, grads, strict=True) if g is not None and g.any())
    return {name.split(".")[0] for name in found}


def test_gradients_go_where_they_should():
    model = deep(ent_coef=0.1, hellinger_coef=0.1).learn(40)
    # The best option alone has an advantage of 0, which trains no termination.
    batch = model.replay_buffer.newest(8)._replace(options=torch.arange(16) % 3)
    y = model._deep.targets(batch, torch.full((16, 3), 0.5))
    loss = model._deep.value_loss(batch.observations, batch.options, y)
    assert reached(model.policy, loss) == {"trunk", "value_net"}
    terms = model._deep.head_losses(batch)
    assert reached(model.policy, terms.pop("termination_loss")) == {"termination_net"}
    assert terms.keys() == {"policy_loss", "entropy_loss", "hellinger_loss"}
    for term in terms.values():
        assert reached(model.policy, term) == {"action_net"}


def test_terminations_follow_the_advantage():
    for cost, falls in ((0.0, False), (5.0, True)):
        model = deep(deliberation_cost=cost)
        constant_heads(model)
        batch = batch_by_hand()._replace(options=torch.zeros(3, dtype=torch.int64))
        bias = model.policy.termination_net.bias
        (grad,) = torch.autograd.grad(model._deep.head_losses(batch)["termination_loss"], bias)
        assert (grad[0] > 0) == falls  # Q - max Q = -3: a descent step ends such options sooner
        assert grad[1:].tolist() == [0.0, 0.0]


def test_the_replay_keeps_options_with_their_transitions():
    model = deep(n_envs=3, buffer_size=60)
    seen: list[tuple[Any, ...]] = []

    class Watch(BaseCallback):
        def _on_step(self) -> bool:
            agent = self.model
            for env in range(3):
                options, actions = agent.options[env], self.locals["actions"][env]
                seen.append((tuple(agent._last_obs[env]), int(options), int(actions)))
            return True

    model.learn(120, Watch())
    assert model.replay_buffer.full
    batch = model.replay_buffer.newest(20)
    rows = zip(batch.observations.tolist(), batch.options, batch.actions, strict=True)
    stored = [(tuple(obs), int(option), int(action)) for obs, option, action in rows]
    assert stored == seen[-60:]
    drawn = model.replay_buffer.draw(np.random.default_rng(0), 50)
    known = {(obs, option) for obs, option, _ in seen[-60:]}
    rows = zip(drawn.observations.tolist(), drawn.options.tolist(), strict=True)
    assert {(tuple(obs), option) for obs, option in rows} <= known


def test_time_limits_and_goals_in_the_replay():
    def make(**kwargs: Any) -> OptionBatch:
        vec = DummyVecEnv([lambda: TinyEnv(**kwargs)])
        model = OptionCritic("MlpPolicy", vec, seed=0, **DEEP).learn(28)
        return model.replay_buffer.newest(28)

    cut = make(limit=7, goal=99.0)
    assert cut.tested.tolist() == ([1.0] * 6 + [0.0]) * 4
    assert not cut.terminal.any()
    ended = make(limit=99, goal=-1.0, start=0.0)
    assert torch.equal(ended.terminal, 1 - ended.tested)


def test_the_target_network_waits_and_exploration_falls():
    model = deep(target_update_interval=10**6, exploration_fraction=0.5)
    before = [p.clone() for p in model.policy.target.parameters()]
    model.learn(200)
    after = list(model.policy.target.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert model.eps == pytest.approx(0.1)
    model.policy.update_target()
    pairs = zip(model.policy.critic.parameters(), after, strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.slow
def test_cart_pole_is_learnt():
    model = OptionCritic(
        "MlpPolicy",
        make_vec("CartPole-v1", 8, seed=0),
        learning_rate=1e-3,
        learning_starts=1000,
        target_update_interval=500,
        seed=0,
    ).learn(60_000)
    assert np.mean([episode["r"] for episode in model.ep_info_buffer]) > 60
