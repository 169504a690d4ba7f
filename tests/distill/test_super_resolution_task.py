"""Super-resolution as a task: its loss, teachers, figures, and what it refuses."""

import math

import numpy as np
import pytest
import torch
from super_resolution_runs import picture_config, picture_trainer, write_upscaler

from rlgen.core.errors import UserError
from rlgen.data.bicubic import enlarge
from rlgen.data.picture_quality import quality_on_y
from rlgen.data.super_resolution import pixels_to_unit
from rlgen.distill.chain import plan_stages
from rlgen.distill.losses import LOSSES
from rlgen.distill.options import FOR_PICTURES, ONLINE, PLAIN
from rlgen.distill.tasks import TASKS
from rlgen.distill.tasks.super_resolution import PixelObjective, grey_levels
from rlgen.nets.super_resolution import make_super_resolver


@pytest.fixture
def here(cwd):
    """A folder with a teacher of other width and kind than the student."""
    write_upscaler(cwd / "old")
    return cwd


def weights(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_the_loss_is_in_grey_levels():
    one = torch.zeros(1, 3, 2, 2)
    assert grey_levels(one + 2 / 255, one).item() == pytest.approx(2)


@pytest.mark.parametrize("method", [PLAIN, *FOR_PICTURES])
def test_every_method_takes_steps_with_finite_terms(here, method):
    few = ["distiller.epochs=1"] if method == "ft" else []
    taught = [] if method == PLAIN else ["teacher=old"]
    made = picture_trainer(f"distiller={method}", *taught, *few)
    before = weights(made.distiller.networks[0])
    teachers = [weights(teacher) for teacher in made.distiller.teachers]
    terms = made.train_step(0)
    assert all(math.isfinite(term) for term in terms.values())
    wanted = {"loss", "loss/task", *([] if method == PLAIN else [f"loss/{method}"])}
    assert set(terms) == wanted
    assert not same(before, weights(made.distiller.networks[0]))
    for seen, teacher in zip(teachers, made.distiller.teachers, strict=True):
        assert same(seen, weights(teacher))  # batch norms' statistics included


def test_a_student_without_a_teacher_learns_l1_alone(here):
    made = picture_trainer("distiller=none")
    low, high = made.batches.at(0)
    network = made.distiller.networks[0]
    with torch.no_grad():
        expected = 255 * (network(low) - high).abs().mean()
    terms = made.train_step(0)
    assert terms["loss"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert list(made.updates.optimizers) == ["adam"]


@pytest.mark.parametrize("alpha", [0.25, 1.0])
def test_alpha_mixes_the_teachers_picture_in(here, alpha):
    made = picture_trainer("distiller=lsfd", "teacher=old", f"alpha={alpha}", "distiller.weight=2")
    distiller = made.distiller
    batch = made.batches.at(0)
    objective = made.task.objective(distiller)
    assert isinstance(objective, PixelObjective)
    loss, parts = objective(batch)
    with torch.no_grad():
        ours, theirs = distiller.networks[0](batch[0]), distiller.teachers[0](batch[0])
    pixel = (1 - alpha) * grey_levels(ours, batch[1]) + alpha * grey_levels(ours, theirs)
    assert parts["pixel"].item() == pytest.approx(pixel.item(), rel=1e-5)
    assert loss.item() == pytest.approx((pixel + 2 * parts["lsfd"]).item(), rel=1e-5)


def test_the_attention_looks_at_pictures(here):
    assert picture_trainer("distiller=lsfd", "teacher=old").distiller.losses["lsfd"].source == (
        "output"
    )


def test_an_equal_teacher_costs_nothing(here):
    write_upscaler(here / "twin", "edsr_tiny")
    made = picture_trainer(
        "distiller=lsfd", "teacher=twin", "start=twin", "distiller.regressor=false"
    )
    terms = made.train_step(0)
    assert terms["loss/lsfd"].item() == pytest.approx(0, abs=1e-7)
    assert terms["loss"].item() == pytest.approx(terms["loss/task"].item(), rel=1e-6)


def test_hints_have_no_relu_here(here):
    made = picture_trainer("distiller=fitnets", "teacher=old")
    assert not any(regressor.relu for regressor in made.distiller.losses["fitnets"].regressors)


def test_the_seed_alone_decides_where_the_student_starts(here):
    plain, taught = picture_trainer(), picture_trainer("distiller=lsfd", "teacher=old")
    assert same(*(weights(made.distiller.networks[0]) for made in (plain, taught)))
    assert torch.equal(plain.batches.at(3)[0], taught.batches.at(3)[0])


def test_figures_are_means_over_pictures_and_change_nothing(here):
    made = picture_trainer("test=[synthetic:stripes,synthetic:night]")
    before = weights(made.distiller)
    figures = made.evaluate()
    assert same(before, weights(made.distiller))
    assert made.distiller.networks[0].training
    assert set(figures) == {
        f"{kind}/{name}" for kind in ("psnr", "ssim") for name in made.sets.tests
    }
    network = made.distiller.networks[0].eval()
    found = []
    for _, low, high in made.sets.tests["night"].pairs():
        with torch.no_grad():
            result = network(pixels_to_unit(low[None]))
        found.append(quality_on_y(result, pixels_to_unit(high[None]), 2))
    psnr, ssim = np.mean(found, axis=0)
    assert figures["psnr/night"] == pytest.approx(psnr)
    assert figures["ssim/night"] == pytest.approx(ssim)


def test_the_card_tells_bicubic_and_the_teacher(here):
    made = picture_trainer("distiller=at", "teacher=old")
    data, bicubic, student, teacher = made.describe()
    assert "patches of 16 pictures of synthetic:photos; tests: stripes (16); scale 2" in data
    low, high = next((low, high) for _, low, high in made.sets.tests["stripes"].pairs())
    images = (pixels_to_unit(x[None]) for x in (enlarge(low, 2), high))
    psnr = float(bicubic.removeprefix("bicubic enlargement: stripes ").split(" dB")[0])
    assert psnr == pytest.approx(quality_on_y(*images, 2).psnr, abs=1.5)  # of one, all are alike
    assert student == "edsr_tiny of 31,043 parameters"
    assert teacher.startswith("taught by old of 210,893 parameters, stripes ")


@pytest.mark.parametrize("method", sorted({*LOSSES} - {*FOR_PICTURES}))
def test_other_methods_are_refused(method):
    with pytest.raises(UserError) as error:
        plan_stages(picture_config(f"distiller={method}", "teacher=edsr_small"))
    line = str(error.value)
    assert line.startswith(f"distiller={method} compares ")
    assert line.endswith(
        "for task=super_resolution type distiller=lsfd, or at, feed, fitnets, ft, none"
    )
    assert ("class logits" in line) == (method in (*ONLINE, "kd"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["student=resnet20"], "unknown student 'resnet20'"),
        (["distiller=lsfd"], "needs a teacher; type teacher=edsr_baseline to train one first"),
        (
            ["distiller=lsfd", "teacher=edsr_smal"],
            "no run or file, and no super-resolution network; did you mean 'edsr_small'",
        ),
        (["alpha=0.5"], "alpha=0.5 is the share of a teacher, and there is none"),
        (
            ["distiller=at", "teacher=edsr_small", "alpha=1.0", "distiller.weight=0"],
            "alpha=1 is the share of a teacher",
        ),
        (["test=[]"], r"test=\[\]: name a set or a list"),
        (["data=null"], "data=None: name a set or a list"),
    ],
)
def test_a_mistake_is_told(cwd, arguments, message):
    with pytest.raises(UserError, match=message):
        plan_stages(picture_config(*arguments))


def test_a_teacher_of_another_scale_is_told(cwd):
    write_upscaler(cwd / "triple", "edsr_tiny", 3)
    with pytest.raises(UserError, match="triple enlarges pictures of 3 channels 3 times; scale=2"):
        picture_trainer("distiller=at", "teacher=triple")


def test_a_test_picture_too_small_to_be_compared_is_told_before_training(cwd):
    with pytest.raises(UserError, match="a picture of 14x14 is too small to be compared"):
        picture_trainer("size=14", "patch_size=4")


def test_a_patch_larger_than_a_picture_is_told(cwd):
    with pytest.raises(UserError, match="32x32 pixels are too few for patches of 34x34"):
        picture_trainer("patch_size=17")


@pytest.mark.parametrize("scale", [3, 4])
def test_other_scales_learn_too(cwd, scale):
    write_upscaler(cwd / "old", scale=scale)
    made = picture_trainer("distiller=lsfd", "teacher=old", f"scale={scale}", "size=40")
    assert math.isfinite(made.train_step(0)["loss"])
    assert made.batches.at(0)[1].shape[2] == 8 * scale


def test_a_restored_trainer_goes_on_exactly(here):
    arguments = ["distiller=lsfd", "teacher=old", "alpha=0.5"]
    whole = picture_trainer(*arguments)
    whole.train_step(0)
    tensors, values = whole.state()
    tensors = {n: {k: v.clone() for k, v in group.items()} for n, group in tensors.items()}
    whole.train_step(1)
    part = picture_trainer(*arguments, prepared=False)
    part.restore(tensors, values)
    part.train_step(1)
    for name, group in whole.state()[0].items():
        assert same(group, part.state()[0][name]), name


def test_a_student_learns_to_enlarge(cwd):
    made = picture_trainer("batch_size=4", "lr=3e-3", "test=synthetic:photos")
    first = made.evaluate()["psnr/photos"]
    for step in range(40):
        made.train_step(step)
    assert made.evaluate()["psnr/photos"] > max(first + 5, 20)


def test_tasks_are_named():
    assert set(TASKS) == {"classification", "super_resolution"}
    for name in TASKS:
        assert all(example in TASKS[name].networks for example in TASKS[name].examples)
    assert make_super_resolver(TASKS["super_resolution"].examples[1]).scale == 2
