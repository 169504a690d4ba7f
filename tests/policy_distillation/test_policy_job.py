"""The configuration of a policy distillation, and mistakes in it."""

import shutil
from dataclasses import fields
from pathlib import Path

import pytest

from rlgen.core.compose import CONF, to_yaml
from rlgen.core.errors import UserError
from rlgen.core.run import read_config
from rlgen.policy_distillation.job import check_config, compose_train_config, job_name
from rlgen.policy_distillation.options import SCHEMAS, PolicyOptions, PolicyTrainOptions
from rlgen.train import main

POLICY = ["distiller=policy"]


@pytest.fixture(scope="module")
def runs(teachers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs of agents, and with what cannot teach; change none."""
    folder = tmp_path_factory.mktemp("policy_job")
    for name in ("g2n", "normalised", "tables"):
        (folder / name).symlink_to(teachers / name)
    (folder / "picture").mkdir()
    (folder / "picture" / "config.yaml").write_text("model: {name: sgn}\n")
    (folder / "classifier").mkdir()
    (folder / "classifier" / "config.yaml").write_text("distiller: {name: kd}\n")
    for name, agent in (("masked", "maskable_ppo"), ("random", "disentangled_random")):
        config = read_config(folder / "g2n")
        config["agent"]["name"] = agent
        (folder / name).mkdir()
        (folder / name / "config.yaml").write_text(to_yaml(config))
    shutil.copytree(folder / "g2n", folder / "untrained")
    shutil.rmtree(folder / "untrained" / "checkpoints")
    return folder


def test_the_configuration_takes_environment_and_settings_from_the_teacher(runs):
    config = compose_train_config([*POLICY, f"teacher={runs / 'normalised'}", "algorithm=a2c"])
    teacher = read_config(runs / "normalised")
    assert config["env"] == teacher["env"] == "Pendulum-v1"
    assert config["eval_max_steps"] == teacher["eval_max_steps"] == 200
    assert config["teacher"] == str(runs / "normalised")
    gamma = teacher["agent"]["gamma"]
    expected = {"name": "distilled_a2c", "widths": None, "normalize": True, "gamma": gamma}
    assert config["agent"] == expected
    check_config(config)
    assert job_name(config) == "policy-Pendulum"
    assert set(config) == {field.name for field in fields(PolicyTrainOptions)}


def test_the_options_are_those_of_the_dataclasses():
    assert SCHEMAS["distiller/policy_schema"] is PolicyOptions
    assert "  - policy_schema\nname: policy\n" in (CONF / "distiller/policy.yaml").read_text()
    config = compose_train_config([*POLICY, "preset=smoke"])
    assert config["distiller"] == {field.name: field.default for field in fields(PolicyOptions)}
    assert (config["env"], config["teacher"], config["total_steps"]) == ("CartPole-v1", None, 300)


def test_the_same_environment_may_be_named(runs):
    config = compose_train_config([*POLICY, f"teacher={runs / 'g2n'}", "env=CartPole"])
    assert config["env"] == "CartPole-v1"


MISTAKES = {
    "no teacher": ([], "distiller=policy needs a teacher; type teacher=RUN"),
    "nowhere": (["teacher=RUNS/g2m"], "is not a run folder; did you mean"),
    "an image model": (["teacher=RUNS/picture"], "is a run of an image model; name the run of an"),
    "a classifier": (["teacher=RUNS/classifier"], "is a run of a classifier; name the run of an a"),
    "masks": (["teacher=RUNS/masked"], "maskable_ppo forbids actions by masks, which a plain pol"),
    "random": (["teacher=RUNS/random"], "disentangled_random acts at random and has learnt no po"),
    "untrained": (["teacher=RUNS/untrained"], "has no readable checkpoint yet; train it: resume="),
    "another environment": (
        ["teacher=RUNS/g2n", "env=Acrobot-v1"],
        "plays CartPole-v1; leave env out",
    ),
    "an agent too": (["teacher=RUNS/g2n", "agent=ppo"], "leave agent out: the student's class is"),
    "options of an agent": (["teacher=RUNS/g2n", "agent.gamma=1"], "are the teacher's; leave them"),
    "too wide": (
        ["teacher=RUNS/g2n", "student=[64,64]", "student_size=0.25"],
        "student=[64, 64] has 4,610 acting parameters, more than student_size=0.25 of the teache",
    ),
    "no room": (["teacher=RUNS/g2n", "student_size=0.001"], "no student fits into"),
    "no layers": (["teacher=RUNS/g2n", "student=[]"], "student holds widths of hidden layers"),
    "no units": (["teacher=RUNS/g2n", "student=[0]"], "student holds widths of hidden layers"),
    "unknown option": (
        ["teacher=RUNS/g2n", "distiller.temprature=2"],
        "did you mean 'distiller.te",
    ),
    "unknown key": (["teacher=RUNS/g2n", "total_step=2"], "did you mean 'total_steps'"),
    "unknown method": (["distiller=polici"], "unknown distiller 'polici'; did you mean 'policy'?"),
    "unknown teachers": (
        ["teacher=RUNS/g2n", "distiller.teachers=elites"],
        "distiller.teachers=elites is unknown; did you mean 'elite'?",
    ),
    "unknown class": (["teacher=RUNS/g2n", "algorithm=dqn"], "algorithm=dqn is unknown; allowed"),
    "no share": (
        ["teacher=RUNS/g2n", "distiller.student_states=1.5"],
        "a number from 0 to 1 is needed",
    ),
    "no temperature": (["teacher=RUNS/g2n", "distiller.temperature=0"], "is too small"),
    "warm Gaussians": (
        ["teacher=RUNS/normalised", "distiller.temperature=2"],
        "distiller.temperature=2 is for discrete actions",
    ),
    "features of tables": (
        ["teacher=RUNS/tables", "distiller.feed_weight=1"],
        "has no features; type distiller.feed_weight=0",
    ),
    "no steps": (["teacher=RUNS/g2n", "total_steps=0"], "type total_steps=1 or more"),
    "strange device": (["teacher=RUNS/g2n", "device=toaster"], "device='toaster' is unknown"),
}


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_code_2(runs, cwd, capsys, arguments, message):
    typed = [a.replace("RUNS", str(runs)) for a in arguments]
    kind = [] if any(a.startswith("distiller=") for a in arguments) else POLICY
    assert main([*kind, *typed, "run_dir=run"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith("error: ")
    assert message in err
    assert not list(cwd.iterdir())  # no run folder is left


def test_a_configuration_of_another_job_is_told():
    config = compose_train_config([*POLICY, "preset=smoke"])
    del config["student"]
    with pytest.raises(UserError, match="is not that of a run of distiller=policy: student"):
        check_config(config)
