"""Governed episodes, their behaviours, and rank correlations over a sweep."""

import numpy as np
import pytest
import torch
from governed_agents import N, agent, walks

from rlgen.agents.disentangled.behavior import collect_latents, monotony, play, sweep
from rlgen.agents.disentangled.govern import Governor
from rlgen.agents.disentangled.rules import Overwrite
from rlgen.agents.disentangled.visited import fit_visited


def follower():
    """An agent whose first action is a tenth of coordinate 1 of the mean, and its second 0."""
    model = agent()
    with torch.no_grad():
        for name, parameter in model.policy.named_parameters():
            if "mlp_extractor.policy_net" in name or "action_net" in name:
                parameter.zero_()
        # tanh is nearly the identity on small numbers: 1e-2 in, 1e-2 through, 10 out.
        model.policy.mlp_extractor.policy_net[0].weight[0, 1] = 1e-2
        model.policy.mlp_extractor.policy_net[2].weight[0, 0] = 1.0
        model.policy.action_net.weight[0, 0] = 10.0
        model.policy.log_std.fill_(-3.0)
    return model


def test_episodes_are_dealt_out_whole_and_in_order():
    played = play(Governor(agent()), walks(2), 3)  # the walks last 6 and 7 steps
    assert played.steps.tolist() == [*range(6), *range(7), *range(7)]
    assert np.bincount(played.episodes).tolist() == [6, 7, 7]
    assert play(Governor(agent()), walks(3), 1).steps.tolist() == [*range(8)]


def test_signals_are_those_of_the_step():
    played = play(Governor(follower(), "set=1:3"), walks(2), 2, deterministic=True)
    assert list(played.signals) == [
        *("observation 0", "observation 1", "observation 2", "action 0", "action 1", "info place"),
    ]
    np.testing.assert_allclose(played.signals["action 0"], 0.3, atol=1e-3)
    np.testing.assert_allclose(played.rewards, 0.3, atol=1e-3)
    before, after = played.signals["observation 0"], played.signals["info place"]
    np.testing.assert_allclose(after - before, 0.3, atol=1e-3)
    assert np.all(played.edited[:, 1] == 3.0)
    assert not np.any(played.latents[:, 1] == 3.0)
    np.testing.assert_array_equal(played.edited[:, 0], played.latents[:, 0])


def test_behaviours_are_sums_and_means_of_episodes():
    behaviors = play(Governor(follower(), "set=1:3"), walks(2), 2, deterministic=True).behaviors()
    np.testing.assert_allclose(behaviors["return"], [0.3 * 6, 0.3 * 7], rtol=1e-3)
    assert behaviors["length"].tolist() == [6, 7]
    np.testing.assert_allclose(behaviors["action 0"], [0.3, 0.3], rtol=1e-3)
    np.testing.assert_allclose(behaviors["observation 2"], [2.5 / 6, 3 / 7], rtol=1e-5)


def test_rules_that_count_begin_anew_with_every_episode():
    played = play(Governor(agent(), [Overwrite(0, 9.0, steps=2)]), walks(2), 4)
    np.testing.assert_array_equal(played.edited[:, 0] == 9.0, played.steps < 2)


def test_numbered_actions_become_shares():
    played = play(Governor(agent("dqn")), walks(1, numbered=True), 2, deterministic=True)
    shares = [played.signals[f"action {i}"] for i in range(2)]
    assert set(shares[0]) <= {0.0, 1.0}
    np.testing.assert_array_equal(shares[0] + shares[1], 1.0)


def test_alarms_are_kept_with_their_steps():
    model = agent()
    visited = fit_visited(np.random.default_rng(0).normal(50.0, 1.0, size=(100, N)))
    assert play(Governor(model, visited=visited), walks(1), 1).alarms.all()
    assert not play(Governor(model), walks(1), 1).alarms.any()


def test_rows_are_a_table_of_everything():
    played = play(Governor(agent(), "set=0:2"), walks(1), 1)
    rows = played.rows()
    assert len(rows) == 6
    assert rows[3]["step"] == 3
    assert rows[3]["governed mu 0"] == 2.0
    assert rows[3]["mu 0"] == played.latents[3, 0]
    assert {"episode", "reward", "alarm", "action 1", "info place", f"mu {N - 1}"} <= set(rows[0])


def test_latents_are_collected_environment_by_environment():
    governor = Governor(agent())
    found = collect_latents(governor, walks(2), 9, deterministic=True)
    assert found.shape == (10, N)
    env = walks(2)
    both = play(governor, env, 2, deterministic=True)
    np.testing.assert_allclose(found[:5], both.latents[:5], rtol=1e-6)
    np.testing.assert_allclose(found[5:], both.latents[6:11], rtol=1e-6)


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_sweep_finds_what_a_coordinate_drives(deterministic):
    governor = Governor(follower(), "scale=0:0.5")
    values = np.linspace(-3, 3, 7)
    found = sweep(governor, walks(2), 1, values, 4, deterministic=deterministic)
    clear = found.monotony()
    assert found.behaviors["action 0"].shape == (7, 4)
    for name in ("action 0", "return", "info place"):
        assert clear[name].of_means == pytest.approx(1.0)
        assert clear[name].weakest == pytest.approx(1.0)
        assert clear[name].pooled > (0.75 if name == "info place" else 0.99)  # where it began
    assert clear["length"].pooled == 0.0
    assert clear["action 0"].low == pytest.approx(-0.3, abs=0.02)
    assert clear["action 0"].high == pytest.approx(0.3, abs=0.02)
    assert next(iter(clear)) in ("action 0", "return", "info place", "observation 0")
    assert [str(rule) for rule in governor.rules] == ["scale=0:0.5"]


def test_a_coordinate_that_drives_nothing_has_no_correlation():
    found = sweep(Governor(follower()), walks(2), 0, [-3, 0, 3], 4, seed=1)
    assert all(one.pooled == 0.0 for one in found.monotony().values())
    spread = found.behaviors["return"]
    np.testing.assert_array_equal(spread[0], spread[1])  # the same seeds under every value


def test_the_governors_rules_come_back_after_an_error():
    governor = Governor(agent(), "scale=0:0.5")
    with pytest.raises(AttributeError):
        sweep(governor, None, 1, [0.0], 1)
    assert len(governor.rules) == 1


def test_correlations_by_hand():
    # Episode 0 rises throughout; episode 1 swaps its last two: 1 - 6 * 2 / (4 * 15) = 0.8.
    table = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 4.0], [4.0, 3.0]])
    found = monotony([0, 1, 2, 3], table)
    assert found.weakest == pytest.approx(0.8)
    assert found.of_means == pytest.approx(monotony([0, 1, 2, 3], table.mean(1)[:, None]).pooled)
    assert (found.low, found.high) == (1.0, 3.5)
    assert monotony([0, 1, 2], -np.arange(3)[:, None]).pooled == pytest.approx(-1.0)
