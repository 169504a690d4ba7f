import math

import pytest
import torch

from rlgen.distill.base import Features, Layout
from rlgen.distill.losses.rkd import RKD, pair_distances, rkd_loss, triplet_cosines

RIGHT = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])  # sides 3, 4, 5
LINE = torch.tensor([[0.0], [1.0], [2.0]])


def test_distances_and_angles_by_hand() -> None:
    expected = torch.tensor([[0.0, 3.0, 4.0], [3.0, 0.0, 5.0], [4.0, 5.0, 0.0]]) / 4
    torch.testing.assert_close(pair_distances(RIGHT), expected)
    cosines = triplet_cosines(RIGHT)
    assert cosines[0, 1, 2].item() == pytest.approx(0.0, abs=1e-6)
    assert cosines[1, 0, 2].item() == pytest.approx(0.6)
    assert cosines[2, 0, 1].item() == pytest.approx(0.8)
    assert cosines[0, 0, 1] == 0


def test_golden_losses() -> None:
    # LINE: distances (1, 2, 1) / (4 / 3) for (01, 02, 12) = (.75, 1.5, .75); RIGHT: (.75, 1, 1.25).
    distance = 2 * 0.5 * (0.5**2 + 0.5**2) / 9
    assert rkd_loss(LINE, RIGHT, 1.0, 0.0).item() == pytest.approx(distance)
    # Angles at 0, 1, 2: LINE (1, -1, 1), RIGHT (0, .6, .8); |.| = 1, 1.6, .2.
    angle = 2 * (0.5 + 1.1 + 0.5 * 0.04) / 27
    assert rkd_loss(LINE, RIGHT, 0.0, 1.0).item() == pytest.approx(angle)
    assert rkd_loss(LINE, RIGHT).item() == pytest.approx(25 * distance + 50 * angle)


def test_what_does_not_matter() -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 3)
    a = 0.7
    turn = torch.tensor(
        [[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1.0]]
    )
    moved = torch.cat([5 * x @ turn + 2, torch.zeros(6, 4)], dim=1)
    assert rkd_loss(moved, x).item() == pytest.approx(0.0, abs=1e-6)
    assert rkd_loss(torch.randn(6, 3), x) > 0.1


def test_equal_samples_give_finite_gradients() -> None:
    x = torch.zeros(4, 3, requires_grad=True)
    rkd_loss(x, torch.randn(4, 3)).backward()
    assert x.grad.isfinite().all()
    assert x.grad.abs().max() < 1e3


def test_maps_are_averaged_over_pixels() -> None:
    student, teacher = torch.randn(4, 3, 2, 2), torch.randn(4, 5)
    loss = RKD(Layout(None, ((3, 2, 2),)), [Layout(None, ((5,),))])
    value = loss(Features(None, (student,)), [Features(None, (teacher,))])
    torch.testing.assert_close(value, rkd_loss(student.mean((2, 3)), teacher))
