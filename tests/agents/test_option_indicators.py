"""Indicators of options: hand-computed records, bounds, identities, integrals and pictures."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rlgen.agents.option_critic import indicators
from rlgen.agents.option_critic.drawings import (
    draw_distance_matrix,
    draw_option_map,
    draw_timeline,
)
from rlgen.agents.option_critic.hellinger import pairwise_hellinger
from rlgen.agents.option_critic.indicators import OptionRecord
from rlgen.agents.option_critic.policy_differences import (
    conditional_information,
    policy_distances,
    policy_entropy,
)
from rlgen.core.errors import UserError

CERTAIN = 60.0  # a logit beside which the others' probabilities vanish


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def random_record(k=4, actions=6, steps=300, envs=3, gaussian=False, states=104) -> OptionRecord:
    rng = np.random.default_rng(k)
    starts = rng.random((steps, envs)) < 0.03
    starts[0] = True
    terminated = (rng.random((steps, envs)) < 0.2) & ~starts
    options = rng.integers(k, size=(steps, envs))
    for t in range(1, steps):
        options[t] = np.where(starts[t] | terminated[t], options[t], options[t - 1])
    shape = (steps, envs)
    return OptionRecord(
        options=options,
        actions=rng.normal(size=(*shape, actions))
        if gaussian
        else rng.integers(actions, size=shape),
        rewards=rng.normal(size=shape),
        starts=starts,
        terminated=terminated,
        parameters=rng.normal(size=(*shape, k, actions)).astype(np.float32),
        log_std=0.3 * rng.normal(size=(k, actions)) if gaussian else None,
        beta=rng.random((*shape, k), dtype=np.float32),
        q=rng.normal(size=(*shape, k)).astype(np.float32),
        option_probs=rng.dirichlet(np.ones(k), size=shape).astype(np.float32),
        states=None if states is None else rng.integers(states, size=shape),
    )


@pytest.fixture
def hand() -> OptionRecord:
    """Two environments of 5 steps: | starts an episode, / follows a termination.

    Environment 0: |0 0 /1 1 /1.  Environment 1: |1 1 1 |0 /1.
    """
    options = np.array([[0, 1], [0, 1], [1, 1], [1, 0], [1, 1]])
    starts = np.zeros((5, 2), dtype=bool)
    starts[0] = starts[3, 1] = True
    terminated = np.zeros((5, 2), dtype=bool)
    terminated[2, 0] = terminated[4, 0] = terminated[4, 1] = True
    beta = np.zeros((5, 2, 2))
    beta[..., 0], beta[..., 1] = 0.2, 0.5
    beta[0, 0] = [0.8, 0.1]
    q = np.zeros((5, 2, 2))
    q[..., 0], q[..., 1] = 1.0, 3.0
    return OptionRecord(
        options=options,
        actions=np.array([[0, 1], [0, 1], [1, 1], [1, 0], [1, 1]]),
        rewards=np.ones((5, 2)),
        starts=starts,
        terminated=terminated,
        parameters=np.log(np.tile([[0.5, 0.5], [0.25, 0.75]], (5, 2, 1, 1))).astype(np.float32),
        log_std=None,
        beta=beta,
        q=q,
        option_probs=np.tile([0.25, 0.75], (5, 2, 1)),
        states=np.array([[0, 1], [0, 1], [1, 1], [1, 2], [2, 2]]),
    )


def test_occupancy(hand):
    shares = indicators.occupancy(hand)
    np.testing.assert_allclose(shares, [0.3, 0.7])
    nats = -0.3 * math.log(0.3) - 0.7 * math.log(0.7)
    assert indicators.usage_entropy(shares) == pytest.approx(nats / math.log(2))
    assert indicators.effective_number(shares) == pytest.approx(math.exp(nats))


def test_selection_and_switching(hand):
    # chosen: 0, 1, 1 in environment 0 and 1, 0, 1 in the other
    np.testing.assert_allclose(indicators.selection_frequency(hand), [2 / 6, 4 / 6])
    assert indicators.switch_rate(hand) == pytest.approx(0.3)
    assert indicators.reselect_rate(hand) == pytest.approx(1 / 3)


def test_durations(hand):
    lengths, owners = indicators.durations(hand)
    assert lengths.tolist() == [2, 2, 1, 3, 1, 1]
    assert owners.tolist() == [0, 1, 1, 1, 0, 1]
    table = indicators.tables(hand, generator())
    np.testing.assert_allclose(table["duration_mean"], [1.5, 7 / 4])
    np.testing.assert_allclose(table["duration_median"], [1.5, 1.5])
    np.testing.assert_allclose(table["duration_90"], [1.9, 2.7])


def test_a_record_that_begins_within_an_episode_cuts_the_first_choice(hand):
    later = {
        f.name: value[1:] if f.name != "log_std" and value is not None else value
        for f in dataclasses.fields(hand)
        for value in [getattr(hand, f.name)]
    }
    record = OptionRecord(**later)
    assert indicators.durations(record)[0].tolist() == [1, 2, 1, 2, 1, 1]
    assert indicators.reselect_rate(record) == pytest.approx(1 / 3)


def test_termination_probabilities(hand):
    own, everywhere = indicators.termination_rates(hand)
    np.testing.assert_allclose(own, [(0.8 + 0.2 + 0.2) / 3, 0.5])
    np.testing.assert_allclose(everywhere, [(0.8 + 9 * 0.2) / 10, (0.1 + 9 * 0.5) / 10])
    summary = indicators.summarize(hand, generator())
    assert summary["beta_own"] == pytest.approx((1.2 + 3.5) / 10)


def test_policy_distances_of_one_pair(hand):
    p, q = np.array([0.5, 0.5]), np.array([0.25, 0.75])
    m = (p + q) / 2
    expected = {
        "hellinger": math.sqrt(1 - np.sqrt(p * q).sum()),
        "symmetric_kl": (p * np.log(p / q)).sum() + (q * np.log(q / p)).sum(),
        "jensen_shannon": 0.5 * ((p * np.log(p / m)).sum() + (q * np.log(q / m)).sum()),
        "total_variation": 0.25,
    }
    found = policy_distances(hand.parameters, None, generator())
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], [[0, value], [value, 0]], atol=1e-6, err_msg=name)


def test_information_from_tables(hand):
    assert indicators.option_action_table(hand).tolist() == [[3, 0], [0, 7]]
    nats = -0.3 * math.log(0.3) - 0.7 * math.log(0.7)
    assert indicators.summarize(hand, generator())["mi_action_option"] == pytest.approx(nats)
    assert indicators.option_state_table(hand).tolist() == [[2, 0, 1], [0, 5, 2]]
    expected = sum(
        n / 10 * math.log(n / 10 / (row * column))
        for n, row, column in [(2, 0.3, 0.2), (1, 0.3, 0.3), (5, 0.7, 0.5), (2, 0.7, 0.3)]
    )
    assert indicators.summarize(hand, generator())["mi_state_option"] == pytest.approx(expected)
    assert indicators.mutual_information(np.outer([1, 2, 3], [4, 5])) == pytest.approx(0)


def test_places_of_options(hand):
    apart = math.sqrt(1 - math.sqrt(1 / 3 * 2 / 7))
    np.testing.assert_allclose(indicators.state_distances(hand), [[0, apart], [apart, 0]])
    # option 0 ended in states 1 and 2, option 1 in state 2
    np.testing.assert_allclose(indicators.termination_state_entropy(hand), [math.log(2), 0])


def test_entropies_and_values(hand):
    expected = [math.log(2), -0.25 * math.log(0.25) - 0.75 * math.log(0.75)]
    np.testing.assert_allclose(policy_entropy(hand.parameters, None), expected, rtol=1e-6)
    assert indicators.q_spread(hand) == pytest.approx(1.0)
    # V = 2.5; option 0 arrives at three states, option 1 at four
    advantages, owners = indicators.termination_advantages(hand)
    assert sorted(zip(owners.tolist(), advantages.tolist(), strict=True)) == (
        [(0, -1.5)] * 3 + [(1, 0.5)] * 4
    )


def test_restriction():
    worth, calls = np.array([1.0, 2.0, 5.0]), []

    def play(allowed):
        calls.append(allowed.tolist())
        return [worth[allowed].sum() - 1, worth[allowed].sum() + 1]

    result = indicators.restriction_test(play, 3)
    assert len(calls) == 7
    assert calls[0] == [True, True, True]
    assert result["full"] == 8
    np.testing.assert_allclose(result["only"], worth)
    np.testing.assert_allclose(result["without"], 8 - worth)
    np.testing.assert_allclose(result["only_difference"], worth - 8)
    np.testing.assert_allclose(result["without_ratio"], (8 - worth) / 8)
    nothing = indicators.restriction_test(lambda _: [0.0], 2)
    single = indicators.restriction_test(lambda _: [2.0], 1)
    assert not {"only_ratio", "without_ratio"} & nothing.keys()
    assert single.keys() == {"full", "only", "only_difference", "only_ratio"}
    with pytest.raises(ValueError, match="no episode"):
        indicators.restriction_test(lambda _: [], 2)


@pytest.mark.parametrize("gaussian", [False, True])
def test_identical_options_do_not_differ(gaussian):
    parameters = np.random.default_rng(1).normal(size=(50, 2, 1, 5)).repeat(4, axis=2)
    log_std = np.tile(np.linspace(-1, 1, 5), (4, 1)) if gaussian else None
    for matrix in policy_distances(parameters, log_std, generator()).values():
        np.testing.assert_allclose(matrix, 0, atol=1e-12)
    assert conditional_information(parameters, log_std, generator()) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("gaussian", [False, True])
def test_disjoint_options(gaussian):
    k = 4
    parameters = np.tile(CERTAIN * np.eye(k), (30, 1, 1, 1))
    log_std = np.zeros((k, k)) if gaussian else None
    found = policy_distances(parameters, log_std, generator())
    assert indicators.off_diagonal(found["hellinger"]) == pytest.approx((1, 1))
    assert indicators.off_diagonal(found["jensen_shannon"])[1] == pytest.approx(math.log(2))
    if not gaussian:
        assert indicators.off_diagonal(found["total_variation"])[1] == pytest.approx(1)
    information = conditional_information(parameters, log_std, generator())
    assert information == pytest.approx(math.log(k))
    # weights that use two of the four
    weights = np.tile([0.5, 0.5, 0.0, 0.0], (30, 1, 1))
    information = conditional_information(parameters, log_std, generator(), weights)
    assert information == pytest.approx(math.log(2))


def test_actions_that_are_never_taken():
    never = np.array([[[0.0, 0.0, -math.inf], [1.0, 0.0, -math.inf], [0.0, 0.0, 0.0]]])
    found = policy_distances(never, None, generator())
    assert np.isfinite(found["jensen_shannon"]).all()
    assert np.isfinite(found["symmetric_kl"][:2, :2]).all()
    assert np.isinf(found["symmetric_kl"][0, 2])


@pytest.mark.parametrize("gaussian", [False, True])
@pytest.mark.parametrize(("k", "actions"), [(1, 3), (2, 6), (5, 3)])
def test_bounds_and_identities(k, actions, gaussian):
    record = random_record(k, actions, gaussian=gaussian)
    policies = record.parameters, record.log_std, generator()
    found = policy_distances(*policies)
    for name, matrix in found.items():
        assert (matrix == matrix.T).all(), name
        assert (np.diag(matrix) == 0).all(), name
    assert (found["hellinger"] <= 1).all()
    assert (found["jensen_shannon"] <= math.log(2)).all()
    rows = torch.as_tensor(record.parameters).reshape(-1, k, actions).double()
    log_std = None if record.log_std is None else torch.as_tensor(record.log_std)
    direct = pairwise_hellinger(rows, log_std).mean(0).numpy()
    np.testing.assert_allclose(found["hellinger"], direct, atol=1e-12)
    for weights in (None, record.option_probs):
        information = conditional_information(*policies, weights)
        assert 0 <= information <= math.log(k)
        assert gaussian or information <= math.log(actions)
    if k == 2:
        equal = conditional_information(record.parameters, record.log_std, generator())
        again = policy_distances(record.parameters, record.log_std, generator())
        assert equal == pytest.approx(again["jensen_shannon"][0, 1], rel=1e-9)
    assert indicators.occupancy(record).sum() == pytest.approx(1)
    assert indicators.durations(record)[0].sum() == record.options.size


def test_gaussian_distances_against_quadrature():
    """Two options of one dimension: closed forms and Monte Carlo beside sums over a fine grid."""
    means, stds = np.array([-1.2, 0.7]), np.array([0.3, 2.1])
    x = np.linspace(-25, 25, 200_001)
    log_p = -0.5 * ((x - means[:, None]) / stds[:, None]) ** 2 - np.log(stds[:, None])
    log_p -= 0.5 * math.log(2 * math.pi)
    p, step = np.exp(log_p), x[1] - x[0]
    log_m = np.logaddexp(*log_p) - math.log(2)
    js = 0.5 * (p * (log_p - log_m)).sum() * step
    kl = ((p[0] - p[1]) * (log_p[0] - log_p[1])).sum() * step
    log_std = np.log(stds)[:, None]
    parameters = np.tile(means[:, None], (300, 1, 1, 1))
    found = policy_distances(parameters, log_std, generator())
    assert found["hellinger"][0, 1] == pytest.approx(0.7530000, abs=1e-6)
    assert found["symmetric_kl"][0, 1] == pytest.approx(kl, rel=1e-6)
    assert found["jensen_shannon"][0, 1] == pytest.approx(js, abs=0.005)
    assert "total_variation" not in found
    weights = np.tile([0.2, 0.8], (300, 1, 1))
    log_m = np.log(0.2 * p[0] + 0.8 * p[1])
    expected = (np.array([[0.2], [0.8]]) * p * (log_p - log_m)).sum() * step
    information = conditional_information(parameters, log_std, generator(), weights, states=200)
    assert information == pytest.approx(expected, abs=0.005)
    np.testing.assert_allclose(
        policy_entropy(parameters, log_std), -(p * log_p).sum(1) * step, rtol=1e-6
    )


def test_monte_carlo_does_not_lose_digits_far_from_the_origin():
    record = random_record(2, 3, gaussian=True)
    means = record.parameters.astype(np.float64)
    near = conditional_information(means, record.log_std, generator())
    far = conditional_information(means + 1e6, record.log_std, generator())
    assert far == pytest.approx(near, rel=1e-5)


@pytest.mark.parametrize("gaussian", [False, True])
@pytest.mark.parametrize("states", [None, 104])
@pytest.mark.parametrize("k", [1, 3])
def test_summaries_are_finite_and_leave_out_what_is_unknown(k, states, gaussian):
    record = random_record(k, gaussian=gaussian, states=states)
    summary = indicators.summarize(record, generator())
    assert all(type(value) is float and math.isfinite(value) for value in summary.values())
    assert ("mi_action_option" in summary) == (not gaussian)
    assert ("mi_state_option" in summary) == (states is not None)
    assert ("termination_state_entropy" in summary) == (states is not None)
    if k == 1:
        assert summary["usage_entropy"] == summary["hellinger_mean"] == 0
        assert summary["usage_effective"] == summary["reselect_rate"] == 1
    for name, values in indicators.tables(record, generator()).items():
        assert values.shape in {(k,), (k, k)}, name
        assert np.isfinite(values).all(), name
    assert summary == indicators.summarize(record, generator())


def test_an_option_that_never_acts():
    record = dataclasses.replace(
        random_record(3),
        options=np.zeros((300, 3), dtype=np.int64),
        terminated=np.zeros((300, 3), dtype=bool),
    )
    table = indicators.tables(record, generator())
    assert table["share"].tolist() == [1, 0, 0]
    assert np.isnan(table["beta_own"]).tolist() == [False, True, True]
    summary = indicators.summarize(record, generator())
    assert summary["switch_rate"] == summary["usage_entropy"] == 0
    assert summary.keys().isdisjoint({"reselect_rate", "termination_state_entropy"})
    assert all(math.isfinite(value) for value in summary.values())
    single = indicators.summarize(random_record(3, steps=1), generator())
    assert "termination_advantage" not in single


def test_impossible_records(hand):
    with pytest.raises(ValueError, match="rewards has shape"):
        dataclasses.replace(hand, rewards=np.ones(5))
    with pytest.raises(ValueError, match="actions has shape"):
        dataclasses.replace(hand, log_std=np.zeros((2, 2)))
    with pytest.raises(ValueError, match="at the start"):
        dataclasses.replace(hand, terminated=hand.starts)
    with pytest.raises(ValueError, match="did not terminate"):
        dataclasses.replace(hand, terminated=np.zeros((5, 2), dtype=bool))


@pytest.mark.parametrize("sample", [8192, 100])
def test_clusters_find_groups(sample):
    rng = np.random.default_rng(3)
    group = rng.integers(4, size=500)
    features = 1000 + 10 * np.eye(4)[group] + 0.1 * rng.normal(size=(500, 4))
    found = indicators.cluster_states(features, 4, np.random.default_rng(0), sample)
    assert found.dtype == np.int64
    table = np.zeros((4, 4), dtype=int)
    np.add.at(table, (group, found), 1)
    assert (np.sort(table > 0, axis=0).sum(1) == [0, 0, 0, 4]).all()  # one group per cluster
    again = indicators.cluster_states(features, 4, np.random.default_rng(0), sample)
    assert (found == again).all()


@pytest.mark.parametrize("rows", [1, 5])
def test_clusters_of_few_or_equal_rows(rows):
    assert set(indicators.cluster_states(np.ones((rows, 2)), 64)) <= set(range(rows))


def colours(path: Path) -> set[tuple[int, ...]]:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        picture.load()
        return {color for _, color in picture.convert("RGB").getcolors(1 << 24) or []}


@pytest.mark.parametrize("k", [1, 11])
def test_pictures(k, tmp_path):
    record = random_record(k)
    for name, draw in {"map": draw_option_map, "time": draw_timeline}.items():
        path = draw(record, tmp_path / f"{name}.png")
        assert len(colours(path)) > 10
    matrix = policy_distances(record.parameters, None, generator())["hellinger"]
    assert len(colours(draw_distance_matrix(matrix, tmp_path / "distance.png"))) > 10
    assert {p.name for p in tmp_path.iterdir()} == {"map.png", "time.png", "distance.png"}


def test_the_map_has_the_colour_of_an_option_that_is_alone_in_a_cell(tmp_path):
    record = random_record(2)
    alone = dataclasses.replace(record, states=np.where(record.options == 0, 3, 70))
    blue, orange = (31, 119, 180), (255, 127, 14)
    assert {blue, orange} <= colours(draw_option_map(alone, tmp_path / "map.png"))


def test_a_matrix_with_unknown_pairs_is_drawn(tmp_path):
    matrix = np.array([[0, np.nan, np.inf], [np.nan, np.nan, 3.0], [np.inf, 3.0, 0]])
    assert len(colours(draw_distance_matrix(matrix, tmp_path / "distance.png"))) > 10


def test_a_map_needs_cells(tmp_path):
    for states in (None, 200):
        with pytest.raises(UserError, match="FourRooms"):
            draw_option_map(random_record(2, states=states), tmp_path / "map.png")
