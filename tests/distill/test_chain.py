"""Which networks a run trains, in which order, from which seeds."""

import pytest
from distill_runs import config, write_teacher

from rlgen.core.errors import UserError
from rlgen.distill.chain import Teacher, plan_stages


def plan(*arguments):
    return plan_stages(config(*arguments))


def test_a_student_of_the_labels_is_one_stage():
    (stage,) = plan("distiller=none", "seed=3")
    assert (stage.folder, stage.networks, stage.teachers) == ("", ("resnet8",), ())
    assert (stage.seed, stage.distilled) == (3, False)


def test_teachers_come_first_and_differ_in_their_seeds():
    *teachers, student = plan("distiller=feed", "teacher=resnet14", "n_teachers=3", "seed=3")
    assert [stage.folder for stage in teachers] == ["teachers/0", "teachers/1", "teachers/2"]
    assert {stage.networks for stage in teachers} == {("resnet14",)}
    assert not any(stage.distilled for stage in teachers)
    assert student.teachers == tuple(Teacher("resnet14", f"teachers/{k}") for k in range(3))
    seeds = {stage.seed for stage in (*teachers, student)}
    assert len(seeds) == 4
    assert (student.seed, student.distilled) == (3, True)
    other = plan("distiller=feed", "teacher=resnet14", "n_teachers=3", "seed=4")
    assert not seeds & {stage.seed for stage in other}


def test_trained_and_new_teachers_may_be_mixed(cwd):
    write_teacher(cwd / "old")
    first, student = plan("distiller=feed", "teacher=[old,resnet14]")
    assert first.folder == "teachers/1"
    assert student.teachers == (Teacher("old"), Teacher("resnet14", "teachers/1"))


def test_a_chain_passes_each_student_on():
    teacher, one, two, last = plan("distiller=feed", "teacher=resnet14", "stages=3")
    assert [s.folder for s in (teacher, one, two, last)] == [
        "teachers/0",
        "stages/1",
        "stages/2",
        "",
    ]
    assert one.teachers == (Teacher("resnet14", "teachers/0"),)
    assert two.teachers == (Teacher("resnet8", "stages/1"),)
    assert last.teachers == (Teacher("resnet8", "stages/2"),)
    assert len({teacher.seed, one.seed, two.seed, last.seed}) == 4


def test_the_first_stage_of_a_chain_is_a_run_without_one():
    whole = plan("distiller=feed", "teacher=resnet14")
    chain = plan("distiller=feed", "teacher=resnet14", "stages=2")
    assert chain[0] == whole[0]
    keys = ("networks", "teachers", "seed", "distilled")
    assert [getattr(chain[1], k) for k in keys] == [getattr(whole[1], k) for k in keys]


@pytest.mark.parametrize(
    ("peers", "networks"),
    [("peers=3", ("resnet8",) * 3), ("peers=[resnet14,resnet8]", ("resnet14", "resnet8"))],
)
def test_peers_are_trained_together(peers, networks):
    (stage,) = plan("distiller=dml", peers)
    assert stage.networks == networks
    assert stage.distilled


@pytest.mark.parametrize("method", ["none", "dml"])
def test_a_teacher_that_is_not_used_is_told(capsys, method):
    assert len(plan(f"distiller={method}", "teacher=resnet14")) == 1
    assert f"distiller={method} has no teacher; teacher=resnet14" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["distiller=kd"], "distiller=kd needs a teacher; type teacher=resnet56"),
        (["distiller=kd", "teacher=[]"], "needs a teacher"),
        (["distiller=kd", "teacher=resnet21"], "unknown teacher 'resnet21': .* did you mean"),
        (["distiller=none", "student=resnet9"], "unknown student 'resnet9'; did you mean"),
        (["distiller=dml", "peers=1"], "peers=1: a number of 2 or more"),
        (["distiller=dml", "peers=resnet8"], "peers=resnet8: a number of 2 or more"),
        (["distiller=dml", "peers=[resnet8,resnet9]"], "unknown peer 'resnet9'"),
        (
            ["distiller=ffl", "peers=[resnet8,resnet14]", "branch_at=layer3"],
            "peers that share layers are of one kind",
        ),
        (["distiller=dml", "stages=2"], "distiller=dml has no teacher to pass on"),
        (
            ["distiller=feed", "teacher=resnet14", "n_teachers=2", "stages=2"],
            "a chain with one teacher each, and there are 2",
        ),
        (
            ["distiller=feed", "teacher=[resnet14,resnet8]", "n_teachers=3"],
            "n_teachers=3 and 2 given",
        ),
        (["distiller=feed", "teacher=resnet14", "stages=2", "start=x"], "start afresh"),
        (["distiller=kd", "teacher=."], "holds no run"),
    ],
)
def test_a_mistake_is_told(cwd, arguments, message):
    with pytest.raises(UserError, match=message):
        plan(*arguments)
