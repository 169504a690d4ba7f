import numpy as np
import pytest

from rlgen.core.errors import UserError
from rlgen.envs.design.shape.space import Box, Cylinder, DesignSpace, volume_from_dict


def test_the_default_is_160_mm_centred_on_the_table():
    np.testing.assert_array_equal(DesignSpace().bounds, [[-80, -80, 0], [80, 80, 160]])


def test_a_space_is_hashable_and_survives_plain_values():
    space = DesignSpace(
        size=(100, 120, 140),
        segments=48,
        keep_out=(Box((0, 0, 0), (5, 5, 5)), Cylinder((1, 2), 3, 0, 9)),
        keep_in=(Box((-9, -9, 0), (-5, -5, 5)),),
    )
    assert DesignSpace.from_dict(space.to_dict()) == space
    assert hash(space) == hash(DesignSpace.from_dict(space.to_dict()))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"size": (10, 100, 100)}, "20 to 1000"),
        ({"size": (100, 100)}, "3 finite numbers"),
        ({"size": (100, 100, float("nan"))}, "3 finite numbers"),
        ({"segments": 30}, "multiple of 4"),
        ({"segments": 100}, "8 to 96"),
        ({"segments": True}, "whole number"),
        ({"max_triangles": 5}, "100 to"),
        ({"keep_out": ("box",)}, "Box"),
    ],
)
def test_wrong_spaces_are_told_in_one_line(values, words):
    with pytest.raises(UserError, match=words) as error:
        DesignSpace(**values)
    assert "\n" not in str(error.value)


def test_volumes_must_not_be_empty():
    with pytest.raises(UserError, match="empty"):
        Box((0, 0, 0), (1, 0, 1))
    with pytest.raises(UserError, match="positive radius"):
        Cylinder((0, 0), 0, 0, 1)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"shape": "ball"}, "'box' or 'cylinder'"),
        ("box", "'box' or 'cylinder'"),
        ({"shape": "box", "low": [0, 0, 0]}, "needs high, low"),
        ({"shape": "box", "low": [0, 0, 0], "high": "abc"}, "3 finite numbers"),
    ],
)
def test_wrong_plain_volumes(data, words):
    with pytest.raises(UserError, match=words):
        volume_from_dict(data)


def test_unknown_keys_are_named():
    with pytest.raises(UserError, match="'depth'"):
        DesignSpace.from_dict({"depth": 3})
    with pytest.raises(UserError, match="list of volumes"):
        DesignSpace.from_dict({"keep_out": 3})
