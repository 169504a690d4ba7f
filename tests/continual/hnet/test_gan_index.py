"""The paper's index: frozen generators, balanced classifiers between 0 and 1 (invariant 9)."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))

from index_toys import SHAPE, blobs, index

from rlgen.continual.hnet.binary import BinaryTraining, negatives, probabilities
from rlgen.continual.hnet.networks import BinaryClassifier, discriminator, doublings, generator


def weights(network):
    return [value.clone() for value in network.state_dict().values()]


def same(one, two):
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.fixture(scope="module")
def three():
    """Three tasks, and what each generator was after each task."""
    one, memories = index("gan"), []
    for number in range(3):
        one.learn_task(blobs(number))
        memories.append([weights(network) for network in one.generators])
    return one, memories


def test_generators_of_old_tasks_stay_to_the_last_bit(three):
    one, memories = three
    for after, memory in enumerate(memories):
        assert len(memory) == after + 1
        for number, then in enumerate(memory):
            assert same(then, weights(one.generators[number]))
    assert not same(memories[2][0], memories[2][1])
    assert not any(p.requires_grad for g in one.generators for p in g.parameters())
    assert not any(network.training for g in one.generators for network in g.modules())


@torch.no_grad()
def test_probabilities_lie_between_0_and_1_whatever_is_shown(three):
    one, _ = three
    images = torch.rand(6, *SHAPE)
    scores = one.scores(images)
    assert scores.dtype == torch.float64
    assert ((scores > 0) & (scores < 1)).all()
    sure = BinaryClassifier(4).eval()
    for sign in (-1.0, 1.0):
        sure.head.bias.fill_(sign * 1e4)
        scores = probabilities([sure], images)
        assert ((scores > 0) & (scores < 1)).all()
        assert ((scores - float(sign > 0)).abs() < 1e-12).all()


def test_the_order_in_which_tasks_are_asked_does_not_matter(three):
    one, _ = three
    images = torch.rand(20, *SHAPE, generator=torch.Generator().manual_seed(0))
    order = [2, 0, 1]
    turned = probabilities([one.classifiers[task] for task in order], images * 2 - 1)
    assert torch.equal(torch.tensor(order)[turned.argmax(1)], one.route(images))
    assert torch.equal(turned[:, 1], one.scores(images)[:, 0])


def test_there_is_no_classifier_before_the_second_task():
    one = index("gan")
    one.begin_task(blobs(0))
    assert one.steps_left == 6
    one.learn_task(blobs(0))
    assert not one.classifiers
    one.begin_task(blobs(1))
    assert one.steps_left == 6 + 5
    assert one.state()[0].keys() == {
        "generators",
        "generator_under_way",
        "discriminator_under_way",
    }
    epochs = index("gan", gan_epochs=3)
    epochs.begin_task(blobs(0))
    assert epochs.steps_left == 3 * 4  # 64 pictures in batches of 16


@pytest.mark.parametrize(("count", "shares"), [(6, [3, 3]), (7, [4, 3])])
def test_negatives_are_as_many_of_each_other_task(count, shares):
    drawn = [torch.full((count, 3, 2, 2), float(task)) for task in range(3)]
    taken = negatives(drawn, 1, count)
    assert len(taken) == count
    assert [int((taken[:, 0, 0, 0] == task).sum()) for task in (0, 2)] == shares
    assert not (taken == 1).any()


def test_classifiers_learn_their_own_task_from_samples_alone():
    torch.manual_seed(0)
    training = BinaryTraining(2, lambda: BinaryClassifier(4), 0.02, torch.device("cpu"))

    def drawn(task, count):
        return (torch.rand(count, 3, 8, 8) * 0.5) + (task - 0.75)

    first = training.step(drawn, 8)
    for _ in range(25):
        last = training.step(drawn, 8)
    assert last < 0.5 * first
    judges = [judge.eval() for judge in training.classifiers]
    for task in range(2):
        assert (probabilities(judges, drawn(task, 16)).argmax(1) == task).all()


@pytest.mark.parametrize("size", [8, 32])
def test_networks_have_the_sizes_of_the_specification(size):
    made, judge = generator(10, 4, size), discriminator(4, size)
    pictures = made(torch.randn(2, 10, 1, 1))
    assert pictures.shape == (2, 3, size, size)
    assert judge(pictures).shape == (2, 1, 1, 1)
    assert doublings(size) == {8: 1, 32: 3}[size]
    full = generator(100, 64, 32)
    maps = [m.out_channels for m in full if isinstance(m, nn.ConvTranspose2d)]
    assert maps == [256, 128, 64, 3]
    maps = [m.out_channels for m in BinaryClassifier().features if isinstance(m, nn.Conv2d)]
    assert maps == [32, 64, 128]


def test_a_coarse_classifier_does_not_see_what_averages_out():
    checks = (torch.arange(16)[:, None] + torch.arange(16)) % 2 - 0.5
    pictures = torch.rand(2, 3, 16, 16)
    for pool, blind in ((1, False), (2, True)):
        judge = BinaryClassifier(4, pool=pool).eval()
        assert torch.allclose(judge(pictures), judge(pictures + checks), atol=1e-5) is blind


def test_a_classifier_is_disturbed_in_training_alone():
    judge = BinaryClassifier(4, noise=0.5)
    pictures = torch.rand(8, 3, 16, 16)
    assert not torch.equal(judge(pictures), judge(pictures))
    judge.eval()
    assert torch.equal(judge(pictures), judge(pictures))
