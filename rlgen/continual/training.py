"""Learning a stream step by step, with a ledger of what each task took."""

import time
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from rlgen.continual.experience import Experience
from rlgen.continual.hcnet import HCNet
from rlgen.continual.learner import Learner, Tensors
from rlgen.continual.metrics import StreamScores, TaskScore, score_ahead, score_untrained
from rlgen.continual.runs import make_network
from rlgen.core.errors import UserError

Entry = dict[str, Any]


class StreamTrainer:
    """Takes the steps of a stream's tasks, one after another, and judges after each task.

    Args:
        config: As the train command composes it.
        learner: Before its first task.
        stream: The tasks; the learner is given one at a time.

    Attributes:
        scores: Accuracies so far.
        ledger: For each task learned: name, classes, pictures, steps, seconds of training,
            parameters and bytes kept after it (``memory/...``: of which parts), and its scores
            right after it.
        ended: Whether the last step was the last one of a task.
    """

    def __init__(
        self, config: dict[str, Any], learner: Learner, stream: Sequence[Experience]
    ) -> None:
        self.config, self.learner, self.stream = config, learner, list(stream)
        self.scores = StreamScores([experience.name for experience in self.stream])
        self.ledger: list[Entry] = []
        self.ended = False
        self._steps = 0  # of the task under way
        self._seconds = 0.0

    @property
    def number(self) -> int:
        """The task under way, or the next one, from 0; as many as there are: all are learned."""
        return len(self.learner.records)

    @property
    def name(self) -> str:
        """Its name."""
        return self.stream[self.number].name

    def begin(self) -> None:
        """Begins the next task, unless one is under way or all are learned."""
        if self.number == len(self.stream) or self.learner.training is not None:
            return
        experience = self.stream[self.number]
        self._measure_untrained(experience)
        self.learner.begin_task(experience)
        self._steps, self._seconds = 0, 0.0

    def steps_ahead(self) -> int:
        """Returns the steps left; those of tasks not begun are estimated by the last begun one."""
        planned = [self._planned(experience) for experience in self.stream]
        if self.learner.training is not None:
            taken, last = self._steps + self.learner.steps_left, self.number
            future = planned[last + 1 :]
        else:
            last = self.number - 1
            taken = self.ledger[-1]["steps"] if self.ledger else 0
            future = planned[self.number :]
        scale = taken / planned[last] if taken else 1.0
        return self.learner.steps_left + sum(max(round(scale * steps), 1) for steps in future)

    def _planned(self, experience: Experience) -> int:
        recipe = self.learner.recipe
        return recipe.steps(max(round(len(experience.train) / recipe.batch_size), 1))

    def train_step(self, step: int) -> dict[str, Tensor]:
        """Takes a step of the task under way; after its last one the task is ended and judged.

        Args:
            step: Of the whole run, from 0; each task counts its own.
        """
        start = time.monotonic()
        terms = self.learner.step()
        self._steps += 1
        self.ended = not self.learner.steps_left
        if self.ended:
            self.learner.end_task()
        self._seconds += time.monotonic() - start
        if self.ended:
            scores = self.scores.add(self.learner, self.stream)
            self.ledger.append(self._entry(scores[-1]))
        return terms

    def _entry(self, score: TaskScore) -> Entry:
        experience = self.stream[self.number - 1]
        parts = self.learner.memory_parts() if isinstance(self.learner, HCNet) else {}
        return {
            "task": experience.name,
            "classes": len(experience.classes),
            "train": len(experience.train),
            "test": len(experience.test),
            "steps": self._steps,
            "seconds": round(self._seconds, 3),
            "parameters": self.learner.parameter_count(),
            "memory_bytes": self.learner.memory_bytes(),
            **{f"memory/{name}": value for name, value in parts.items()},
            **score._asdict(),
        }

    def _measure_untrained(self, experience: Experience) -> None:
        """Measures b_j where FWT may have a meaning: the task before has the same classes."""
        number = self.number
        if number and experience.classes == self.stream[number - 1].classes:
            network = make_network(self.config, len(experience.classes)).to(self.learner.device)
            self.scores.untrained[number] = score_untrained(network, experience)

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """Returns the learner, also inside a task, the scores and the ledger."""
        tensors, values = self.learner.state()
        return tensors, {
            "learner": values,
            "scores": self.scores.values(),
            "ledger": self.ledger,
            "under_way": {"steps": self._steps, "seconds": self._seconds},
        }

    def restore(self, tensors: Tensors, state: dict[str, Any]) -> None:
        """Puts a state from :meth:`state` back.

        The stream may have more tasks than it had, behind those that were begun.

        Raises:
            UserError: If the tasks begun are not the first ones of the stream, or the state is of
                another learner or network.
        """
        values = state["learner"]
        begun = [record["name"] for record in values["tasks"]]
        under_way = values["training"] and values["training"]["name"]
        begun += [under_way] if under_way else []
        names = [experience.name for experience in self.stream]
        if names[: len(begun)] != begun:
            raise UserError(
                f"the run has begun the tasks {', '.join(begun)}; a stream to go on with begins "
                f"with them, and this one is {', '.join(names)}"
            )
        experience = self.stream[len(begun) - 1] if under_way else None
        self.learner.restore(tensors, values, experience)
        training = self.learner.training
        if training is not None and (
            training.step > training.total_steps or self.learner.steps_left <= 0
        ):
            raise UserError(
                f"task {under_way} has taken {training.step:,} steps and would have "
                f"{training.total_steps:,}; type more epochs, or steps_per_task={training.step + 1}"
            )
        self._restore_scores(StreamScores.of(state["scores"]))
        self.ledger = list(state["ledger"])
        self._steps = int(state["under_way"]["steps"])
        self._seconds = float(state["under_way"]["seconds"])

    def _restore_scores(self, saved: StreamScores) -> None:
        for name in ("given", "estimated", "routed"):
            old, new = getattr(saved, name), getattr(self.scores, name)
            kept = min(len(old), len(new))
            new[:kept, :kept] = old[:kept, :kept]
        kept = min(len(saved.untrained), len(self.stream))
        self.scores.untrained[:kept] = saved.untrained[:kept]
        next_one = self.number
        if kept == next_one < len(self.stream):  # the stream had ended here
            ahead = score_ahead(self.learner, self.stream[next_one])
            self.scores.given[next_one - 1, next_one] = ahead

    def describe(self) -> list[str]:
        """Returns lines for the run's card."""
        learner = self.learner
        data = "keeps pictures of earlier tasks" if learner.keeps_data else "keeps no pictures"
        sets = "; ".join(
            f"{e.name}: {len(e.classes)} classes, {len(e.train):,} + {len(e.test):,} pictures"
            for e in self.stream
        )
        channels, height, width = learner.shape
        return [
            f"stream: {sets}; all of {width}x{height} pixels and {channels} channels",
            f"`{learner.name}` on `{self.config['network']}`: {data}",
        ]
