"""Encodings: what is decoded, what is refused, that experts' actions survive."""

import numpy as np
import pytest
from gymnasium import spaces

from rlgen.core.errors import UserError
from rlgen.envs.design.encodings import ENCODINGS, action_space, decode, encode, one_hot, sample
from rlgen.envs.design.shape.operations import BIN_STEP, FINISH, LATTICE, Action, binned

ALL = np.ones((16, 3), dtype=bool)


def random_action(rng: np.random.Generator) -> Action:
    k = tuple(int(number) for number in rng.integers(-LATTICE, LATTICE + 1, 6))
    return Action(int(rng.integers(16)), int(rng.integers(3)), k)  # type: ignore[arg-type]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_is_encoded_is_decoded(encoding: str):
    rng, space = np.random.default_rng(0), action_space(encoding)
    for _ in range(200):
        action = random_action(rng)
        wanted = binned(action) if encoding == "multidiscrete" else action
        raw = encode(wanted, encoding)
        if encoding == "hybrid":
            raw = {key: np.asarray(value) for key, value in raw.items()}
        assert decode(raw, space, ALL) == wanted
        if encoding != "hybrid":
            assert raw in space


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_samples_are_in_the_space_and_under_the_mask(encoding: str):
    rng, space = np.random.default_rng(0), action_space(encoding)
    mask = np.zeros((16, 3), dtype=bool)
    mask[[1, 8]], mask[FINISH] = [True, False, True], True
    seen = set()
    for _ in range(200):
        action = decode(sample(space, mask, rng), space, mask)
        assert mask[action.op, action.mode]
        seen.add((action.op, action.mode))
    assert len(seen) == 7  # two modes of two operations, three of finish


def test_bins_are_lattice_points():
    """Invariant 23: the 17 bins are multiples of 64/512."""
    space = action_space("multidiscrete")
    assert isinstance(space, spaces.MultiDiscrete)
    for number in range(17):
        action = decode(np.array([0, 0, number, 0, 0, 0, 0, 16]), space, ALL)
        assert action.k == (number * BIN_STEP - LATTICE, -512, -512, -512, -512, 512)


def test_floats_are_rounded_before_they_are_used():
    """Invariant 23: an action and its rounded version are one."""
    space, rng = action_space("box"), np.random.default_rng(0)
    for _ in range(50):
        raw = space.sample() * 0 + rng.uniform(-1, 1, 25).astype(np.float32)
        rounded = raw.copy()
        rounded[-6:] = np.rint(raw[-6:] * LATTICE) / LATTICE
        assert decode(raw, space, ALL) == decode(rounded, space, ALL)


def test_the_box_takes_the_best_that_is_allowed():
    raw = np.full(25, -1.0, dtype=np.float32)
    raw[3], raw[5], raw[16 + 2], raw[16 + 1] = 1.0, 0.5, 1.0, 0.5
    space = action_space("box")
    mask = ALL.copy()
    assert decode(raw, space, mask).op == 3
    mask[3] = False
    mask[5, 2] = False
    action = decode(raw, space, mask)
    assert (action.op, action.mode) == (5, 1)


@pytest.mark.parametrize(
    ("encoding", "raw"),
    [
        ("multidiscrete", [16, 0, 0, 0, 0, 0, 0, 0]),
        ("multidiscrete", [0, 0, 0, 0, 0, 0, 0, 17]),
        ("multidiscrete", [0, 0, 0, 0, 0, 0, 0]),
        ("multidiscrete", [0, 0, 0.5, 0, 0, 0, 0, 0]),
        ("multidiscrete", None),
        ("box", np.full(25, 1.5)),
        ("box", np.full(25, np.nan)),
        ("box", "cylinder"),
        ("hybrid", {"op": 1, "mode": 0}),
        ("hybrid", {"op": 16, "mode": 0, "params": np.zeros(6)}),
        ("hybrid", {"op": 1, "mode": 0, "params": np.full(6, np.inf)}),
        ("hybrid", 3),
    ],
)
def test_actions_outside_of_the_space_are_told(encoding: str, raw):
    with pytest.raises(UserError, match=r"outside of .*action_space.sample") as error:
        decode(raw, action_space(encoding), ALL)
    assert "\n" not in str(error.value)


def test_an_unknown_encoding():
    with pytest.raises(UserError, match="did you mean 'multidiscrete'"):
        action_space("multi_discrete")


def test_features_of_an_action():
    row = one_hot(Action(2, 1, (512, -512, 256, 0, 0, 0)))
    assert np.flatnonzero(row).tolist() == [2, 17, 19, 20, 21]
    assert row[19:].tolist() == [1, -1, 0.5, 0, 0, 0]
