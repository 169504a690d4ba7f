"""The whole system: classes by the C-net, tasks by the index, resumed in either phase."""

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent / "hnet"))

from continual_toys import batch, network
from index_toys import OPTIONS, SHAPE, blobs

from rlgen.continual.experience import as_tensors
from rlgen.continual.hcnet import HCNet
from rlgen.continual.learner import LEARNERS
from rlgen.continual.recipe import Recipe
from rlgen.core.errors import UserError

RECIPE = Recipe(total_steps=4, batch_size=16, lr=0.05)
FAR = (0, 2)  # tasks many grey values apart


def made(index="gan", recipe=RECIPE, options=None, **others):
    options = {**OPTIONS[index], **(options or {})}
    given = {"tasks": 2, "grow": True, "index": index, "index_options": options, **others}
    return HCNet(network("plain"), SHAPE, recipe, **given)


def held_out(number):
    return as_tensors(blobs(number).test)


@pytest.fixture(scope="module")
def able():
    """A system that has learned two tasks far apart well."""
    options = {"gan_steps": 60, "gan_rate": 4e-3, "classifier_steps": 25, "classifier_rate": 0.01}
    learner = made(recipe=Recipe(total_steps=30, batch_size=16, lr=0.05), options=options)
    for number in FAR:
        learner.learn_task(blobs(number))
    return learner


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A short run saved after its first task, and what it said of some pictures then."""
    learner, folder = made(), tmp_path_factory.mktemp("first")
    learner.learn_task(blobs(FAR[0]))
    learner.save(folder)
    return folder, learner.predict(batch(), task=0).logits, learner


@pytest.fixture(scope="module")
def whole(first):
    """The same run, uninterrupted, after two tasks."""
    learner = first[2]
    learner.learn_task(blobs(FAR[1]))
    return learner


def test_tasks_far_apart_are_found_and_classes_told_as_with_given_tasks(able):
    for place, number in enumerate(FAR):
        images, labels = held_out(number)
        found, given = able.predict(images), able.predict(images, task=f"blobs{number}")
        assert (found.task == place).float().mean() >= 0.99
        right = [(p.label == labels).float().mean() for p in (found, given)]
        assert abs(right[0] - right[1]) <= 0.01
        assert right[1] > 0.9


def test_generators_remember_their_task(able):
    for place, number in enumerate(FAR):
        drawn = able.index.sample(place, 64)
        assert drawn.shape == (64, *SHAPE)
        assert drawn.min() >= 0
        assert drawn.max() <= 1
        real = as_tensors(blobs(number).train)[0] / 255
        assert abs(drawn.mean() - real.mean()) < 0.15  # the tasks are 0.63 apart
    again, other = (able.index.sample(0, 5, seed=seed) for seed in (4, 5))
    assert torch.equal(able.index.sample(0, 5, seed=4), again)
    assert not torch.equal(again, other)


def test_pictures_routed_right_are_told_as_with_given_tasks(whole):
    images = torch.cat([held_out(number)[0] for number in FAR])
    tasks = torch.arange(2).repeat_interleave(len(images) // 2)
    routes = [whole.index.route, lambda x: torch.arange(len(x)) % 2, lambda x: 0 * x[:, 0, 0, 0]]
    try:
        for route in routes:
            whole.route = lambda x, r=route: r(x).long()
            found = whole.predict(images)
            routed = found.task == tasks
            for task in range(2):
                mine = routed & (tasks == task)
                given = whole.predict(images[mine], task=task) if mine.any() else None
                assert given is None or torch.equal(found.label[mine], given.label)
    finally:
        whole.route = whole.index.route


def test_with_an_oracle_accuracies_are_those_of_given_tasks():
    truth = torch.tensor([0, 1, 1, 0])
    learner = made("prototype", route=lambda images: truth)
    for number in FAR:
        learner.learn_task(blobs(number))
    images = batch(count=4)
    found = learner.predict(images)
    for place, task in enumerate(truth.tolist()):
        given = learner.predict(images[place : place + 1], task=task)
        assert (int(found.task[place]), int(found.label[place])) == (task, int(given.label))


def test_with_one_task_it_is_always_that_one():
    learner = made("prototype")
    learner.learn_task(blobs(0))
    assert learner.predict(torch.rand(5, *SHAPE)).task.tolist() == [0] * 5


def same_state(one, two):
    (one, values), (two, others) = one.state(), two.state()
    assert values == others
    assert one.keys() == two.keys()
    for file in one:
        assert one[file].keys() == two[file].keys()
        assert all(torch.equal(one[file][key], two[file][key]) for key in one[file]), file


@pytest.mark.parametrize(
    ("steps", "files"),
    [
        (2, {"moments", "under_way", "index_discriminator_under_way"}),
        (4, {"moments"}),
        (7, {"index_generator_under_way_moments"}),
        (13, {"index_binary_under_way_moments"}),
    ],
)
def test_a_run_resumed_in_either_phase_is_an_uninterrupted_one(
    steps, files, first, whole, tmp_path
):
    broken = made()
    broken.load(first[0])
    broken.begin_task(blobs(FAR[1]))
    assert broken.steps_left == 4 + 6 + 5  # C-net, GAN, classifiers
    for _ in range(steps):
        broken.step()
    saved = broken.save(tmp_path)
    assert files <= {path.stem for path in saved.glob("*.safetensors")}
    with pytest.raises(UserError, match="in the middle of task blobs2"):
        made().load(tmp_path)
    resumed = made()
    resumed.load(tmp_path, blobs(FAR[1]))
    assert (resumed.steps_done, resumed.steps_left) == (steps, 15 - steps)
    while resumed.steps_left:
        resumed.step()
    assert resumed.save(tmp_path) != saved
    resumed.end_task()
    same_state(resumed, whole)


def test_nothing_is_forgotten_also_after_save_and_load(first, whole, tmp_path):
    whole.save(tmp_path)
    loaded = made()
    loaded.load(tmp_path)
    same_state(loaded, whole)
    assert torch.equal(loaded.predict(batch(), task=0).logits, first[1])
    assert torch.equal(whole.predict(batch(), task=0).logits, first[1])
    for one, two in zip(loaded.predict(batch()), whole.predict(batch()), strict=True):
        assert torch.equal(one, two)


def test_steps_are_counted_over_both_phases():
    seen = []
    made().learn_task(blobs(0), on_step=lambda step, terms: seen.append((step, set(terms))))
    assert [step for step, _ in seen] == list(range(1, 11))  # no classifiers for one task
    assert seen[3][1] == {"loss", "loss/task"}
    assert seen[4][1] == {"loss", "index/discriminator", "index/generator"}


def test_memory_is_told_apart(whole):
    parts = whole.memory_parts()
    assert parts == {
        "cnet": whole.cnet.memory_bytes(),
        "index": whole.index.memory_bytes(),
    }
    assert whole.memory_bytes() == sum(parts.values())
    kept = nn.ModuleList([*whole.index.generators, *whole.index.classifiers])
    assert parts["index"] == sum(value.nbytes for value in kept.state_dict().values())
    assert not whole.keeps_data


def test_mistakes_are_one_clear_line(whole, tmp_path):
    with pytest.raises(UserError, match="unknown task index 'protype'; did you mean 'prototype'"):
        HCNet(network(), SHAPE, tasks=2, index="protype")
    with pytest.raises(UserError, match=r"index_options=\{'depth': 3\} do not fit index=gan"):
        HCNet(network(), SHAPE, tasks=2, index_options={"depth": 3})
    with pytest.raises(UserError, match="z=0 is too small"):
        made(options={"z": 0})
    learner = made("prototype")
    learner.learn_task(blobs(0))
    with pytest.raises(UserError, match="blobs0 was learned before"):
        learner.learn_task(blobs(0))
    learner.begin_task(blobs(1))
    while learner.steps_left:
        learner.step()
    with pytest.raises(UserError, match="no step of a task is left"):
        learner.step()
    saved = whole.save(tmp_path)
    assert json.loads((saved / "state.json").read_text())["index"]["index"] == "gan"
    with pytest.raises(UserError, match="has the task index gan, not prototype"):
        made("prototype").load(tmp_path)


def test_the_registry_has_it():
    assert LEARNERS["hcnet"] is HCNet
