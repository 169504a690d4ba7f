import numpy as np
import pytest
from design_steps import attempt, build, random_action

from rlgen.core.errors import UserError
from rlgen.envs.design.shape.geometry import EMPTY, REFUSALS, apply
from rlgen.envs.design.shape.history import Design
from rlgen.envs.design.shape.masks import check_allowed, operation_mask
from rlgen.envs.design.shape.operations import FINISH, INDEX, NAMES, OPERATIONS, UNDO, Action
from rlgen.envs.design.shape.space import DesignSpace

SPACE = DesignSpace()
ROD = ("cylinder", "add", {"radius_low": 20, "radius_high": 20, "height": 60})


def names(mask):
    return {name for name, row in zip(NAMES, mask, strict=True) if row.any()}


def test_only_adding_parts_to_nothing():
    mask = operation_mask(EMPTY, 0, False, SPACE)
    assert mask.shape == (16, 3)
    assert names(mask) == {"box", "cylinder", "revolve", "prism", "ring"}
    assert not mask[:, 1:].any()


def test_everything_but_undo_on_a_seed():
    assert names(operation_mask(build(ROD).solid, 0, False, SPACE)) == set(NAMES) - {"undo"}


def test_undo_needs_history_and_not_another_undo():
    solid = build(ROD).solid
    assert operation_mask(solid, 1, False, SPACE)[UNDO].all()
    assert not operation_mask(solid, 1, True, SPACE)[UNDO].any()
    assert not operation_mask(solid, 0, False, SPACE)[UNDO].any()


def test_patterns_are_off_with_too_many_triangles():
    few = DesignSpace(max_pattern_triangles=200)  # a cylinder has 124
    assert not {"mirror", "polar"} & names(operation_mask(build(ROD).solid, 1, False, few))
    enough = DesignSpace(max_pattern_triangles=248)
    assert {"mirror", "polar"} <= names(operation_mask(build(ROD).solid, 1, False, enough))


@pytest.mark.parametrize(("factor", "on"), [(0.6, False), (0.65, False), (0.7, True), (1.0, True)])
def test_hollow_needs_the_least_floor_and_a_millimetre(factor, on):
    """A disc of 4.5 mm is 2.7, 2.9, 3.2 or 4.5 mm high after scaling; 3 mm are needed."""
    disc = ("cylinder", "add", {"radius_low": 20, "radius_high": 20, "height": 4.5})
    factors = {"factor_x": 1.2, "factor_y": 1.2, "factor_z": factor}
    design = build(disc, ("scale", "free", factors))
    assert ("hollow" in names(operation_mask(design.solid, 1, False, SPACE))) is on
    if not on:
        assert attempt(design, "hollow", wall=2, floor=2) == "too_thin"


def test_the_designers_list():
    allowed = ("box", "taper")
    assert names(operation_mask(EMPTY, 0, False, SPACE, allowed)) == {"box"}
    assert names(operation_mask(build(ROD).solid, 1, False, SPACE, allowed)) == {
        "box",
        "taper",
        "undo",
        "finish",
    }


@pytest.mark.parametrize(
    ("allowed", "words"),
    [(("bx",), "'box'"), (("taper",), "add one of box"), ((), "add one of box")],
)
def test_a_list_that_cannot_work(allowed, words):
    with pytest.raises(UserError, match=words):
        check_allowed(allowed)
    if allowed != ("bx",):
        with pytest.raises(UserError, match=words):
            operation_mask(EMPTY, 0, False, SPACE, allowed)


def test_a_seeded_list_needs_no_part():
    check_allowed(("taper",), seeded=True)
    check_allowed(None)


def masked_episodes(count, seed):
    """Plays masked random episodes; yields the design and the mask before each step."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        design, last = Design(), False
        for _ in range(8):
            mask = operation_mask(design.solid, design.undoable, last, design.space)
            yield design, mask
            action = random_action(design, rng, last)
            if action.op == FINISH:
                break
            last = action.op == UNDO
            refused = design.undo() and None if last else design.apply(action)
            assert refused is None or refused in REFUSALS[:-1]


def check_soundness(count, seed, every):
    """Invariant 18: no exception, a mask that is a product and never empty, the rest is refused."""
    rng = np.random.default_rng(seed + 1)
    for step, (design, mask) in enumerate(masked_episodes(count, seed)):
        assert mask.any()
        assert (mask == np.outer(mask.any(1), mask.any(0))).all()
        if step % every:
            continue
        solid, before = design.solid, design.solid.sha256
        for op, mode in np.argwhere(~mask[:UNDO]).tolist():
            action = Action.from_floats(op, mode, rng.uniform(-1, 1, 6))
            outcome = apply(solid, action, design.space)
            assert outcome.refused in REFUSALS
            assert outcome.solid is solid
        assert design.solid.sha256 == before


def test_masks_are_sound():
    check_soundness(40, 0, every=3)


@pytest.mark.slow
def test_masks_are_sound_for_2000_episodes():
    check_soundness(2000, 1, every=10)


def test_masked_out_patterns_are_refused_by_geometry():
    """The limits of mask and geometry are the same."""
    space = DesignSpace(max_pattern_triangles=200)
    solid = build(ROD, ("box", "add", {"size_x": 60, "size_y": 9, "size_z": 9, "x": 9})).solid
    for name in ("mirror", "polar"):
        modes = range(max(1, len(OPERATIONS[INDEX[name]].modes)))
        for mode in modes:
            action = Action(INDEX[name], mode, (0,) * 6)
            assert apply(solid, action, space).refused == "too_many_triangles"
