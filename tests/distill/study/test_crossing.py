"""The invariants of the study's runs (spec kd_orthogonality, section g), to the last bit."""

import copy

import pytest
import torch
from study_runs import cross, make_crossing, make_trainer, same

from rlgen.core.cli import RunFailed
from rlgen.core.errors import UserError
from rlgen.distill.study.crossing import PLAIN, distinct_values
from rlgen.distill.study.methods import parse_method
from rlgen.distill.study.report import compare_all, read_cells
from rlgen.distill.study.techniques import Identity, parse_technique
from rlgen.distill.study.training import STUDENT, TEACHER
from rlgen.nets.classifiers import make_classifier


def test_the_identity_under_another_name_has_no_interaction(tiny):
    # pruning:0 goes all the way through masks, and changes nothing.
    crossing = cross(method=["kd", "feed"], technique=["pruning:0"])
    for method in ("none", "kd", "feed"):
        assert same(crossing, f"runs/{method}-none-seed0", f"runs/{method}-pruning:0-seed0")
    assert not same(crossing, "runs/none-none-seed0", "runs/kd-none-seed0")
    found = compare_all(read_cells(crossing.rows()), ["none", "kd", "feed"], ["none", "pruning:0"])
    assert [each.method for each in found] == ["kd", "feed"]
    assert [each.result.interaction.mean for each in found] == [0.0, 0.0]
    assert [each.result.gain_x.mean for each in found] == [0.0, 0.0]


def test_distillation_of_weight_0_is_the_technique_alone(tiny):
    names = ["pruning:50", "augment:mixup"]
    crossing = cross(method=["kd:0"], technique=names)
    for technique in ("none", *names):
        assert same(crossing, f"runs/none-{technique}-seed0", f"runs/kd:0-{technique}-seed0")
    assert not (tiny / "networks/teachers").exists()


@pytest.mark.parametrize("technique", ["none", "augment:cutmix"])
def test_teacher_and_student_see_the_same_tensor(tiny, technique):
    trainer = make_trainer()
    student = trainer.build(Identity(), "resnet8", 0, STUDENT)
    teacher = trainer.build(Identity(), "resnet8", 0, TEACHER)
    seen = {"student": [], "teacher": []}
    for name, net in (("student", student), ("teacher", teacher)):
        net.register_forward_pre_hook(lambda _, args, name=name: seen[name].append(args[0]))
    before = copy.deepcopy(teacher.state_dict())
    chosen = parse_technique(technique)
    method = parse_method("kd")
    trainer.train("run", student, trainer.main, 0, method=method, technique=chosen, teacher=teacher)
    steps = [inputs[-3:] for inputs in seen.values()]  # what came before is the dry run
    assert all(a is b for a, b in zip(*steps, strict=True))
    plain = trainer.batches(0).at(0)[0]
    assert torch.equal(steps[0][0], plain) == (technique == "none")
    after = teacher.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_results_are_plain_networks_with_their_properties(tiny):
    names = ["pruning:50", "int2"]
    crossing = cross(method=["feed"], technique=names)
    plain = make_classifier("resnet8", 3)
    count = sum(p.numel() for p in plain.parameters())
    for run in crossing.runs():
        assert crossing.store.tensors(run.key).keys() == plain.state_dict().keys()
    rows = {(row["method"], row["technique"]): row for row in crossing.rows()}
    assert len(rows) == 6
    assert {row["parameters"] for row in rows.values()} == {count}
    assert {row["accuracy"] for row in rows.values()} <= {100 * n / 12 for n in range(13)}
    weights = sum(p.numel() for n, p in plain.named_parameters() if p.ndim > 1)
    assert rows["feed", "pruning:50"]["zero_weights"] == round(weights / 2)
    assert rows["feed", "int2"]["values_per_channel"] == 3
    assert rows["feed", "none"]["values_per_channel"] > 256


def test_phases_are_shared_and_counted(tiny):
    crossing = make_crossing(method=["kd"], technique=["pruning", "augment"])
    # A teacher of 3 steps, first phases of none and augment by two methods, and 6 second phases.
    assert crossing.steps() == 3 + 4 * 3 + 6 * 3
    taken = []
    crossing.trainer.tick = lambda title, loss: taken.append(title)
    done = list(crossing.work())
    assert len(taken) == 33
    assert [run.title for run in done[:3]] == [
        "none, none, seed 0",
        "kd, none, seed 0",
        "none, pruning:70, seed 0",
    ]
    again = make_crossing(method=["kd"], technique=["pruning", "augment"])
    assert again.steps() == 0
    assert list(again.work()) == []
    assert again.rows() == crossing.rows()


def test_the_finetune_recipe_teaches_by_the_dense_network(tiny):
    crossing = cross(method=["kd"], technique=["pruning:90"], recipe="finetune")
    first = sorted(path.name for path in (tiny / "networks/first").iterdir())
    assert first == ["none-none-seed0"]  # one dense network, of labels alone, for all four
    assert not (tiny / "networks/teachers").exists()
    assert not same(crossing, "runs/none-pruning:90-seed0", "runs/kd-pruning:90-seed0")
    with pytest.raises(UserError, match="recipe=finetune distils in the second one only"):
        make_crossing(technique=["augment"], recipe="finetune")


@pytest.mark.parametrize("name", ["ft", "ofd"])
def test_losses_that_learn_from_the_teacher_first(tiny, name):
    trainer = make_trainer()
    student = trainer.build(Identity(), "resnet8", 0, STUDENT)
    teacher = trainer.build(Identity(), "resnet8", 0, TEACHER)
    before = student.conv1.weight.clone()
    method = parse_method(name)
    trainer.train("run", student, trainer.main, 0, method=method, teacher=teacher)
    assert not torch.equal(student.conv1.weight, before)


def test_the_seed_decides_weights_and_batches(tiny):
    trainer = make_trainer()
    nets = [trainer.build(Identity(), "resnet8", seed, STUDENT) for seed in (0, 0, 1)]
    weights = [net.classifier.weight for net in nets]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert torch.equal(trainer.batches(5).at(2)[0], trainer.batches(5).at(2)[0])
    plain = trainer.batches(5, plain=True).at(2)
    assert torch.equal(plain[1], trainer.batches(5).at(2)[1])
    assert not torch.equal(plain[0], trainer.batches(5).at(2)[0])


def test_an_infinite_loss_is_told(tiny):
    trainer = make_trainer(lr=900.0)
    net = trainer.build(Identity(), "resnet8", 0, STUDENT)
    with torch.no_grad():
        net.classifier.weight.fill_(float("nan"))
    with pytest.raises(RunFailed, match="some run: the loss is not finite"):
        trainer.train("some run", net, trainer.main, 0, method=PLAIN)


def test_distinct_values_are_counted_by_channel():
    assert distinct_values(torch.tensor([[1.0, 1.0, 1.0], [1.0, 2.0, 1.0]])) == 2
