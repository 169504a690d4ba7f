"""Features, layouts and what a loss does by default."""

import pytest
import torch

from rlgen.distill import DistillLoss, Features, Layout


@pytest.mark.parametrize(
    ("logits", "classes"),
    [(torch.zeros(2, 7), 7), (torch.zeros(2, 3, 4, 4), None), (None, None)],
)
def test_layouts_of_features(logits, classes) -> None:
    features = Features(logits, (torch.zeros(2, 3, 4, 5), torch.zeros(2, 6)))
    assert Layout.of(features) == Layout(classes, ((3, 4, 5), (6,)))


def test_detached_features_keep_values_and_lose_history() -> None:
    weight = torch.ones(2, 3, requires_grad=True)
    features = Features(weight * 2, (weight * 3,)).detach()
    assert not features.logits.requires_grad
    assert not features.taps[0].requires_grad
    assert features.taps[0].sum() == 18
    assert Features(None).detach() == Features(None)


def test_a_loss_that_overrides_nothing_says_so() -> None:
    loss = DistillLoss(Layout(3), [Layout(3)])
    assert loss.teacher_layouts == (Layout(3),)
    assert list(loss.own_parameters()) == []
    assert loss.teacher_bn == "running"
    with pytest.raises(NotImplementedError, match="forward_peers"):
        loss(Features(None), [])
    with pytest.raises(NotImplementedError, match="fixed teachers"):
        loss.forward_peers([])
