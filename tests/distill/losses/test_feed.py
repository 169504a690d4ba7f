import math

import pytest
import torch

from rlgen.core.errors import UserError
from rlgen.distill.losses.feed import FEED, feed_loss


def test_golden_number() -> None:
    student, teacher = torch.tensor([[3.0, 4.0]]), torch.tensor([[4.0, 3.0]])
    zero = feed_loss([student], [5 * student])
    assert zero.item() == 0
    pair = feed_loss([student, student], [teacher, student])
    assert pair.item() == pytest.approx(0.2)
    assert feed_loss([student] * 2, [teacher] * 2, "sum").item() == pytest.approx(0.8)
    assert feed_loss([student] * 2, [teacher] * 2, "sum", "mean").item() == pytest.approx(0.4)


def test_scale_does_not_matter_and_sign_does() -> None:
    torch.manual_seed(0)
    s, t = torch.randn(3, 8, 4, 4).double(), torch.randn(3, 8, 4, 4).double()
    value = feed_loss([s], [t])
    for a in (1e-3, 7.0):
        assert feed_loss([a * s], [t]).item() == pytest.approx(value.item(), rel=1e-6)
        assert feed_loss([s], [a * t]).item() == pytest.approx(value.item(), rel=1e-6)
    assert feed_loss([-s], [t]).item() != pytest.approx(value.item(), rel=1e-3)


def test_bounds_and_size_for_gaussian_maps() -> None:
    torch.manual_seed(0)
    s, t = torch.randn(64, 4096), torch.randn(64, 4096)
    total, mean = feed_loss([s], [t], "sum").item(), feed_loss([s], [t]).item()
    # Differences of unit Gaussians have a spread of sqrt(2 / D): in all 2 sqrt(D / pi) = 72.2.
    assert total == pytest.approx(2 * (4096 / math.pi) ** 0.5, rel=0.01)
    assert total == pytest.approx(4096 * mean, rel=1e-4)
    worst = torch.ones(1, 4096)
    assert feed_loss([worst], [-worst]).item() == pytest.approx(2 / 64)


def test_ensemble_is_the_sum_of_its_teachers(network) -> None:
    layout, student = network((4, 6, 6))
    layouts, teachers = zip(*[network((c, 6, 6), seed=c) for c in (4, 7, 9)], strict=True)
    every = FEED(layout, layouts)
    singles = []
    for transform, other, teacher in zip(every.transforms, layouts, teachers, strict=True):
        single = FEED(layout, [other])
        single.transforms[0].load_state_dict(transform.state_dict())
        singles.append(single(student, [teacher]))
    value = every(student, teachers)
    torch.testing.assert_close(value, torch.stack(singles).sum())

    turned = FEED(layout, layouts[::-1])
    for a, b in zip(turned.transforms, list(every.transforms)[::-1], strict=True):
        a.load_state_dict(b.state_dict())
    torch.testing.assert_close(turned(student, teachers[::-1]), value)


def test_each_transform_learns_from_its_own_teacher(network) -> None:
    layout, student = network((4, 6, 6))
    layouts, teachers = zip(*[network((5, 6, 6), seed=s) for s in (1, 2)], strict=True)
    loss = FEED(layout, layouts)
    loss(student, teachers).backward()
    both = [p.grad.clone() for p in loss.transforms[0].parameters()]
    assert all(teacher.taps[0].grad is None for teacher in teachers)
    assert student.taps[0].grad.abs().sum() > 0
    loss.zero_grad()
    _, changed = network((5, 6, 6), seed=3)
    loss(student, [teachers[0], changed]).backward()
    for before, parameter in zip(both, loss.transforms[0].parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, before)


def test_a_smaller_map_of_the_student(network) -> None:
    layout, student = network((4, 4, 4))
    large, teacher = network((5, 8, 8), seed=1)
    with pytest.warns(UserWarning, match="feed: .* averaged to 4x4"):
        loss = FEED(layout, [large])
    assert loss(student, [teacher]) > 0


def test_mistakes(network) -> None:
    layout, _ = network((4, 6, 6))
    with pytest.raises(UserError, match="reduction='max' is not allowed; give mean or sum"):
        FEED(layout, [layout], reduction="max")
    with pytest.raises(UserError, match="feed compares tap -1 and a network has 0"):
        FEED(layout, [network()[0]])
