"""FEED over members: batched transforms are those of each member, and learn alone."""

import pytest
import torch
from torch.nn import functional as F

from rlgen.distill.losses.feed import feed_loss
from rlgen.policy_distillation.population_features import MemberTransforms, members_loss


def transforms():
    torch.manual_seed(0)
    return MemberTransforms(3, 4, 5)


def test_each_member_has_three_layers_of_its_own():
    module, features = transforms(), torch.randn(6, 4)
    together = module(features)
    assert together.shape == (6, 3, 5)
    for member in range(3):
        x = features
        for weight, bias in zip(module.weights, module.biases, strict=True):
            x = F.leaky_relu(x @ weight[member] + bias[member], 0.1)
        torch.testing.assert_close(together[:, member], x)


def test_the_loss_is_the_mean_of_the_members_losses():
    ours, theirs = torch.randn(6, 3, 5), torch.randn(6, 3, 5)
    each = [feed_loss([ours[:, m]], [theirs[:, m]]) for m in range(3)]
    assert members_loss(ours, theirs).item() == pytest.approx(torch.stack(each).mean().item())
    # s = (1, 0), t = (0, 1): |1| + |-1| over two elements
    assert members_loss(torch.tensor([[[3.0, 0.0]]]), torch.tensor([[[0.0, 2.0]]])).item() == 1


def test_a_transform_learns_from_its_own_member_alone():
    module, features = transforms(), torch.randn(6, 4, requires_grad=True)
    theirs = torch.randn(6, 3, 5, requires_grad=True)
    members_loss(module(features)[:, 1:2], theirs[:, 1:2]).backward()
    for weight in module.weights:
        moved = weight.grad.abs().flatten(1).sum(1) > 0
        assert moved.tolist() == [False, True, False]
    assert features.grad.abs().sum() > 0
    assert theirs.grad is None  # teachers are held fixed
