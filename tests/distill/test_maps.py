import warnings

import pytest
import torch

from rlgen.core.errors import UserError
from rlgen.distill.base import Features, Layout
from rlgen.distill.maps import (
    as_map,
    common_size,
    labels_of,
    logits_of,
    map_shape,
    pair_taps,
    pool_to,
    require_above,
    require_choice,
    same_classes,
    tap_map,
    tap_shape,
    unit,
)


@pytest.mark.parametrize(
    ("shape", "expected"), [((7,), (7, 1, 1)), ((9, 7), (7, 9, 1)), ((7, 2, 3), (7, 2, 3))]
)
def test_a_map_has_the_shape_that_the_layout_foretells(shape, expected) -> None:
    assert map_shape(shape) == expected
    assert as_map(torch.zeros(4, *shape)).shape == (4, *expected)


def test_tokens_keep_their_channels() -> None:
    tokens = torch.arange(6.0).view(1, 3, 2)  # token t has channels (2t, 2t + 1)
    assert as_map(tokens)[0, :, 1, 0].tolist() == [2.0, 3.0]


@pytest.mark.parametrize("shape", [(), (2, 3, 4, 5)])
def test_other_shapes_are_refused(shape) -> None:
    with pytest.raises(UserError, match="allowed: \\(batch, channels\\)"):
        map_shape(shape)


def test_unit_vectors_and_their_gradient() -> None:
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    u = unit(x)
    torch.testing.assert_close(u.detach(), torch.tensor([[0.6, 0.8], [0.0, 0.0]]))
    (u * torch.tensor([1.0, 2.0])).sum().backward()
    # d u / d x = (I - u u^T) / 5, times (1, 2); nothing where the direction is undefined.
    expected = torch.tensor([[1 - 0.6 * 2.2, 2 - 0.8 * 2.2], [0.0, 0.0]]) / 5
    torch.testing.assert_close(x.grad, expected)


def test_norms_of_half_precision_do_not_overflow() -> None:
    big = torch.full((1, 64), 6e4, dtype=torch.float16)
    torch.testing.assert_close(unit(big), torch.full((1, 64), 0.125))


def test_pooling_averages_cells() -> None:
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert pool_to(x, (2, 2)).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert pool_to(x, (4, 4)) is x


def test_unequal_sizes_meet_at_the_smaller_with_a_warning() -> None:
    with pytest.warns(UserWarning, match=r"at: the student's map is 8x4, the teacher's 4x8"):
        assert common_size("at", (3, 8, 4), (5, 4, 8)) == (4, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert common_size("at", (3, 4, 4), (5, 4, 4)) == (4, 4)


def test_pairs_go_from_the_deepest_backwards() -> None:
    student = Layout(10, ((4, 8, 8), (8, 4, 4)))
    teacher = Layout(10, ((2, 16, 16), (6, 8, 8), (9, 4, 4)))
    pairs = pair_taps("ofd", student, [teacher, student], from_deepest=True)
    assert [(p.teacher, p.taps, p.depth) for p in pairs] == [
        (0, (0, 1), 1),
        (0, (1, 2), 0),
        (1, (0, 0), 1),
        (1, (1, 1), 0),
    ]
    assert pairs[1].shapes == ((8, 4, 4), (9, 4, 4))
    with pytest.raises(UserError, match="student has 2 and the teacher 3"):
        pair_taps("at", student, [teacher])


@pytest.mark.parametrize(("ours", "theirs", "who"), [(0, 1, "student"), (1, 0, "teacher")])
def test_a_network_without_taps_is_named(ours, theirs, who) -> None:
    layouts = [Layout(10, ((4, 8, 8),) * n) for n in (ours, theirs)]
    with pytest.raises(UserError, match=f"the {who} has no tap"):
        pair_taps("at", layouts[0], layouts[1:])


def test_pairs_give_detached_teachers_of_the_common_size() -> None:
    student, teacher = torch.rand(2, 3, 8, 8), torch.rand(2, 5, 4, 4, requires_grad=True)
    layouts = [Layout(None, ((3, 8, 8),)), Layout(None, ((5, 4, 4),))]
    with pytest.warns(UserWarning, match="averaged to 4x4"):
        pair = pair_taps("at", layouts[0], layouts[1:])[0]
    ours, theirs = pair.maps(Features(None, (student,)), [Features(None, (teacher,))])
    torch.testing.assert_close(ours, student.unflatten(2, (4, 2)).unflatten(4, (4, 2)).mean((3, 5)))
    assert not theirs.requires_grad


def test_taps_are_widened_for_sums() -> None:
    features = Features(None, (torch.ones(1, 2, dtype=torch.bfloat16), torch.ones(1, 2).double()))
    assert tap_map(features, 0).dtype == torch.float32
    assert tap_map(features, -1).dtype == torch.float64


@pytest.mark.parametrize("tap", [1, -2])
def test_a_tap_that_is_not_there(tap) -> None:
    layout = Layout(10, ((4, 8, 8),))
    assert tap_shape("ft", layout, -1) == tap_shape("ft", layout, 0) == (4, 8, 8)
    with pytest.raises(UserError, match=f"ft compares tap {tap} and a network has 1"):
        tap_shape("ft", layout, tap)


def test_classes_must_agree() -> None:
    assert same_classes("kd", [Layout(10), Layout(10)]) == 10
    with pytest.raises(UserError, match="the networks have 10, 100"):
        same_classes("kd", [Layout(10), Layout(100)])
    with pytest.raises(UserError, match="the networks have none, none"):
        same_classes("kd", [Layout(None), Layout(None)])


def test_missing_parts_of_a_batch_are_told() -> None:
    with pytest.raises(UserError, match="kd needs logits"):
        logits_of("kd", Features(None))
    with pytest.raises(UserError, match="one needs labels"):
        labels_of("one", None)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), "4"])
def test_numbers_out_of_range(value) -> None:
    with pytest.raises(UserError, match=r"kd: temperature=.* give a number above 0"):
        require_above("kd", "temperature", value, 0.0)
    assert require_above("kd", "weight", 0.0, 0.0, strict=False) == 0.0


def test_words_out_of_a_few() -> None:
    assert require_choice("feed", "reduction", "sum", ("mean", "sum")) == "sum"
    with pytest.raises(UserError, match="reduction='max' is not allowed; give mean or sum"):
        require_choice("feed", "reduction", "max", ("mean", "sum"))
