import numpy as np
import pytest
from design_steps import build, lattice

from rlgen.core.errors import UserError
from rlgen.envs.design.shape.operations import (
    BIN_STEP,
    BINS,
    FINISH,
    LATTICE,
    NAMES,
    OPERATIONS,
    PARTS,
    UNDO,
    Action,
    binned,
    canonical,
    describe,
    physical,
)

BOX = np.array([[-20.0, -10.0, 0.0], [30.0, 10.0, 50.0]])
EMPTY_BOX = np.zeros((2, 3))


def test_the_table_has_the_sixteen_operations_in_their_order():
    names = "box cylinder revolve prism ring scale taper twist hollow drill mirror polar"
    assert (*names.split(), "cut_top", "bend", "undo", "finish") == NAMES
    assert (UNDO, FINISH) == (14, 15)
    assert all(len(operation.parameters) <= 6 for operation in OPERATIONS)
    assert all(len(operation.modes) <= 3 for operation in OPERATIONS)


@pytest.mark.parametrize(
    ("op", "mode", "low", "high"),
    [
        ("box", "add", {"size_x": 4, "size_y": 4, "size_z": 4}, {"size_x": 120, "size_z": 120}),
        ("cylinder", "cut", {"radius_low": 3, "height": 3}, {"radius_high": 60, "height": 150}),
        ("revolve", "add", {"radius_middle": 4}, {"radius_low": 70, "radius_high": 70}),
        ("prism", "common", {"sides": 3, "radius": 5, "height": 4}, {"sides": 8, "radius": 60}),
        ("ring", "add", {"radius": 8, "tube": 2.5}, {"radius": 40, "tube": 8}),
        ("scale", "free", {"factor_x": 0.6, "factor_y": 0.6}, {"factor_z": 1.6}),
        ("taper", None, {"growth": -0.5}, {"growth": 0.6}),
        ("twist", None, {"angle": -120}, {"angle": 120}),
        ("hollow", None, {"wall": 2, "floor": 2}, {"wall": 10, "floor": 20}),
        ("drill", "y", {"radius": 2}, {"radius": 30}),
        ("polar", None, {"copies": 2}, {"copies": 6}),
        ("cut_top", None, {"keep": 0.4}, {"keep": 1.0}),
        ("bend", "x", {"angle": -60}, {"angle": 60}),
    ],
)
def test_the_ends_of_the_lattice_are_the_ends_of_the_ranges(op, mode, low, high):
    at_low = physical(lattice(op, mode, *[-LATTICE] * 6), BOX)
    at_high = physical(lattice(op, mode, *[LATTICE] * 6), BOX)
    for name, value in low.items():
        assert at_low[name] == pytest.approx(value, abs=1e-12)
    for name, value in high.items():
        assert at_high[name] == pytest.approx(value, abs=1e-12)


def test_a_place_is_relative_to_the_box_plus_20_percent():
    low = physical(lattice("box", "add", 0, 0, 0, -LATTICE, -LATTICE, -LATTICE), BOX)
    high = physical(lattice("box", "add", 0, 0, 0, LATTICE, LATTICE, LATTICE), BOX)
    assert [low[axis] for axis in "xyz"] == pytest.approx([-25, -12, 0])  # never under the table
    assert [high[axis] for axis in "xyz"] == pytest.approx([35, 12, 55])
    middle = physical(lattice("box", "add", 0, 0, 0, 0, 0, 0), BOX)
    assert [middle[axis] for axis in "xyz"] == pytest.approx([5, 0, 25])


def test_every_place_on_an_empty_solid_is_the_origin():
    values = physical(lattice("ring", "add", 0, 0, 300, -200, 512), EMPTY_BOX)
    assert [values[axis] for axis in "xyz"] == [0, 0, 0]


@pytest.mark.parametrize(("k", "sides"), [(-512, 3), (-410, 3), (-409, 4), (0, 6), (512, 8)])
def test_whole_numbers_are_rounded(k, sides):
    # 3 + 5 (k + 512) / 1024 is 3.498 at -410 and 3.503 at -409.
    assert physical(lattice("prism", "add", k), BOX)["sides"] == sides


def test_floats_are_rounded_to_the_lattice_first():
    """Invariant 23: an action and its rounded version are the same."""
    rng = np.random.default_rng(0)
    params = rng.uniform(-1, 1, 6)
    action = Action.from_floats(1, 0, params)
    assert Action.from_floats(1, 0, action.params) == action
    assert np.abs(action.params - params).max() <= 0.5 / LATTICE
    assert Action.from_floats(1, 0, [2.0, -2.0, 0, 0, 0, 0]).k[:2] == (LATTICE, -LATTICE)


def test_the_17_bins_are_lattice_points():
    """Invariant 23: bins are multiples of 64 / 512, and rounding to bins leaves them alone."""
    ks = {Action.from_bins(0, 0, [i] * 6).k[0] for i in range(BINS)}
    assert ks == set(range(-512, 513, 64))
    assert BIN_STEP == 64
    for i in range(BINS):
        assert binned(Action.from_bins(0, 0, [i] * 6)) == Action.from_bins(0, 0, [i] * 6)
    assert binned(lattice("taper", None, 33)).k[0] == 64
    assert binned(lattice("taper", None, -512)).k[0] == -512


def test_unused_parameters_and_modes_are_set_to_zero():
    """Invariant 20, on the level of actions."""
    noisy = (1, 2, 3, 4, 5, 6)
    for op, operation in enumerate(OPERATIONS):
        for mode in range(3):
            clean = canonical(Action(op, mode, noisy))
            used = {position for position, _ in operation.used(clean.mode)}
            assert clean.mode < max(1, len(operation.modes))
            assert all((number != 0) == (i in used) for i, number in enumerate(clean.k))
    assert canonical(Action(NAMES.index("drill"), 0, noisy)).k == (1, 2, 3, 0, 0, 0)
    assert canonical(Action(NAMES.index("drill"), 2, noisy)).k == (1, 0, 3, 4, 0, 0)
    assert canonical(Action(NAMES.index("scale"), 0, noisy)).k == (1, 0, 3, 0, 0, 0)
    assert canonical(Action(NAMES.index("bend"), 2, noisy)).mode == 0


def test_named_finds_the_nearest_lattice_point():
    action = Action.named("cylinder", "add", radius_low=41, radius_high=30, height=80)
    values = physical(action, EMPTY_BOX)
    assert abs(values["radius_low"] - 41) <= 57 / 2048
    assert abs(values["height"] - 80) <= 147 / 2048
    for sides in range(3, 9):
        action = Action.named("prism", "add", sides=sides, radius=20, height=20)
        assert physical(action, EMPTY_BOX)["sides"] == sides


def test_named_places_in_the_box():
    values = physical(Action.named("drill", "y", BOX, radius=5, x=12, z=50), BOX)
    assert values["x"] == pytest.approx(12, abs=0.03)
    assert values["z"] == pytest.approx(50, abs=0.03)
    left_out = physical(Action.named("box", "add", BOX, size_x=9, size_y=9, size_z=9), BOX)
    assert (left_out["x"], left_out["y"], left_out["z"]) == (5, 0, 0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Action.named("cilinder"), "'cylinder'"),
        (lambda: Action.named("box", "ad"), "'add'"),
        (lambda: Action.named("taper", "x", growth=0), "no mode"),
        (lambda: Action.named("taper", growht=0.1), "'growth'"),
        (lambda: Action.named("taper"), "growth="),
        (lambda: Action.named("taper", growth=2), "-0.5 to 0.6"),
        (lambda: Action.named("drill", "y", BOX, radius=5, y=1), "no 'y'"),
        (lambda: Action.named("drill", "y", BOX, radius=5, x=90), "-25 to 35 mm"),
        (lambda: Action.from_floats(0, 0, [0.0] * 5), "six finite"),
        (lambda: Action.from_floats(0, 0, [float("nan")] * 6), "six finite"),
        (lambda: Action(16, 0, (0,) * 6), "0 to 15"),
        (lambda: Action(0, 3, (0,) * 6), "0 to 2"),
        (lambda: Action(0, 0, (513, 0, 0, 0, 0, 0)), "-512..512"),
        (lambda: Action(0, 0, (0,) * 5), "6 parameters"),
        (lambda: Action.from_bins(0, 0, [17] * 6), "-512..512"),
    ],
)
def test_mistakes_are_told_in_one_line(call, words):
    with pytest.raises(UserError, match=words) as error:
        call()
    assert "\n" not in str(error.value)


def test_describe_speaks_in_millimetres():
    action = Action.named("hollow", wall=6, floor=11)
    assert describe(action, BOX) == "hollow: wall 6.00 mm, floor 11.00 mm"
    assert describe(lattice("drill", "y", 0, 0, 0, 0), BOX) == (
        "drill y: radius 16.00 mm, at x 5.0 z 25.0"
    )
    assert describe(lattice("mirror", "stack"), BOX) == "mirror stack"
    assert describe(lattice("polar", None, 0), BOX) == "polar: copies 4"


def test_scripts_get_every_value_they_need():
    assert physical(lattice("scale", "uniform", 512), BOX)["factor_y"] == 1.6
    assert physical(lattice("revolve", "add"), BOX)["y"] == 0.0


@pytest.mark.parametrize("name", PARTS)
def test_experts_can_name_every_part(name):
    values = {
        parameter.name: (parameter.low + parameter.high) / 2
        for parameter in OPERATIONS[NAMES.index(name)].parameters
        if parameter.kind != "place"
    }
    assert not build((name, "add", values)).solid.is_empty
