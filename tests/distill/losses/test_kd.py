import math

import pytest
import torch

from rlgen.core.errors import UserError
from rlgen.distill.base import Features, Layout
from rlgen.distill.losses.kd import KD, ensemble_log_probs, kd_loss


def test_golden_number() -> None:
    # q = (1/2, 1/2), p = (3/4, 1/4): KL = 1/2 ln(2/3) + 1/2 ln 2 = 1/2 ln(4/3).
    student, teacher = torch.tensor([[math.log(3), 0.0]]), torch.zeros(1, 2)
    assert kd_loss(student, teacher, 1.0).item() == pytest.approx(0.5 * math.log(4 / 3))
    assert kd_loss(2 * student, teacher, 2.0).item() == pytest.approx(2 * math.log(4 / 3))


@pytest.mark.parametrize("tau", [1.0, 4.0])
def test_gradient(tau) -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(3, 5, requires_grad=True), torch.randn(3, 5, requires_grad=True)
    kd_loss(student, teacher, tau).backward()
    p, q = torch.softmax(student / tau, 1), torch.softmax(teacher / tau, 1)
    torch.testing.assert_close(student.grad, (tau * (p - q) / 3).detach())
    assert teacher.grad is None


def test_hot_limit_matches_centred_logits() -> None:
    torch.manual_seed(0)
    student, teacher = torch.randn(1, 5).double().requires_grad_(), torch.randn(1, 5).double()
    kd_loss(student, teacher, 1e4).backward()
    apart = student.detach() - teacher
    torch.testing.assert_close(student.grad, (apart - apart.mean()) / 5, atol=1e-4, rtol=1e-3)


def test_divergence_is_not_negative() -> None:
    torch.manual_seed(0)
    values = [kd_loss(torch.randn(1, 5), torch.randn(1, 5)).item() for _ in range(50)]
    assert min(values) > 0


def test_shifted_logits_are_equal() -> None:
    z = torch.randn(4, 6)
    assert kd_loss(z, z + 3.0).item() == pytest.approx(0.0, abs=1e-6)


def test_tokens_count_like_samples() -> None:
    student, teacher = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    flat = kd_loss(student.view(6, 5), teacher.view(6, 5))
    torch.testing.assert_close(kd_loss(student, teacher), flat)


def test_several_teachers_are_an_ensemble_of_probabilities() -> None:
    # (0.9, 0.1) and (0.3, 0.7) average to (0.6, 0.4); the mean of the logits would not.
    logits = [torch.tensor([[0.9, 0.1]]).log(), torch.tensor([[0.3, 0.7]]).log()]
    expected = torch.tensor([[0.6, 0.4]]).log()
    torch.testing.assert_close(ensemble_log_probs(logits, 1.0), expected)
    loss = KD(Layout(2), [Layout(2)] * 2, temperature=1.0)
    assert loss(Features(expected), [Features(z) for z in logits]).item() == pytest.approx(
        0.0, abs=1e-6
    )


def test_mistakes() -> None:
    with pytest.raises(UserError, match="the networks have 10, 100"):
        KD(Layout(10), [Layout(100)])
    with pytest.raises(UserError, match="temperature=0 is not allowed"):
        KD(Layout(10), [Layout(10)], temperature=0)
