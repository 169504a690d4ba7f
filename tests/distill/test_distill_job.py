"""The configuration of a distillation: names of runs, ranges, the short preset."""

import pytest
from distill_runs import config

from rlgen.core.errors import UserError
from rlgen.distill.job import check_config, compose_train_config, job_name


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("cifar10", "kd-resnet8-cifar10"),
        ("hub:uoft-cs/cifar100", "kd-resnet8-cifar100"),
        ("sets/birds/", "kd-resnet8-birds"),
        ("../mnist.npz", "kd-resnet8-mnist"),
        ("synthetic:shapes", "kd-resnet8-shapes"),
    ],
)
def test_a_run_is_named_by_method_student_and_data(data, name):
    assert job_name({**config(), "data": data}) == name


def test_what_may_be_left_open_is_no_mistake():
    check_config(config("total_steps=5", "teacher_epochs=2", "log_every=1", "threads=1"))
    check_config(config("momentum=0", "nesterov=false", "milestones=[]", "eval_every=0"))


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("epochs=0", "epochs=0 is too small; type epochs=1 or more"),
        ("teacher_epochs=0", "teacher_epochs=0 is too small"),
        ("n_teachers=0", "n_teachers=0 is too small; type n_teachers=1 or more"),
        ("stages=0", "stages=0 is too small"),
        ("batch_size=1", "type batch_size=2 or more"),
        ("momentum=1.0", "momentum=1.0; a number from 0 to 1 is needed"),
        ("momentum=0.0", "type nesterov=false beside momentum=0"),
        ("milestones=[0]", "milestones are shares of the run or epochs, above 0"),
        ("gamma=2.0", "gamma=2.0; a number from 0 to 1 is needed"),
        ("distiller.task_weight=-1.0", "distiller.task_weight=-1.0 is too small"),
        ("distiller.weight=-2.0", "distiller.weight=-2.0 is too small"),
        ("threads=4096", "threads=4096 is more than the"),
        ("eval_every=-1", "eval_every=-1 is too small; type eval_every=0 or more"),
    ],
)
def test_a_value_out_of_range_is_told(argument, message):
    with pytest.raises(UserError) as error:
        check_config(config(argument))
    assert message in str(error.value)


def test_the_configuration_of_another_job_is_told():
    other = config()
    del other["student"], other["peers"]
    with pytest.raises(UserError, match="is not that of a training run: peers student"):
        check_config(other)


@pytest.mark.parametrize(("method", "teacher"), [("kd", "resnet14"), ("ffl", None), ("none", None)])
def test_the_short_preset_names_a_teacher_where_there_is_one(method, teacher):
    short = compose_train_config([f"distiller={method}", "preset=smoke", "epochs=1"])
    assert short["teacher"] == teacher
    assert (short["data"], short["student"], short["epochs"]) == ("synthetic:shapes", "resnet8", 1)
    assert short["distiller"]["name"] == method
