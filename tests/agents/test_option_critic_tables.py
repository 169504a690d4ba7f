"""The option-critic in tables: rules and targets by hand, credit, Four Rooms."""

import itertools
import math

import numpy as np
import pytest
import torch
from option_critics import sigmoid, tabular
from stable_baselines3.common.callbacks import BaseCallback

from rlgen.agents.option_critic.hellinger import mean_hellinger
from rlgen.agents.option_critic.option_critic import OptionCritic
from rlgen.agents.option_critic.tabular import TabularStep, hellinger_gradient
from rlgen.envs import make_vec


@pytest.mark.parametrize("at", ["next", "current"])
def test_each_table_entry_follows_the_rules(at):
    """One step 1 -> 2 under option 0 with action 1, after which option 1 takes action 0."""
    model = tabular(
        termination_at=at, gamma=0.9, temperature=0.5, deliberation_cost=0.1, termination_reg=0.2
    )
    policy, rules = model.policy, model._tables
    policy.option_values[2] = torch.tensor([0.4, 1.0])
    policy.option_values[1] = torch.tensor([0.2, 0.0])
    policy.action_values[1, 0, 1] = 0.3
    policy.action_values[2, 1] = torch.tensor([2.0, 0.0])
    policy.preferences[2, 1] = torch.tensor([0.25, -0.25])
    policy.terminations[2] = torch.tensor([0.7, -0.3])
    before = {name: table.clone() for name, table in policy.named_parameters()}
    rules.enter = lambda state, option, start: (1, 0, True)  # type: ignore[method-assign]
    result = rules.learn(TabularStep(1, 0.5, 2, False), 0, 1, 2, False)

    beta = sigmoid(0.7)
    y = 0.5 + 0.9 * ((1 - beta) * 0.4 + beta * (1.0 - 0.1))
    assert result == (1, 0, True, pytest.approx(y - 0.2))
    expected = {name: table.clone() for name, table in before.items()}
    expected["option_values"][1, 0] = 0.2 + 0.5 * (y - 0.2)
    expected["action_values"][1, 0, 1] = 0.3 + 0.5 * (y - 0.3)
    pi = math.exp(1.0) / (math.exp(1.0) + 1)  # (0.25 + 0.25) / 0.5 apart
    gain = 0.25 * (2.0 - 1.0)
    expected["preferences"][2, 1] += gain * torch.tensor([1 - pi, -(1 - pi)])
    option, advantage = (0, 0.4 - 1.0 + 0.3) if at == "next" else (1, 0.3)
    slope = sigmoid(before["terminations"][2, option].item())
    expected["terminations"][2, option] -= 0.25 * slope * (1 - slope) * advantage
    for name, table in policy.named_parameters():
        torch.testing.assert_close(table, expected[name], msg=name)


@pytest.mark.parametrize(("logit", "expected"), [(-1e9, 0.5 + 0.9 * 3), (1e9, 0.5 + 0.9 * 7)])
def test_targets_without_and_with_termination(logit, expected):
    model = tabular(gamma=0.9)
    model.policy.terminations.fill_(logit)
    model.policy.option_values[2] = torch.tensor([3.0, 7.0])
    assert model._tables.learn_values(1, 0, 1, 0.5, 2, False) == pytest.approx(expected)
    model.policy.option_values[1] = 0
    assert model._tables.learn_values(1, 0, 1, 0.5, 2, True) == pytest.approx(0.5)


@pytest.mark.parametrize("baseline", [True, False])
def test_td_trains_the_policy_of_the_step_by_its_error(baseline):
    """One step 1 -> 2 under option 0 with action 1; what comes next trains no policy."""
    model = tabular(policy_gradient="td", baseline=baseline, gamma=0.9, temperature=0.5)
    policy, rules = model.policy, model._tables
    policy.option_values[1], policy.option_values[2] = 0.2, torch.tensor([0.4, 1.0])
    policy.action_values[1:3] = 7.0  # no part of it
    policy.preferences[1, 0] = torch.tensor([0.25, -0.25])
    rules.enter = lambda state, option, start: (1, 0, True)  # type: ignore[method-assign]
    rules.learn(TabularStep(1, 0.5, 2, False), 0, 1, 2, False)

    y = 0.5 + 0.9 * (0.5 * 0.4 + 0.5 * 1.0)
    gain = 0.25 * (y - 0.2 if baseline else y)
    pi = math.exp(1.0) / (math.exp(1.0) + 1)  # of action 0
    expected = torch.zeros(5, 2, 2, dtype=torch.float64)
    expected[1, 0] = torch.tensor([0.25 - gain * pi, -0.25 + gain * pi])
    torch.testing.assert_close(policy.preferences.data, expected)
    assert policy.option_values[1].tolist() == [pytest.approx(0.2 + 0.5 * (y - 0.2)), 0.2]


@pytest.mark.parametrize("intra_option", [False, True])
def test_one_option_that_never_ends_is_an_actor_critic(intra_option):
    """The same steps of the chain, learnt from by a plain one-step actor-critic."""
    temperature, lr_critic, lr_actor = 0.2, 0.5, 0.3
    model = tabular(
        n_options=1,
        policy_gradient="td",
        intra_option=intra_option,
        temperature=temperature,
        lr_critic=lr_critic,
        lr_intra=lr_actor,
        lr_term=0.0,
        gamma=0.9,
    )
    model.policy.terminations.fill_(-1e9)
    values, theta = np.zeros(5), np.zeros((5, 2))
    generator, state = np.random.default_rng(0), 1
    for _ in range(300):
        action = int(generator.integers(2))
        after = min(state + action, 4)
        ended = after == 4
        following = 1 if ended else after
        step = TabularStep(state, float(ended), after, ended)
        error = model._tables.learn(step, 0, action, following, ended)[3]

        expected = float(ended) + (0.0 if ended else 0.9 * values[after]) - values[state]
        weights = np.exp(theta[state] / temperature)
        values[state] += lr_critic * expected
        theta[state] += lr_actor * expected * (np.eye(2)[action] - weights / weights.sum())
        assert error == pytest.approx(expected, rel=1e-9, abs=1e-12)
        state = following
    assert values[3] > 0.9
    np.testing.assert_allclose(model.policy.option_values[:, 0], values, rtol=1e-9)
    np.testing.assert_allclose(model.policy.preferences[:, 0], theta, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("intra_option", [False, True])
@pytest.mark.parametrize("terminal", [False, True])
def test_values_of_options_that_did_not_act(intra_option, terminal):
    """Step 1 -> 2 with action 1 by option 0 (chance 1/2); options 1 and 2: chances 1/5, 4/5."""
    model = tabular(
        n_options=3, intra_option=intra_option, gamma=0.9, temperature=0.5, deliberation_cost=0.1
    )
    policy = model.policy
    policy.option_values[1] = torch.tensor([0.1, 0.2, 0.3])
    policy.option_values[2] = torch.tensor([1.0, 2.0, 4.0])
    policy.action_values[1, :, 1] = torch.tensor([0.5, 0.6, 0.7])
    policy.preferences[1, 1, 0] = policy.preferences[1, 2, 1] = 0.5 * math.log(4)
    policy.terminations[2] = torch.tensor([0.0, 1.0, -2.0])
    error = model._tables.learn(TabularStep(1, 0.5, 2, terminal), 0, 1, 2, terminal)[3]

    betas = [sigmoid(0.0), sigmoid(1.0), sigmoid(-2.0)]
    y = [0.5 + 0.9 * ((1 - b) * q + b * 3.9) for b, q in zip(betas, (1.0, 2.0, 4.0), strict=True)]
    y = [0.5] * 3 if terminal else y
    rho = [1.0, 0.2 / 0.5, 1.0] if intra_option else [1.0, 0.0, 0.0]
    learnt = [1.0, 1.0, 1.0] if intra_option else [1.0, 0.0, 0.0]
    before = zip(y, (0.1, 0.2, 0.3), (0.5, 0.6, 0.7), rho, learnt, strict=True)
    moved = [(q + 0.5 * r * (t - q), u + 0.5 * k * (t - u)) for t, q, u, r, k in before]
    expected = torch.tensor(moved, dtype=torch.float64).T
    assert error == pytest.approx(y[0] - 0.1)
    torch.testing.assert_close(policy.option_values[1].data, expected[0])
    torch.testing.assert_close(policy.action_values[1, :, 1].data, expected[1])
    assert (policy.action_values[1, :, 0] == 0).all()
    assert policy.option_values[2].tolist() == [1.0, 2.0, 4.0]


def test_an_action_that_its_option_no_longer_takes_still_counts():
    model = tabular(n_options=2, intra_option=True, policy_gradient="td", temperature=1e-3)
    model.policy.preferences[1, :, 0] = torch.tensor([10.0, 0.0])  # pi_0(1|1) is 0 in floats
    model._tables.learn(TabularStep(1, 1.0, 4, True), 0, 1, 1, True)
    assert model.policy.option_values[1].tolist() == [0.5, 0.5]


def test_every_option_learns_from_the_one_that_acts():
    """Options last whole episodes of which one alone plays, and the other comes to know them."""
    for intra_option in (False, True):
        model = tabular(n_options=2, intra_option=intra_option, lr_term=0.0, lr_intra=0.0)
        model.policy.terminations.fill_(-1e9)
        model.policy.option_values[1, 0] = 9.0  # chosen at each start, as long as it stays best
        model._tables.lr_critic = 0.1
        model.learn(60)
        others = model.policy.option_values[2:4, 1]
        assert bool((others > 0.01).any()) == intra_option


def test_the_goal_pays_its_reward_alone_and_tables_learn_from_it():
    model = tabular(lr_critic=1.0, gamma=0.9)
    model.policy.option_values[4] = 99.0  # never looked at
    model.learn(200)
    values = model.policy.option_values
    assert values[3].max() == pytest.approx(1.0)
    assert values[4].tolist() == [99.0, 99.0]
    assert values.min() >= 0
    assert values[:4].max() <= 1.0


def test_a_time_limit_bootstraps():
    model = tabular(limit=1, lr_critic=1.0, gamma=0.9)
    model.policy.option_values[2] = 5.0
    model.policy.preferences[1, :, 1] = 100.0  # to the right
    model.learn(20)
    assert model._starts.all()
    used = model.policy.action_values[1, :, 1]
    assert used.max() == pytest.approx(0.9 * 5.0)
    assert (model.policy.terminations == 0).all()  # nothing is tested where an episode ends


def test_the_first_step_of_an_episode_trains_its_option():
    """With one step per episode there are no others: a bandit, in which action 1 pays."""
    model = tabular(limit=1, n_options=1, temperature=1.0)
    model.policy.option_values[2] = 1.0
    model.learn(300)
    assert model.policy.preferences[1, 0, 1] > model.policy.preferences[1, 0, 0] + 1


def test_options_last_an_episode_or_a_step():
    seen: list[tuple[int, bool]] = []

    class Watch(BaseCallback):
        def _on_step(self) -> bool:
            seen.append((int(self.model.options[0]), bool(self.locals["dones"][0])))
            return True

    model = tabular(n_options=3, lr_term=0)
    model.policy.terminations.fill_(-1e9)
    model.learn(200, Watch())
    changed = [a[0] != b[0] for a, b in itertools.pairwise(seen) if not a[1]]
    assert not any(changed)
    assert {option for option, _ in seen} == {0, 1, 2}
    model.policy.terminations.fill_(1e9)
    model.dump_logs()  # begins to count anew
    model.learn(100, log_interval=10**6)
    assert model.usage.figures()["duration"] == 1.0


def test_the_hellinger_gradient_is_autograds():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    mean_hellinger(logits[None]).sum().backward()
    np.testing.assert_allclose(hellinger_gradient(logits.detach().numpy()), logits.grad, atol=1e-7)
    assert np.abs(hellinger_gradient(np.ones((3, 4)))).max() < 1e-6


@pytest.mark.parametrize("rule", ["value", "td"])
def test_the_regularizer_pushes_tables_apart(rule):
    distances = []
    for coef in (0.0, 1.0):
        model = tabular(hellinger_coef=coef, temperature=1.0, lr_intra=0.1, policy_gradient=rule)
        model.policy.preferences[:, 0, 0] = 0.1  # equal options have no gradient
        distances.append(model.learn(300).distance())
    assert distances[1] > distances[0] + 0.1


def test_several_environments_learn_into_the_same_tables():
    model = OptionCritic("TabularPolicy", make_vec("FourRooms", 3, seed=0), seed=0)
    model.learn(300)
    assert model._n_updates == 300
    assert (model.policy.option_values != 0).any() or model._episode_num == 0


class Lengths(BaseCallback):
    """Collects the lengths of episodes, up to a number of them."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count, self.lengths = count, []

    def _on_step(self) -> bool:
        infos = self.locals["infos"]
        self.lengths += [info["episode"]["l"] for info in infos if "episode" in info]
        return len(self.lengths) < self.count


def test_four_rooms_is_learnt():
    means = []
    for seed in range(3):
        model = OptionCritic(
            "TabularPolicy", make_vec("FourRooms", 1, seed=seed), seed=seed, n_options=4
        )
        counted = Lengths(500)
        model.learn(10**6, counted)
        means.append(np.mean(counted.lengths[400:]))
        assert np.mean(counted.lengths[:20]) > 80  # a random walk takes hundreds
    assert np.mean(means) < 40
