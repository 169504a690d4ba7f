import pytest
import torch

from rlgen.core.errors import UserError
from rlgen.distill.base import Features, Layout
from rlgen.distill.losses.lsfd import (
    LSFD,
    local_distance,
    lsfd_loss,
    output_difference,
    pixel_loss,
    selective_attention,
)


def test_golden_numbers() -> None:
    # Pixel 1: (3, 4) against (4, 3), unit vectors differ by .2 each; pixel 2 agrees but for scale.
    student = torch.tensor([3.0, 1.0, 4.0, 1.0]).view(1, 2, 1, 2)
    teacher = torch.tensor([4.0, 5.0, 3.0, 5.0]).view(1, 2, 1, 2)
    torch.testing.assert_close(local_distance(student, teacher), torch.tensor([[[0.2, 0.0]]]))
    squared = local_distance(student, teacher, distance="l2")
    torch.testing.assert_close(squared, torch.tensor([[[0.08, 0.0]]]))
    raw = local_distance(student, teacher, local="off")
    torch.testing.assert_close(raw, torch.tensor([[[1.0, 4.0]]]))
    a = selective_attention(torch.tensor([[[1.0, 3.0]]]))
    torch.testing.assert_close(a, torch.tensor([[[0.5, 1.5]]]))
    assert lsfd_loss([raw], [a]).item() == pytest.approx((0.5 + 6.0) / 2)


def test_pixel_terms() -> None:
    zero = torch.zeros(1, 3, 2, 2)
    value = pixel_loss(zero, zero + 4, zero - 2, alpha=0.25)
    assert value.item() == pytest.approx(0.75 * 2 + 0.25 * 4)


def test_scale_of_a_pixel_does_not_matter_and_pixels_are_apart() -> None:
    torch.manual_seed(0)
    s, t = torch.randn(2, 6, 4, 4), torch.randn(2, 6, 4, 4)
    d = local_distance(s, t)
    scaled = s.clone()
    scaled[:, :, 1, 2] *= 7.0
    torch.testing.assert_close(local_distance(scaled, t), d)
    moved = s.clone()
    moved[:, :, 1, 2] += 1.0
    changed = (local_distance(moved, t) - d).abs() > 1e-6
    assert changed.nonzero()[:, 1:].unique(dim=0).tolist() == [[1, 2]]
    assert (d >= 0).all()
    assert (6 * d <= 2 * 6**0.5).all()


def test_patches_ignore_what_is_flat() -> None:
    torch.manual_seed(0)
    s, t = torch.randn(1, 2, 5, 5), torch.randn(1, 2, 5, 5)
    d = local_distance(s, t, local="patch")
    torch.testing.assert_close(local_distance(s + 3.0, t, local="patch"), d)
    assert not torch.allclose(local_distance(s + 3.0, t, local="off"), d)


@pytest.mark.parametrize("attention", ["ratio", "softmax", "topk"])
def test_attention_averages_one(attention) -> None:
    torch.manual_seed(0)
    difference = torch.rand(3, 4, 4, requires_grad=True)
    weights = selective_attention(difference, attention)
    torch.testing.assert_close(weights.mean((1, 2)), torch.ones(3))
    assert (weights >= 0).all()
    assert not weights.requires_grad
    order = difference.detach().flatten(1).argmax(1)
    assert (weights.flatten(1).gather(1, order[:, None])[:, 0] == weights.amax((1, 2))).all()


@pytest.mark.parametrize("attention", ["ratio", "softmax", "topk"])
def test_attention_without_differences_is_one(attention) -> None:
    assert (
        selective_attention(torch.zeros(2, 3, 3), attention).tolist()
        == torch.ones(2, 3, 3).tolist()
    )


def test_attention_is_clipped_and_top_pixels_are_kept() -> None:
    difference = torch.zeros(1, 5, 5)
    difference[0, 2, 3] = 1.0
    assert selective_attention(difference)[0, 2, 3] == 10.0
    assert selective_attention(difference, clip=25.0)[0, 2, 3] == 25.0
    top = selective_attention(torch.arange(8.0).view(1, 2, 4), "topk", keep=0.25)
    assert top.flatten().tolist() == [0, 0, 0, 0, 0, 0, 4, 4]


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_attention_sits_where_the_pictures_differ(scale) -> None:
    teacher = torch.rand(1, 3, 4 * scale, 5 * scale)
    student = teacher.clone()
    student[:, :, 2 * scale : 3 * scale, scale : 2 * scale] += 0.5
    difference = output_difference(student, teacher, (4, 5))
    assert difference.shape == (1, 4, 5)
    assert difference[0, 2, 1].item() == pytest.approx(0.5)
    assert selective_attention(difference).nonzero().tolist() == [[0, 2, 1]]


def pictures(seed: int, channels: int = 4, scale: int = 2) -> Features:
    generator = torch.Generator().manual_seed(seed)
    picture = torch.rand(2, 3, 5 * scale, 5 * scale, generator=generator, requires_grad=True)
    taps = [torch.randn(2, channels, 5, 5, generator=generator) for _ in range(3)]
    return Features(picture, tuple(tap.requires_grad_() for tap in taps))


SUPER = Layout(None, ((4, 5, 5),) * 3)


def test_a_student_that_is_the_teacher() -> None:
    student = pictures(0)
    loss = LSFD(SUPER, [SUPER])
    assert not list(loss.parameters())
    assert loss(student, [student]) == 0


def test_not_selective_is_attention_one() -> None:
    student, teacher = pictures(0), pictures(1)
    plain = LSFD(SUPER, [SUPER], selective=False)(student, [teacher])
    each = [local_distance(s, t).mean() for s, t in zip(student.taps, teacher.taps, strict=True)]
    torch.testing.assert_close(plain, torch.stack(each).mean())
    same = Features(teacher.logits, student.taps)  # no difference of pictures: A = 1 too
    assert torch.equal(LSFD(SUPER, [SUPER])(same, [teacher]), plain)
    assert LSFD(SUPER, [SUPER])(student, [teacher]) != plain


def test_pictures_and_teachers_get_no_gradient() -> None:
    student, teacher = pictures(0), pictures(1)
    LSFD(SUPER, [SUPER])(student, [teacher]).backward()
    assert student.logits.grad is None
    assert all(tap.grad is None for tap in teacher.taps)
    assert all(tap.grad.abs().sum() > 0 for tap in student.taps)


def test_wider_teachers_need_a_regressor() -> None:
    wide = Layout(None, ((6, 5, 5),) * 3)
    loss = LSFD(SUPER, [wide])
    assert len(list(loss.parameters())) == 6
    assert loss(pictures(0), [pictures(1, channels=6)]) > 0
    assert len(list(LSFD(SUPER, [SUPER], regressor=True).parameters())) == 6
    with pytest.raises(UserError, match="cannot compare 4 channels with 6"):
        LSFD(SUPER, [wide], regressor=False)


def test_source_of_the_attention() -> None:
    assert LSFD(SUPER, [SUPER]).source == "output"
    classifier = Layout(10, ((4, 5, 5),))
    assert LSFD(classifier, [classifier]).source == "feature"
    loss = LSFD(SUPER, [SUPER], source="output")
    with pytest.raises(UserError, match="use source=feature"):
        loss(Features(None, pictures(0).taps), [pictures(1)])
    cropped = Features(pictures(0).logits[..., 1:], pictures(0).taps)
    with pytest.raises(UserError, match="blocks and the features are 5x5"):
        loss(cropped, [cropped])


@pytest.mark.parametrize("option", ["local", "attention", "source", "distance"])
def test_unknown_words(option) -> None:
    with pytest.raises(UserError, match=f"lsfd: {option}='x' is not allowed; give"):
        LSFD(SUPER, [SUPER], **{option: "x"})
