"""Mixes as users type them."""

import pytest
import torch

from rlgen.core.errors import UserError
from rlgen.generative.sgn.mix import describe_sym, edge_points, resolve_mix, simplex_points

DOMAINS = ("photo", "vangogh", "monet")


@pytest.mark.parametrize(
    ("mix", "expected", "noted"),
    [
        ({"vangogh": 1}, [0, 1, 0], False),
        ({"vangogh": 0.3, "monet": 0.2, "photo": 0.5}, [0.5, 0.3, 0.2], False),
        ({"vangogh": 30, "monet": 20, "photo": 50}, [0.5, 0.3, 0.2], False),
        ([0.2, 0.2, 0.6], [0.2, 0.2, 0.6], False),
        ((20, 20, 60), [0.2, 0.2, 0.6], False),
        ({"vangogh": 1, "monet": 1}, [0, 0.5, 0.5], True),
        ({"vangogh": 30, "monet": 20, "photo": 40}, [4 / 9, 3 / 9, 2 / 9], True),
    ],
)
def test_weights_become_a_point_of_the_simplex(mix, expected, noted):
    sym, note = resolve_mix(mix, DOMAINS)
    torch.testing.assert_close(sym, torch.tensor(expected, dtype=torch.float32))
    assert (note is not None) == noted


def test_the_note_tells_what_was_typed():
    _, note = resolve_mix({"vangogh": 30, "monet": 60}, DOMAINS)
    assert note == "the weights of {vangogh: 30, monet: 60} sum to 90; they were divided by it"


@pytest.mark.parametrize(
    ("mix", "expected", "noted"),
    [
        ({"vangogh": 1.5}, [0, 1.5, 0], True),
        ({"photo": -0.2, "vangogh": 1.2}, [-0.2, 1.2, 0], True),
        ({"photo": -1.5, "vangogh": 2.5}, [-1.5, 2.5, 0], True),
        ({"vangogh": 150}, [0, 1.5, 0], True),
        ({"vangogh": 300}, [0, 3.0, 0], True),
        ({"vangogh": 0.3}, [0, 0.3, 0], True),
        ({"vangogh": 0.3, "photo": 0.7}, [0.7, 0.3, 0], False),
    ],
)
def test_extrapolated_weights_stay_as_they_are(mix, expected, noted):
    sym, note = resolve_mix(mix, DOMAINS, extrapolate=True)
    torch.testing.assert_close(sym, torch.tensor(expected))
    assert (note is not None and note.endswith("lies outside of what was trained")) == noted


@pytest.mark.parametrize(
    ("mix", "part"),
    [
        ({"vangog": 1}, "did you mean 'vangogh'? (domains: photo, vangogh, monet)"),
        ({"vangogh": -0.1, "photo": 1.1}, "extrapolate=true"),
        ({"vangogh": 0}, "give one to any of photo, vangogh, monet"),
        ({}, "give one"),
        ({"vangogh": "much"}, "the weight of vangogh is 'much'"),
        ({"vangogh": float("nan")}, "finite"),
        ({"vangogh": True}, "a number is needed"),
        ([0.5, 0.5], "there are 3 domains"),
        ("vangogh", "type weights by name, such as {photo: 1}"),
        (None, "type weights by name"),
    ],
)
def test_wrong_mixes_are_told_in_one_line(mix, part):
    with pytest.raises(UserError) as error:
        resolve_mix(mix, DOMAINS)
    assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_text_of_a_point():
    assert describe_sym(torch.tensor([0.5, 0, 0.5]), DOMAINS) == "photo 0.5 + monet 0.5"
    assert describe_sym(torch.tensor([-0.25, 1.25, 0]), DOMAINS) == "photo -0.25 + vangogh 1.25"


def test_points_of_the_simplex():
    assert simplex_points(2) == [[1, 0], [0, 1], [0.5, 0.5]]
    points = simplex_points(4)
    assert len(points) == 4 + 6 + 1
    assert all(sum(point) == 1 for point in points)


def test_points_of_the_edges():
    rows = edge_points(3, steps=3)
    assert rows[0] == [[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0]]
    assert len(rows) == 3
