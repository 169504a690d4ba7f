"""What every task index promises: no data kept, exact resume, argmax, clear lines."""

import json
import sys
import weakref
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from index_toys import OPTIONS, SHAPE, blobs, copied, index

import rlgen.density_index  # noqa: F401  (registers density)
from rlgen.continual.experience import as_tensors
from rlgen.continual.hnet import TASK_INDICES
from rlgen.core.errors import NonFiniteLossError, UserError

NAMES = sorted(OPTIONS)


@pytest.fixture(scope="module")
def learned():
    """Every index after two tasks, made once."""
    made = {name: index(name) for name in NAMES}
    for one in made.values():
        for number in range(2):
            one.learn_task(blobs(number))
    return made


def batch(count=12):
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NAMES)
def test_the_route_is_the_argmax_of_scores(name, learned):
    images = batch()
    scores = learned[name].scores(images)
    assert scores.shape == (12, 2)
    assert torch.isfinite(scores).all()
    assert torch.equal(learned[name].route(images), scores.argmax(1))
    torch.testing.assert_close(learned[name].scores(images[:3]), scores[:3])


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("autoencoder", 4),
        ("density", 2),
        ("density", 4),
        ("density", 6),
        ("gan", 3),
        ("gan", 6),
        ("gan", 9),
        ("prototype", 2),
    ],
)
def test_an_index_resumed_inside_a_task_is_an_uninterrupted_one(name, steps, learned):
    broken = index(name)
    broken.learn_task(blobs(0))
    broken.begin_task(blobs(1))
    for _ in range(steps):
        broken.step()
    tensors, values = broken.state()
    tensors, values = copied(tensors), json.loads(json.dumps(values))
    torch.manual_seed(steps)  # nothing may hang on the global numbers
    resumed = index(name)
    resumed.restore(tensors, values)
    assert resumed.count == 1
    resumed.begin_task(blobs(1))
    resumed.resume(tensors, values)
    assert (resumed.steps_done, resumed.steps_left) == (steps, broken.steps_left)
    while resumed.steps_left:
        resumed.step()
    resumed.end_task()
    (one, _), (two, _) = resumed.state(), learned[name].state()
    assert one.keys() == two.keys()
    for file in one:
        assert one[file].keys() == two[file].keys()
        assert all(torch.equal(one[file][key], two[file][key]) for key in one[file])
    assert torch.equal(resumed.scores(batch()), learned[name].scores(batch()))


@pytest.mark.parametrize("name", NAMES)
def test_pictures_are_let_go_and_memory_is_what_a_state_holds(name, learned):
    one = index(name)
    task = blobs(0)
    pixels = weakref.ref(task.train.pixels)
    one.learn_task(task)
    del task
    assert pixels() is None
    tensors, values = learned[name].state()
    held = sum(value.nbytes for group in tensors.values() for value in group.values())
    assert learned[name].memory_bytes() == held > one.memory_bytes() > 0
    assert (values["index"], values["count"], values["training"]) == (name, 2, None)


@pytest.mark.parametrize("name", NAMES)
def test_with_one_task_there_is_nothing_to_find_also_while_the_next_is_learned(name):
    one = index(name)
    with pytest.raises(UserError, match="no task was learned yet"):
        one.scores(batch())
    one.learn_task(blobs(0))
    before = one.scores(batch())
    one.begin_task(blobs(1))
    one.step()
    assert one.scores(batch()).shape == (12, 1)
    assert torch.equal(one.scores(batch()), before)
    assert one.route(batch()).tolist() == [0] * 12


def test_grey_is_repeated_and_pictures_are_resized():
    one = index("prototype", (1, 28, 28), size=32)
    ramp = torch.linspace(0, 1, 28).expand(1, 1, 28, 28)
    seen = one.prepared(ramp)
    assert seen.shape == (1, 3, 32, 32)
    assert torch.equal(seen[:, 0], seen[:, 2])
    assert seen.min() >= 0
    assert seen.max() <= 1
    torch.testing.assert_close(seen[0, 0, 0], torch.linspace(0, 1, 32), atol=0.02, rtol=0)
    same = index("prototype")
    assert torch.equal(same.prepared(batch()), batch())


def test_a_task_given_up_leaves_nothing(learned):
    one = index("gan")
    one.learn_task(blobs(0))
    one.begin_task(blobs(2))
    one.step()
    one.learn_task(blobs(1))
    assert torch.equal(one.scores(batch()), learned["gan"].scores(batch()))


def test_mistakes_are_one_clear_line(learned):
    one = index("prototype")
    with pytest.raises(UserError, match="begin one first"):
        one.step()
    with pytest.raises(UserError, match="begin one first"):
        one.end_task()
    with pytest.raises(UserError, match=r"pictures of \(3, 9, 9\); the index takes \(3, 8, 8\)"):
        one.learn_task(blobs(0, shape=(3, 9, 9)))
    one.learn_task(blobs(0))
    with pytest.raises(UserError, match=r"pictures of \(1, 8, 8\) were given"):
        one.scores(torch.rand(2, 1, 8, 8))
    with pytest.raises(UserError, match="1 or 3 channels"):
        index("gan", (4, 8, 8))
    with pytest.raises(UserError, match="size=24; the index takes a side of 8, 16, 32"):
        index("gan", size=24)
    with pytest.raises(UserError, match="width=0 is too small"):
        index("autoencoder", width=0)
    with pytest.raises(UserError, match="unknown task index 'gen'; did you mean 'gan'"):
        TASK_INDICES["gen"]
    state = learned["gan"].state()
    with pytest.raises(UserError, match="has the task index gan, not prototype"):
        one.restore(*state)
    with pytest.raises(UserError, match="does not fit the task index gan"):
        index("gan", width=8).restore(*state)
    prototypes = learned["prototype"].state()
    with pytest.raises(UserError, match="does not fit the task index prototype"):
        index("prototype", width=5).restore(*prototypes)


def test_a_loss_that_is_no_number_ends_the_task():
    one = index("autoencoder")
    one.begin_task(blobs(0))
    for parameter in one._descent.network.parameters():
        parameter.data.fill_(torch.nan)
    for _ in range(5):  # checked at the last step, and every 50
        one.step()
    with pytest.raises(NonFiniteLossError, match="reconstruction"):
        one.step()


@pytest.mark.parametrize("name", ["prototype", "autoencoder", "density"])
def test_blobs_far_apart_are_told_apart(name):
    longer = {"autoencoder": {"steps": 40}, "density": {"steps": 30, "density_steps": 10}}
    one = index(name, **longer.get(name, {}))
    for number in (0, 2):
        one.learn_task(blobs(number))
    for place, number in enumerate((0, 2)):
        images, _ = as_tensors(blobs(number).test)
        assert (one.route(images / 255) == place).float().mean() >= 0.99
