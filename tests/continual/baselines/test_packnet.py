"""PackNet: disjoint masks, nothing forgotten, pruning by hand, resumes in both phases."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from continual_toys import SHAPE, batch, network, task

from rlgen.continual.baselines.packnet import FREE, PackNet, largest
from rlgen.continual.experience import as_tensors
from rlgen.continual.learner import LEARNERS
from rlgen.continual.learners import LEARNERS as ALL
from rlgen.continual.recipe import Recipe
from rlgen.core.errors import UserError

RECIPE = Recipe(total_steps=4, batch_size=16, lr=0.05)


def made(kind="residual", recipe=RECIPE, **options):
    return LEARNERS["packnet"](network(kind), SHAPE, recipe, **options)


@pytest.fixture(scope="module")
def trained():
    """Two of three tasks, and the logits that each gave when it was learned."""
    learner, told = made(tasks=3), []
    for number in range(2):
        learner.learn_task(task(number))
        told.append(learner.predict(batch(), number).logits)
    return learner, told


@pytest.mark.parametrize("kind", ["plain", "residual"])
@pytest.mark.parametrize("start", ["random", "zero"])
def test_nothing_is_forgotten_to_the_last_bit(kind, start, tmp_path):
    learner, before = made(kind, tasks=3, start=start), []
    for number in range(3):
        learner.learn_task(task(number))
        before.append(learner.predict(batch(), number).logits)
    learner.save(tmp_path)
    loaded = made(kind, tasks=3, start=start)
    loaded.load(tmp_path)
    for number, logits in enumerate(before):
        assert torch.equal(learner.predict(batch(), number).logits, logits)
        assert torch.equal(loaded.predict(batch(), number).logits, logits)
    assert not torch.equal(before[0], before[1])


def test_weights_of_earlier_tasks_and_what_is_their_own_stay(trained):
    learner, _ = trained
    other = made(tasks=3)
    other.learn_task(task(0))
    own = {name: value.clone() for name, value in other._own[0].items()}
    for name, weights in other.weights.items():
        mine = learner.owners[name] == 1
        assert torch.equal(mine, other.owners[name] == 1)
        assert torch.equal(learner.weights[name][mine], weights[mine])
    assert all(torch.equal(learner._own[0][name], value) for name, value in own.items())


def test_masks_are_disjoint_equal_and_exhaustive(trained):
    learner, _ = trained
    for name, owner in learner.owners.items():
        count = owner.numel()
        assert int((owner == 1).sum()) == count // 3
        assert int((owner == 2).sum()) == (count - count // 3) // 2
        assert not learner.weights[name][owner == FREE].any()
    whole = made(tasks=1)
    whole.learn_task(task(0))
    assert all((owner == 1).all() for owner in whole.owners.values())


def test_a_task_reads_no_weight_of_later_ones(trained):
    learner, told = trained
    copy = made(tasks=3)
    copy.restore(*learner.state())
    for name, owner in copy.owners.items():
        copy.weights[name][owner != 1] += 1.0
    assert torch.equal(copy.predict(batch(), 0).logits, told[0])
    assert not torch.equal(copy.predict(batch(), 1).logits, told[1])


def test_earlier_weights_take_part_in_later_tasks(trained):
    learner, told = trained
    copy = made(tasks=3)
    copy.restore(*learner.state())
    for name, owner in copy.owners.items():
        copy.weights[name][owner == 1] = 0.0
    assert not torch.equal(copy.predict(batch(), 1).logits, told[1])


def test_the_smallest_weights_of_a_layer_are_pruned():
    values = torch.tensor([[3.0, -0.1, 0.2], [-5.0, 9.0, -0.2]])
    among = torch.tensor([[True, True, True], [True, False, True]])
    expected = torch.tensor([[True, False, True], [True, False, False]])
    assert torch.equal(largest(values, among, 3), expected)  # of the equal ones the first


def test_pruning_keeps_the_largest_of_each_layer():
    learner = made("plain", prune=0.75)
    learner.begin_task(task(0))
    for _ in range(2):
        learner.step()
    before = {name: value.detach().clone() for name, value in learner._learning.values.items()}
    assert all(mine.all() for mine in learner._learning.mine.values())
    learner.step()  # the first of the second phase
    for name, mine in learner._learning.mine.items():
        sizes = before[name].abs()
        assert int(mine.sum()) == round(mine.numel() / 4)
        assert sizes[mine].min() >= sizes[~mine].max()


def test_it_learns_each_task():
    learner = made(recipe=Recipe(total_steps=40, batch_size=24, lr=0.1), tasks=2)
    for number in range(2):
        learner.learn_task(task(number))
    for number in range(2):
        images, labels = as_tensors(task(number).test)
        assert (learner.predict(images, number).label == labels).float().mean() > 0.8


@pytest.mark.parametrize("steps", [1, 3])
def test_resumed_in_either_phase_it_is_an_uninterrupted_one(steps, tmp_path):
    whole, broken = made("plain", tasks=3), made("plain", tasks=3)
    for learner in (whole, broken):
        learner.learn_task(task(0))
    whole.learn_task(task(1, classes=4))
    broken.begin_task(task(1, classes=4))
    for _ in range(steps):
        broken.step()
    broken.save(tmp_path)
    resumed = made("plain", tasks=3)
    resumed.load(tmp_path, task(1, classes=4))
    while resumed.steps_left:
        resumed.step()
    resumed.end_task()
    one, two = (learner.state()[0] for learner in (whole, resumed))
    assert one.keys() == two.keys()
    for group in one:
        assert one[group].keys() == two[group].keys()
        assert all(torch.equal(one[group][key], two[group][key]) for key in one[group])


def test_counts_by_hand():
    given = nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.ReLU(), nn.Linear(4, 10))
    learner = PackNet(given, SHAPE, RECIPE, prune=0.75)
    learner.learn_task(task(0, classes=3))
    assert learner.parameter_count() == 192 + 4 + (4 * 3 + 3)
    assert learner.memory_bytes() == 768 * (4 + 1) + 4 * 4 + 15 * 4
    learner.learn_task(task(1, classes=3))
    assert learner.parameter_count() == 192 + 144 + 2 * (4 + 15)


def test_statistics_of_norms_are_bytes_but_no_parameters():
    learner = made("residual", tasks=1)
    learner.learn_task(task(0))
    shared = sum(value.numel() for value in learner.weights.values())
    own = 8 + 8 + 4 * 8 + 27  # biases, affine parameters of two norms, head of three classes
    assert learner.parameter_count() == shared + own
    assert learner.memory_bytes() == 5 * shared + 4 * own + 2 * (2 * 8 * 4 + 8)


def test_a_full_network_is_told():
    learner = made("plain", recipe=Recipe(total_steps=2, batch_size=8), tasks=1)
    learner.learn_task(task(0))
    with pytest.raises(UserError, match=r"is full: .* shared out to 1 tasks .* tasks=2"):
        learner.begin_task(task(1))
    given = nn.Sequential(nn.Flatten(), nn.Linear(192, 1), nn.Linear(1, 1), nn.Linear(1, 2))
    with pytest.raises(UserError, match=r"1 weights of 2\.weight are free, too few"):
        PackNet(given, SHAPE, RECIPE, tasks=2).begin_task(task(0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": 2, "prune": 0.5}, "either tasks=3 or prune=0.5"),
        ({"tasks": 0}, "tasks=0 is too small"),
        ({"prune": 1.0}, "prune=1.0 is no share between 0 and 1"),
        ({"retrain": 0.0}, "retrain=0.0 is no share"),
        ({"start": "old"}, "start='old' is unknown; allowed: zero, random"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(UserError, match=message):
        made("plain", **options)


def test_states_of_other_plans_and_networks_are_refused(trained):
    learner, _ = trained
    with pytest.raises(UserError, match=r"has tasks=3, prune=0\.5, this learner tasks=2"):
        made(tasks=2).restore(*learner.state())
    with pytest.raises(UserError, match="does not fit the network"):
        made("plain", tasks=3).restore(*learner.state())


def test_it_is_registered():
    assert ALL["packnet"] is PackNet


@pytest.mark.parametrize(("first", "then"), [(4, 8), (8, 4)])
def test_a_task_is_pruned_once_where_a_resumed_run_has_other_steps(first, then, tmp_path):
    learner = made("plain", Recipe(total_steps=first, batch_size=16, lr=0.05), tasks=3)
    learner.begin_task(task(0))
    for _ in range(3):
        learner.step()
    learner.save(tmp_path)
    resumed = made("plain", Recipe(total_steps=then, batch_size=16, lr=0.05), tasks=3)
    resumed.load(tmp_path, task(0))
    while resumed.steps_left:
        resumed.step()
    resumed.end_task()
    for owner in resumed.owners.values():
        assert int((owner == 1).sum()) == owner.numel() // 3
