"""The bagging test: its statistics, its resamples, and the two kinds of labels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from study_runs import make_trainer

from rlgen.core.errors import UserError
from rlgen.distill.study import bagging as module
from rlgen.distill.study.bagging import Bagging, measure_spread, resample
from rlgen.distill.study.store import Store
from rlgen.distill.study.techniques import Identity
from rlgen.distill.study.training import STUDENT, TEACHER, GivenInputs


def test_identical_members_have_no_variance_and_no_gain():
    one = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(20) % 3
    found = measure_spread(one.expand(3, 20, 3), labels)
    assert found.logit_variance == 0.0
    assert found.probability_variance == 0.0
    assert found.gain == 0.0
    assert found.member == 100 * float((one.argmax(dim=1) == labels).double().mean())


def test_spread_by_hand():
    # Two points of two classes; the members disagree at the second one.
    logits = torch.tensor([[[2.0, 0.0], [3.0, 0.0]], [[4.0, 0.0], [0.0, 1.0]]])
    found = measure_spread(logits, torch.tensor([0, 0]))
    # Variances of (2, 4), (0, 0), (3, 0), (0, 1): 2, 0, 4.5, 0.5.
    assert found.logit_variance == pytest.approx(7 / 4)
    chances = [1 / (1 + np.exp(-gap)) for gap in (2, 4, 3, -1)]
    variance = ((chances[0] - chances[1]) ** 2 + (chances[2] - chances[3]) ** 2) / 2
    assert found.probability_variance == pytest.approx(variance / 2)
    assert (found.member, found.ensemble, found.gain) == (75.0, 100.0, 25.0)


def test_resamples_repeat_pictures():
    one = resample(1000, 0, 0)
    assert len(one) == 1000
    assert (one.min(), one.max()) >= (0, 900)
    assert 0.60 < len(set(one)) / 1000 < 0.66  # 1 - 1/e
    assert np.array_equal(one, resample(1000, 0, 0))
    assert not np.array_equal(one, resample(1000, 0, 1))
    assert not np.array_equal(one, resample(1000, 1, 0))


def run_bagging(**options):
    trainer = make_trainer(protocol="bagging", method=["kd"], **options)
    study = Bagging(trainer.options, trainer, Store(Path("networks")))
    taken = []
    trainer.tick = lambda title, loss: taken.append(title)
    planned = study.steps()
    done = list(study.work())
    assert len(taken) == planned
    return study, done


def test_members_differ_by_their_resample_alone(tiny, monkeypatch):
    study, done = run_bagging()
    assert len(done) == 6  # two members by two methods, and two kinds of labels
    assert all(spread[0].logit_variance > 0 for spread in study.spreads().values())
    assert study.steps() == 0
    assert {row["part"] for row in study.rows()} == {"member", "consistent", "frozen"}
    same = np.arange(24)
    monkeypatch.setattr(module, "resample", lambda count, seed, member: same)
    (tiny / "networks").rename(tiny / "old")
    study, _ = run_bagging()
    for spreads in study.spreads().values():
        assert (spreads[0].logit_variance, spreads[0].gain) == (0.0, 0.0)


def test_frozen_labels_are_those_of_the_plain_pictures(tiny):
    trainer = make_trainer()
    student = trainer.build(Identity(), "resnet8", 0, STUDENT)
    teacher = trainer.build(Identity(), "resnet8", 0, TEACHER)
    seen = []
    teacher.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    kd = module.parse_method("kd")
    wrapped = GivenInputs(teacher)
    trainer.train("run", student, trainer.main, 0, method=kd, teacher=wrapped)
    plain = trainer.batches(0, plain=True)
    assert all(torch.equal(seen[-3 + step], plain.at(step)[0]) for step in range(3))
    assert not torch.equal(seen[-1], trainer.batches(0).at(2)[0])


@pytest.mark.parametrize(
    ("options", "told"),
    [({"method": ["none"]}, "type method=kd"), ({"padding": 0, "flip": False}, "crops or flips")],
)
def test_mistakes(tiny, options, told):
    trainer = make_trainer(protocol="bagging", **options)
    with pytest.raises(UserError, match=told):
        Bagging(trainer.options, trainer, Store(Path("networks")))
