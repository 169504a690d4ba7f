"""Options of the command and those of the losses say the same."""

import inspect
from dataclasses import fields

import pytest
from distill_runs import config

from rlgen.core.compose import CONF, compose_config, options
from rlgen.distill.losses import LOSSES
from rlgen.distill.options import ONLINE, OPTIONS, PLAIN, SCHEMAS, DistillerOptions

COMMON = {field.name for field in fields(DistillerOptions)}


@pytest.mark.parametrize("name", list(LOSSES))
def test_the_options_are_the_keywords_of_the_loss_with_its_defaults(name):
    parameters = inspect.signature(LOSSES[name]).parameters.values()
    keywords = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    own = {f.name: f.default for f in fields(OPTIONS[name]) if f.name not in COMMON}
    assert own == keywords


def test_every_loss_is_a_choice():
    assert set(OPTIONS) == {PLAIN, *LOSSES}
    assert set(options("distiller")) == {*OPTIONS, "policy"}  # which is no loss of classifiers


def test_online_are_the_losses_of_peers():
    assert {name for name in LOSSES if LOSSES[name].online} == set(ONLINE)


@pytest.mark.parametrize("name", list(OPTIONS))
def test_a_choice_has_its_own_schema(name):
    text = (CONF / "distiller" / f"{name}.yaml").read_text()
    assert text.startswith("# ")
    assert f"  - {name}_schema\nname: {name}\n" in text
    assert SCHEMAS[f"distiller/{name}_schema"] is OPTIONS[name]


@pytest.mark.parametrize("name", ["kd", "feed"])
def test_the_configuration_is_composed(name):
    arguments = ["student=resnet8", f"distiller={name}", "distiller.weight=3"]
    composed = compose_config("train_distiller", arguments, SCHEMAS)
    assert composed == config(*arguments, tiny=False)
    assert composed["distiller"]["task_weight"] == (0.1 if name == "kd" else 1.0)
    assert composed["distiller"]["weight"] == 3.0
