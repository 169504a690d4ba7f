"""The C-net as a learner: no forgetting, saves, resumes, routes, clear lines."""

import json

import pytest
import torch
from continual_toys import RECIPE, SHAPE, batch, network, pictures, task

from rlgen.continual.cnet_learner import CNetLearner
from rlgen.continual.experience import Experience, as_tensors
from rlgen.continual.export import export_task, load_task
from rlgen.continual.learners import LEARNERS
from rlgen.core.errors import NonFiniteLossError, UserError

SHARED = {"cnet": {"tasks": 2}}


def made(name="residual", recipe=RECIPE, **options):
    return CNetLearner(network(name), SHAPE, recipe, **{"tasks": 3, "grow": True, **options})


def images_of(number, part="test"):
    return as_tensors(getattr(task(number), part))


def same(one, two):
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_it_learns_each_task():
    learner = made(recipe=RECIPE.__class__(total_steps=30, batch_size=24, lr=0.1))
    for number in range(2):
        learner.learn_task(task(number))
    for number in range(2):
        images, labels = images_of(number)
        given = learner.predict(images, task=f"task{number}")
        assert (given.label == labels).float().mean() > 0.8
        assert (given.task == number).all()
    assert learner.tasks == ["task0", "task1"]


@pytest.mark.parametrize("name", ["residual", "resnet8"])
def test_outputs_of_old_tasks_stay_to_the_last_bit_also_after_save_and_load(name, tmp_path):
    learner, before = made(name), []
    for number in range(3):
        learner.learn_task(task(number))
        before.append(learner.predict(images_of(number)[0], task=number).logits)
    learner.save(tmp_path / "saved")
    for number, logits in enumerate(before):
        assert torch.equal(learner.predict(images_of(number)[0], task=number).logits, logits)
    loaded = made(name)
    loaded.load(tmp_path / "saved")
    assert loaded.records == learner.records
    loaded.learn_task(task(3))
    for number, logits in enumerate(before):
        assert torch.equal(loaded.predict(images_of(number)[0], task=number).logits, logits)
    assert loaded.parameter_count() > learner.parameter_count()


def answers_after_the_first_task_was_wiped(name, wipe):
    learner = LEARNERS[name](network(), SHAPE, RECIPE, **SHARED.get(name, {}))
    first = task(0)
    learner.learn_task(first)
    if wipe:
        first.train.pixels[:] = 0
    learner.learn_task(task(1))
    return learner.predict(batch(), 0).logits


@pytest.mark.parametrize(("name", "reads"), [("cnet", False), ("joint", True)])
def test_a_task_learned_touches_no_picture_of_earlier_ones(name, reads):
    kept, wiped = (answers_after_the_first_task_was_wiped(name, wipe) for wipe in (False, True))
    assert torch.equal(kept, wiped)  # joint training has a copy, which its size tells
    sizes = []
    for count in (48, 480):
        learner = LEARNERS[name](network(), SHAPE, RECIPE, **SHARED.get(name, {}))
        learner.learn_task(task(0, count=count))
        groups, _ = learner.state()
        sizes.append(sum(value.nbytes for group in groups.values() for value in group.values()))
    assert (sizes[1] > sizes[0]) == reads == learner.keeps_data


@pytest.mark.parametrize("name", ["plain", "residual"])
def test_a_run_resumed_inside_a_task_is_an_uninterrupted_one(name, tmp_path):
    whole, broken = made(name), made(name)
    for learner in (whole, broken):
        learner.learn_task(task(0))
        learner.save(tmp_path)
    whole.learn_task(task(1))
    broken.begin_task(task(1))
    for _ in range(3):
        broken.step()
    broken.save(tmp_path)
    resumed = made(name)
    with pytest.raises(UserError, match="in the middle of task task1 and data of none"):
        resumed.load(tmp_path)
    resumed.load(tmp_path, task(1))
    assert resumed.steps_left == 1
    while resumed.steps_left:
        resumed.step()
    resumed.end_task()
    assert resumed.records == whole.records
    one, two = resumed.cnet.state(), whole.cnet.state()
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_dropout_is_drawn_from_seed_and_step_alone():
    one, two = made("plain"), made("plain")
    one.learn_task(task(0))
    torch.manual_seed(99)
    seen = []
    two.learn_task(task(0), on_step=lambda step, terms: seen.append((step, terms)))
    assert same(one.cnet.state().values(), two.cnet.state().values())
    assert [step for step, _ in seen] == [1, 2, 3, 4]
    assert set(seen[0][1]) == {"loss", "loss/task"}


def test_tasks_are_routed():
    learner = made(route=lambda images: (images[:, 0, 0, 0] > 0.5).long())
    learner.learn_task(task(0, classes=3))
    images = torch.rand(20, *SHAPE)
    assert (learner.predict(images).task == 0).all()  # with one task there is nothing to find
    learner.learn_task(task(1, classes=4))
    found = learner.predict(images, batch_size=7)
    assert found.task.tolist() == (images[:, 0, 0, 0] > 0.5).long().tolist()
    for number in (0, 1):
        mine = found.task == number
        own = learner.logits(images[mine], number)
        torch.testing.assert_close(found.logits[mine][:, : own.shape[1]], own)
        assert torch.equal(found.label[mine], own.argmax(1))
    assert (found.logits[found.task == 0][:, 3] == -torch.inf).all()


def test_with_a_perfect_index_accuracies_are_those_of_given_tasks():
    learner = made()
    for number in range(2):
        learner.learn_task(task(number))
    for number in range(2):
        images, _ = images_of(number)
        learner.route = lambda x, n=number: torch.full((len(x),), n)
        assert torch.equal(learner.predict(images).label, learner.predict(images, number).label)


def test_without_an_index_the_surest_head_decides():
    learner = made()
    for number in range(2):
        learner.learn_task(task(number))
    images, _ = images_of(0)
    sure = torch.stack([learner.logits(images, n).softmax(1).amax(1) for n in (0, 1)])
    assert torch.equal(learner.predict(images).task, sure.argmax(0))


def test_bytes_and_floats_are_the_same_pictures():
    learner = made()
    learner.learn_task(task(0))
    images, _ = images_of(0)
    assert torch.equal(learner.logits(images, 0), learner.logits(images.float() / 255, 0))


@pytest.mark.parametrize("name", ["plain", "resnet8"])
def test_an_exported_task_is_its_portion(name, tmp_path):
    learner = made(name)
    for number in range(2):
        learner.learn_task(task(number))
    export_task(learner.cnet, 0, learner.records[0], tmp_path / "out")
    loaded = load_task(network(name, seed=7), tmp_path / "out")
    images, _ = images_of(0)
    normal = loaded.record.normalized(images.contiguous().float() / 255)
    assert torch.equal(loaded.network(normal), learner.logits(images, 0))
    assert loaded.record == learner.records[0]
    sizes = [sum(p.numel() for p in n.parameters()) for n in (loaded.network, network(name))]
    assert sizes[0] < sizes[1]
    assert sizes[0] == learner.cnet.used_parameters(0)
    other = "resnet8" if name == "plain" else "plain"
    with pytest.raises(UserError, match="is no exported task of this network"):
        load_task(network(other), tmp_path / "out")
    (tmp_path / "out" / "note").write_text("mine")
    with pytest.raises(UserError, match="holds other files"):
        export_task(learner.cnet, 0, learner.records[0], tmp_path / "out")


def test_mistakes_are_one_clear_line(tmp_path):
    learner = made(grow=False, tasks=1)
    with pytest.raises(UserError, match="no task was learned yet"):
        learner.predict(torch.rand(1, *SHAPE))
    learner.learn_task(task(0))
    with pytest.raises(UserError, match="task task0 was learned before"):
        learner.learn_task(task(0))
    with pytest.raises(UserError, match=r"pictures of \(1, 8, 8\) and the network takes"):
        learner.learn_task(task(1, shape=(1, 8, 8)))
    with pytest.raises(UserError, match="the network is full"):
        learner.learn_task(task(1))
    assert learner.steps_left == 0
    with pytest.raises(UserError, match="'tesk0' was not learned; did you mean 'task0'"):
        learner.predict(torch.rand(1, *SHAPE), task="tesk0")
    with pytest.raises(UserError, match="task=2: 1 tasks were learned"):
        learner.predict(torch.rand(1, *SHAPE), task=2)
    with pytest.raises(UserError, match=r"pictures of \(3, 9, 9\) were given"):
        learner.predict(torch.rand(1, 3, 9, 9), task=0)
    learner.save(tmp_path)
    with pytest.raises(UserError, match=r"shares channels out as \[1.0\]"):
        made(tasks=2).load(tmp_path)
    with pytest.raises(UserError, match="holds no learner"):
        made().load(tmp_path / "nowhere")
    file = next(tmp_path.glob("*/cnet.safetensors"))
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"cannot be read: .* is damaged"):
        made(tasks=1).load(tmp_path)


def test_a_save_holds_json_and_safetensors_alone(tmp_path):
    learner = made()
    learner.learn_task(task(0))
    saved = learner.save(tmp_path)
    assert {path.suffix for path in saved.iterdir()} == {".json", ".safetensors"}
    assert json.loads((saved / "state.json").read_text())["learner"] == "cnet"
    learner.learn_task(task(1))
    assert learner.save(tmp_path) != saved
    assert not saved.exists()


def test_a_loss_that_is_no_number_ends_the_task():
    wild = RECIPE.__class__(total_steps=6, batch_size=16, lr=1e3, weight_decay=1e3)
    learner = made("plain", recipe=wild)
    with pytest.raises(NonFiniteLossError):
        learner.learn_task(task(0))
    with pytest.raises(UserError, match="no task is under way"):
        learner.end_task()  # which would freeze what is no number
    assert learner.tasks == []


@pytest.mark.parametrize("name", ["cnet", "packnet", "finetune"])
def test_a_task_is_left_only_by_name(name):
    options = SHARED.get(name, {})
    learner, other = (LEARNERS[name](network("plain"), SHAPE, RECIPE, **options) for _ in "ab")
    learner.begin_task(task(0))
    with pytest.raises(UserError, match="task0 has 4 steps left; take them, or abandon_task"):
        learner.end_task()
    with pytest.raises(UserError, match="task0 is not ended yet"):
        learner.begin_task(task(1))
    learner.abandon_task()
    for each in (learner, other):
        each.learn_task(task(1))
    assert learner.tasks == ["task1"]
    assert torch.equal(learner.predict(batch()).logits, other.predict(batch()).logits)


def test_what_is_saved_last_is_loaded(tmp_path):
    one, two = made(seed=0), made(seed=1)
    for learner in (one, two):
        learner.learn_task(task(0))
        learner.save(tmp_path)
    loaded = made(seed=1)
    loaded.load(tmp_path)
    assert torch.equal(loaded.predict(batch()).logits, two.predict(batch()).logits)
    assert not torch.equal(loaded.predict(batch()).logits, one.predict(batch()).logits)
    assert len(list(tmp_path.iterdir())) == 1


def test_any_seed_is_taken():
    learner = made(seed=2**31 - 1)
    learner.learn_task(task(0))
    assert learner.tasks == ["task0"]


def test_the_registry_has_it():
    assert LEARNERS["cnet"] is CNetLearner


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": ""}, "needs a name"),
        ({"name": ".."}, "names a folder too"),
        ({"name": "a/b"}, "names a folder too"),
        ({"classes": ("a",)}, "2 or more classes"),
        ({"classes": ("a", "b")}, "labels in train go from 0 to 2, of 2 classes"),
        ({"test": pictures(4, 3, 0, (1, 8, 8))}, "differ in shape"),
        ({"test": pictures(0, 3, 0)}, "no pictures in test"),
    ],
)
def test_an_experience_is_checked(change, message):
    good = {
        "name": "a",
        "train": pictures(6, 3, 0),
        "test": pictures(6, 3, 0),
        "classes": tuple("abc"),
    }
    with pytest.raises(UserError, match=message):
        Experience(**{**good, **change})
