"""What every loss has in common."""

import pytest
import torch

from rlgen.core.errors import UserError
from rlgen.distill.base import DistillLoss, Features, Layout
from rlgen.distill.losses import LOSSES, USUAL_WEIGHTS
from rlgen.distill.losses.ab import activation_boundary
from rlgen.distill.losses.at import at_loss
from rlgen.distill.losses.fitnets import hint_loss
from rlgen.distill.losses.ft import normalized_l1
from rlgen.distill.losses.kd import kd_loss
from rlgen.distill.losses.lsfd import local_distance
from rlgen.distill.losses.rkd import rkd_loss

NAMES = sorted(LOSSES)
SHAPES = ((4, 8, 8), (6, 4, 4))
LAYOUT = Layout(5, SHAPES)
LABELS = torch.tensor([0, 1, 2, 4])


def build(name: str, peers: int = 2) -> DistillLoss:
    torch.manual_seed(0)
    return LOSSES[name](LAYOUT, [LAYOUT] * (peers - 1))


def value(loss: DistillLoss, networks: list[Features], labels=LABELS) -> torch.Tensor:
    if loss.online:
        return loss.forward_peers(networks, labels)
    return loss(networks[0], networks[1:], labels)


@pytest.fixture
def networks(network):
    return [network(*SHAPES, seed=seed)[1] for seed in (1, 2, 3)]


def test_names() -> None:
    expected = {"kd", "fitnets", "at", "ft", "ab", "rkd", "dml", "one", "ofd", "feed", "ffl", "afd"}
    assert set(NAMES) >= expected | {"lsfd"}
    assert set(USUAL_WEIGHTS) == expected | {"lsfd"}
    assert all(LOSSES[name].name == name for name in NAMES)
    with pytest.raises(UserError, match="unknown distillation loss 'fed'; did you mean 'feed'"):
        LOSSES["fed"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("peers", [2, 3])
def test_a_scalar_that_trains_the_student_and_all_that_is_its_own(name, peers, networks) -> None:
    loss = build(name, peers)
    result = value(loss, networks[:peers])
    assert result.shape == ()
    assert result.isfinite()
    result.backward()
    leaves = [networks[0].logits, *networks[0].taps]
    assert any(leaf.grad is not None and leaf.grad.any() for leaf in leaves)
    assert all(p.grad is not None for p in loss.parameters())


@pytest.mark.parametrize("name", [n for n in NAMES if not LOSSES[n].online])
def test_teachers_get_no_gradient(name, networks) -> None:
    value(build(name, 3), networks).backward()
    for teacher in networks[1:]:
        assert teacher.logits.grad is None
        assert all(tap.grad is None for tap in teacher.taps)


@pytest.mark.parametrize(
    "function",
    [kd_loss, hint_loss, at_loss, normalized_l1, activation_boundary, rkd_loss, local_distance],
)
def test_targets_of_plain_functions_are_constants(function) -> None:
    torch.manual_seed(0)
    shape = (4, 5) if function in (kd_loss, rkd_loss) else (4, 3, 2, 2)
    student, teacher = (torch.randn(shape, requires_grad=True) for _ in range(2))
    function(student, teacher).sum().backward()
    assert student.grad.any()
    assert teacher.grad is None


@pytest.mark.parametrize("name", NAMES)
def test_zero_features_are_harmless(name) -> None:
    def zeros() -> Features:
        taps = tuple(torch.zeros(4, *shape, requires_grad=True) for shape in SHAPES)
        return Features(torch.zeros(4, 5, requires_grad=True), taps)

    student, loss = zeros(), build(name)
    result = value(loss, [student, zeros()])
    assert result.isfinite()
    result.backward()
    for leaf in [student.logits, *student.taps, *loss.parameters()]:
        assert leaf.grad is None or (leaf.grad.isfinite().all() and leaf.grad.abs().max() < 1e4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_features(name, dtype, networks) -> None:
    loss = build(name).eval()
    exact = value(loss, networks[:2])
    halves = [
        Features(n.logits.to(dtype), tuple(tap.to(dtype) for tap in n.taps)) for n in networks[:2]
    ]
    result = value(loss, halves)
    assert result.dtype == torch.float32
    assert result.item() == pytest.approx(exact.item(), rel=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_a_distiller_in_half_as_a_whole(name, networks) -> None:
    loss = build(name).bfloat16()
    halves = [
        Features(n.logits.bfloat16(), tuple(tap.bfloat16() for tap in n.taps)) for n in networks
    ]
    assert value(loss, halves[:2]).isfinite()


@pytest.mark.parametrize("name", NAMES)
def test_autocast(name, networks) -> None:
    loss = build(name)
    with torch.autocast("cpu", torch.bfloat16):
        result = value(loss, networks[:2])
    result.backward()
    assert result.isfinite()


@pytest.mark.parametrize("name", NAMES)
def test_a_duplicated_batch_has_the_same_loss(name, networks) -> None:
    # In evaluation, where batch norms do not look at the batch.
    loss = build(name, 3).eval()
    twice = [
        Features(torch.cat([n.logits] * 2), tuple(torch.cat([tap] * 2) for tap in n.taps))
        for n in networks
    ]
    once = value(loss, networks)
    torch.testing.assert_close(value(loss, twice, torch.cat([LABELS] * 2)), once, rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_tokens_and_vectors(name) -> None:
    torch.manual_seed(0)
    layout = Layout(5, ((7, 6), (6,)))
    loss = LOSSES[name](layout, [layout])
    pair = [Features(torch.randn(4, 5), (torch.randn(4, 7, 6), torch.randn(4, 6))) for _ in "ab"]
    assert value(loss, pair).isfinite()


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_is_restored_from_tensors(name, networks) -> None:
    loss, again = build(name), LOSSES[name](LAYOUT, [LAYOUT])
    value(loss, networks[:2])
    state = loss.state_dict()
    assert all(isinstance(tensor, torch.Tensor) for tensor in state.values())
    again.load_state_dict(state)
    torch.testing.assert_close(value(again.eval(), networks[:2]), value(loss.eval(), networks[:2]))


@pytest.mark.parametrize("name", [n for n in NAMES if LOSSES[n].needs_taps])
def test_a_loss_on_features_tells_that_there_are_none(name) -> None:
    with pytest.raises(UserError, match=f"{name} compares"):
        LOSSES[name](Layout(5), [Layout(5)])


@pytest.mark.parametrize("name", [n for n in NAMES if LOSSES[n].online])
def test_online_losses_tell_that_a_network_is_alone(name) -> None:
    with pytest.raises(UserError, match=f"{name} trains two networks or more"):
        LOSSES[name](LAYOUT, [])
