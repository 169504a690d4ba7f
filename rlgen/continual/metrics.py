"""How streams are judged: the matrix of accuracies, and what is read from it.

D. Lopez-Paz, M. Ranzato, "Gradient Episodic Memory for Continual Learning", NeurIPS 2017, section
3.2, counts tasks from 1: R[i, j] is the accuracy on task j after learning task i, and

    ACC = 1/T sum_j R[T, j]
    BWT = 1/(T-1) sum_{j<T} (R[T, j] - R[j, j])
    FWT = 1/(T-1) sum_{j>1} (R[j-1, j] - b_j),   b_j: accuracy of an untrained network

Forgetting of a task is its best accuracy before the last task less its last one (A. Chaudhry et
al., ECCV 2018). Spec hc_net, section f, adds the share of pictures routed to their own task.

Where every task has classes and a head of its own, nothing can answer a task before it is learned:
R[i, j] is NaN for j > i and there is no FWT. Tasks whose classes have the same names as those
before (permuted sets, MNIST and USPS) are asked of the newest head, so they have one.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from rlgen.continual.experience import Experience, as_tensors
from rlgen.continual.heads import evaluating
from rlgen.continual.learner import Learner, Prediction

Matrix = npt.NDArray[np.float64]


class TaskScore(NamedTuple):
    """A learner's answers to one task's test pictures, in percent.

    Attributes:
        given: Classes right where the task is given.
        estimated: Task and class right where the learner finds the task: the accuracy of the
            class-incremental view, in which a class of another task is wrong.
        routed: Pictures routed to their own task.
    """

    given: float
    estimated: float
    routed: float


def score_task(
    learner: Learner, experience: Experience, task: str | int | None = None, batch_size: int = 500
) -> TaskScore:
    """Judges a learner by a task that it has learned.

    Args:
        learner: In any state between or inside tasks.
        experience: Whose test pictures are shown.
        task: Name or number of the task; None: that of the experience.
        batch_size: Pictures at once.

    Raises:
        UserError: If the task was not learned.
    """
    number = learner.number(experience.name if task is None else task)
    images, labels = as_tensors(experience.test)
    labels = labels.to(learner.device)
    right = learner.predict(images, number, batch_size).label == labels
    found = learner.predict(images, None, batch_size)
    routed = found.task == number
    shares = (right, routed & (found.label == labels), routed)
    return TaskScore(*(_percent(share) for share in shares))


def score_ahead(learner: Learner, experience: Experience) -> float:
    """Returns the accuracy in percent on a task not yet learned, by the newest task's head.

    NaN where no task is learned or the newest one has other classes: nothing to ask then.

    Args:
        learner: Has not learned the task.
        experience: The task.
    """
    if not learner.records or learner.records[-1].classes != experience.classes:
        return float("nan")
    images, labels = as_tensors(experience.test)
    label = learner.predict(images, len(learner.records) - 1).label
    return _percent(label == labels.to(learner.device))


@torch.no_grad()
def score_untrained(network: nn.Module, experience: Experience) -> float:
    """Returns b_j, the accuracy in percent of an untrained network with as many outputs as classes.

    Args:
        network: Maps normalised pictures (B, C, H, W) to logits; keeps its mode.
        experience: The task.
    """
    images, labels = as_tensors(experience.test)
    mean, deviation = (torch.tensor(v)[:, None, None] for v in experience.sets().statistics())
    device = next(network.parameters()).device
    right = []
    with evaluating(network):
        for part, answer in zip(images.split(500), labels.split(500), strict=True):
            shown = (part.float() / 255 - mean) / deviation
            label = network(shown.to(device)).argmax(1)
            right.append(label == answer.to(device))
    return _percent(torch.cat(right))


def average_accuracy(matrix: npt.ArrayLike) -> float:
    """Returns ACC, the mean of the last row.

    Args:
        matrix: R, (T, T), row i after learning task i.
    """
    return float(np.mean(_square(matrix)[-1]))


def backward_transfer(matrix: npt.ArrayLike) -> float:
    """Returns BWT; below 0 where tasks were forgotten, NaN with one task.

    Args:
        matrix: R, (T, T).
    """
    values = _square(matrix)
    return _mean(values[-1, :-1] - np.diag(values)[:-1])


def forward_transfer(matrix: npt.ArrayLike, untrained: npt.ArrayLike) -> float:
    """Returns FWT; NaN where a task could not be answered before it was learned.

    Args:
        matrix: R, (T, T).
        untrained: b, (T,).
    """
    return _mean(np.diag(_square(matrix), 1) - np.asarray(untrained, np.float64)[1:])


def forgetting(matrix: npt.ArrayLike) -> Matrix:
    """Returns, of each task but the last, its best accuracy before the last task less its last.

    Args:
        matrix: R, (T, T).

    Returns:
        (T - 1,); 0 where nothing was lost, below 0 where the last task helped.
    """
    values = _square(matrix)
    last = values[-1]
    return np.array([values[j:-1, j].max() - last[j] for j in range(len(values) - 1)])


def class_offsets(classes: Sequence[int]) -> list[int]:
    """Returns the global number of each task's first class.

    Args:
        classes: C_J of each task.
    """
    return [sum(classes[:task]) for task in range(len(classes))]


def global_classes(learner: Learner, prediction: Prediction) -> Tensor:
    """Returns the class-incremental view: global class = offset of the task + class within it.

    Args:
        learner: That predicted.
        prediction: For B pictures.

    Returns:
        (B,), int64.
    """
    offsets = class_offsets([len(record.classes) for record in learner.records])
    return torch.tensor(offsets, device=prediction.task.device)[prediction.task] + prediction.label


class StreamScores:
    """Accuracies of one learner along a stream, row after row, in percent.

    Args:
        names: Of the tasks, in their order.

    Attributes:
        given: R with the task given, a row per task learned.
        estimated: The same where the learner finds the task.
        routed: Share of pictures routed to their own task.
        untrained: b; NaN while not measured.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        count = len(self.names)
        self.given, self.estimated, self.routed = (
            np.full((count, count), np.nan) for _ in range(3)
        )
        self.untrained = np.full(count, np.nan)

    @property
    def learned(self) -> int:
        """Rows that are filled."""
        return int(np.count_nonzero(~np.isnan(np.diag(self.given))))

    def add(self, learner: Learner, stream: Sequence[Experience]) -> list[TaskScore]:
        """Judges a learner after a task and fills that task's row.

        Args:
            learner: Has learned the first tasks of the stream.
            stream: All tasks; what is asked of later ones is only what :func:`score_ahead` may.

        Returns:
            The scores of the tasks learned.
        """
        row = len(learner.records) - 1
        scores = [score_task(learner, experience) for experience in stream[: row + 1]]
        for column, score in enumerate(scores):
            self.given[row, column] = score.given
            self.estimated[row, column] = score.estimated
            self.routed[row, column] = score.routed
        if row + 1 < len(stream):
            self.given[row, row + 1] = score_ahead(learner, stream[row + 1])
        return scores

    def summary(self) -> dict[str, float | None]:
        """Returns ACC, BWT, FWT and forgetting so far; None where there is no such number.

        Keys: ``acc``, ``bwt``, ``fwt``, ``forgetting``, ``acc_estimated``, ``bwt_estimated`` and
        ``index``, the mean share of pictures routed to their own task.
        """
        rows = self.learned
        if not rows:
            return {}
        given, estimated = self.given[:rows, :rows], self.estimated[:rows, :rows]
        values = {
            "acc": average_accuracy(given),
            "bwt": backward_transfer(given),
            "fwt": forward_transfer(given, self.untrained[:rows]),
            "forgetting": _mean(forgetting(given)),
            "acc_estimated": average_accuracy(estimated),
            "bwt_estimated": backward_transfer(estimated),
            "index": float(np.mean(self.routed[rows - 1, :rows])),
        }
        return {name: None if np.isnan(value) else value for name, value in values.items()}

    def values(self) -> dict[str, Any]:
        """Returns everything as JSON takes it, NaN as None."""
        matrices = {name: _plain(getattr(self, name)) for name in _KEPT}
        return {"tasks": list(self.names), **matrices}

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "StreamScores":
        """Makes scores of what :meth:`values` gave."""
        made = cls(values["tasks"])
        for name in _KEPT:
            setattr(made, name, np.array(values[name], dtype=np.float64))  # None becomes NaN
        return made


_KEPT = ("given", "estimated", "routed", "untrained")


def _plain(values: Matrix) -> Any:
    listed: Any = values.tolist()

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(part) for part in value]
        return None if np.isnan(value) else value

    return plain(listed)


def _square(matrix: npt.ArrayLike) -> Matrix:
    values = np.asarray(matrix, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] != values.shape[1] or not len(values):
        raise ValueError(f"a matrix (T, T) of accuracies is needed, not {values.shape}")
    return values


def _mean(values: Matrix) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _percent(right: Tensor) -> float:
    return 100 * float(right.double().mean())
