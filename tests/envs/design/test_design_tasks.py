"""Targets, tasks and the score, against numbers worked out by hand."""

import json
import math
import tomllib

import numpy as np
import pytest

from rlgen.core.errors import UserError
from rlgen.envs.design.measure.conditions import INDEX, SCALES, Conditions
from rlgen.envs.design.mesh import Floats
from rlgen.envs.design.task.presets import MULTI_GOAL, TASK_NAMES, make_task
from rlgen.envs.design.task.targets import Target
from rlgen.envs.design.task.tasks import OPEN_MAXIMUM, PRESETS, Task, satisfactions, score

FIXED = [name for name in TASK_NAMES if name != MULTI_GOAL]


def vector(**values: float) -> Floats:
    """Metrics of an upright design with the given values."""
    metrics = np.zeros(16)
    for name, value in {"upright": 1.0, **values}.items():
        metrics[INDEX[name]] = value
    return metrics


@pytest.mark.parametrize(
    ("target", "value", "expected"),
    [
        (Target("height", "at_least", 200), 50, 0.25),
        (Target("height", "at_least", 200), 900, 1),
        (Target("reach", "at_least", 70), -5, 0),
        (Target("volume", "at_most", 60), 60, 1),
        (Target("volume", "at_most", 60), 90, 0.5),
        (Target("volume", "at_most", 60), 121, 0),
        (Target("base", "at_most", 30), -40, 1),
        (Target("height", "about", 100, width=40), 90, 0.75),
        (Target("height", "about", 100, width=40), 145, 0),
        (Target("overhang", "at_most", 0), 0, 1),
        (Target("overhang", "at_most", 0), 0.01, 0),
        (Target("reach", "at_least", 0), 0, 1),
        (Target("reach", "at_least", -10), -11, 0),
        (Target("base", "at_most", -10), -10, 1),
    ],
)
def test_satisfaction(target: Target, value: float, expected: float) -> None:
    assert target.satisfaction(value) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("kind", ["at_least", "at_most"])
@pytest.mark.parametrize("wanted", [-20.0, 0.0, 1e-3, 35.0])
def test_satisfaction_is_monotone_and_within_0_and_1(kind: str, wanted: float) -> None:
    """Invariant 25."""
    target = Target("reach", kind, wanted)
    met = np.array([target.satisfaction(value) for value in np.linspace(-80, 80, 641)])
    assert met.min() >= 0
    assert met.max() == 1
    assert (np.diff(met if kind == "at_least" else met[::-1]) >= 0).all()


def test_about_is_monotone_on_both_sides() -> None:
    """Invariant 25."""
    target = Target("height", "about", 90, width=50)
    met = np.array([target.satisfaction(value) for value in range(181)])
    assert (np.diff(met[:91]) >= 0).all()
    assert (np.diff(met[90:]) <= 0).all()
    assert met[90] == 1
    assert met[0] == 0


HALF_AND_QUARTER = Task(
    "two", (Target("height", "at_least", 100, weight=3), Target("volume", "at_most", 40))
)


def test_score_mixes_arithmetic_and_geometric_mean() -> None:
    metrics = vector(height=50, volume=70)  # satisfactions 0.5 and 0.25, weights 3 and 1
    assert satisfactions(metrics, HALF_AND_QUARTER) == (0.5, 0.25)
    arithmetic, geometric = 1.75 / 4, (0.5**3 * 0.25) ** 0.25
    expected = 0.25 * arithmetic + 0.75 * geometric
    assert score(metrics, HALF_AND_QUARTER) == pytest.approx(expected, abs=1e-15)


def test_one_unmet_target_leaves_only_the_arithmetic_quarter() -> None:
    assert score(vector(height=100, volume=80), HALF_AND_QUARTER) == pytest.approx(0.25 * 0.75)


def test_gate() -> None:
    metrics = vector(height=100, volume=40)
    assert score(metrics, HALF_AND_QUARTER) == 1
    assert score(metrics, HALF_AND_QUARTER, upright=False) == pytest.approx(0.1)
    metrics[INDEX["upright"]] = 0
    assert score(metrics, HALF_AND_QUARTER) == pytest.approx(0.1)
    assert score(metrics, HALF_AND_QUARTER, upright=True) == 1
    assert score(metrics, HALF_AND_QUARTER, empty=True) == 0
    assert score(np.zeros(16), HALF_AND_QUARTER) == 0


def test_hard_limit_shuts_the_gate() -> None:
    limit = Target("footprint", "at_most", 80)
    task = Task("limited", HALF_AND_QUARTER.targets, limits=(limit,))
    assert task.metrics == ("upright", "height", "footprint", "volume")
    assert score(vector(height=100, volume=40, footprint=80), task) == 1
    assert score(vector(height=100, volume=40, footprint=80.01), task) == pytest.approx(0.1)


def test_open_score_grows_beyond_the_targets() -> None:
    task = Task("open", HALF_AND_QUARTER.targets, open=True)
    assert score(vector(height=100, volume=40), task) == 1
    better = 1 + 0.1 * (3 * math.log(1.2) + math.log(2)) / 4
    assert score(vector(height=120, volume=20), task) == pytest.approx(better)
    # Half-finished: the improvement of one target scales what there is.
    half = score(vector(height=50, volume=40), HALF_AND_QUARTER)
    expected = half * (1 + 0.1 * math.log(4) / 4)
    assert score(vector(height=50, volume=10), task) == pytest.approx(expected)
    assert score(vector(height=1e9, volume=0), task) == pytest.approx(OPEN_MAXIMUM) == task.best
    assert task.best == pytest.approx(1.230259, abs=1e-6)


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("preset", PRESETS)
def test_scores_stay_within_bounds(name: str, preset: str) -> None:
    """Invariant 25."""
    task = make_task(name, preset)
    rng = np.random.default_rng(0)
    rows = rng.uniform(-0.5, 3, (200, 16)) * SCALES
    scores = [score(row, task) for row in rows]
    assert min(scores) >= 0
    assert max(scores) <= task.best
    assert score(np.zeros(16), task) == 0


@pytest.mark.parametrize("name", FIXED)
def test_presets_grow_harder(name: str) -> None:
    easy, normal, hard = (make_task(name, preset).targets for preset in PRESETS[:3])
    for kinder, middle, harder in zip(easy, normal, hard, strict=True):
        sign = -1 if middle.kind == "at_most" else 1
        wanted = [sign * target.value for target in (kinder, middle, harder)]
        assert wanted == sorted(wanted)
        assert kinder.width >= middle.width >= harder.width
    assert make_task(name, "open").targets == normal


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("preset", PRESETS)
def test_tasks_survive_json(name: str, preset: str) -> None:
    task = make_task(name, preset)
    assert Task.from_dict(json.loads(json.dumps(task.to_dict()))) == task


def test_reads_toml() -> None:
    text = """
    name = "jug"
    [[targets]]
    metric = "capacity"
    kind = "at_least"
    value = 300
    weight = 2
    [[limits]]
    metric = "volume"
    kind = "at_most"
    value = 90.5
    [conditions]
    tilt = 30
    """
    assert Task.from_dict(tomllib.loads(text)) == Task(
        "jug",
        (Target("capacity", "at_least", 300.0, weight=2.0),),
        Conditions(tilt=30.0),
        (Target("volume", "at_most", 90.5),),
    )


GOOD = {"metric": "tip", "kind": "at_least", "value": 3}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"name": "x", "target": [GOOD]}, r"a task has no setting 'target'; did you mean"),
        ({"name": "x"}, r"a task lacks 'targets'"),
        ({"name": "x", "targets": []}, r"task 'x' has no targets; give at least one"),
        ({"name": "x", "targets": GOOD}, r"targets must be a list of targets"),
        ({"name": "x", "targets": [{"metric": "tip"}]}, r"a target lacks 'kind'"),
        (
            {"name": "x", "targets": [{**GOOD, "metric": "tips"}]},
            r"unknown metric 'tips'; did you mean 'tip'\?",
        ),
        (
            {"name": "x", "targets": [{**GOOD, "kind": "atleast"}]},
            r"kind='atleast' is not allowed; did you mean 'at_least'",
        ),
        (
            {"name": "x", "targets": [{**GOOD, "value": "3"}]},
            r"tip: value='3' is not allowed; give a number",
        ),
        ({"name": "x", "targets": [{**GOOD, "weight": 0}]}, r"tip: weight=0 is not allowed"),
        (
            {"name": "x", "targets": [{**GOOD, "kind": "about"}]},
            r"tip: width=0\.0 is not allowed",
        ),
        (
            {"name": "x", "targets": [GOOD], "conditions": {"tilts": 1}},
            r"conditions has no setting 'tilts'; did you mean 'tilt'\?",
        ),
        ({"name": "x", "targets": [GOOD], "open": 1}, r"open=1 is not allowed; give true or"),
    ],
)
def test_mistakes_are_told_in_one_line(data: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        Task.from_dict(data)
    assert "\n" not in str(error.value)


def test_unknown_names_of_tasks_and_presets() -> None:
    with pytest.raises(UserError, match=r"unknown design task 'Vessels'; did you mean 'Vessel'"):
        make_task("Vessels")
    with pytest.raises(UserError, match=r"preset='hart' is not allowed; did you mean 'hard'\?"):
        make_task("Vessel", "hart")
    with pytest.raises(UserError, match=r"MultiGoal has no fixed targets"):
        make_task(MULTI_GOAL)


def test_targets_are_readable() -> None:
    assert str(Target("overhang", "at_most", 0.01)) == "overhang <= 0.01"
    assert str(Target("height", "about", 100, width=40)) == "height = 100 +- 40 mm"
