"""The ring of labelled states."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from rlgen.policy_distillation.replay import StateReplay, default_capacity


def numbered(*numbers):
    values = np.array(numbers)
    return values, np.stack([values, -values], axis=1).astype(np.float32)


def ring(capacity=4):
    return StateReplay(spaces.Discrete(100), 2, capacity)


def kept(replay):
    return sorted(replay.observations[: replay.size].tolist())


def test_the_newest_states_stay():
    replay = ring()
    replay.add(*numbered(1, 2, 3))
    assert kept(replay) == [1, 2, 3]
    replay.add(*numbered(4, 5))
    assert kept(replay) == [2, 3, 4, 5]
    replay.add(*numbered(10, 11, 12, 13, 14, 15))
    assert kept(replay) == [12, 13, 14, 15]
    replay.add(*numbered(16))
    assert kept(replay) == [13, 14, 15, 16]


def test_a_state_is_drawn_with_its_own_target():
    replay = ring()
    replay.add(*numbered(1, 2, 3))
    observations, targets = replay.sample(200, np.random.default_rng(0))
    assert set(observations.tolist()) == {1, 2, 3}
    assert torch.equal(targets, torch.stack([observations, -observations], dim=1).float())


def test_a_restored_ring_goes_on_as_it_would_have():
    one, two = ring(), ring()
    one.add(*numbered(1, 2, 3, 4, 5))
    two.restore({name: tensor.clone() for name, tensor in one.tensors().items()})
    for replay in (one, two):
        replay.add(*numbered(6, 7, 8))
    assert one.observations.tolist() == two.observations.tolist()
    assert one.targets.tolist() == two.targets.tolist()


def test_more_states_than_fit_are_refused():
    large = ring(6)
    large.add(*numbered(1, 2, 3, 4, 5))
    with pytest.raises(ValueError, match="more than 4"):
        ring().restore(large.tensors())


def test_the_capacity_is_bounded_by_memory():
    assert default_capacity(spaces.Box(0, 1, (4,), np.float32)) == 100_000
    frames = default_capacity(spaces.Box(0, 255, (4, 84, 84), np.uint8))
    assert frames == 256 * 2**20 // (4 * 84 * 84)
