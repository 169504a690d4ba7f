import pytest
import torch

from rlgen.distill.losses.at import AT, at_loss, attention_map


def test_golden_numbers() -> None:
    # Mean squares over channels: (5, 0) against (0, 1); unit maps differ by (1, -1).
    student = torch.tensor([[[[1.0, 0.0]], [[3.0, 0.0]]]])
    teacher = torch.tensor([[[[0.0, 1.0]]]])
    assert attention_map(student).tolist() == [[1.0, 0.0]]
    assert at_loss(student, teacher).item() == 1.0  # the largest possible, 2 / (H W)
    # (9, 16) / sqrt(337) against (16, 9) / sqrt(337): 2 * 49 / 337 / 2.
    skewed = torch.tensor([[[[3.0, 4.0]]]])
    assert at_loss(skewed, skewed.flip(-1)).item() == pytest.approx(49 / 337)


def test_what_does_not_matter() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(3, 6, 4, 4), torch.randn(3, 5, 4, 4)
    value = at_loss(student, teacher)
    scale = torch.tensor([0.1, 2.0, 30.0]).view(3, 1, 1, 1)
    for same in (student * scale, -student, student[:, torch.randperm(6)]):
        torch.testing.assert_close(at_loss(same, teacher), value)
    assert at_loss(student[:, :, :2].repeat(1, 1, 2, 1), teacher) != value
    assert at_loss(student, student) == 0
    assert value <= 2 / 16


def test_sum_over_taps_and_mean_over_teachers(network) -> None:
    layout, student = network((3, 8, 8), (4, 4, 4))
    other, a = network((5, 8, 8), (6, 4, 4), seed=1)
    _, b = network((5, 8, 8), (6, 4, 4), seed=2)
    parts = [at_loss(student.taps[i], t.taps[i]) for t in (a, b) for i in (0, 1)]
    loss = AT(layout, [other, other])
    torch.testing.assert_close(loss(student, [a, b]), torch.stack(parts).sum() / 2)
    assert not list(loss.parameters())


def test_larger_maps_are_averaged(network) -> None:
    small, student = network((3, 4, 4))
    large, teacher = network((5, 8, 8), seed=1)
    with pytest.warns(UserWarning, match="at: the student's map is 4x4, the teacher's 8x8"):
        loss = AT(small, [large])
    pooled = torch.nn.functional.avg_pool2d(teacher.taps[0], 2)
    torch.testing.assert_close(loss(student, [teacher]), at_loss(student.taps[0], pooled))
