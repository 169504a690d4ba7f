"""The option-critic under SB3's protocol: seeds, resuming, acting, logging, mistakes."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from option_critics import DEEP, deep, tabular
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.logger import KVWriter, Logger
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from tiny_envs import TinyEnv

from rlgen.agents.on_policy import NonFiniteLossError
from rlgen.agents.option_critic.option_critic import OptionCritic
from rlgen.agents.state import restore_training_state, training_state
from rlgen.core.errors import UserError
from rlgen.envs import make_vec

BOTH = [tabular, deep]


def with_own_rules(**kwargs: Any) -> OptionCritic:
    """Tables with both rules that are off by default."""
    return tabular(**{"policy_gradient": "td", "intra_option": True, **kwargs})


ALL = [*BOTH, with_own_rules]


def same(first: OptionCritic, second: OptionCritic) -> bool:
    states = first.policy.state_dict(), second.policy.state_dict()
    return all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


@pytest.mark.parametrize("make", ALL)
def test_the_seed_decides(make):
    models = [make(seed=seed).learn(200) for seed in (1, 1, 2)]
    assert same(models[0], models[1])
    assert not same(models[0], models[2])


def test_each_rule_of_tables_has_an_effect():
    learnt = [
        tabular(policy_gradient=rule, intra_option=intra).learn(200)
        for rule in ("value", "td")
        for intra in (False, True)
    ]
    assert not any(same(one, other) for one, other in itertools.combinations(learnt, 2))


@pytest.mark.parametrize("make", ALL)
def test_saved_and_loaded_it_plays_and_learns_on(make, tmp_path):
    model = make().learn(200)
    model.save(tmp_path / "model.zip")
    loaded = OptionCritic.load(tmp_path / "model.zip", env=model.get_env())
    assert same(model, loaded)
    assert (loaded.tabular, loaded.n_options) == (model.tabular, model.n_options)
    for name in ("policy_gradient", "intra_option") if model.tabular else ():
        assert getattr(loaded, name) == getattr(loaded._tables, name) == getattr(model, name)
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


@pytest.mark.parametrize("make", ALL)
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
    ("MlpPolicy", {"policy_gradient": "td"}, "'td' is for tables.*type policy=TabularPolicy"),
    ("MlpPolicy", {"intra_option": True}, "intra_option=True is for tables; leave it out"),
    ("MlpPolicy", {"policy_gradient": "tdd"}, "'tdd' is unknown; did you mean 'td'"),
    ("TabularPolicy", {"policy_gradient": "best"}, "'best' is unknown; allowed: td, value"),
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
