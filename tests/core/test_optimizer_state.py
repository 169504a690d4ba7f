"""Optimiser states through tensors and JSON: a restored optimiser steps as the saved one would."""

import json
from functools import partial

import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from rlgen.core.optimizer_state import optimizer_state, restore_optimizer

OPTIMIZERS = {
    "fused Adam": partial(torch.optim.Adam, lr=1e-2, betas=(0.5, 0.9), fused=True),
    "Adam": partial(torch.optim.Adam, lr=1e-2),
    "Adam one by one": partial(torch.optim.Adam, lr=1e-2, amsgrad=True, foreach=False),
    "RMSprop": partial(torch.optim.RMSprop, lr=1e-2, momentum=0.9, centered=True),
    "SGD": partial(torch.optim.SGD, lr=1e-2, momentum=0.9),
}
each_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)


def network():
    """Its first weight lies in memory as (out, height, width, in)."""
    torch.manual_seed(1)
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(36, 2))
    layers.to(memory_format=torch.channels_last)
    assert not layers[0].weight.is_contiguous()
    return layers


def step(layers, optimizer, seed):
    x = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    optimizer.zero_grad()
    layers(x.to(memory_format=torch.channels_last)).square().sum().backward()
    optimizer.step()


def through_files(moments, groups):
    """What a checkpoint does: moments become contiguous, groups JSON."""
    data = save({name: moment.contiguous() for name, moment in moments.items()})
    return load(data), json.loads(json.dumps(groups))


def trained(make, steps=3):
    layers = network()
    optimizer = make(layers.parameters())
    for k in range(steps):
        step(layers, optimizer, k)
    return layers, optimizer


def equal(one, other):
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@each_optimizer
def test_a_restored_optimizer_takes_the_same_steps(make):
    layers, optimizer = trained(make)
    other = network()
    other.load_state_dict(layers.state_dict())
    fresh = make(other.parameters())
    restore_optimizer(fresh, *through_files(*optimizer_state(optimizer)))
    for k in (3, 4):
        step(layers, optimizer, k)
        step(other, fresh, k)
        assert equal(layers, other)


@each_optimizer
def test_without_its_state_an_optimizer_steps_otherwise(make):
    layers, optimizer = trained(make)
    other = network()
    other.load_state_dict(layers.state_dict())
    step(layers, optimizer, 3)
    step(other, make(other.parameters()), 3)
    assert not equal(layers, other)


def test_moments_are_named_by_parameter_and_keep_their_values():
    layers, optimizer = trained(OPTIMIZERS["Adam"], steps=1)
    moments, _ = optimizer_state(optimizer)
    names = {f"{k}.{name}" for k in range(4) for name in ("step", "exp_avg", "exp_avg_sq")}
    assert moments.keys() == names
    assert moments["2.step"] == 1
    torch.testing.assert_close(moments["0.exp_avg"], 0.1 * layers[0].weight.grad)


def test_restored_moments_lie_in_memory_as_their_parameters_do():
    layers, optimizer = trained(OPTIMIZERS["fused Adam"])
    restore_optimizer(optimizer, *through_files(*optimizer_state(optimizer)))
    weight = layers[0].weight
    assert optimizer.state[weight]["exp_avg"].stride() == weight.stride()


def test_settings_come_back_with_their_types():
    _, optimizer = trained(OPTIMIZERS["fused Adam"])
    optimizer.param_groups[0]["lr"] = 3e-4  # as a schedule left it
    _, fresh = trained(OPTIMIZERS["Adam"], steps=0)
    restore_optimizer(fresh, *through_files(*optimizer_state(optimizer)))
    group = fresh.param_groups[0]
    assert group["lr"] == 3e-4
    assert group["betas"] == (0.5, 0.9)
    assert isinstance(group["betas"], tuple)
    assert group["fused"] is True


def test_the_state_of_an_optimizer_that_took_no_step_is_empty():
    layers, optimizer = trained(OPTIMIZERS["fused Adam"], steps=0)
    moments, groups = optimizer_state(optimizer)
    assert moments == {}
    restore_optimizer(optimizer, moments, groups)
    step(layers, optimizer, 0)
    assert optimizer_state(optimizer)[0]["0.step"] == 1


def two_groups():
    first, second = (nn.Parameter(torch.ones(n)) for n in (2, 3))
    return torch.optim.Adam([{"params": [first], "lr": 1e-2}, {"params": [second], "lr": 1e-3}])


def test_each_group_keeps_its_own_settings():
    saved, fresh = two_groups(), two_groups()
    for group, rate in zip(saved.param_groups, (0.5, 0.25), strict=True):
        group["lr"] = rate
    restore_optimizer(fresh, *through_files(*optimizer_state(saved)))
    assert [group["lr"] for group in fresh.param_groups] == [0.5, 0.25]
    assert [len(group["params"]) for group in fresh.param_groups] == [1, 1]


def test_the_groups_of_another_optimizer_are_refused():
    _, one_group = trained(OPTIMIZERS["Adam"])
    with pytest.raises(ValueError, match=r"zip|moments"):
        restore_optimizer(one_group, *optimizer_state(two_groups()))
    with pytest.raises(ValueError, match=r"zip|moments"):
        restore_optimizer(two_groups(), *optimizer_state(one_group))
