"""Names to objects: registration, unknown names, plug-ins."""

import pytest

from rlgen.core import registry as registry_module
from rlgen.core.errors import UserError
from rlgen.core.registry import Registry


@pytest.fixture
def registry() -> Registry:
    registry = Registry("fruit")
    registry.register("pear")("a pear")
    registry.register("apple")("an apple")
    return registry


class EntryPoint:
    """Stands for an installed plug-in; counts how often it is imported."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.loads = 0

    def load(self) -> str:
        self.loads += 1
        return f"a {self.name} from outside"


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> EntryPoint:
    point = EntryPoint("mango")

    def entry_points(group: str) -> list[EntryPoint]:
        return [point] if group == "rlgen.fruits" else []

    monkeypatch.setattr(registry_module, "entry_points", entry_points)
    return point


def test_a_registered_object_is_found(registry):
    assert registry["pear"] == "a pear"


def test_names_are_listed_in_order(registry):
    assert list(registry) == ["apple", "pear"]


def test_the_decorator_returns_its_object():
    @Registry("method").register("it")
    class Method:
        pass

    assert isinstance(Method, type)


def test_a_taken_name_is_refused(registry):
    with pytest.raises(ValueError, match="fruit 'pear' is registered already"):
        registry.register("pear")("another pear")


def test_the_same_object_may_be_registered_again(registry):
    pear = registry["pear"]
    assert registry.register("pear")(pear) is pear


def test_an_unknown_name_offers_the_closest(registry):
    with pytest.raises(UserError, match=r"^unknown fruit 'aple'; did you mean 'apple'\?$"):
        registry["aple"]


def test_plugins_are_listed_but_not_imported(registry, plugin):
    assert list(registry) == ["apple", "mango", "pear"]
    assert "mango" in registry
    assert plugin.loads == 0


def test_a_plugin_is_imported_once_when_its_name_is_asked_for(registry, plugin):
    assert [registry["mango"], registry["mango"]] == ["a mango from outside"] * 2
    assert plugin.loads == 1


def test_a_plugin_is_offered_for_a_mistyped_name(registry, plugin):
    with pytest.raises(UserError, match=r"did you mean 'mango'\?"):
        registry["mnago"]
