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


def test_the_regularizer_pushes_tables_apart():
    distances = []
    for coef in (0.0, 1.0):
        model = tabular(hellinger_coef=coef, temperature=1.0, lr_intra=0.1)
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
