"""Measuring a design: what is computed, once, and how metrics hang together."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from manifold3d import Manifold
from mechanics_solids import box, cylinder, mesh_of

from rlgen.core.errors import UserError
from rlgen.envs.design.measure import metrics as module
from rlgen.envs.design.measure.balance import Payload, tip_angle
from rlgen.envs.design.measure.conditions import INDEX, METRICS, Conditions
from rlgen.envs.design.measure.grids import height_maps, space_columns
from rlgen.envs.design.measure.liquid import capacity, spill
from rlgen.envs.design.measure.mass import mass_properties
from rlgen.envs.design.measure.metrics import evaluate
from rlgen.envs.design.measure.strength import Material, load_limit
from rlgen.envs.design.mesh import EMPTY_MESH, Mesh


def cup(wall: float = 3.0) -> Mesh:
    """A square cup of 40 x 40 x 60 mm."""
    inside = 40 - 2 * wall
    return mesh_of(box(40, 40, 60) - box(inside, inside, 60, (0, 0, wall)))


def crane() -> Mesh:
    """A block with a bar of 4 x 4 mm that ends at x = 50, y = 12 +- 2, z = 96..100."""
    bar = box(60, 4, 4, (20, 12, 96))
    return mesh_of(box(40, 40, 20) + box(8, 40, 100) + bar)


def measured(mesh: Mesh, name: str, **conditions: Any) -> float:
    return float(evaluate(mesh, [name], Conditions(**conditions))[INDEX[name]])


def test_a_block_by_hand() -> None:
    """40 x 30 x 20 mm, so every number is known."""
    values = dict(zip(METRICS, evaluate(mesh_of(box(40, 30, 20))), strict=True))
    assert values["tip"] == pytest.approx(math.degrees(math.atan(15 / 10)))
    assert values["loaded_tip"] == values["tip"]
    assert values["upright"] == 1
    assert values["capacity"] == 0
    assert values["spill"] == 0
    assert values["load"] == pytest.approx(20 * 40 * 30)
    assert values["pad"] == pytest.approx(12)
    assert values["height"] == 20
    assert values["footprint"] == 40
    assert values["volume"] == pytest.approx(24)
    assert values["overhang"] == 0
    assert values["support"] == 0
    assert values["wall"] == pytest.approx(20)
    assert values["nest"] == pytest.approx(1)
    assert values["reach"] == 0  # nothing is as high as 100 mm
    assert values["base"] == 20


def test_a_cup_by_hand() -> None:
    values = dict(zip(METRICS, evaluate(cup(3)), strict=True))
    assert values["capacity"] == pytest.approx(34 * 34 * 57 / 1000)
    # Tilted about an edge by 20 degrees, the liquid's surface rises by 34 tan 20 across the cup.
    depth = 57 - 34 * math.tan(math.radians(20)) / 2
    assert values["spill"] == pytest.approx(34 * 34 * depth / 1000)
    assert values["wall"] == pytest.approx(3)
    assert values["nest"] == pytest.approx(1)
    assert values["pad"] == pytest.approx((40 * 40 - 34 * 34) / 100)


def test_only_what_is_named_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> float:
        raise AssertionError("not asked for")

    everything = evaluate(cup())
    for name in ("wall_thickness", "nesting_pitch", "capacity", "load_limit", "support_volume"):
        monkeypatch.setattr(module, name, forbidden)
    names = ("volume", "tip", "height")
    some = evaluate(cup(), names)
    kept = [INDEX[name] for name in names]
    np.testing.assert_array_equal(some[kept], everything[kept])
    assert np.count_nonzero(some) == 3
    with pytest.raises(AssertionError, match="not asked for"):
        evaluate(cup(), ("wall",))


def test_shared_results_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def counted(name: str) -> Callable[..., Any]:
        original = getattr(module, name)

        def call(*args: Any, **keywords: Any) -> Any:
            calls.append(name)
            return original(*args, **keywords)

        return call

    for name in ("mass_properties", "rest_pose", "capacity", "pad"):
        monkeypatch.setattr(module, name, counted(name))
    evaluate(cup(), METRICS, Conditions(payload=0))
    assert sorted(calls) == ["capacity", "mass_properties", "pad", "rest_pose"]


@pytest.mark.parametrize("names", [("wall", "nest"), ("nest",), METRICS])
def test_columns_cast_ahead_change_nothing(names: tuple[str, ...]) -> None:
    """Neither the metrics they are cast with nor the height maps that look at them."""
    alone, ahead, layout = cup(), cup(), ((160.0, 160.0, 160.0), 32)
    wanted = evaluate(alone, names)
    np.testing.assert_array_equal(evaluate(ahead, names, ahead=layout), wanted)
    kept = space_columns(ahead, *layout)
    assert kept is space_columns(ahead, *layout)
    assert space_columns(ahead, layout[0], 16) is not kept
    np.testing.assert_array_equal(height_maps(ahead), height_maps(alone))
    assert height_maps(ahead).any()


def test_nothing_measures_nothing() -> None:
    assert not evaluate(EMPTY_MESH).any()


def test_unknown_metric_is_told() -> None:
    with pytest.raises(UserError, match=r"unknown metric 'capcity'; did you mean 'capacity'"):
        evaluate(cup(), ["capcity"])


def test_a_body_that_falls_over_has_no_tip() -> None:
    leaning = mesh_of(box(10, 10, 80) + box(60, 10, 10, (25, 0, 70)))
    values = evaluate(leaning, ("tip", "loaded_tip", "upright"), Conditions(payload=10))
    assert not values.any()


def test_payload_on_top_stands_in_the_middle_of_the_pad() -> None:
    mesh = mesh_of(box(40, 40, 20) + box(10, 10, 60, (12, 0, 0)))
    mass = mass_properties(mesh)
    expected = tip_angle(mesh, mass, (Payload(50.0, (12.0, 0.0, 60.0)),))
    assert measured(mesh, "loaded_tip", payload=50) == pytest.approx(expected)
    assert expected < measured(mesh, "tip")


def test_payload_at_the_arm_hangs_at_its_end() -> None:
    mesh, mass = crane(), mass_properties(crane())
    expected = tip_angle(mesh, mass, (Payload(5.0, (50.0, 12.0, 98.0)),))
    given = {"payload": 5, "payload_at": "arm", "reach_height": 98}
    assert 0 < expected < measured(mesh, "tip")
    assert measured(mesh, "loaded_tip", **given) == pytest.approx(expected)
    assert measured(mesh, "reach", reach_height=98) == pytest.approx(50)
    assert measured(mesh, "loaded_tip", **{**given, "payload": 500}) == 0  # it falls over
    assert measured(mesh, "loaded_tip", **{**given, "reach_height": 120}) == 0  # no arm up there


def test_spill_is_part_of_the_capacity() -> None:
    """A pocket that is open to the side holds liquid only when tilted backwards."""
    pocket = mesh_of(box(40, 40, 40) - box(40, 20, 20, (10, 0, 10)))
    assert capacity(pocket) == 0
    turned = max(spill(pocket, 20, (azimuth,)) for azimuth in (0, 90, 180, 270))
    assert turned > 0
    for azimuth in (0, 90, 180, 270):
        assert measured(pocket, "spill", tilt=20, azimuths=(azimuth,)) == 0
    assert measured(cup(), "spill", tilt=0) == measured(cup(), "capacity")


def test_spill_takes_the_worst_azimuth() -> None:
    jug = mesh_of(box(40, 40, 60) - box(34, 34, 60, (0, 0, 3)) - box(10, 60, 20, (15, 0, 50)))
    each = [measured(jug, "spill", azimuths=(azimuth,)) for azimuth in (0, 90, 180, 270)]
    assert min(each) < max(each)
    assert measured(jug, "spill", azimuths=(0, 90, 180, 270)) == min(each)


def test_conditions_reach_the_evaluators() -> None:
    mesh = mesh_of(cylinder(12, 12, 100))
    soft = {"youngs": 500, "strength": 5, "density": 2, "eccentricity": 4}
    expected = load_limit(mesh, 4.0, material=Material(500, 5, 2))
    assert measured(mesh, "load", **soft) == pytest.approx(expected)
    heavy = measured(mesh, "loaded_tip", density=5, payload=100)
    assert heavy > measured(mesh, "loaded_tip", density=1, payload=100)


def test_finite_elements_only_at_the_end() -> None:
    mesh = mesh_of(box(30, 8, 8) + box(8, 8, 40))
    beam = Conditions(fidelity="section")
    frame = Conditions(fidelity="fem")
    load = INDEX["load"]
    expected = evaluate(mesh, ["load"], beam)[load]
    assert evaluate(mesh, ["load"], frame)[load] == expected
    assert evaluate(mesh, ["load"], beam, precise=True)[load] == expected
    final = evaluate(mesh, ["load"], frame, precise=True)[load]
    assert final > 0
    assert final != expected


@pytest.mark.parametrize("wall", [2.0, 2.2, 3.0])
@pytest.mark.parametrize("turn", [0.0, 17.0, 45.0])
def test_training_and_final_values_agree(wall: float, turn: float) -> None:
    """Invariant 10: thin walls do not leak on the coarser grids of training either."""
    radius = 30.0
    inside = cylinder(radius - wall, radius + 8 - wall, 70).translate((0, 0, wall))
    body: Manifold = (cylinder(radius, radius + 8, 70) - inside).rotate((0, 0, turn))
    coarse, fine = evaluate(mesh_of(body)), evaluate(mesh_of(body), precise=True)
    np.testing.assert_allclose(coarse, fine, rtol=0.015)
    assert fine[INDEX["spill"]] > 100


def test_measuring_does_not_depend_on_the_order_of_names() -> None:
    names = ["wall", "spill", "tip", "nest", "load", "capacity", "volume"]
    np.testing.assert_array_equal(evaluate(cup(), names), evaluate(cup(), names[::-1]))
