import pytest
import torch
from torch import nn

from rlgen.distill.losses.ab import AB, activation_agreement, activation_boundary, stage_weight


@pytest.mark.parametrize(
    ("u", "t", "expected"),
    [
        (-1.0, -0.5, 0.0),  # at the margin of an inactive neuron
        (-3.0, -0.5, 0.0),
        (1.5, 0.5, 0.0),
        (1.0, 0.5, 0.0),
        (0.5, 0.5, 0.25),
        (-1.0, 0.5, 4.0),
        (0.5, -0.5, 2.25),
        (0.5, 0.0, 2.25),  # 0 is off
        (0.5, -99.0, 2.25),  # only the sign of the teacher matters
    ],
)
def test_cases(u, t, expected) -> None:
    assert activation_boundary(torch.tensor([[u]]), torch.tensor([[t]])).item() == expected


def test_margin_and_batch() -> None:
    u, t = torch.tensor([[0.0, 0.0], [0.0, 0.0]]), torch.tensor([[1.0, -1.0], [1.0, 1.0]])
    assert activation_boundary(u, t, margin=2.0).item() == 16 / 2


def test_weights_halve_towards_shallow_stages(network) -> None:
    assert [stage_weight(depth) for depth in (3, 2, 1, 0)] == [0.125, 0.25, 0.5, 1.0]
    layout, student = network((3, 4, 4), (4, 2, 2))
    _, teacher = network((3, 4, 4), (4, 2, 2), seed=1)
    a, b = [activation_boundary(s, t) for s, t in zip(student.taps, teacher.taps, strict=True)]
    torch.testing.assert_close(AB(layout, [layout])(student, [teacher]), a / 2 + b)


def test_connectors_only_where_channels_differ(network) -> None:
    loss = AB(network((3, 4, 4), (4, 2, 2))[0], [network((3, 4, 4), (5, 2, 2))[0]])
    assert isinstance(loss.connectors[0], nn.Identity)
    assert sum(p.numel() for p in loss.connectors[1].parameters()) == 20 + 10
    assert loss.teacher_bn == "batch"


def test_training_raises_the_agreement(network) -> None:
    torch.manual_seed(0)
    layout, student = network((4, 4, 4))
    _, teacher = network((4, 4, 4), seed=1)
    loss, values = AB(layout, [layout]), student.taps[0]
    optimizer = torch.optim.SGD([values], lr=0.5)
    before = activation_agreement(values, teacher.taps[0]).item()
    for _ in range(20):
        optimizer.zero_grad()
        loss(student, [teacher]).backward()
        optimizer.step()
    assert 0.3 < before < 0.7
    assert activation_agreement(values, teacher.taps[0]) == 1.0
    assert teacher.taps[0].grad is None
