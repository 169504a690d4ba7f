"""The option-critic: rules and targets by hand, gradients, replay, resuming, SB3's protocol."""

import itertools
import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from tiny_envs import TinyEnv

from rlgen.agents.on_policy import NonFiniteLossError
from rlgen.agents.option_critic.hellinger import mean_hellinger
from rlgen.agents.option_critic.option_critic import OptionCritic
from rlgen.agents.option_critic.option_replay import OptionBatch
from rlgen.agents.option_critic.tabular import TabularStep, hellinger_gradient
from rlgen.agents.state import restore_training_state, training_state
from rlgen.core.errors import UserError
from rlgen.envs import make_vec

DEEP: dict[str, Any] = {"learning_starts": 16, "buffer_size": 1000, "target_update_interval": 40}


class Chain(gym.Env):
    """Numbered places 0 to 4 from 1 on: action 1 goes right, 0 stays; place 4 ends with reward 1.

    Args:
        limit: Steps after which an episode is truncated.
    """

    def __init__(self, limit: int = 50) -> None:
        self.observation_space, self.action_space = gym.spaces.Discrete(5), gym.spaces.Discrete(2)
        self.limit, self.place, self.steps = limit, 1, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.steps = 1, 0
        return self.place, {}

    def step(self, action):
        assert 0 <= action < 2
        self.place += int(action)
        self.steps += 1
        ended = self.place == 4
        return self.place, float(ended), ended, self.steps >= self.limit, {}


def tabular(**kwargs: Any) -> OptionCritic:
    limit = kwargs.pop("limit", 50)
    return OptionCritic(
        "TabularPolicy",
        DummyVecEnv([lambda: Chain(limit)]),
        **{"seed": 0, "n_options": 2, **kwargs},
    )


def deep(env: str = "CartPole-v1", n_envs: int = 2, **kwargs: Any) -> OptionCritic:
    vec = make_vec(env, n_envs, seed=0)
    return OptionCritic("MlpPolicy", vec, **{"seed": 0, "n_options": 3, **DEEP, **kwargs})


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


# Tables -------------------------------------------------------------------------------------


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


# Networks -----------------------------------------------------------------------------------


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


# Protocol -----------------------------------------------------------------------------------

BOTH = [tabular, deep]


def same(first: OptionCritic, second: OptionCritic) -> bool:
    states = first.policy.state_dict(), second.policy.state_dict()
    return all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


@pytest.mark.parametrize("make", BOTH)
def test_the_seed_decides(make):
    models = [make(seed=seed).learn(200) for seed in (1, 1, 2)]
    assert same(models[0], models[1])
    assert not same(models[0], models[2])


@pytest.mark.parametrize("make", BOTH)
def test_saved_and_loaded_it_plays_and_learns_on(make, tmp_path):
    model = make().learn(200)
    model.save(tmp_path / "model.zip")
    loaded = OptionCritic.load(tmp_path / "model.zip", env=model.get_env())
    assert same(model, loaded)
    assert (loaded.tabular, loaded.n_options) == (model.tabular, model.n_options)
    observations = model.get_env().reset()
    for _ in range(3):
        state, starts = (np.zeros(len(observations), np.int64),), np.zeros(len(observations), bool)
        ours = model.predict(observations, state, starts, deterministic=True)
        theirs = loaded.predict(observations, state, starts, deterministic=True)
        assert np.array_equal(ours[0], theirs[0])
        assert np.array_equal(ours[1][0], theirs[1][0])
        observations = model.get_env().step(ours[0])[0]
    loaded.learn(100)
    assert not same(model, loaded)
    OptionCritic.load(tmp_path / "model.zip").predict(observations)  # without an environment


@pytest.mark.parametrize("make", BOTH)
def test_a_restored_run_continues_bit_for_bit(make):
    first = make().learn(200)
    tensors, state = training_state(first)
    tensors = {name: {k: v.clone() for k, v in file.items()} for name, file in tensors.items()}
    extra_tensors, extra_values = first.extra_state()
    extra_tensors = {name: tensor.clone() for name, tensor in extra_tensors.items()}
    if not first.tabular:
        assert len(extra_tensors["observations"]) == 100  # the filled part of 500 rows
    first._last_obs = None  # new episodes, as after a restore
    first.get_env().seed(5)
    first.learn(200, reset_num_timesteps=False)

    second = make(seed=7).learn(40)
    restore_training_state(second, tensors, state)
    second.restore_extra(extra_tensors, extra_values)
    second.get_env().seed(5)
    second.learn(200, reset_num_timesteps=False)
    assert same(first, second)
    assert second.extra_state()[1] == first.extra_state()[1]
    if not first.tabular:
        theirs = first.extra_state()[0]
        ours = second.extra_state()[0]
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_replay_of_another_shape_is_refused():
    tensors, values = deep(n_envs=2).learn(40).extra_state()
    with pytest.raises(UserError, match="of 2 environments"):
        deep(n_envs=4).restore_extra(tensors, values)


def test_predict_keeps_the_option_until_it_ends():
    for make in BOTH:
        model = make(n_options=3)
        numbered = model.tabular
        observations: Any = np.ones(6, np.int64) if numbered else np.zeros((6, 4), np.float32)
        ends = model.policy.terminations if numbered else model.policy.termination_net.bias.data
        ends.fill_(-1e9)
        state = (np.array([0, 1, 2, 0, 1, 2]),)
        for _ in range(5):
            actions, after = model.predict(observations, state, np.zeros(6, bool))
            assert np.array_equal(after[0], state[0])
            assert actions.shape == (6,)
        starts = np.array([True] + [False] * 5)
        kept = [model.predict(observations, state, starts)[1][0] for _ in range(50)]
        assert len({int(options[0]) for options in kept}) > 1 or not numbered
        ends.fill_(1e9)
        seen = {tuple(model.predict(observations, state)[1][0]) for _ in range(20)}
        assert len(seen) > 5
        action, state = model.predict(observations[0])
        assert action.shape == ()
        assert state[0].shape == (1,)


def test_evaluate_policy_and_normalised_environments():
    model = OptionCritic("MlpPolicy", "CartPole-v1", **DEEP).learn(100)
    assert evaluate_policy(model, model.get_env(), 2, warn=False)[0] >= 8
    assert evaluate_policy(tabular(), tabular().get_env(), 2, warn=False)[0] >= 0
    vec = VecNormalize(make_vec("CartPole-v1", 2, seed=0))
    model = OptionCritic("MlpPolicy", vec, **DEEP).learn(100)
    newest = model.replay_buffer.newest(1, model.get_vec_normalize_env())
    raw = torch.from_numpy(np.asarray(model.replay_buffer.next_observations[49]))
    assert not torch.equal(newest.next_observations, raw)


def test_numbered_states_train_networks_too():
    model = deep("FourRooms").learn(40)
    assert model.policy.trunk[0].in_features == 104
    assert model.predict(np.arange(5))[0].shape == (5,)


def test_no_weight_is_saved_twice():
    tensors = deep().policy.state_dict().values()
    assert len({tensor.data_ptr() for tensor in tensors}) == len(tensors)


def test_images_train():
    model = OptionCritic(
        "CnnPolicy", make_vec("Breakout", 2, seed=0), **{**DEEP, "buffer_size": 100}
    ).learn(32)
    assert model._n_updates == 4
    assert np.isfinite(model.distance())


@pytest.mark.parametrize("make", BOTH)
def test_what_is_logged(make):
    seen: dict[str, Any] = {}

    class Keep(KVWriter):
        def write(self, key_values, key_excluded, step=0):
            seen.update(key_values)

    model = make(hellinger_coef=0.1)
    model.set_logger(Logger(None, [Keep()]))
    model.learn(400, log_interval=2)
    names = ("usage_entropy", "largest_share", "switch_rate", "duration", "hellinger")
    assert {f"options/{name}" for name in names} <= seen.keys()
    losses = ("value_loss", "policy_loss", "termination_loss", "hellinger_loss", "option_eps")
    expected = ("td_error",) if make is tabular else losses
    assert {f"train/{name}" for name in expected} <= seen.keys()
    assert 0 < seen["options/largest_share"] <= 1
    assert seen["options/duration"] >= 1


def test_a_loss_that_is_not_finite_stops_the_run():
    vec = DummyVecEnv([lambda: TinyEnv(broken_at=3)])
    with pytest.raises(NonFiniteLossError, match="loss is not finite"):
        OptionCritic("MlpPolicy", vec, seed=0, **DEEP).learn(100)


MISTAKES: list[tuple[str, dict[str, Any], str]] = [
    ("MlpPolicy", {"n_options": 0}, "n_options=0 is too small; type n_options=1 or more"),
    ("MlpPolicy", {"deliberation_cost": -1}, "deliberation_cost=-1 is not valid"),
    ("MlpPolicy", {"option_eps": 1.5}, "option_eps=1.5 is not valid; allowed: 0 to 1"),
    ("MlpPolicy", {"temperature": 0}, "temperature=0 is too small"),
    ("MlpPolicy", {"termination_at": "here"}, "allowed: next, current"),
    ("MlpPolicy", {"hellinger_coef": float("nan")}, "hellinger_coef=nan"),
    ("MultiInputPolicy", {}, "type TabularPolicy, MlpPolicy, CnnPolicy"),
    ("TabularPolicy", {}, "TabularPolicy cannot use Box observations"),
    ("MlpPolicy", {"env": "Pendulum-v1"}, "needs discrete actions.*agent=ppoc"),
    ("MlpPolicy", {"env": TinyEnv(action="multi_discrete")}, "discrete actions.*MultiDiscrete"),
    ("MlpPolicy", {"env": TinyEnv(observation="dict")}, "Dict observations.*FlattenObservation"),
]


@pytest.mark.parametrize(("policy", "options", "part"), MISTAKES)
def test_mistakes_are_told_in_one_line(policy, options, part):
    with pytest.raises(UserError, match=part) as told:
        OptionCritic(policy, **{"env": "CartPole-v1", "buffer_size": 10, **options})
    assert "\n" not in str(told.value)
