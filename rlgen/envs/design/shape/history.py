"""A design: the accepted actions and the solid after each of them.

Loading a file replays it. With the same kernel on the same platform the mesh must come out
identical to the last bit; otherwise volume and bounding box are compared, and a warning tells how
they differ. The module does not import Gymnasium.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlgen.core.errors import UserError
from rlgen.envs.design.files import write_bytes
from rlgen.envs.design.mesh import Floats, Mesh
from rlgen.envs.design.shape.design_json import compare, from_text, to_text
from rlgen.envs.design.shape.geometry import EMPTY, Solid, apply
from rlgen.envs.design.shape.operations import Action, canonical, describe
from rlgen.envs.design.shape.space import DesignSpace


@dataclass(frozen=True, eq=False)
class Record:
    """One accepted action and what a script needs to repeat it.

    Attributes:
        action: In canonical form.
        bounds: (2, 3) bounding box of the solid before it, mm; what its places refer to.
        drop: mm the result was lowered by to stand on the table.
        discarded: Loose pieces taken away; a script cannot repeat that with Booleans alone.
        solid: The solid after it.
    """

    action: Action
    bounds: Floats
    drop: float
    discarded: int
    solid: Solid

    def __str__(self) -> str:
        return describe(self.action, self.bounds)


class Design:
    """An ordered list of accepted actions and the solid they make.

    Args:
        space: Where the design may be; the default space where left out.
        seed: A design to start from. Its actions are locked: ``undo`` stops behind them.

    Raises:
        UserError: The seed cannot be built in this space.
    """

    def __init__(self, space: DesignSpace | None = None, seed: "Design | None" = None) -> None:
        if space is None:
            space = DesignSpace() if seed is None else seed.space
        self.space: DesignSpace = space
        self._records: list[Record] = []
        self.locked = 0
        if seed is not None and seed.space == self.space:
            self._records = list(seed._records)
        elif seed is not None:
            self._replay(seed.actions, "seed design")
        self.locked = len(self._records)

    def __len__(self) -> int:
        return len(self._records)

    @property
    def solid(self) -> Solid:
        """The present solid."""
        return self._records[-1].solid if self._records else EMPTY

    @property
    def mesh(self) -> Mesh:
        """The present solid's surface."""
        return self.solid.mesh

    @property
    def actions(self) -> tuple[Action, ...]:
        """The accepted actions in canonical form, the locked ones first."""
        return tuple(record.action for record in self._records)

    @property
    def records(self) -> tuple[Record, ...]:
        """The accepted actions with what scripts need."""
        return tuple(self._records)

    @property
    def undoable(self) -> int:
        """How many actions can be undone."""
        return len(self._records) - self.locked

    def steps(self) -> Iterator[tuple[Action, Solid]]:
        """Iterates over each accepted action and the solid after it."""
        return ((record.action, record.solid) for record in self._records)

    def apply(self, action: Action) -> str | None:
        """Carries out a modelling operation.

        Returns:
            None, or why it was refused, see ``geometry``; nothing has changed then.
        """
        action, before = canonical(action), self.solid
        outcome = apply(before, action, self.space)
        if outcome.refused is None:
            drop, discarded = outcome.drop, outcome.discarded
            self._records.append(Record(action, before.bounds, drop, discarded, outcome.solid))
        return outcome.refused

    def undo(self) -> bool:
        """Takes the last action back; returns False where there is none that is not locked."""
        if not self.undoable:
            return False
        self._records.pop()
        return True

    def copy(self) -> "Design":
        """Returns an independent design with the same history; solids are shared."""
        twin = Design(self.space)
        twin._records, twin.locked = list(self._records), self.locked
        return twin

    def first(self, count: int) -> "Design":
        """Returns an independent design with the first ``count`` actions only."""
        twin = self.copy()
        del twin._records[max(count, 0) :]
        twin.locked = min(twin.locked, len(twin._records))
        return twin

    @classmethod
    def from_actions(
        cls, actions: Iterable[Action], space: DesignSpace | None = None, locked: int = 0
    ) -> "Design":
        """Builds a design from actions.

        Args:
            actions: All of them must be accepted.
            space: Where the design may be.
            locked: How many of the first actions are locked.

        Raises:
            UserError: An action is refused.
        """
        design = cls(space)
        design._replay(actions, "design")
        design.locked = min(max(locked, 0), len(design))
        return design

    def _replay(self, actions: Iterable[Action], what: str) -> None:
        for action in actions:
            refused = self.apply(action)
            if refused is not None:
                raise UserError(
                    f"{what}: operation {len(self) + 1} ({action.name}) is refused as {refused}; "
                    "the design space or the kernel is not the one it was made with"
                )

    def to_json(
        self,
        metrics: Mapping[str, float] | None = None,
        goal: Mapping[str, Any] | None = None,
    ) -> str:
        """Returns the design as JSON text.

        Args:
            metrics: Values to keep with it, for people and for the gallery.
            goal: What it was made for.

        Raises:
            UserError: Metrics or goal hold something JSON has no word for, such as NaN.
        """
        seed = (self.locked, self._records[self.locked - 1].solid.sha256) if self.locked else None
        return to_text(self.space, self.actions, self.solid, seed, metrics or {}, goal or {})

    @classmethod
    def from_json(cls, text: str, source: str = "design") -> "Design":
        """Replays JSON text.

        Args:
            text: What ``to_json`` wrote.
            source: What to call it in messages, e.g. the file.

        Raises:
            UserError: The text is not a design of this format, an operation is refused, or the mesh
                is not the one that was saved although kernel and platform are the same.
        """
        saved = from_text(text, source)
        design = cls(saved.space)
        design._replay(saved.actions, source)
        design.locked = saved.locked
        compare(design.solid, saved, source)
        return design

    def write_json(
        self,
        path: str | Path,
        metrics: Mapping[str, float] | None = None,
        goal: Mapping[str, Any] | None = None,
    ) -> None:
        """Writes ``to_json`` to a file, which is complete or absent, never half."""
        write_bytes(path, (self.to_json(metrics, goal) + "\n").encode())

    @classmethod
    def load(cls, path: str | Path) -> "Design":
        """Replays a file.

        Raises:
            UserError: The file cannot be read, or see ``from_json``.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise UserError(f"{path} is not a text file; give a design saved as .json") from None
        return cls.from_json(text, source=str(path))
