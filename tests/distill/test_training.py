"""A stage's trainer: what a seed decides, what teachers keep, what a state restores."""

import math

import pytest
import torch
from distill_runs import CLASSES, trainer, write_pictures, write_teacher
from safetensors.torch import load_file

from rlgen.core.errors import UserError
from rlgen.distill.options import ONLINE, OPTIONS, PLAIN
from rlgen.nets.classifiers import make_classifier

METHODS = [name for name in OPTIONS if name != PLAIN]
OFFLINE = [name for name in METHODS if name not in ONLINE]


@pytest.fixture
def here(cwd):
    """A folder with pictures and a teacher."""
    write_pictures(cwd)
    write_teacher(cwd / "old")
    return cwd


def made(method, *arguments, **options):
    given = [] if method in (PLAIN, *ONLINE) else ["teacher=old"]
    return trainer(f"distiller={method}", *given, *arguments, **options)


def weights(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_takes_steps_with_finite_terms(here, method):
    made_trainer = made(method)
    distiller = made_trainer.distiller
    networks = [weights(network) for network in distiller.networks]
    teachers = [weights(network) for network in distiller.teachers]
    for step in range(2):
        terms = made_trainer.train_step(step)
        assert all(math.isfinite(term) for term in terms.values())
    assert {"loss", "loss/task"} < set(terms)
    for before, network in zip(networks, distiller.networks, strict=True):
        assert not same(before, network.state_dict())
    for before, network in zip(teachers, distiller.teachers, strict=True):
        assert same(before, network.state_dict())  # batch norms' statistics included
        assert not network.training


@pytest.mark.parametrize("method", ["kd", "feed", "dml"])
def test_the_seed_alone_decides_where_the_student_starts(here, method):
    plain, other = made(PLAIN), made(method)
    assert same(weights(plain.distiller.networks[0]), weights(other.distiller.networks[0]))
    assert torch.equal(plain.batches.at(3)[0], plain.batches.at(3)[0])
    assert not same(
        weights(plain.distiller.networks[0]), weights(made(PLAIN, "seed=1").distiller.networks[0])
    )


def test_peers_start_apart(here):
    one, two = made("dml").distiller.networks
    assert not same(weights(one), weights(two))


@pytest.mark.parametrize("method", ["feed", "kd"])
def test_a_weight_of_0_is_training_from_the_labels(here, method):
    plain, other = made(PLAIN), made(method, "distiller.weight=0", "distiller.task_weight=1")
    for step in range(3):
        one, two = plain.train_step(step), other.train_step(step)
        assert torch.equal(one["loss"], two["loss"])
    assert same(weights(plain.distiller.networks[0]), weights(other.distiller.networks[0]))


@pytest.mark.parametrize(
    ("options", "task", "weight"),
    [
        (["distiller=feed"], 1.0, 500.0),
        (["distiller=kd"], 0.1, 0.9),
        (["distiller=kd", "distiller.task_weight=1"], 1.0, 0.9),
        (["distiller=kd", "distiller.weight=2"], 0.1, 2.0),
        (["distiller=ab", "distiller.task_weight=0"], 0.0, 0.003),
    ],
)
def test_weights_are_the_usual_ones_or_given(here, options, task, weight):
    distiller = trainer(*options, "teacher=old", prepared=False).distiller
    assert distiller.task_weight == task
    assert list(distiller.weights.values()) == [pytest.approx(weight)]


def test_options_reach_the_loss(here):
    distiller = made("kd", "distiller.temperature=2.5", prepared=False).distiller
    assert distiller.losses["kd"].temperature == 2.5


@pytest.mark.parametrize(
    ("milestones", "expected"),
    [
        ("[0.5,0.75]", [1, 1, 1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01]),
        ("[1,3]", [1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01]),
        ("[]", [1] * 12),
    ],
)
def test_rates_fall_at_shares_of_the_run_or_epochs(here, milestones, expected):
    made_trainer = made(PLAIN, "epochs=4", f"milestones={milestones}")
    factors = [made_trainer.rate_factor(step) for step in range(12)]
    assert factors == pytest.approx(expected)
    made_trainer.train_step(11)
    (group,) = made_trainer.updates.optimizers["sgd"].param_groups
    assert group["lr"] == pytest.approx(0.1 * expected[-1])


def test_steps_are_counted_in_epochs_or_given(here):
    assert made(PLAIN, "epochs=4", prepared=False).total_steps == 12
    assert made(PLAIN, "epochs=4", "total_steps=5", prepared=False).total_steps == 5


def test_the_ramp_up_follows_the_epochs(here):
    made_trainer = made("ffl", "distiller.ramp_epochs=4")
    made_trainer.train_step(6)  # the third epoch begins
    assert made_trainer.distiller.losses["ffl"].ramp == pytest.approx(math.exp(-5 * 0.5**2))


def test_accuracies_are_shares_of_the_test_set(here):
    made_trainer = made("ffl")
    one, two = (network.eval() for network in made_trainer.distiller.networks)
    images = torch.cat([images for images, _ in made_trainer.batches.tests()])
    labels = torch.tensor(made_trainer.sets.test.labels)
    expected = {
        "student": one(images),
        "peer_1": two(images),
        "ensemble": (one(images) + two(images)) / 2,
    }
    accuracies = made_trainer.evaluate()
    for name, logits in expected.items():
        hits = (logits.argmax(1) == labels).sum().item()
        assert accuracies[f"accuracy/{name}"] == pytest.approx(100 * hits / 12)
    assert set(accuracies) == {f"accuracy/{name}" for name in (*expected, "fused")}
    assert all(network.training for network in made_trainer.distiller.networks)


@pytest.mark.parametrize(
    ("method", "names"),
    [
        ("kd", {"student"}),
        ("one", {"student", "peer_1", "ensemble", "gated"}),
        ("dml", {"student", "peer_1", "ensemble"}),
    ],
)
def test_what_predicts_is_told(here, method, names):
    assert {name.removeprefix("accuracy/") for name in made(method).evaluate()} == names


def test_an_evaluation_changes_nothing(here):
    made_trainer = made("one")
    before = weights(made_trainer.distiller)
    made_trainer.evaluate()
    assert same(before, weights(made_trainer.distiller))


def test_a_student_learns_the_pictures(here):
    made_trainer = made(PLAIN, "epochs=12", "lr=0.02", "padding=1")
    for step in range(36):
        made_trainer.train_step(step)
    assert made_trainer.evaluate()["accuracy/student"] > 80  # chance is 33


def test_fts_paraphraser_is_trained_before_and_frozen(here):
    made_trainer = made("ft", "distiller.epochs=1", prepared=False)
    loss = made_trainer.distiller.losses["ft"]
    before = weights(loss.paraphrasers)
    made_trainer.prepare()
    prepared = weights(loss.paraphrasers)
    assert not same(before, prepared)
    groups = made_trainer.updates.optimizers["sgd"].param_groups
    held = {p for group in groups for p in group["params"]}
    assert not held & set(loss.paraphrasers.parameters())
    made_trainer.train_step(0)
    assert same(prepared, weights(loss.paraphrasers))


def copied(state):
    tensors, values = state
    return {n: {k: v.clone() for k, v in group.items()} for n, group in tensors.items()}, values


@pytest.mark.parametrize("method", ["ft", "ofd", "one", "afd"])
def test_a_restored_trainer_goes_on_exactly(here, method):
    few = ["distiller.epochs=1"] if method == "ft" else []
    whole = made(method, *few)
    whole.train_step(0)
    tensors, values = copied(whole.state())
    whole.train_step(1)
    part = made(method, *few, prepared=False)
    part.restore(tensors, values)
    part.prepare()  # does nothing now
    part.train_step(1)
    (one, settings), (two, others) = whole.state(), part.state()
    assert settings == others
    assert all(same(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (["student=resnet14"], "has networks resnet8, the configuration resnet14"),
        (["distiller=at"], "has losses kd, the configuration at"),
        (["batch_size=12"], "has steps_per_epoch 3, the configuration 2"),
    ],
)
def test_a_state_of_another_run_is_refused(here, other, message):
    state = made("kd").state()
    with pytest.raises(UserError, match=message):
        made("kd", *other, prepared=False).restore(*state)


def test_a_damaged_state_is_refused(here):
    tensors, values = made("kd").state()
    del tensors["distiller"]["student.conv1.weight"]
    with pytest.raises(UserError, match="does not fit the networks"):
        made("kd", prepared=False).restore(tensors, values)


@pytest.mark.parametrize("method", ["feed", "ffl"])
def test_what_is_exported_is_the_plain_network(here, method):
    made_trainer = made(method)
    made_trainer.train_step(0)
    made_trainer.export(here / "run")
    found = load_file(here / "run/student/model.safetensors")
    assert found.keys() == make_classifier("resnet8", 3).state_dict().keys()
    assert same(found, weights(made_trainer.distiller.networks[0]))
    peers = here / "run/peers/1/model.safetensors"
    assert peers.exists() == (method == "ffl")


def test_branches_share_their_stem(here):
    one, two = made("one", "branch_at=layer3").distiller.networks
    assert one.layer2 is two.layer2
    assert one.layer3 is not two.layer3


def test_a_student_may_start_from_a_trained_one(here):
    start = made(PLAIN, "start=old").distiller.networks[0]
    assert same(weights(start), load_file(here / "old/model.safetensors"))
    with pytest.raises(UserError, match="does not fit ResNet"):
        made(PLAIN, "start=old", "student=resnet14")


def test_pictures_are_normalised_as_the_teacher_knows_them(here):
    own, taught = made(PLAIN, prepared=False), made("kd", prepared=False)
    assert taught.task.statistics == ([0.4] * 3, [0.25] * 3)
    assert own.task.statistics == own.sets.statistics() != taught.task.statistics
    write_teacher(here / "far", mean=0.6)
    with pytest.raises(UserError, match="far and old normalise pictures differently"):
        trainer("distiller=feed", "teacher=[old,far]")


def test_a_teacher_of_other_classes_is_refused(here):
    write_teacher(here / "other", classes=4)
    with pytest.raises(UserError, match=r"other was trained on 4 classes and 3 channels; .* has 3"):
        trainer("distiller=kd", "teacher=other")


def test_teachers_of_several_widths_teach_together(here):
    write_teacher(here / "wide", "resnet8x4")
    made_trainer = trainer("distiller=feed", "teacher=[old,wide]")
    assert [n.width for n in made_trainer.distiller.teachers] == [64, 256]
    assert math.isfinite(made_trainer.train_step(0)["loss/feed"])


def test_nothing_to_learn_is_told(here):
    with pytest.raises(UserError, match="leave nothing to learn"):
        made("kd", "distiller.weight=0", "distiller.task_weight=0")


def test_the_card_tells_networks_and_data(here):
    lines = made("kd").describe()
    assert "24 pictures to train on and 12 to test on, 8x8, 3 channels, 3 classes" in lines[0]
    assert lines[1].startswith("resnet8 of 77,")
    assert lines[2].startswith("taught by old of 77,")
    assert made("kd").sets.classes == CLASSES
