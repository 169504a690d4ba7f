"""Generators: independent by purpose, the same for a seed, restored exactly from JSON."""

import json

import numpy as np
import pytest

from rlgen.core.seeding import generator_state, restore_generator, spawn_generators


def test_the_same_seed_gives_the_same_numbers():
    first, second = (spawn_generators(3, "actions", "genes") for _ in range(2))
    for name in ("actions", "genes"):
        assert first[name].random(5).tolist() == second[name].random(5).tolist()


@pytest.mark.parametrize(("seed", "name"), [(4, "actions"), (3, "genes")])
def test_another_seed_or_purpose_gives_other_numbers(seed, name):
    here = spawn_generators(3, "actions", "genes")["actions"].random(5)
    assert not np.isin(here, spawn_generators(seed, "actions", "genes")[name].random(5)).any()


def test_drawing_for_one_purpose_does_not_shift_another():
    plain, busy = (spawn_generators(0, "a", "b") for _ in range(2))
    busy["a"].random(1000)
    assert busy["b"].random() == plain["b"].random()


def test_no_seed_takes_fresh_entropy():
    assert spawn_generators(None, "a")["a"].random() != spawn_generators(None, "a")["a"].random()


def test_the_streams_are_numpys_spawned_children():
    child = np.random.SeedSequence(7).spawn(2)[1]
    expected = np.random.default_rng(child).integers(1 << 40, size=4)
    drawn = spawn_generators(7, "a", "b")["b"].integers(1 << 40, size=4)
    assert drawn.tolist() == expected.tolist()


def test_a_state_comes_back_exactly_through_json():
    generator = spawn_generators(0, "a")["a"]
    generator.integers(10, size=3, dtype=np.uint32)  # leaves half a 64-bit number unused
    saved = json.dumps(generator_state(generator))
    expected = [generator.integers(10, dtype=np.uint32) for _ in range(5)]
    restore_generator(generator, json.loads(saved))
    assert [generator.integers(10, dtype=np.uint32) for _ in range(5)] == expected


def test_the_state_is_a_copy():
    generator = spawn_generators(0, "a")["a"]
    saved = generator_state(generator)
    expected = json.dumps(saved)
    generator.random(10)
    assert json.dumps(saved) == expected
