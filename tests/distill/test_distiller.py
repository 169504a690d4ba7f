"""The distiller: what is trained, what stays as it was, what the objective is."""

import copy

import pytest
import torch
from distill_nets import Net, hooks, images, labels
from torch import Tensor, nn
from torch.nn import functional as F

from rlgen.core.errors import UserError
from rlgen.distill import LOSSES, Distiller, DistillLoss
from rlgen.distill.losses.kd import kd_loss
from rlgen.nets.classifiers import make_classifier

STAGE = ["stage"]


def build(losses: dict[str, float], seed: int = 0, **options) -> Distiller:
    torch.manual_seed(seed)
    student, teacher = Net(), Net(width=8)
    options = {"taps": STAGE, "example": (3, 4, 4), **options}
    return Distiller(student, teacher, losses, **options)


def batch() -> tuple[Tensor, Tensor]:
    return images(), labels()


def train(distiller: Distiller, steps: int = 3) -> nn.Module:
    optimizer = torch.optim.SGD(distiller.parameters(), 0.1, momentum=0.9)
    torch.manual_seed(7)  # of the students' dropout
    for _ in range(steps):
        loss, _ = distiller(batch())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return distiller


def states_equal(one: nn.Module, other: nn.Module) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_the_objective_is_the_weighted_sum_of_its_parts() -> None:
    distiller = build(
        {"kd": 2.0, "at": 30.0}, options={"kd": {"temperature": 3.0}}, task_weight=0.1
    )
    distiller.eval()  # no dropout: the networks can be run again
    loss, parts = distiller(batch())
    assert list(parts) == ["task", "kd", "at"]
    assert not any(part.requires_grad for part in parts.values())
    expected = 0.1 * parts["task"] + 2 * parts["kd"] + 30 * parts["at"]
    torch.testing.assert_close(loss, expected)
    student, teacher = distiller.student(images()), distiller.teachers[0](images())
    torch.testing.assert_close(parts["task"], F.cross_entropy(student, labels()).detach())
    torch.testing.assert_close(parts["kd"], kd_loss(student, teacher, 3.0).detach())


def test_parameters_are_the_students_and_the_connectors_each_once() -> None:
    distiller = build({"fitnets": 1.0, "kd": 1.0})
    students = list(distiller.student.parameters())
    connectors = list(distiller.losses.parameters())
    assert connectors
    ids = [id(p) for p in distiller.parameters()]
    assert len(ids) == len(set(ids))
    assert set(ids) == {id(p) for p in [*students, *connectors]}
    loss, _ = distiller(batch())
    loss.backward()
    assert all(p.grad is not None for p in distiller.parameters())


def test_frozen_parts_of_a_student_are_not_trained() -> None:
    distiller = build({})
    distiller.student.conv.requires_grad_(False)
    names = dict(distiller.named_parameters())
    assert "student.fc.weight" in names
    assert not any("conv" in name for name in names if "stage" not in name)


def test_teachers_are_frozen_asleep_and_outside_the_module() -> None:
    torch.manual_seed(0)
    teacher = Net(width=8).train()
    before = copy.deepcopy(teacher.state_dict())
    distiller = Distiller(Net(), teacher, {"kd": 1.0, "at": 10.0}, taps=STAGE, example=batch())
    assert not teacher.training
    distiller.train()
    assert distiller.student.training
    assert not teacher.training
    assert not any(p.requires_grad for p in teacher.parameters())
    assert all(module is not teacher for module in distiller.modules())
    assert not any("teacher" in key for key in distiller.state_dict())
    teacher.stage.train()  # someone wakes a part of it
    train(distiller)
    assert not any(module.training for module in teacher.modules())
    assert all(torch.equal(before[key], value) for key, value in teacher.state_dict().items())
    assert all(p.grad is None for p in teacher.parameters())


def test_teachers_move_and_change_type_with_the_distiller() -> None:
    distiller = build({"kd": 1.0}).double()
    assert distiller.teachers[0].fc.weight.dtype == torch.float64
    loss, _ = distiller((images().double(), labels()))
    assert loss.dtype == torch.float64
    assert next(distiller.to("meta").teachers[0].parameters()).device.type == "meta"


def test_nothing_remains_on_the_student() -> None:
    distiller = build({"kd": 1.0, "ofd": 1e-3, "fitnets": 1.0}, taps=["stage.1:input"])
    torch.manual_seed(0)
    plain = Net()
    train(distiller)
    student = distiller.student
    assert student.state_dict().keys() == plain.state_dict().keys()
    assert hooks(student) == 0
    assert hooks(distiller.teachers[0]) == 0
    assert vars(student.stage).keys() == vars(plain.stage).keys()
    plain.load_state_dict(student.state_dict())
    assert torch.equal(plain.eval()(images()), student.eval()(images()))


def test_hooks_are_gone_when_a_step_fails() -> None:
    distiller = build({"at": 1.0})
    with pytest.raises(RuntimeError):
        distiller((torch.zeros(2, 9, 4, 4), labels(2)))
    assert hooks(distiller.student) == 0


def test_weight_zero_is_plain_training_to_the_last_bit() -> None:
    plain = train(build({}))
    zero = train(build({"kd": 0.0, "fitnets": 0.0, "ofd": 0.0}))
    assert states_equal(plain.student, zero.student)
    assert not states_equal(plain.student, train(build({"kd": 1.0})).student)
    _, parts = zero(batch())
    assert list(parts) == ["task"]


def test_building_draws_nothing_and_leaves_the_mode() -> None:
    torch.manual_seed(3)
    student, teacher = Net(), Net(width=8)
    student.stage.eval()
    before, state = torch.get_rng_state(), copy.deepcopy(student.state_dict())
    made = [
        Distiller(student, teacher, {"fitnets": 1.0}, taps=STAGE, example=(3, 4, 4), seed=seed)
        for seed in (0, 0, 1)
    ]
    assert torch.equal(torch.get_rng_state(), before)
    assert student.training
    assert not student.stage.training
    assert all(torch.equal(state[key], value) for key, value in student.state_dict().items())
    assert states_equal(made[0].losses, made[1].losses)
    assert not states_equal(made[0].losses, made[2].losses)


def test_connectors_weights_and_student_are_saved_and_the_run_goes_on() -> None:
    whole = train(build({"fitnets": 1.0}), 2)
    part = train(build({"fitnets": 1.0}), 1)
    again = build({"fitnets": 1.0}, seed=5)
    for name, teacher in again.teachers[0].state_dict().items():
        teacher.copy_(part.teachers[0].state_dict()[name])
    again.load_state_dict(part.state_dict())
    # Without dropout and momentum the second step needs nothing else.
    for distiller in (part, again):
        distiller.student.drop.eval()
        train_one = torch.optim.SGD(distiller.parameters(), 0.1)
        distiller.zero_grad()
        distiller(batch())[0].backward()
        train_one.step()
    assert states_equal(part, again)
    assert not states_equal(part, whole)


def test_several_teachers_each_with_its_own_taps() -> None:
    torch.manual_seed(0)
    student, wide, deep = Net(), Net(width=8), make_classifier("resnet8", 5)
    taps = {"student": STAGE, "teachers": [STAGE, ["layer1"]]}
    distiller = Distiller(
        student, [wide, deep], {"feed": 1.0, "kd": 1.0}, taps=taps, example=(3, 4, 4)
    )
    loss, _ = distiller(batch())
    loss.backward()
    transforms = distiller.losses["feed"]
    shapes = [shape for layout in transforms.teacher_layouts for shape in layout.shapes]
    assert shapes == [(8, 4, 4), (16, 4, 4)]
    assert all(p.grad is not None for p in distiller.losses.parameters())


class Spy(DistillLoss):
    """Keeps what it is given; its value is the student's mean feature."""

    name = "spy"
    seen: tuple

    def __init__(self, student, teachers, *, factor: float = 1.0, teacher_bn="running") -> None:
        super().__init__(student, teachers)
        self.factor, self.teacher_bn = factor, teacher_bn
        self.norms: list = []
        self.epoch = -1.0
        self.batches: list = []

    def forward(self, student, teachers, labels=None) -> Tensor:
        self.seen = (student, teachers, labels)
        return self.factor * sum(tap.mean() for tap in student.taps)

    def read_norms(self, norms) -> None:
        self.norms = list(norms)

    def set_epoch(self, epoch: float) -> None:
        self.epoch = epoch

    def prepare(self, batches) -> None:
        self.batches = [list(batches), list(batches)]


@pytest.fixture
def spied(monkeypatch: pytest.MonkeyPatch) -> type[Spy]:
    monkeypatch.setitem(LOSSES._items, "spy", Spy)
    return Spy


def test_what_a_loss_is_given(spied) -> None:
    taps = {"student": ["stage", "conv"], "teacher": ["stage.1:input", "conv", "bn"]}
    distiller = build({"spy": 1.0}, taps=taps, options={"spy": {"factor": 2.0}})
    spy = distiller.losses["spy"]
    assert spy.student_layout.shapes == ((4, 4, 4), (4, 4, 4))
    assert spy.student_layout.classes == 5
    assert spy.teacher_layouts[0].shapes == ((8, 4, 4),) * 3
    teacher = distiller.teachers[0]
    assert spy.norms == [(teacher.bn, None, teacher.bn)]
    _, parts = distiller(batch())
    student, (fixed,), targets = spy.seen
    torch.testing.assert_close(parts["spy"], 2 * sum(t.mean() for t in student.taps).detach())
    assert all(t.requires_grad for t in student.taps)
    assert not any(t.requires_grad for t in (*fixed.taps, fixed.logits))
    torch.testing.assert_close(fixed.taps[1], teacher.conv(images()))
    assert torch.equal(targets, labels())
    distiller.set_epoch(2.5)
    assert spy.epoch == 2.5


def test_the_teacher_gets_the_students_own_tensor(spied) -> None:
    torch.manual_seed(0)
    student, teacher = Net(), Net()
    given: list[Tensor] = []
    for net in (student, teacher):
        net.register_forward_pre_hook(lambda _net, arguments: given.append(arguments[0]))
    distiller = Distiller(student, teacher, {"spy": 1.0}, taps=STAGE, example=(3, 4, 4))
    given.clear()
    x, y = batch()
    distiller((x, y))
    assert len(given) == 2
    assert all(tensor is x for tensor in given)


def test_batch_statistics_leave_running_ones_and_other_losses_alone(spied) -> None:
    options = {"spy": {"teacher_bn": "batch"}}
    distiller = build({"spy": 1.0, "kd": 1.0}, taps=["bn"], options=options)
    teacher = distiller.teachers[0]
    before = copy.deepcopy(teacher.state_dict())
    distiller(batch())
    fixed = distiller.losses["spy"].seen[1][0].taps[0]
    torch.testing.assert_close(fixed.mean((0, 2, 3)), torch.zeros(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        fixed.var((0, 2, 3), unbiased=False), torch.ones(8), rtol=1e-3, atol=0
    )
    assert all(torch.equal(before[key], value) for key, value in teacher.state_dict().items())
    assert teacher.bn.track_running_stats
    assert not teacher.bn.training
    seen = distiller.observe(batch())
    running, batched = seen.teachers["running"][0], seen.teachers["batch"][0]
    torch.testing.assert_close(running.logits, teacher(images()))
    assert not torch.allclose(running.logits, batched.logits)


def test_prepare_gives_the_teachers_features_of_each_batch_again_and_again(spied) -> None:
    distiller = build({"spy": 1.0})
    distiller.prepare([batch(), batch(), (images(2), labels(2))])
    first, second = distiller.losses["spy"].batches
    assert [features[0].taps[0].shape[0] for features in first] == [6, 6, 2]
    assert len(second) == 3
    assert not first[0][0].taps[0].requires_grad


def test_prepare_freezes_the_paraphraser_and_takes_it_from_the_parameters() -> None:
    distiller = build({"ft": 1.0}, options={"ft": {"epochs": 1}})
    before = {name for name, _ in distiller.named_parameters()}
    distiller.prepare([batch()])
    after = {name for name, _ in distiller.named_parameters()}
    assert {name.split(".")[2] for name in before - after} == {"paraphrasers"}
    assert any("translators" in name for name in after)


def test_batches_as_mappings_and_keywords() -> None:
    class Keyworded(Net):
        def forward(self, pixels: Tensor) -> dict[str, Tensor]:
            return {"logits": super().forward(pixels)}

    torch.manual_seed(0)
    given = {"pixels": images(), "labels": labels()}
    distiller = Distiller(
        Keyworded(), Keyworded(), {"kd": 1.0, "at": 1.0}, taps=STAGE, example=given
    ).eval()
    losses = [distiller(given)[0], distiller(**given)[0]]
    assert torch.equal(*losses)
    assert list(distiller(given)[1]) == ["task", "kd", "at"]


def test_unlabelled_batches_have_no_task() -> None:
    loss, parts = build({"kd": 1.0})(images())
    assert list(parts) == ["kd"]
    assert torch.equal(loss.detach(), parts["kd"])
    with pytest.raises(UserError, match="nothing is to be minimised"):
        build({})(images())


def test_a_task_of_ones_own_and_token_logits() -> None:
    distiller = build({}, task=lambda output, target: (output - target).abs().mean())
    _, parts = distiller((images(), torch.zeros(6, 5)))
    assert parts["task"] > 0

    tokens, targets = torch.randn(2, 3, 5), torch.tensor([[0, 1, -100], [4, -100, -100]])
    distiller = Distiller(nn.Identity(), losses={})
    _, parts = distiller((tokens, targets))
    expected = F.cross_entropy(
        torch.stack([tokens[0, 0], tokens[0, 1], tokens[1, 0]]), torch.tensor([0, 1, 4])
    )
    torch.testing.assert_close(parts["task"], expected)


def test_default_taps_are_the_places_that_losses_name() -> None:
    student, teacher = make_classifier("wrn-10-1", 5), make_classifier("resnet8", 5)
    distiller = Distiller(student, teacher, {"at": 1.0, "ofd": 1e-3}, example=(3, 8, 8))
    assert distiller.losses["ofd"].teacher_layouts[0].shapes == ((16, 8, 8), (32, 4, 4), (64, 2, 2))
    distiller((torch.randn(2, 3, 8, 8), labels(2)))[0].backward()
    assert all(p.grad is not None for p in distiller.losses.parameters())


@pytest.mark.parametrize("name", [name for name in LOSSES if not LOSSES[name].online])
def test_every_loss_of_fixed_teachers_works_in_half_precision(name: str) -> None:
    torch.manual_seed(0)
    student, teachers = make_classifier("resnet8"), [make_classifier("wrn-10-2") for _ in range(2)]
    distiller = Distiller(student, teachers, {name: 1.0}, example=(3, 8, 8))
    with torch.autocast("cpu", torch.bfloat16):
        loss, parts = distiller((torch.randn(4, 3, 8, 8), labels(4)))
    loss.backward()
    assert torch.isfinite(parts[name])
    grads = [p.grad for p in distiller.student.parameters() if p.grad is not None]
    assert all(torch.isfinite(grad).all() for grad in grads)


def test_a_deep_copy_is_on_its_own() -> None:
    distiller = build({"at": 1.0})
    twin = copy.deepcopy(distiller)
    train(twin)
    assert twin.student is twin.networks[0]
    assert not states_equal(distiller.student, twin.student)
    assert not set(map(id, distiller.teachers)) & set(map(id, twin.teachers))
    loss, _ = distiller(batch())
    loss.backward()
    assert distiller.student.conv.weight.grad is not None


@pytest.mark.parametrize(("one", "other"), [("student", "teacher"), ("teacher", "student")])
def test_shared_weights_are_refused(one: str, other: str) -> None:
    nets = {"student": Net(), "teacher": Net()}
    nets[one].fc = nets[other].fc
    with pytest.raises(UserError, match=r"shares weights .* copy.deepcopy\(teacher\)"):
        Distiller(nets["student"], nets["teacher"], {"kd": 1.0}, example=(3, 4, 4))
