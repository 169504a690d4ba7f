"""The table of metrics and the conditions of a measurement."""

import json
import tomllib

import numpy as np
import pytest

from rlgen.core.errors import UserError
from rlgen.envs.design.measure.conditions import (
    METRIC_INFO,
    METRICS,
    SCALES,
    Conditions,
    in_order,
    metric_index,
    normalised,
)


def test_order_is_fixed() -> None:
    assert (
        *("tip", "loaded_tip", "upright", "capacity", "spill", "load", "pad", "height"),
        *("footprint", "volume", "overhang", "support", "wall", "nest", "reach", "base"),
    ) == METRICS
    assert [metric_index(name) for name in METRICS] == list(range(16))
    assert all(info.better in ("more", "less", "either") for info in METRIC_INFO.values())


def test_in_order_sorts_and_drops_copies() -> None:
    assert in_order(["volume", "tip", "volume", "upright"]) == ("tip", "upright", "volume")
    with pytest.raises(UserError, match=r"unknown metric 'volumes'; did you mean 'volume'\?"):
        in_order(["volumes"])


def test_normalised_divides_by_the_scale_and_clips() -> None:
    metrics = 0.5 * SCALES
    metrics[3], metrics[15] = 1e9, -1e9
    row = normalised(metrics)
    assert row.dtype == np.float32
    assert row[3] == 1
    assert row[15] == -1
    assert set(row[[0, 1, 2, *range(4, 15)]]) == {0.5}
    assert normalised(np.stack([metrics, metrics])).shape == (2, 16)


def test_round_trip_holds_only_what_differs() -> None:
    assert Conditions().to_dict() == {}
    mine = Conditions(tilt=10, azimuths=(0, 90), payload=2000, payload_at="arm", wall_count=40)
    data = json.loads(json.dumps(mine.to_dict()))
    assert data == {
        **{"tilt": 10.0, "azimuths": [0.0, 90.0], "payload": 2000.0},
        **{"payload_at": "arm", "wall_count": 40},
    }
    assert Conditions.from_dict(data) == mine
    assert isinstance(mine.wall_count, int)


def test_reads_toml() -> None:
    data = tomllib.loads("tilt = 15\nazimuths = [0, 120, 240]\ndensity = 7.85\n")
    expected = Conditions(tilt=15.0, azimuths=(0.0, 120.0, 240.0), density=7.85)
    assert Conditions.from_dict(data) == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tilts": 3}, r"conditions has no setting 'tilts'; did you mean 'tilt'\?"),
        ({"density": 0}, r"density=0 is not allowed; give a number of 0\.01 to 30"),
        ({"density": "iron"}, r"density='iron' is not allowed; give a number"),
        ({"density": True}, r"density=True is not allowed"),
        ({"tilt": float("nan")}, r"tilt=nan is not allowed; give a number of 0 to 85"),
        ({"azimuths": []}, r"azimuths is empty; give at least one angle"),
        ({"azimuths": ["north"]}, r"azimuths='north' is not allowed"),
        ({"payload_at": "tops"}, r"payload_at='tops' is not allowed; did you mean 'top'\?"),
        ({"fidelity": "exact"}, r"fidelity='exact' is not allowed; allowed: fem, section"),
        ({"wall_count": 32.5}, r"wall_count=32\.5 is not allowed; give a whole number"),
        (["tilt"], r"conditions must be a table of names and values, not \['tilt'\]"),
    ],
)
def test_mistakes_are_told_in_one_line(given: object, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        Conditions.from_dict(given)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
