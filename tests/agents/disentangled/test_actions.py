"""Actions of every space as vectors, by hand-computed numbers."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from rlgen.agents.disentangled import ActionCoding
from rlgen.core.errors import UserError

INF = float("inf")


@pytest.mark.parametrize(
    ("space", "actions", "expected"),
    [
        (spaces.Discrete(3), [0, 2], [[1, 0, 0], [0, 0, 1]]),
        (spaces.Discrete(2, start=5), [6], [[0, 1]]),
        (spaces.MultiDiscrete([2, 3]), [[1, 0], [0, 2]], [[0, 1, 1, 0, 0], [1, 0, 0, 0, 1]]),
        (spaces.MultiDiscrete([3, 3]), [[0, 1], [2, 2]], [[-1, 0], [1, 1]]),
        (spaces.MultiDiscrete([3, 3], start=[-1, -1]), [[-1, 1]], [[-1, 1]]),
        (spaces.MultiDiscrete([[2], [2]]), [[[1], [0]]], [[0, 1, 1, 0]]),
        (spaces.MultiBinary(3), [[1, 0, 1]], [[1, 0, 1]]),
        (spaces.Box(-2, 2, (2,)), [[1.0, -2.0], [5.0, -9.0]], [[0.5, -1], [1, -1]]),
        (spaces.Box(-2, 2, (2, 1)), [[[1.0], [-2.0]]], [[0.5, -1]]),
        (spaces.Box(0, 4, (1,)), [[0.0], [1.0], [4.0], [9.0]], [[-1], [-0.5], [1], [1]]),
        (spaces.Box(-INF, INF, (1,)), [[7.5]], [[7.5]]),
        (spaces.Box(np.float32([-1, -INF]), np.float32([3, INF])), [[1.0, 9.0]], [[0, 9]]),
        (spaces.Box(0, INF, (1,)), [[-3.0], [2.0]], [[0], [2]]),
        (spaces.Box(2, 2, (1,)), [[2.0], [5.0]], [[0], [0]]),
    ],
)
@pytest.mark.parametrize("form", [np.asarray, torch.tensor])
def test_vectors(space, actions, expected, form):
    coding = ActionCoding(space)
    vectors = coding.encode(form(actions))
    assert vectors.dtype == torch.float32
    assert vectors.tolist() == expected
    assert coding.dim == len(expected[0])


def test_sampled_box_actions_stay_within_one():
    space = spaces.Box(np.float32([-0.1, 3.3]), np.float32([0.7, 3.9]), seed=0)
    actions = np.stack([space.sample() for _ in range(200)] + [space.low, space.high])
    vectors = ActionCoding(space).encode(actions)
    assert vectors.abs().max() <= 1
    assert vectors[-2].tolist() == pytest.approx([-1, -1])
    assert vectors[-1].tolist() == pytest.approx([1, 1])


def test_three_way_choices_may_be_one_hot():
    coding = ActionCoding(spaces.MultiDiscrete([3, 3]), ternary=False)
    assert coding.dim == 6
    assert coding.encode([[0, 2]]).tolist() == [[1, 0, 0, 0, 0, 1]]


def test_numbers_may_be_counted_from_zero():
    coding = ActionCoding(spaces.Discrete(2, start=5), from_zero=True)
    assert coding.encode([1]).tolist() == [[0, 1]]


def test_columns_of_sb3_s_buffers_are_taken():
    assert ActionCoding(spaces.Discrete(2)).encode([[1], [0]]).tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("space", "ternary", "message"),
    [
        (spaces.Text(3), None, "Text has no vector; allowed: Discrete"),
        (spaces.Dict({"a": spaces.Discrete(2)}), None, "Dict has no vector"),
        (spaces.MultiDiscrete([3, 2]), True, "ternary=True needs three choices"),
        (spaces.Discrete(3), True, "ternary=True needs three choices"),
    ],
)
def test_mistakes_are_told(space, ternary, message):
    with pytest.raises(UserError, match=message):
        ActionCoding(space, ternary)
