import pytest
import torch

from rlgen.core.errors import UserError
from rlgen.distill.base import Features, Layout
from rlgen.distill.losses.ft import FT, normalized_l1


def test_golden_numbers() -> None:
    student, teacher = torch.tensor([[3.0, 4.0]]), torch.tensor([[8.0, 6.0]])
    assert normalized_l1(student, teacher).item() == pytest.approx(0.2)
    assert normalized_l1(student, teacher, "sum").item() == pytest.approx(0.4)


def test_factors_have_the_share_of_the_teachers_channels(network) -> None:
    layout, student = network((4, 6, 6))
    wide, teacher = network((10, 6, 6), seed=1)
    loss = FT(layout, [wide], rate=0.5)
    assert loss.translators[0](student.taps[0]).shape == (4, 5, 6, 6)
    assert loss.paraphrasers[0].encode(teacher.taps[0]).shape == (4, 5, 6, 6)


def test_prepare_teaches_the_paraphraser_and_freezes_it(network) -> None:
    torch.manual_seed(0)
    layout, student = network((4, 6, 6))
    maps = (torch.rand(4, 1, 6, 6) + 0.5).expand(4, 6, 6, 6)  # one factor is enough for them
    target = Features(None, (maps,))
    loss = FT(layout, [Layout(None, ((6, 6, 6),))], epochs=15)

    def error() -> float:
        return (loss.paraphrasers[0](maps) - maps).abs().mean().item()

    before = error()
    loss.prepare([[target]])
    assert error() < 0.6 * before
    assert not any(p.requires_grad for p in loss.paraphrasers.parameters())
    frozen = [p.clone() for p in loss.paraphrasers.parameters()]
    loss(student, [target]).backward()
    assert all(p.grad is None for p in loss.paraphrasers.parameters())
    assert all(p.grad.abs().sum() > 0 for p in loss.translators.parameters())
    assert all(torch.equal(a, b) for a, b in zip(frozen, loss.paraphrasers.parameters()))  # noqa: B905


def test_a_resumed_loss_stays_frozen(network) -> None:
    layout, student = network((4, 6, 6))
    loss, again = FT(layout, [layout], epochs=1), FT(layout, [layout])
    loss.prepare([[student.detach()]])
    assert not again.frozen
    again.load_state_dict(loss.state_dict())
    assert again.frozen
    assert not any(p.requires_grad for p in again.paraphrasers.parameters())
    torch.testing.assert_close(again(student, [student]), loss(student, [student]))


def test_without_prepare_the_paraphraser_learns_by_reconstruction_alone(network) -> None:
    layout, student = network((4, 6, 6))
    wide, teacher = network((6, 6, 6), seed=1)
    loss = FT(layout, [wide], joint=0.5)
    loss(student, [teacher]).backward()
    learnt = [p.grad.clone() for p in loss.paraphrasers.parameters()]
    loss.zero_grad()
    paraphraser = loss.paraphrasers[0]
    maps = teacher.taps[0].detach() / teacher.taps[0].detach().square().mean().sqrt()
    (0.5 * (paraphraser(maps) - maps).abs().mean()).backward()
    for got, parameter in zip(learnt, paraphraser.parameters(), strict=True):
        torch.testing.assert_close(got, parameter.grad)
    value = loss.eval()(student, [teacher])
    with torch.no_grad():
        ours, theirs = loss.translators[0](student.taps[0]), paraphraser.encode(maps)
    torch.testing.assert_close(value, normalized_l1(ours, theirs))


def test_large_maps_do_not_break_the_paraphraser(network) -> None:
    torch.manual_seed(0)
    layout, student = network((4, 6, 6))
    maps = [(200 * torch.rand(4, 1, 6, 6)).expand(4, 4, 6, 6) for _ in range(2)]
    batches = [[Features(None, (x,))] for x in maps]
    loss = FT(layout, [layout], epochs=10)
    loss.prepare(batches)
    # The unit is the first batch's, and stays.
    torch.testing.assert_close(loss.scales, maps[0].square().mean().sqrt()[None])
    before = loss.eval()(student, batches[1])
    loss.train()(student, batches[1])
    torch.testing.assert_close(loss.eval()(student, batches[1]), before)
    x = maps[1] / loss.scales
    assert (loss.paraphrasers[0](x) - x).abs().mean() < 0.7 * x.abs().mean()


def test_mistakes(network) -> None:
    layout, _ = network((4, 6, 6))
    with pytest.raises(UserError, match="ft compares tap 2"):
        FT(layout, [layout], tap=2)
    with pytest.raises(UserError, match="rate=0 is not allowed"):
        FT(layout, [layout], rate=0)
