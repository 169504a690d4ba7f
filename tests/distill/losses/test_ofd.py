import pytest
import torch
from torch import nn

from rlgen.core.errors import UserError
from rlgen.distill.base import Features
from rlgen.distill.losses.ofd import OFD, Margin, margins_from_bn, normal_margin, partial_l2


@pytest.mark.parametrize(
    ("mean", "std", "margin"),
    [
        (0.0, 1.0, -0.79788),
        (0.5, 1.0, -0.64108),
        (-0.5, 2.0, -1.79168),
        (1.0, -0.7, -0.31470),
        (-3.0, 1.0, -3.00444),
        (2.9, 1.0, -0.29032),
        (3.2, 1.0, -3.0),  # too rare: the guard
    ],
)
def test_margins_of_the_spec(mean, std, margin) -> None:
    got = normal_margin(torch.tensor([mean]).double(), torch.tensor([std]).double())
    assert got.item() == pytest.approx(margin, abs=1e-5)
    twice = normal_margin(torch.tensor([2 * mean]).double(), torch.tensor([2 * std]).double())
    assert twice.item() == pytest.approx(2 * margin, abs=2e-5)


def test_margins_match_samples() -> None:
    torch.manual_seed(0)
    mean, std = torch.tensor([0.0, 0.5, -0.5, 1.0]), torch.tensor([1.0, 1.0, 2.0, 0.7])
    x = mean + std * torch.randn(1_000_000, 4)
    sampled = x.clamp(max=0).sum(0) / (x < 0).sum(0)
    torch.testing.assert_close(normal_margin(mean, std), sampled, atol=4e-3, rtol=0)


def test_margins_are_below_zero() -> None:
    mean, std = torch.meshgrid(torch.linspace(-9, 9, 37), torch.linspace(-3, 3, 25), indexing="ij")
    margin = normal_margin(mean, std)
    assert (margin < 0).all()
    assert margin.isfinite().all()


def test_margins_of_layers() -> None:
    bn = nn.BatchNorm2d(3)
    with torch.no_grad():
        bn.weight.copy_(torch.tensor([1.0, 2.0, -0.7]))
        bn.bias.copy_(torch.tensor([0.0, -0.5, 1.0]))
    expected = torch.tensor([-0.79788, -1.79168, -0.31470])
    torch.testing.assert_close(margins_from_bn(bn), expected, atol=1e-5, rtol=0)
    assert not margins_from_bn(bn).requires_grad
    plain = margins_from_bn(nn.BatchNorm1d(2, affine=False))
    torch.testing.assert_close(plain, torch.full((2,), -0.79788), atol=1e-5, rtol=0)
    with pytest.raises(UserError, match=r"given LayerNorm; .* margin=data"):
        margins_from_bn(nn.LayerNorm(3))


@pytest.mark.parametrize(
    ("u", "t", "expected"),
    [
        (-2.0, -0.3, 0.0),
        (-0.5, -0.3, 0.0),
        (-0.1, -0.3, 0.04),
        (-0.5, -2.0, 0.09),  # pulled to the margin, not to t
        (-1.0, -2.0, 0.0),
        (0.5, 1.0, 0.25),
        (1.5, 1.0, 0.25),
        (0.2, 0.0, 0.04),
        (-0.2, 0.0, 0.0),
    ],
)
def test_partial_l2_cases_of_the_spec(u, t, expected) -> None:
    loss = partial_l2(torch.tensor([[u]]), torch.tensor([[t]]), -0.8)
    assert loss.item() == pytest.approx(expected, abs=1e-7)


def test_two_branches_are_the_papers_three() -> None:
    torch.manual_seed(0)
    u, t, m = torch.randn(1, 5000), torch.randn(1, 5000), -torch.rand(1, 5000)
    three = torch.where(
        t > 0,
        (u - t) ** 2,
        torch.where(t > m, (u > t) * (u - t) ** 2, (u > m) * (u - m) ** 2),
    )
    assert partial_l2(u, t, m).item() == three.sum().item()


def test_gradient_and_where_it_is_zero() -> None:
    torch.manual_seed(0)
    u, t = torch.randn(2, 500, requires_grad=True), torch.randn(2, 500, requires_grad=True)
    partial_l2(u, t, -0.8).backward()
    v = t.detach().clamp(min=-0.8)
    off = (u <= v) & (v <= 0)
    assert off.sum() > 50
    torch.testing.assert_close(u.grad, torch.where(off, 0.0, 2 * (u - v) / 2).detach())
    assert t.grad is None


def test_the_raw_teacher_costs_nothing() -> None:
    t = torch.randn(3, 400)
    assert partial_l2(t, t, -0.8) == 0
    assert partial_l2(t + 0.1, t, -0.8) > 0


def test_duplicated_batch() -> None:
    u, t = torch.randn(3, 40), torch.randn(3, 40)
    torch.testing.assert_close(
        partial_l2(torch.cat([u, u]), torch.cat([t, t]), -1.0), partial_l2(u, t, -1.0)
    )


@pytest.mark.parametrize("stages", [3, 4])
def test_stage_weights(network, stages) -> None:
    shapes = [(2, 4, 4)] * stages
    layout, student = network(*shapes)
    _, teacher = network(*shapes, seed=1)
    loss = OFD(layout, [layout]).eval()
    single = [
        partial_l2(connector(s), t, 0.0)
        for connector, s, t in zip(loss.connectors, student.taps, teacher.taps, strict=True)
    ]
    weights = [0.5**k for k in range(stages)][::-1]
    expected = sum(w * d for w, d in zip(weights, single, strict=True))
    torch.testing.assert_close(loss(student, [teacher]), expected)


def test_deepest_taps_are_paired(network) -> None:
    loss = OFD(network((2, 4, 4))[0], [network((3, 8, 8), (5, 4, 4))[0]])
    assert [pair.taps for pair in loss.pairs] == [(0, 1)]
    assert loss.connectors[0][0].out_channels == 5


def test_margins_are_read_from_norms_and_else_from_data(network) -> None:
    layout, student = network((2, 4, 4), (3, 4, 4))
    _, teacher = network((2, 4, 4), (3, 4, 4), seed=1)
    loss = OFD(layout, [layout])
    norm = nn.BatchNorm2d(2)
    nn.init.constant_(norm.bias, 0.5)
    loss.read_norms([[norm, None]])
    loss(student, [teacher])
    torch.testing.assert_close(
        loss.margins[0]().flatten(), torch.full((2,), -0.64108), atol=1e-5, rtol=0
    )
    taps = teacher.taps[1].detach()
    expected = torch.stack([c[c < 0].mean() for c in taps.transpose(0, 1)])
    torch.testing.assert_close(loss.margins[1]().flatten(), expected)
    always = OFD(layout, [layout], margin="data")
    always.read_norms([[norm, None]])
    assert not always.margins[0].closed


def test_margins_by_data_are_a_mean_over_all_batches() -> None:
    margin = Margin(2)
    margin.update(torch.tensor([[[[-1.0, 2.0]], [[1.0, 1.0]]]]))
    margin.update(torch.tensor([[[[-4.0, -4.0]], [[0.0, 5.0]]]]))
    assert margin().flatten().tolist() == [-3.0, 0.0]  # a channel without negatives stays at 0
    margin.frozen.fill_(1.0)
    margin.update(torch.full((1, 2, 1, 1), -9.0))
    assert margin().flatten().tolist() == [-3.0, 0.0]


def test_prepare_settles_margins_for_good(network) -> None:
    layout, student = network((2, 4, 4))
    batches = [[network((2, 4, 4), seed=s)[1].detach()] for s in (1, 2)]
    loss = OFD(layout, [layout])
    loss(student, [student])  # what was seen before does not count
    loss.prepare(batches)
    taps = torch.cat([batch[0].taps[0] for batch in batches])
    expected = torch.stack([c[c < 0].mean() for c in taps.transpose(0, 1)])
    torch.testing.assert_close(loss.margins[0]().flatten(), expected)
    again = OFD(layout, [layout])
    again.load_state_dict(loss.state_dict())
    again(student, [Features(None, (student.taps[0] - 5,))])
    torch.testing.assert_close(again.margins[0]().flatten(), expected)


def test_evaluation_leaves_margins(network) -> None:
    layout, student = network((2, 4, 4))
    loss = OFD(layout, [layout]).eval()
    loss(student, [student])
    assert not loss.margins[0]().any()


def test_statistics_of_the_teacher_are_an_option(network) -> None:
    layout, _ = network((2, 4, 4))
    assert OFD(layout, [layout]).teacher_bn == "batch"
    assert OFD(layout, [layout], teacher_bn="running").teacher_bn == "running"
    with pytest.raises(UserError, match="teacher_bn='train' is not allowed; give batch or running"):
        OFD(layout, [layout], teacher_bn="train")


def test_unequal_sizes_warn(network) -> None:
    layout, student = network((2, 4, 4))
    large, teacher = network((3, 8, 8), seed=1)
    with pytest.warns(UserWarning, match="ofd: .* averaged to 4x4"):
        loss = OFD(layout, [large])
    assert loss(student, [teacher]) > 0
