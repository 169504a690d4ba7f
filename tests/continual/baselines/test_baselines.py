"""Each baseline's term has its effect, by hand where it can be computed, and states come back."""

import math
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from continual_toys import SHAPE, batch, network, task

from rlgen.continual.baselines import EWC, Baseline, LwF, Replay
from rlgen.continual.baselines.ewc import fisher_diagonal
from rlgen.continual.baselines.lwf import distillation
from rlgen.continual.experience import as_tensors
from rlgen.continual.heads import HeadedNetwork
from rlgen.continual.learner import LEARNERS
from rlgen.continual.recipe import Recipe
from rlgen.core.errors import UserError

NAMES = ("ewc", "finetune", "joint", "lwf", "replay")
RECIPE = Recipe(total_steps=4, batch_size=16, lr=0.05)
LONGER = Recipe(total_steps=20, batch_size=16, lr=0.05)


def made(name, kind="residual", **options):
    return LEARNERS[name](network(kind), SHAPE, RECIPE, **options)


def moved(learner, anchor):
    """Returns how far the body is from where it was."""
    now = dict(learner.network.body.named_parameters())
    return sum((now[name] - value).square().sum().item() for name, value in anchor.items())


def body(learner):
    return {name: p.detach().clone() for name, p in learner.network.body.named_parameters()}


@pytest.mark.parametrize("name", NAMES)
def test_a_baseline_resumed_inside_a_task_is_an_uninterrupted_one(name, tmp_path):
    few = {"fisher_samples": 8} if name == "ewc" else {}
    whole, broken = made(name, **few), made(name, **few)
    for learner in (whole, broken):
        learner.learn_task(task(0))
    whole.learn_task(task(1, classes=4))
    broken.begin_task(task(1, classes=4))
    for _ in range(2):
        broken.step()
    broken.save(tmp_path)
    resumed = made(name, **few)
    resumed.load(tmp_path, task(1, classes=4))
    while resumed.steps_left:
        resumed.step()
    resumed.end_task()
    one, two = (learner.state()[0] for learner in (whole, resumed))
    assert one.keys() == two.keys()
    for group in one:
        assert one[group].keys() == two[group].keys()
        assert all(torch.equal(one[group][key], two[group][key]) for key in one[group])
    images = batch()
    assert torch.equal(resumed.predict(images, 0).logits, whole.predict(images, 0).logits)
    assert resumed.predict(images, "task1").label.max() < 4


def test_finetuning_changes_old_outputs():
    learner = made("finetune")
    learner.learn_task(task(0))
    before = learner.predict(batch(), 0).logits
    learner.learn_task(task(1))
    assert not torch.allclose(learner.predict(batch(), 0).logits, before, atol=1e-2)


def test_springs_hold_the_weights():
    far = []
    for weight in (0.0, 10.0):
        learner = LEARNERS["ewc"](network("plain"), SHAPE, LONGER, weight=weight)
        learner.learn_task(task(0))
        ones = {name: torch.ones_like(value) for name, value in body(learner).items()}
        learner.strategy.fishers = [ones]
        anchor = body(learner)
        learner.learn_task(task(1))
        far.append(moved(learner, anchor))
    assert far[1] < 0.5 * far[0]


def test_the_springs_energy_is_that_of_the_formula():
    strategy, headed = EWC(weight=3.0), HeadedNetwork(network("plain"), SHAPE)
    ones = {name: torch.ones_like(p) for name, p in headed.body.named_parameters()}
    strategy.fishers = [{k: 2 * v for k, v in ones.items()}]
    strategy.anchors = [{k: p.detach() - 0.5 for k, p in headed.body.named_parameters()}]
    count = sum(value.numel() for value in ones.values())
    headed.add_head(3)
    energy = strategy.terms(headed, batch(), torch.zeros(10, dtype=torch.int64), 0)["ewc"]
    assert energy.item() == pytest.approx(3 / 2 * 2 * 0.25 * count, rel=1e-4)


def test_the_fisher_diagonal_is_the_mean_squared_gradient():
    torch.manual_seed(0)
    given = nn.Sequential(nn.Flatten(), nn.Linear(2, 1, bias=False), nn.Linear(1, 2, bias=False))
    headed = HeadedNetwork(given, (2, 1, 1)).eval()
    headed.add_head(2)
    images = torch.tensor([[1.0, 2.0], [-1.0, 0.5], [3.0, 0.0]]).view(3, 2, 1, 1)
    got = fisher_diagonal(headed, images, 0, torch.Generator().manual_seed(4))
    answers = headed(images, 0).softmax(1)
    labels = torch.multinomial(answers, 1, generator=torch.Generator().manual_seed(4))[:, 0]
    rows = headed.heads[0].weight[:, 0]
    # d log p_y / d w = (v_y - sum_c p_c v_c) x for logits v_c (w x) + b_c
    slopes = rows[labels] - (answers * rows).sum(1)
    expected = (slopes[:, None] * images.view(3, 2)).square().mean(0)
    torch.testing.assert_close(got["1.weight"][0], expected.detach())


def test_distillation_by_hand():
    new, old = torch.tensor([[0.0, 0.0]]), torch.tensor([[2 * math.log(3), 0.0]])
    expected = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert distillation(new, old, 2.0).item() == pytest.approx(4 * expected)
    assert distillation(old, old, 2.0).item() == pytest.approx(0, abs=1e-7)


def test_distillation_keeps_old_answers():
    gaps = []
    images = as_tensors(task(1).train)[0]
    for weight in (0.0, 1.0):
        learner = LEARNERS["lwf"](network("plain"), SHAPE, LONGER, weight=weight)
        learner.network.body.drop.p = 0.0
        learner.learn_task(task(0))
        before = learner.predict(images, 0).logits
        learner.learn_task(task(1))
        gaps.append(distillation(learner.predict(images, 0).logits, before, 2.0).item())
        assert learner.strategy.old is None
    assert gaps[1] < 0.5 * gaps[0]


def test_lwf_starts_from_the_old_network_and_never_moves_it():
    strategy, headed = LwF(), HeadedNetwork(network("plain"), SHAPE).eval()
    headed.add_head(3)
    headed.add_head(4)
    strategy.begin(headed, task(0), 0)
    terms = strategy.terms(headed, batch(), torch.zeros(10, dtype=torch.int64), 0)
    assert terms["lwf"].item() < 1e-6
    assert terms["task"].item() > 0
    assert not any(p.requires_grad for p in strategy.old.parameters())


def test_replay_keeps_an_equal_share_and_tells_its_bytes():
    learner = made("replay", memory=20)
    plain = made("finetune")
    for number in range(2):
        learner.learn_task(task(number))
        plain.learn_task(task(number))
    sizes = [len(kept["labels"]) for kept in learner.strategy.kept]
    assert sizes == [10, 10]
    pictures, labels, statistics = 20 * 3 * 8 * 8, 20 * 8, 2 * 2 * 3 * 4
    assert learner.memory_bytes() - plain.memory_bytes() == pictures + labels + statistics
    assert (learner.keeps_data, plain.keeps_data) == (True, False)


def test_replay_lowers_the_loss_of_the_old_task():
    losses = []
    for weight in (0.0, 1.0):
        learner = made("replay", "plain", weight=weight)
        learner.learn_task(task(0))
        learner.learn_task(task(1))
        kept = learner.strategy.kept[0]
        logits = learner.predict(kept["images"], 0).logits
        losses.append(nn.functional.cross_entropy(logits, kept["labels"]).item())
    assert losses[1] < losses[0]


def test_joint_keeps_all_pictures():
    learner = made("joint")
    learner.learn_task(task(0))
    assert len(learner.strategy.kept[0]["labels"]) == 48
    assert learner.keeps_data


def test_states_of_other_learners_are_refused(tmp_path):
    learner = made("lwf")
    learner.learn_task(task(0))
    learner.save(tmp_path)
    with pytest.raises(UserError, match="is of lwf, not of ewc"):
        made("ewc").load(tmp_path)
    with pytest.raises(UserError, match="what was saved does not fit the network"):
        made("lwf", "plain").load(tmp_path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EWC(weight=-1.0), "weight=-1.0 is too small"),
        (lambda: LwF(temperature=0.0), "temperature=0.0 is too small"),
        (lambda: Replay(memory=0), "memory=0 is too small"),
    ],
)
def test_options_are_checked(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_all_are_registered():
    assert set(NAMES) <= set(LEARNERS)
    assert all(isinstance(made(name), Baseline) for name in NAMES)


def test_a_step_shows_the_body_all_tasks_at_once():
    """So that batch norms see the mixture whose statistics they use afterwards."""
    learner, seen = made("joint"), []
    learner.learn_task(task(0))
    learner.begin_task(task(1))
    learner.network.body.register_forward_hook(lambda _m, given, _o: seen.append(len(given[0])))
    terms = learner.step()
    assert seen == [2 * RECIPE.batch_size]
    both = float(terms["loss/task"] + terms["loss/replay"])
    assert terms["loss"].item() == pytest.approx(both)


def test_a_step_of_lwf_shows_the_body_its_batch_once():
    learner, seen = made("lwf"), []
    learner.learn_task(task(0))
    learner.begin_task(task(1))
    learner.network.body.register_forward_hook(lambda _m, given, _o: seen.append(len(given[0])))
    learner.step()
    assert seen == [RECIPE.batch_size]
