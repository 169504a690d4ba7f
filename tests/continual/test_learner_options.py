"""Options of the command and those of the learners say the same; ranges, names, presets."""

import inspect
from dataclasses import asdict, fields

import pytest

from rlgen.continual.hcnet import HCNet
from rlgen.continual.hnet import TASK_INDICES
from rlgen.continual.job import check_config, compose_train_config, job_name, share_capacity
from rlgen.continual.learners import LEARNERS
from rlgen.continual.options import (
    OPTIONS,
    SCHEMAS,
    CNetOptions,
    LearnerTrainOptions,
    PackNetOptions,
)
from rlgen.continual.recipe import Recipe
from rlgen.core.compose import CONF, load_yaml, options
from rlgen.core.errors import UserError

MADE_BY_THE_RUN = {"seed", "device", "route"}


def keywords(function):
    parameters = inspect.signature(function).parameters.values()
    found = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    return {name: value for name, value in found.items() if name not in MADE_BY_THE_RUN}


@pytest.mark.parametrize("name", list(OPTIONS))
def test_the_options_are_the_keywords_of_the_learner_with_its_defaults(name):
    own = {key: value for key, value in asdict(OPTIONS[name]()).items() if key != "name"}
    if name == "hcnet":
        assert own.pop("index_options") == {}
    wanted = {k: v for k, v in keywords(LEARNERS[name]).items() if k != "index_options"}
    assert own == wanted


def test_every_learner_is_a_choice_with_its_own_schema():
    assert set(options("learner")) == set(OPTIONS) == set(LEARNERS)
    for name in OPTIONS:
        text = (CONF / "learner" / f"{name}.yaml").read_text()
        assert text.startswith("# ")
        assert f"  - {name}_schema\nname: {name}\n" in text
        assert SCHEMAS[f"learner/{name}_schema"] is OPTIONS[name]


def test_the_recipe_is_that_of_the_library_with_fewer_epochs():
    recipe, typed = asdict(Recipe()), asdict(LearnerTrainOptions())
    typed["milestones"] = tuple(typed["milestones"])
    typed["total_steps"] = typed["steps_per_task"]
    differing = {name for name, value in recipe.items() if typed[name] != value}
    assert differing == {"epochs"}


@pytest.mark.parametrize("index", ["autoencoder", "gan", "prototype"])
def test_the_short_preset_knows_the_options_of_every_index(index):
    assert index in TASK_INDICES
    sections = load_yaml(CONF / "presets" / "smoke.yaml")
    config = compose_train_config([f"learner.index={index}", "preset=smoke"])
    given = config["learner"]["index_options"]
    assert given
    assert set(given) <= set(keywords(TASK_INDICES[index]))
    assert set(sections["learner"]) <= {field.name for field in fields(LearnerTrainOptions)}
    assert keywords(HCNet)["index"] == "gan"


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["learner=cnet"], "cnet-resnet20-mnist-fashion_mnist-cifar10"),
        (["learner=ewc", "stream=split_mnist"], "ewc-resnet20-split_mnist"),
        (["stream=[a/birds.npz,hub:me/cats]", "network=vgg8"], "hcnet-vgg8-birds-cats"),
    ],
)
def test_a_run_is_named_by_learner_network_and_stream(arguments, name):
    config = compose_train_config(arguments)
    check_config(config)
    assert job_name(config) == name
    assert isinstance(config["stream"], list)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"epochs": 0}, "epochs=0 is too small; type epochs=1 or more"),
        ({"tasks": 1}, "tasks=1 is too small; type tasks=2 or more"),
        ({"size": 3}, "size=3 is too small"),
        ({"train": 0}, "train=0 is too small"),
        ({"channels": 4}, "channels=4; allowed: 1 for grey, 3 for colours"),
        ({"milestones": [1.0]}, "milestones are shares of a task's steps"),
        ({"threads": 4096}, "threads=4096 is more than the"),
        ({"learner": "cnet"}, "config.yaml is not that of a training run: learner"),
    ],
)
def test_what_the_types_leave_open_is_checked(argument, message):
    config = {**asdict(LearnerTrainOptions()), "learner": asdict(CNetOptions("cnet")), **argument}
    with pytest.raises(UserError) as raised:
        check_config(config)
    assert message in str(raised.value)


def test_channels_are_shared_by_the_tasks_of_the_stream():
    def shared(length, **given):
        config = {"learner": {**asdict(CNetOptions("cnet")), **given}}
        share_capacity(config, length)
        return config["learner"]["tasks"]

    assert shared(3) == 3
    assert shared(3, tasks=5) == 5
    assert shared(3, tasks=2, grow=True) == 2
    assert shared(2, fractions=[0.5, 1.0]) is None
    with pytest.raises(UserError, match="shared out to 2; type"):
        shared(3, fractions=[0.5, 1.0])
    pruned = {"learner": asdict(PackNetOptions("packnet"))}
    share_capacity(pruned, 4)
    assert pruned["learner"]["tasks"] == 4
    with pytest.raises(UserError, match="shared out to 4; begin a new run with"):
        share_capacity(pruned, 5)
    pruned["learner"] |= {"tasks": None, "prune": 0.5}
    share_capacity(pruned, 5)
    assert pruned["learner"]["tasks"] is None
    plain = {"learner": {"name": "finetune"}}
    share_capacity(plain, 3)
    assert plain == {"learner": {"name": "finetune"}}
