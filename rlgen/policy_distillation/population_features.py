"""FEED on what the members' action heads read: one non-linear transform per member.

Paper: S. Park, N. Kwak, "FEED: Feature-level Ensemble for Knowledge Distillation", ECAI 2020; see
:mod:`rlgen.distill.losses.feed`, whose loss this is. An actor's features are vectors, maps of one
pixel, of which three 3x3 convolutions see the middle of their kernels alone. So a transform here is
three linear layers C_S -> C_S -> C_T -> C_T with a leaky ReLU (0.1) behind each, and the layers of
all M members are one batched product. It is thrown away after the training.

Members of a population share their weights; their features differ by the gates. With ungated agents
M is 1.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from rlgen.distill.losses.feed import feed_loss

SLOPE = 0.1


class MemberTransforms(nn.Module):
    """The transforms of all members.

    Args:
        members: M.
        width: C_S of the student's features.
        out: C_T of each member's.
    """

    def __init__(self, members: int, width: int, out: int) -> None:
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for a, b in ((width, width), (width, out), (out, out)):
            bound = 1 / math.sqrt(a)  # as torch's linear layers begin
            self.weights.append(nn.Parameter(torch.empty(members, a, b).uniform_(-bound, bound)))
            self.biases.append(nn.Parameter(torch.empty(members, 1, b).uniform_(-bound, bound)))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Maps the student's features (batch, C_S) to each member's, (batch, M, C_T)."""
        x = features.expand(len(self.weights[0]), *features.shape)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            x = F.leaky_relu(torch.baddbmm(bias, x, weight), SLOPE)
        return x.transpose(0, 1)


def members_loss(transformed: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """Returns FEED's loss, the mean over elements and members.

    The paper sums over teachers; the mean keeps a weight comparable between populations.

    Args:
        transformed: Of the student, (batch, M, C_T).
        features: Of the members; detached.
    """
    return feed_loss([transformed.flatten(0, 1)], [features.flatten(0, 1)])
