import pytest
import torch

from rlgen.core.errors import UserError
from rlgen.distill.losses.fitnets import FitNets, hint_loss


def test_golden_number() -> None:
    regressed, hint = torch.tensor([[1.0, 2.0]], requires_grad=True), torch.zeros(1, 2)
    hint.requires_grad_()
    loss = hint_loss(regressed, hint)
    assert loss.item() == 2.5
    loss.backward()
    assert hint.grad is None
    assert regressed.grad.tolist() == [[1.0, 2.0]]


def test_identity_regressor_on_equal_features(network) -> None:
    layout, student = network((3, 4, 4))
    loss = FitNets(layout, [layout], relu=False).eval()
    with torch.no_grad():
        loss.regressors[0].conv.weight.copy_(torch.eye(3)[..., None, None])
        loss.regressors[0].conv.bias.zero_()
    assert loss(student, [student]).item() == pytest.approx(0.0, abs=1e-9)


def test_mean_over_taps_and_teachers(network) -> None:
    torch.manual_seed(0)
    layout, student = network((3, 4, 4), (4, 8, 8))
    first, a = network((5, 4, 4), (2, 4, 4), seed=1)
    second, b = network((3, 8, 8), (4, 8, 8), seed=2)
    loss = FitNets(layout, [first, second]).eval()
    parts = [
        hint_loss(regressor(student.taps[i]), theirs.taps[i])
        for regressor, (theirs, i) in zip(
            loss.regressors, [(a, 0), (a, 1), (b, 0), (b, 1)], strict=True
        )
    ]
    torch.testing.assert_close(loss(student, [a, b]), torch.stack(parts).mean())


def test_impossible_sizes(network) -> None:
    with pytest.raises(UserError, match="4x4 map to the teacher's 7x7"):
        FitNets(network((3, 4, 4))[0], [network((3, 7, 7))[0]])
