"""Which channels belong to which task: the ranges 1..I_k^J of every layer k.

Spec hc_net, sections b and d. Equal slices, `I_k^J = round(N_k J / T)`, and fixed fractions are
both reconstructed there: the paper is known to give each task part of the capacity. Growth beyond
N_k is ours; the spec's default, an error when the network is full, is the default here too.
"""

import math
from collections.abc import Mapping, Sequence

from rlgen.core.errors import UserError
from rlgen.core.ranges import check_range


class Capacity:
    """Shares a network's channels out to tasks that arrive one after another.

    Args:
        tasks: T, how many tasks share the network equally; None with ``fractions``.
        fractions: Share of every layer that tasks 1..T use together, rising, in (0, 1], such as
            (0.5, 0.75, 1.0); instead of ``tasks``.
        grow: Whether tasks beyond T widen every layer by the last task's share.

    Raises:
        UserError: If neither or both are given, or fractions do not rise within (0, 1].
    """

    def __init__(
        self, tasks: int | None = None, fractions: Sequence[float] | None = None, grow: bool = False
    ) -> None:
        if (tasks is None) == (fractions is None):
            raise UserError("capacity: give either tasks=3 or fractions=[0.5,0.75,1.0]")
        if fractions is None:
            check_range("tasks", tasks, 1, 10_000)
            assert tasks is not None
            self.fractions = tuple((number + 1) / tasks for number in range(tasks))
        else:
            self.fractions = _checked(fractions)
        self.grow = grow

    @property
    def tasks(self) -> int:
        """T, the tasks that fit without growth."""
        return len(self.fractions)

    def fraction(self, task: int) -> float:
        """Returns the share of a layer's N_k channels that a task uses; above 1 after growth.

        Args:
            task: Its number from 0 (the spec's J - 1).

        Raises:
            UserError: If the network is full and may not grow.
        """
        if task < self.tasks:
            return self.fractions[task]
        if not self.grow:
            raise UserError(
                f"the network is full: its capacity was shared out to {self.tasks} tasks and all "
                f"are learned; type grow=true, or begin with tasks={task + 1}"
            )
        before = self.fractions[-2] if self.tasks > 1 else 0.0
        return self.fractions[-1] + (task + 1 - self.tasks) * (self.fractions[-1] - before)

    def widths(self, task: int, full: Mapping[str, int]) -> dict[str, int]:
        """Returns I_k^J, how many channels of each group a task uses.

        Args:
            task: Its number from 0.
            full: N_k, channels of each group in the network as it was given.

        Raises:
            UserError: If the network is full, or a group is too narrow to give every task a
                channel.
        """
        now = {group: self._width(task, count) for group, count in full.items()}
        for group, count in full.items():
            if now[group] <= (self._width(task - 1, count) if task else 0):
                raise UserError(
                    f"{group} has {count} channels, too few for the shares of {self.tasks} tasks: "
                    f"task {task + 1} gets none; take a wider network or fewer tasks"
                )
        return now

    def _width(self, task: int, count: int) -> int:
        # The small term keeps 3 * (1 / 6) at a half; halves go up.
        return math.floor(self.fraction(task) * count + 0.5 + 1e-9)


def _checked(fractions: Sequence[float]) -> tuple[float, ...]:
    values = tuple(float(fraction) for fraction in fractions)
    pairs = zip((0.0, *values), values, strict=False)
    if not values or values[-1] > 1 or not all(before < after for before, after in pairs):
        raise UserError(
            f"fractions={list(fractions)}: shares rise from above 0 to at most 1; type "
            "fractions=[0.5,0.75,1.0]"
        )
    return values
