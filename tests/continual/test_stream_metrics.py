"""The matrix of accuracies and what is read from it, by hand."""

import json
import math

import numpy as np
import pytest
import torch
from continual_toys import network

from rlgen.continual import metrics
from rlgen.continual.experience import Experience, TaskRecord
from rlgen.continual.learner import Learner
from rlgen.continual.metrics import StreamScores
from rlgen.data.classification import LabelledImages

NAN = float("nan")
# Rows: after task 1, 2, 3.
MATRIX = [[90.0, 40.0, NAN], [80.0, 70.0, 30.0], [85.0, 50.0, 60.0]]


class Scripted(Learner):
    """Answers what the first pixel says: channel 0 the class, channel 1 the task found."""

    name = "scripted"

    def __init__(self, tasks):
        super().__init__((3, 2, 2), route=lambda images: (images[:, 1, 0, 0] * 255).round().long())
        self.records = [
            TaskRecord(task.name, task.classes, (0.0,) * 3, (1.0,) * 3) for task in tasks
        ]

    def _logits(self, images, task):
        count = len(self.records[task].classes)
        label = (images[:, 0, 0, 0] * 255).round().long().clamp(max=count - 1)
        return torch.nn.functional.one_hot(label, count).float()

    def parameter_count(self):
        return 0

    memory_bytes = _open = _terms = _close = _state = _restore = parameter_count
    _resume = _abandon = parameter_count


def scripted(name, answers, classes="abc"):
    """A task whose pictures are (label, class answered, task found)."""
    pixels = np.zeros((len(answers), 2, 2, 3), np.uint8)
    for row, (_, label, task) in enumerate(answers):
        pixels[row, :, :, 0], pixels[row, :, :, 1] = label, task
    images = LabelledImages(pixels, np.array([answer[0] for answer in answers]))
    return Experience(name, images, images, tuple(classes))


FIRST = scripted("first", [(0, 0, 0), (1, 1, 0), (2, 2, 1), (2, 0, 0)])
SECOND = scripted("second", [(0, 0, 1), (1, 0, 1), (1, 1, 0), (0, 0, 0)], "xy")


def test_scores_from_a_matrix():
    assert metrics.average_accuracy(MATRIX) == 65.0
    assert metrics.backward_transfer(MATRIX) == -12.5  # (85 - 90 + 50 - 70) / 2
    assert metrics.forward_transfer(MATRIX, [NAN, 30.0, 10.0]) == 15.0  # (40 - 30 + 30 - 10) / 2
    assert metrics.forgetting(MATRIX).tolist() == [5.0, 20.0]
    assert metrics.forgetting([[50.0, NAN], [60.0, 1.0]]).tolist() == [-10.0]


def test_what_cannot_be_told_is_not_told():
    assert math.isnan(metrics.backward_transfer([[50.0]]))
    unanswered = [[90.0, NAN], [80.0, 70.0]]
    assert math.isnan(metrics.forward_transfer(unanswered, [NAN, 10.0]))
    with pytest.raises(ValueError, match=r"\(T, T\)"):
        metrics.average_accuracy([[1.0, 2.0]])


def test_a_task_is_judged_with_and_without_its_index():
    learner = Scripted([FIRST, SECOND])
    assert metrics.score_task(learner, FIRST) == (75.0, 50.0, 75.0)
    assert metrics.score_task(learner, SECOND) == (75.0, 25.0, 50.0)
    assert metrics.score_task(Scripted([FIRST]), FIRST) == (75.0, 75.0, 100.0)  # nothing to find


def test_the_share_found_bounds_the_accuracy_without_the_index():
    for task in (FIRST, SECOND):
        score = metrics.score_task(Scripted([FIRST, SECOND]), task)
        assert score.estimated <= min(score.routed, score.given)


def test_a_task_ahead_is_asked_only_where_its_classes_are_known():
    alike = scripted("third", [(0, 0, 0), (1, 1, 0)])
    assert metrics.score_ahead(Scripted([FIRST]), alike) == 100.0
    assert math.isnan(metrics.score_ahead(Scripted([FIRST]), SECOND))
    assert math.isnan(metrics.score_ahead(Scripted([]), FIRST))


def test_global_classes_follow_the_offsets():
    assert metrics.class_offsets([3, 2, 4]) == [0, 3, 5]
    learner = Scripted([FIRST, SECOND])
    images = torch.from_numpy(SECOND.test.pixels).permute(0, 3, 1, 2)
    found = metrics.global_classes(learner, learner.predict(images))
    assert found.tolist() == [3, 3, 1, 0]  # the last two are taken for the first task's


def test_an_untrained_network_answers_at_random():
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (400, 8, 8, 3), dtype=np.uint8)
    part = LabelledImages(pixels, generator.integers(0, 10, 400))
    net = network().train()
    accuracy = metrics.score_untrained(net, Experience("noise", part, part, tuple("abcdefghij")))
    assert 3 < accuracy < 18  # chance is 10, with a deviation of 1.5
    assert net.training


def test_rows_are_filled_and_kept():
    scores = StreamScores(["first", "second"])
    assert scores.summary() == {}
    scores.add(Scripted([FIRST]), [FIRST, SECOND])
    assert scores.learned == 1
    assert scores.summary()["acc"] == 75.0
    assert scores.summary()["bwt"] is None
    scores.add(Scripted([FIRST, SECOND]), [FIRST, SECOND])
    summary = scores.summary()
    assert (summary["acc"], summary["bwt"], summary["fwt"]) == (75.0, 0.0, None)
    assert (summary["acc_estimated"], summary["bwt_estimated"]) == (37.5, -25.0)
    assert (summary["index"], summary["forgetting"]) == (62.5, 0.0)
    again = StreamScores.of(json.loads(json.dumps(scores.values(), allow_nan=False)))
    assert again.names == scores.names
    for kind in ("given", "estimated", "routed", "untrained"):
        assert np.array_equal(getattr(again, kind), getattr(scores, kind), equal_nan=True)
