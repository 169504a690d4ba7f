"""Batches and examples in the forms that loops give them."""

from collections import UserDict

import pytest
import torch
from torch import nn

from rlgen.core.errors import UserError
from rlgen.distill.batches import example_inputs, split_batch, to_device

X, Y = torch.ones(3, 2), torch.tensor([0, 1, 2])


@pytest.mark.parametrize("batch", [(X, Y), [X, Y]])
def test_pairs(batch) -> None:
    inputs, labels = split_batch(batch)
    assert inputs is X
    assert labels is Y


@pytest.mark.parametrize("key", ["labels", "label"])
@pytest.mark.parametrize("kind", [dict, UserDict])
def test_mappings(key, kind) -> None:
    inputs, labels = split_batch(kind({"ids": X, key: Y}))
    assert inputs == {"ids": X}
    assert labels is Y
    assert split_batch({"ids": X})[1] is None


@pytest.mark.parametrize(
    ("batch", "named"), [((X, Y, Y), "tuple of 3"), ({}, "dict of 0"), (3, "int")]
)
def test_other_things_are_refused(batch, named) -> None:
    with pytest.raises(UserError, match=f"a batch is .* got {named}"):
        split_batch(batch)


def test_an_example_is_two_samples_as_the_network_computes() -> None:
    net = nn.Linear(2, 2).double()
    made = example_inputs((5, 2), net)
    assert (made.shape, made.dtype) == ((2, 5, 2), torch.float64)
    assert torch.equal(example_inputs((X, Y), net), X[:2])
    given = example_inputs({"ids": Y, "nested": (X, 4), "labels": Y}, net)
    assert torch.equal(given["ids"], Y[:2])
    assert given["nested"][0].shape == (2, 2)
    assert given["nested"][1] == 4
    assert example_inputs((4,), nn.ReLU()).shape == (2, 4)  # a network without weights


def test_inputs_move() -> None:
    moved = to_device({"a": X, "b": [Y]}, torch.device("meta"))
    assert moved["a"].device.type == moved["b"][0].device.type == "meta"
