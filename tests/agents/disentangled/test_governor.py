"""The governor: what it edits, when it counts, and that it leaves nothing behind."""

import numpy as np
import pytest
import torch
from governed_agents import M, N, agent, walks
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy

from rlgen.agents.disentangled.govern import Governor
from rlgen.agents.disentangled.rules import Clamp, Overwrite, Scale
from rlgen.agents.disentangled.visited import fit_visited
from rlgen.core.errors import UserError

OBSERVATIONS = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
KINDS = ["ppo", "dqn", "sac"]


def by_hand(model, observations, coordinate, value):
    """PPO's most probable actions with one coordinate of the features replaced."""
    policy = model.policy
    with torch.no_grad():
        features = policy.features_extractor(torch.from_numpy(observations)).clone()
        features[:, coordinate] = value
        return policy.action_net(policy.mlp_extractor.forward_actor(features)).numpy()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("deterministic", [False, True])
def test_without_rules_every_action_is_the_agents_own_bit_for_bit(kind, deterministic):
    model = agent(kind)
    runs = []
    for player in (model, Governor(model)):
        torch.manual_seed(3)
        np.random.seed(3)  # noqa: NPY002  (DQN explores by it)
        model.action_space.seed(3)
        runs.append([player.predict(OBSERVATIONS, deterministic=deterministic)[0] for _ in "1234"])
    np.testing.assert_array_equal(runs[0], runs[1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_rule_changes_what_the_agent_does_and_only_while_it_governs(kind):
    model = agent(kind)
    own = model.predict(OBSERVATIONS, deterministic=True)[0]
    governor = Governor(model, [Overwrite(0, 5.0), Overwrite(3, -5.0)])
    governed = governor.predict(OBSERVATIONS, deterministic=True)[0]
    assert not np.array_equal(governed, own)
    np.testing.assert_array_equal(model.predict(OBSERVATIONS, deterministic=True)[0], own)
    assert not governor.extractor._forward_hooks


def test_the_policy_reads_the_edited_mean_beside_the_same_deviation():
    model = agent()
    governor = Governor(model, "set=1:0.25")
    actions, state = governor.predict(OBSERVATIONS, deterministic=True)
    expected = np.clip(by_hand(model, OBSERVATIONS, 1, 0.25), -1, 1)
    np.testing.assert_allclose(actions, expected, atol=1e-6)
    assert state is None
    mu, _ = governor.encode(OBSERVATIONS)
    np.testing.assert_array_equal(governor.latents, mu.numpy())
    assert np.all(governor.edited[:, 1] == 0.25)
    kept = [0, 2, 3, 4]
    np.testing.assert_array_equal(governor.edited[:, kept], governor.latents[:, kept])


def test_a_clamp_bounds_only_what_is_beyond_it():
    governor = Governor(agent(), [Clamp(2, -0.1, 0.1)])
    governor.predict(OBSERVATIONS)
    inside = np.abs(governor.latents[:, 2]) < 0.1
    assert 0 < np.abs(governor.latents[:, 2]).max() > 0.1
    np.testing.assert_array_equal(
        governor.edited[:, 2], governor.latents[:, 2].clip(-0.1, 0.1).astype(np.float32)
    )
    assert np.all((governor.edited == governor.latents)[inside])


def test_inside_the_context_the_agent_itself_is_governed():
    model = agent()
    own = model.predict(OBSERVATIONS, deterministic=True)[0]
    with Governor(model, [Overwrite(0, 2.0)]) as governor:
        governed = governor.predict(OBSERVATIONS, deterministic=True)[0]
        np.testing.assert_array_equal(model.predict(OBSERVATIONS, deterministic=True)[0], governed)
        encoded = governor.encode(OBSERVATIONS)[0].numpy()
        assert not np.any(encoded[:, 0] == 2.0)  # as the encoder says, without rules
        assert governor.extractor._forward_hooks
    assert not governor.extractor._forward_hooks
    np.testing.assert_array_equal(model.predict(OBSERVATIONS, deterministic=True)[0], own)
    assert not np.array_equal(governed, own)


def test_the_hook_is_gone_after_an_error_inside_and_outside_of_the_context():
    governor = Governor(agent(), "set=0:1")
    with pytest.raises(ValueError, match="shape"):
        governor.predict(np.zeros((2, 9), np.float32))
    assert not governor.extractor._forward_hooks
    with pytest.raises(ZeroDivisionError), governor:
        1 / 0  # noqa: B018
    assert not governor.extractor._forward_hooks


def held(governor, starts, coordinate=0, value=9.0):
    governor.predict(OBSERVATIONS[: len(starts)], episode_start=np.array(starts))
    return (governor.edited[:, coordinate] == value).tolist()


def test_steps_are_counted_per_environment_from_the_start_of_its_episode():
    governor = Governor(agent(), [Overwrite(0, 9.0, start=1, steps=2)])
    assert held(governor, [True, True]) == [False, False]
    assert held(governor, [False, False]) == [True, True]
    assert held(governor, [False, True]) == [True, False]
    assert governor.steps.tolist() == [2, 0]
    assert held(governor, [False, False]) == [False, True]
    assert held(governor, [False, False]) == [False, True]
    assert held(governor, [True, False]) == [False, False]


def test_without_episode_starts_a_reset_starts_anew():
    governor = Governor(agent(), [Overwrite(0, 9.0, steps=1)])
    seen = []
    for step in range(4):
        if step == 2:
            governor.reset()
        governor.predict(OBSERVATIONS[0])  # of one environment, not in a batch
        seen.append(bool(governor.edited[0, 0] == 9.0))
    assert seen == [True, False, True, False]
    governor.predict(OBSERVATIONS)  # another number of environments: other episodes
    assert governor.steps.tolist() == [0, 0, 0, 0]


def test_other_batches_inside_the_context_do_not_count_steps():
    model = agent()
    with Governor(model, [Overwrite(0, 9.0, start=1)]) as governor:
        governor.predict(OBSERVATIONS)
        for _ in range(3):
            model.predict(OBSERVATIONS)
        assert governor.steps.tolist() == [0, 0, 0, 0]
        assert not np.any(governor.edited[:, 0] == 9.0)


def test_evaluate_policy_takes_a_governor_for_the_agent():
    model, env = agent(), walks(2)
    with torch.no_grad():  # the first action follows coordinate 0 of the mean
        model.policy.action_net.weight.zero_()
        model.policy.action_net.bias.zero_()
    found = {}
    for rules in ("", "set=0:5"):
        governor = Governor(model, rules if rules else ())
        env.seed(0)
        found[rules] = evaluate_policy(governor, env, 4, deterministic=True)[0]
    assert found == {"": 0.0, "set=0:5": 0.0}  # a policy that reads nothing does nothing
    model = agent()
    returns = []
    for value in (-5.0, 5.0):
        env.seed(0)
        returns.append(evaluate_policy(Governor(model, [Overwrite(0, value)]), env, 4)[0])
    assert abs(returns[0] - returns[1]) > 1.0


def test_decode_adds_the_action_to_the_edited_mean():
    model = agent()
    governor = Governor(model, "set=4:1.5")
    actions, _ = governor.predict(OBSERVATIONS)
    z = torch.from_numpy(governor.edited).clone()
    z[:, :M] += torch.from_numpy(actions).clamp(-1, 1)
    vae = model.policy.features_extractor.vae
    with torch.no_grad():
        np.testing.assert_allclose(governor.decode(actions), vae.predict(z).numpy(), atol=1e-6)


def test_an_alarm_tells_a_state_that_was_never_visited():
    model = agent()
    usual = Governor(model).encode(np.random.default_rng(1).normal(0, 0.3, (400, 3)))[0].numpy()
    governor = Governor(model, "set=0:4", visited=fit_visited(usual))
    near, far = np.zeros((1, 3), np.float32), np.full((1, 3), 8, np.float32)
    assert governor.novelty(far)[0] > governor.novelty(near)[0] + 10
    governor.predict(np.concatenate([near, far]))
    assert governor.alarms.tolist() == [False, True]  # of the state, not of what a rule made of it
    governor.predict(np.concatenate([far, far]))
    assert governor.alarm_count == 3


def test_what_a_governor_does_not_know_the_agent_answers():
    model = agent()
    governor = Governor(model)
    assert governor.observation_space is model.observation_space
    assert governor.get_env() is model.get_env()
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = governor.no_such_thing


def test_rules_may_change_between_steps():
    governor = Governor(agent())
    governor.rules = "scale=1:0"
    governor.predict(OBSERVATIONS)
    assert np.all(governor.edited[:, 1] == 0)
    governor.rules = [Scale(1, 1.0)]
    governor.predict(OBSERVATIONS)
    np.testing.assert_array_equal(governor.edited, governor.latents)


def test_an_agent_without_disentangled_latents_is_refused_in_one_line():
    plain = PPO("MlpPolicy", walks(1), device="cpu")
    with pytest.raises(UserError) as caught:
        Governor(plain)
    assert str(caught.value).startswith("PPO acts by no disentangled latents, so nothing can be ")
    assert "\n" not in str(caught.value)


def test_a_coordinate_that_does_not_exist_is_refused_at_once():
    model = agent()
    governor = Governor(model, f"set={N - 1}:1")
    for change in (lambda: Governor(model, f"set={N}:1"), lambda: setattr(governor, "rules", "")):
        with pytest.raises(UserError):
            change()
    with pytest.raises(UserError) as caught:
        governor.rules = [Overwrite(7, 1.0)]
    assert str(caught.value) == (
        "set=7:1: coordinate 7 does not exist; this agent has 5: 0 to 1 are mapped to the action, "
        "2 to 4 are not"
    )
    assert governor.rules == (Overwrite(N - 1, 1.0),)


def test_visited_latents_of_another_agent_are_refused():
    others = fit_visited(np.random.default_rng(0).normal(size=(50, N + 1)))
    with pytest.raises(UserError, match="have 6 coordinates, this agent has 5"):
        Governor(agent(), visited=others)
    with pytest.raises(UserError, match="knows no visited latents"):
        Governor(agent()).novelty(OBSERVATIONS)
