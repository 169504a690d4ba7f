"""The density of visited latents: its fit, its alarm, its file."""

import json

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from scipy.integrate import quad
from scipy.stats import multivariate_normal

from rlgen.agents.disentangled.visited import FLOOR, VisitedLatents, fit_visited
from rlgen.core.errors import UserError


def two_clouds(count, seed=0):
    generator = np.random.default_rng(seed)
    side = np.where(generator.random(count) < 0.25, -3.0, 2.0)
    near = generator.normal(size=(count, 2)) * [0.5, 1.0]
    return near + side[:, None]


def test_one_component_is_the_gaussian_of_its_rows_with_the_floor():
    rows = np.random.default_rng(0).normal(size=(100, 3)) @ np.diag([1.0, 2.0, 0.0])
    found = fit_visited(rows, components=1)
    fitted = rows[:80]
    covariance = np.cov(fitted.T, bias=True) + FLOOR**2 * np.eye(3)
    expected = multivariate_normal(fitted.mean(0), covariance).logpdf(rows)
    np.testing.assert_allclose(found.log_density(rows), expected, rtol=1e-9)


def test_the_density_is_one():
    found = fit_visited(two_clouds(400)[:, :1], components=3)
    assert quad(lambda x: np.exp(found.log_density([[x]])[0]), -12, 12)[0] == pytest.approx(1, 1e-6)


def test_clouds_are_found_with_their_shares():
    found = fit_visited(two_clouds(4000), components=2)
    order = found.means[:, 0].argsort()
    np.testing.assert_allclose(found.weights[order], [0.25, 0.75], atol=0.03)
    np.testing.assert_allclose(found.means[order], [[-3, -3], [2, 2]], atol=0.12)


def test_a_mixture_tells_the_gap_between_clouds_where_one_gaussian_does_not():
    gap, inside = [[-0.5, -0.5]], [[2.0, 2.0]]
    mixture, single = (fit_visited(two_clouds(4000), components=k) for k in (4, 1))
    assert mixture.alarm(gap).tolist() == [True]
    assert single.alarm(gap).tolist() == [False]
    assert mixture.alarm(inside).tolist() == [False]
    assert mixture.novelty(gap)[0] > mixture.novelty(inside)[0] + 3


@pytest.mark.parametrize("quantile", [0.01, 0.1])
def test_new_states_of_the_same_kind_raise_as_many_alarms_as_asked_for(quantile):
    found = fit_visited(two_clouds(6000), quantile=quantile)
    share = found.alarm(two_clouds(6000, seed=1)).mean()
    assert share == pytest.approx(quantile, rel=0.5)
    assert found.alarm([[np.nan, 0.0]]).tolist() == [True]


def test_the_threshold_comes_from_the_last_fifth():
    rows = two_clouds(500)
    found = fit_visited(rows, quantile=0.05)
    assert found.alarm(rows[400:]).mean() == pytest.approx(0.05, abs=0.011)
    later = rows.copy()
    later[400:] += 0.5  # which the fit does not see
    np.testing.assert_array_equal(fit_visited(later).means, found.means)


def test_a_coordinate_that_nobody_uses_raises_no_alarm_by_itself():
    rows = np.random.default_rng(0).normal(size=(1000, 2)) * [1.0, 1e-4]
    found = fit_visited(rows, components=1)
    assert found.alarm([[0.0, 0.05]]).tolist() == [False]  # 500 deviations, a twentieth of a prior
    assert found.alarm([[0.0, 1.0]]).tolist() == [True]


def test_the_generator_decides_the_fit():
    rows = two_clouds(300)
    same = [fit_visited(rows, generator=np.random.default_rng(5)) for _ in "12"]
    np.testing.assert_array_equal(same[0].means, same[1].means)


def test_few_rows_get_few_components():
    assert len(fit_visited(two_clouds(30)).weights) == 1
    assert len(fit_visited(two_clouds(1000)).weights) == 8
    assert len(fit_visited(np.zeros((40, 2))).weights) == 1  # and no deviation is no trouble


def test_a_file_has_it_all_and_replaces_the_one_before(tmp_path):
    path = tmp_path / "deep" / "visited.safetensors"
    fit_visited(two_clouds(100)).save(path)
    found = fit_visited(two_clouds(300), quantile=0.02)
    found.save(path)
    loaded = VisitedLatents.load(path)
    rows = two_clouds(50, seed=3)
    np.testing.assert_array_equal(loaded.log_density(rows), found.log_density(rows))
    assert (loaded.threshold, loaded.quantile, loaded.samples) == (found.threshold, 0.02, 300)
    assert [child.name for child in path.parent.iterdir()] == ["visited.safetensors"]


@pytest.mark.parametrize("damage", ["absent", "short", "other", "format", "no weights"])
def test_a_file_that_is_no_such_thing_is_one_line(tmp_path, damage):
    path = tmp_path / "visited.safetensors"
    if damage != "absent":
        fit_visited(two_clouds(100)).save(path)
    tensors = load_file(path) if path.exists() else {}
    numbers = json.dumps({"threshold": 0.0, "quantile": 0.1, "samples": 1})
    if damage == "short":
        path.write_bytes(path.read_bytes()[:-9])
    elif damage == "other":
        save_file(tensors, path)
    elif damage == "format":
        save_file(tensors, path, {"format": "9", "visited": numbers})
    elif damage == "no weights":
        tensors.pop("weights")
        save_file(tensors, path, {"format": "1", "visited": numbers})
    with pytest.raises(UserError) as caught:
        VisitedLatents.load(path)
    assert str(caught.value).startswith(f"{path} holds no visited latents (")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (np.zeros((9, 2)), {}, "9 rows of latents cannot be fitted"),
        (np.full((20, 2), np.inf), {}, "20 rows of latents cannot be fitted"),
        (np.zeros((20, 2)), {"quantile": 0.0}, "quantile=0.0 is out of range"),
        (np.zeros((20, 2)), {"components": 0}, "components=0 is too small"),
    ],
)
def test_what_cannot_be_fitted_is_told(rows, options, message):
    with pytest.raises(UserError, match=message):
        fit_visited(rows, **options)
