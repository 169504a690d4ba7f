"""Options, methods and pictures of a study: what is read, what is refused."""

from dataclasses import asdict, fields

import numpy as np
import pytest
from study_runs import TINY

from rlgen.core.errors import UserError
from rlgen.distill.study.methods import Method, parse_method
from rlgen.distill.study.options import RANGES, StudyOptions, check_study, difference
from rlgen.distill.study.pictures import draw_part, open_pictures, shrink


def test_methods():
    assert parse_method("none") == Method("none", "none", 0.0, 1.0)
    kd = parse_method("kd")
    assert (kd.weight, kd.task_weight) == (0.9, pytest.approx(0.1))
    assert parse_method("kd:0") == Method("kd:0", "kd", 0.0, 1.0)
    assert parse_method("feed:50") == Method("feed:50", "feed", 50.0, 1.0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("fed", "did you mean 'feed'"),
        ("dml", "no loss with a teacher"),
        ("kd:2", "from 0 to 1"),
        ("kd:nan", "from 0 to 1"),
        ("feed:-1", "from 0 to"),
        ("kd:much", "a weight is wanted, such as kd:0.5"),
        ("none:1", "labels alone have no weight"),
    ],
)
def test_unknown_methods(text, told):
    with pytest.raises(UserError, match=told):
        parse_method(text)


def test_none_comes_first_and_once():
    found = check_study(StudyOptions(method="kd", technique=["int8", "none", "int8"]))
    assert found.method == ["none", "kd"]
    assert found.technique == ["none", "int8"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"epochs": 0}, "type epochs=1 or more"),
        ({"protocol": "bagged"}, "did you mean 'bagging'"),
        ({"recipe": "x"}, "allowed: crossed, finetune"),
        ({"milestones": [150.0]}, "shares of the phase"),
        ({"method": [1]}, "names are wanted"),
        ({"technique": {"a": 1}}, "names are wanted"),
    ],
)
def test_mistakes(options, told):
    with pytest.raises(UserError, match=told):
        check_study(StudyOptions(**options))


def test_ranges_name_options():
    assert {name for name, *_ in RANGES} <= {f.name for f in fields(StudyOptions)}


def test_a_study_may_grow_and_not_change():
    old = asdict(StudyOptions())
    assert difference(old, StudyOptions(seeds=9, technique=["int4"], device="cuda")) is None
    assert difference(old, StudyOptions(epochs=3)) == "epochs=240"


def test_pixels_are_averaged():
    pixels = np.zeros((1, 5, 4, 1), np.uint8)
    pixels[0, :2, :2, 0] = [[10, 20], [30, 41]]
    small = shrink(pixels, 2)
    assert small.shape == (1, 2, 2, 1)
    assert small.dtype == np.uint8
    assert small[0, :, :, 0].tolist() == [[25, 0], [0, 0]]
    assert shrink(pixels, 1) is pixels


def test_a_part_is_drawn_once_for_all(tiny):
    options = StudyOptions(**(TINY | {"train_pictures": 10, "test_pictures": 12}))
    one, two = open_pictures(options), open_pictures(options)
    assert len(one.train) == 10
    assert len(one.test) == 12
    assert np.array_equal(one.train.labels, two.train.labels)
    full = open_pictures(StudyOptions(**TINY)).train
    assert not np.array_equal(one.train.pixels, full.pixels[:10])
    assert draw_part("train_pictures", full, None) is full


@pytest.mark.parametrize(
    ("options", "told"),
    [({"train_pictures": 25}, "the set has 24"), ({"shrink": 2}, "less than 8 pixels of 8x8")],
)
def test_too_few_pictures_or_pixels(tiny, options, told):
    with pytest.raises(UserError, match=told):
        open_pictures(StudyOptions(**(TINY | options)))
