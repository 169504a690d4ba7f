"""Configuration: groups and arguments, sweeps, one-line errors."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from rlgen.core import compose as compose_module
from rlgen.core.compose import (
    check_options,
    compose_config,
    expand_sweep,
    given,
    load_yaml,
    options,
    to_yaml,
    update,
)
from rlgen.core.errors import UserError


@dataclass
class FruitOptions:
    weight: float = 1.0
    names: list[str] = field(default_factory=lambda: ["pear"])
    limit: int | None = None


@dataclass
class SweetOptions(FruitOptions):
    sugar: float = 0.1


@dataclass
class BasketOptions:
    fruit: Any = None
    size: int = 3
    closed: bool = False
    label: str = "mine"
    extra: dict[str, Any] = field(default_factory=dict)


SCHEMAS = {"basket_schema": BasketOptions, "fruit/fruit_schema": FruitOptions}


@pytest.fixture
def basket(tmp_path, monkeypatch):
    """A small configuration in place of rlgen's own."""
    (tmp_path / "fruit").mkdir()
    head = "defaults:\n  - basket_schema\n  - fruit: pear\n  - _self_\n"
    (tmp_path / "basket.yaml").write_text(head + "size: 5\n")
    for name, weight in (("pear", 2.5), ("apple", 4.0)):
        text = f"defaults:\n  - fruit_schema\n  - _self_\nweight: {weight}\n"
        (tmp_path / "fruit" / f"{name}.yaml").write_text(text)
    store = compose_module.ConfigStore.instance()
    monkeypatch.setattr(store, "repo", dict(store.repo))
    monkeypatch.setattr(compose_module, "CONF", tmp_path)


def compose(*arguments: str) -> dict[str, Any]:
    return compose_config("basket", arguments, SCHEMAS)


@pytest.mark.usefixtures("basket")
def test_a_change_to_what_was_composed_stays_ones_own():
    first = compose("fruit=apple")
    first["fruit"]["names"].append("plum")
    first["size"] = 9
    assert compose("fruit=apple")["fruit"]["names"] == ["pear"]
    assert compose("fruit=apple")["size"] == 5


@pytest.mark.usefixtures("basket")
def test_another_dataclass_takes_the_place_of_the_one_before():
    assert "sugar" not in compose()["fruit"]
    other = compose_config("basket", (), {**SCHEMAS, "fruit/fruit_schema": SweetOptions})
    assert other["fruit"]["sugar"] == 0.1
    assert "sugar" not in compose("size=6")["fruit"]


@pytest.mark.usefixtures("basket")
def test_file_and_schema_give_the_defaults():
    assert compose() == {
        "fruit": {"weight": 2.5, "names": ["pear"], "limit": None},
        "size": 5,
        "closed": False,
        "label": "mine",
        "extra": {},
    }


@pytest.mark.usefixtures("basket")
@pytest.mark.parametrize(
    ("argument", "path", "value"),
    [
        ("size=7", ["size"], 7),
        ("size=1_000", ["size"], 1000),
        ("closed=true", ["closed"], True),
        ("label=yours", ["label"], "yours"),
        ("label=runs/a-b", ["label"], "runs/a-b"),
        ("fruit=apple", ["fruit", "weight"], 4.0),
        ("fruit.weight=1e-3", ["fruit", "weight"], 0.001),
        ("fruit.limit=2", ["fruit", "limit"], 2),
        ("fruit.names=[a,b]", ["fruit", "names"], ["a", "b"]),
        ("+extra.a=1", ["extra"], {"a": 1}),
    ],
)
def test_an_argument_changes_its_value(argument, path, value):
    config: Any = compose(argument)
    for key in path:
        config = config[key]
    assert config == value
    assert type(config) is type(value)


@pytest.mark.usefixtures("basket")
def test_the_last_argument_wins():
    assert compose("size=1", "size=2")["size"] == 2


@pytest.mark.usefixtures("basket")
def test_the_result_is_plain():
    assert type(compose()["fruit"]) is dict
    assert type(compose()["fruit"]["names"]) is list


@pytest.mark.usefixtures("basket")
def test_the_choices_of_a_group_are_its_files():
    assert options("fruit") == ["apple", "pear"]


@pytest.mark.usefixtures("basket")
@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("fruit=aple", "unknown fruit 'aple'; did you mean 'apple'?"),
        ("fruit=zzz", "unknown fruit 'zzz'; allowed: apple, pear"),
        ("sise=3", "unknown option sise; did you mean 'size'?"),
        ("fruit.wait=3", "unknown option fruit.wait; did you mean 'fruit.weight'"),
        ("size=big", "size: Value 'big' of type 'str' could not be converted to Integer"),
        ("size=1.5", "size: Value '1.5' of type 'float' could not be converted to Integer"),
        ("size=null", "size: field 'size' is not Optional"),
        ("fruit.weight=x", "fruit.weight: Value 'x' of type 'str' could not be converted to Float"),
        ("closed=perhaps", "closed: Value 'perhaps' is not a valid bool"),
        ("size", "cannot read the argument 'size'; type key=value"),
        ("size=[1", "cannot read the argument 'size=[1'; type key=value"),
    ],
)
def test_a_mistake_is_one_line_that_helps(argument, message):
    with pytest.raises(UserError) as caught:
        compose(argument)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "runs"),
    [
        ([], [[]]),
        (["a=1", "b=x"], [["a=1", "b=x"]]),
        (["a=1,2"], [["a=1"], ["a=2"]]),
        (["a=range(0,3)"], [["a=0"], ["a=1"], ["a=2"]]),
        (["a=choice(x,y)"], [["a=x"], ["a=y"]]),
        (["a=[1,2]"], [["a=[1,2]"]]),
        (["a='1,2'"], [["a='1,2'"]]),
        (["+a.b=1,2"], [["+a.b=1"], ["+a.b=2"]]),
        (
            ["a=1,2", "c=0", "b=x,y"],
            [
                ["a=1", "c=0", "b=x"],
                ["a=1", "c=0", "b=y"],
                ["a=2", "c=0", "b=x"],
                ["a=2", "c=0", "b=y"],
            ],
        ),
    ],
)
def test_a_sweep_is_every_combination(arguments, runs):
    assert expand_sweep(arguments) == runs


@pytest.mark.parametrize("argument", ["garbage", "--flag", "a=("])
def test_a_sweep_of_garbage_is_refused(argument):
    with pytest.raises(UserError, match="cannot read the argument"):
        expand_sweep([argument])


def test_given_arguments_are_strings_without_nulls():
    arguments = ["seed=3", "env=ALE/Breakout-v5", "run_dir=null", "agent.learning_rate=1e-3"]
    assert given(arguments) == {
        "seed": "3",
        "env": "ALE/Breakout-v5",
        "agent.learning_rate": "0.001",
    }


def test_options_are_filled_with_their_types():
    assert check_options(FruitOptions, ["weight=2", "limit=4"]) == FruitOptions(2.0, ["pear"], 4)


def test_options_without_arguments_are_the_defaults():
    assert check_options(FruitOptions, []) == FruitOptions()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("wait=1", "unknown option wait; did you mean 'weight'?"),
        ("zzz=1", "unknown option zzz; allowed: limit, names, weight"),
        ("limit=many", "limit=many: Value 'many' of type 'str' could not be converted to Integer"),
        ("weight=null", "weight=null: field 'weight' is not Optional"),
        ("names=3", "names=3: Invalid value assigned: int is not a ListConfig, list or tuple."),
        ("weight", "cannot read the argument 'weight'; type key=value"),
    ],
)
def test_a_wrong_option_is_one_line_that_helps(argument, message):
    with pytest.raises(UserError) as caught:
        check_options(FruitOptions, [argument])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


CONFIG = {"seed": 0, "agent": {"gamma": 0.99, "net_arch": None}}


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("seed=4", {"seed": 4, "agent": {"gamma": 0.99, "net_arch": None}}),
        ("agent.gamma=0.5", {"seed": 0, "agent": {"gamma": 0.5, "net_arch": None}}),
        ("agent.net_arch=[8]", {"seed": 0, "agent": {"gamma": 0.99, "net_arch": [8]}}),
    ],
)
def test_update_changes_one_value_of_a_copy(argument, expected):
    before = to_yaml(CONFIG)
    assert update(CONFIG, [argument]) == expected
    assert to_yaml(CONFIG) == before


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("sed=1", "unknown option sed; did you mean 'seed'"),
        ("agent.gama=1", "unknown option agent.gama; did you mean 'agent.gamma'"),
    ],
)
def test_update_refuses_unknown_keys(argument, message):
    with pytest.raises(UserError, match=message):
        update(CONFIG, [argument])


def test_yaml_comes_back(tmp_path):
    values = {"a": 1, "b": [1.5, None, True], "c": {"d": "x: y", "e": "1"}, "f": "é"}
    (tmp_path / "config.yaml").write_text(to_yaml(values), encoding="utf-8")
    assert load_yaml(tmp_path / "config.yaml") == values


@pytest.mark.parametrize("content", ["a: [1", "- 1\n- 2\n", "\x00"])
def test_a_file_that_is_no_configuration_is_one_line(tmp_path, content):
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(UserError, match=r"config\.yaml") as caught:
        load_yaml(tmp_path / "config.yaml")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*nowhere\.yaml"):
        load_yaml(tmp_path / "nowhere.yaml")
