"""One table from names to objects, filled by a decorator and by third-party entry points."""

from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from rlgen.core.errors import UserError, closest

T = TypeVar("T")


class Registry(Generic[T]):
    """Names of one kind of object.

    A package outside rlgen adds its own by an entry point in the group ``rlgen.<kind>s``; it is
    imported only when its name is asked for.

    Args:
        kind: What the names stand for, in the singular, as error messages say it.
        plural: Its plural in the name of the entry points' group; None: with an s.
    """

    def __init__(self, kind: str, plural: str | None = None) -> None:
        self.kind = kind
        self.group = f"rlgen.{plural or kind + 's'}"
        self._items: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Returns a decorator that enters its object under a name.

        Raises:
            ValueError: If the name is taken by another object.
        """

        def enter(item: T) -> T:
            if self._items.get(name, item) is not item:
                raise ValueError(f"{self.kind} {name!r} is registered already")
            self._items[name] = item
            return item

        return enter

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._items, *(point.name for point in self._plugins())}))

    def __contains__(self, name: str) -> bool:
        return name in set(self)

    def __getitem__(self, name: str) -> T:
        """Returns the object of a name.

        Raises:
            UserError: If the name is unknown; the message offers the closest ones.
        """
        if name not in self._items:
            for point in self._plugins():
                if point.name == name:
                    self._items[name] = point.load()
                    break
            else:
                raise UserError(f"unknown {self.kind} {name!r}; {closest(name, self)}")
        return self._items[name]

    def _plugins(self):  # type: ignore[no-untyped-def]
        return entry_points(group=self.group)
