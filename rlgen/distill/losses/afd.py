"""AFD: peers follow each other's probabilities, and fool judges of each other's feature maps.

Paper: I. Chung, S. Park, J. Kim, N. Kwak, "Feature-map-level Online Adversarial Knowledge
Distillation", ICML 2020 (arXiv 2002.01775). Spec afd; seen are the equations and the cyclic figure.
With f_k = T_k(G_k(x)), D_k the discriminator of network k and prev(k) = k - 1 in a circle:

    L_logit^k = CE(z_k, y) + tau^2 KL(softmax(z_prev / tau) || softmax(z_k / tau))
    L_Dk = [1 - D_k(f_prev)]^2 + [D_k(f_k)]^2
    L_Gk = [1 - D_k(f_k)]^2

Two networks are the case K = 2 of the circle. Here are the KL, L_G and L_D, summed over k; the
cross-entropies are the distiller's. Reconstructed: the partner is a constant in the KL, tau = 3,
the transfer layers T_k (only where channels or sizes differ) and the discriminators' sizes.

One backward pass of the sum gives every parameter its own gradient: L_G sees discriminators whose
weights are constants, L_D sees features that are. The paper trains L_G and L_D with optimisers of
their own (Adam with ``ADAM``, by third-party code), as L_G wants far smaller steps than the logits;
:func:`separate_steps` does that after one forward pass, here with a distiller of weight 0 for AFD,
which then leaves the terms to the caller:

    seen = distiller.observe(batch)
    task, _ = distiller.compare(seen)
    terms = distiller.losses["afd"].terms(distiller.features("afd", seen))
    separate_steps([(task + terms.logit, sgd_of_networks), (terms.generator, adam_of_networks),
                    (terms.discriminator, adam_of_discriminators)])
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.func import functional_call

from rlgen.distill.base import DistillLoss, Features, Layout
from rlgen.distill.connectors import Discriminator, TransferLayer, through
from rlgen.distill.losses.dml import require_peers
from rlgen.distill.losses.kd import kd_loss
from rlgen.distill.maps import logits_of, require_above, same_classes, tap_map, tap_shape, widen

# For torch.optim.Adam on the networks (L_G) and on the discriminators (L_D).
ADAM = {"lr": 2e-5, "weight_decay": 0.1}


class AFDTerms(NamedTuple):
    """The terms of AFD beside the networks' cross-entropies, summed over networks.

    Attributes:
        logit: tau^2 KL(z_prev || z_k); trains the networks.
        generator: L_G; trains the networks up to the tap, and the transfer layers.
        discriminator: L_D; trains the discriminators only.
        real_score: Mean of D_k(f_prev), detached, 0 to 1.
        fake_score: Mean of D_k(f_k), detached, 0 to 1. Scores near 0 or 1 saturate the sigmoid.
    """

    logit: torch.Tensor
    generator: torch.Tensor
    discriminator: torch.Tensor
    real_score: torch.Tensor
    fake_score: torch.Tensor


def generator_loss(fake: torch.Tensor) -> torch.Tensor:
    """Returns L_G = mean [1 - D(f)]^2.

    Args:
        fake: D of the network's own maps, 0 to 1, any shape.
    """
    return (1 - widen(fake)).square().mean()


def discriminator_loss(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Returns L_D = mean [1 - D(f_prev)]^2 + mean [D(f)]^2.

    Args:
        real: D of the partner's maps, 0 to 1, any shape.
        fake: D of the network's own maps.
    """
    return (1 - widen(real)).square().mean() + widen(fake).square().mean()


def previous(k: int, count: int) -> int:
    """Returns the network that network k learns from, with networks counted from 0.

    Args:
        k: The learner.
        count: Number of networks.
    """
    return (k - 1) % count


def separate_steps(pairs: Sequence[tuple[torch.Tensor, torch.optim.Optimizer]]) -> None:
    """Steps several optimisers, each along its own loss, after one forward pass.

    All gradients are taken before the first step, so that none sees changed weights, and into
    buffers of their own, so that no optimiser steps along another's loss. Parameters may be in
    several optimisers.

    Args:
        pairs: (loss, optimiser of the parameters that the loss trains).
    """
    groups = [[p for group in opt.param_groups for p in group["params"]] for _, opt in pairs]
    gradients = [
        torch.autograd.grad(loss, group, retain_graph=True, allow_unused=True)
        for (loss, _), group in zip(pairs, groups, strict=True)
    ]
    for (_, optimizer), group, grads in zip(pairs, groups, gradients, strict=True):
        for parameter, grad in zip(group, grads, strict=True):
            parameter.grad = grad
        optimizer.step()
        optimizer.zero_grad()


class AFD(DistillLoss):
    """Adversarial distillation of feature maps between two peers or more, in a circle.

    Args:
        student: Layout of the first peer.
        teachers: Layouts of the other peers.
        temperature: tau, above 0.
        kl: Weight of the KL, 0 or more.
        adversarial: Weight of L_G, 0 or more; 0 with two peers is DML.
        tap: Which tap is judged; the deepest in the paper.

    Raises:
        UserError: If there is no other peer, a network has no such tap, classes differ, or an
            option is out of range.
    """

    name = "afd"
    online = True
    tap_place = "last"

    def __init__(
        self,
        student: Layout,
        teachers: Sequence[Layout],
        *,
        temperature: float = 3.0,
        kl: float = 1.0,
        adversarial: float = 1.0,
        tap: int = -1,
    ) -> None:
        super().__init__(student, teachers)
        peers = [student, *teachers]
        require_peers(self.name, teachers)
        same_classes(self.name, peers)
        self.temperature = require_above(self.name, "temperature", temperature, 0.0)
        self.kl = require_above(self.name, "kl", kl, 0.0, strict=False)
        self.adversarial = require_above(self.name, "adversarial", adversarial, 0.0, strict=False)
        self.tap = tap
        shapes = [tap_shape(self.name, peer, tap) for peer in peers]
        common = (
            max(shape[0] for shape in shapes),
            min(shape[1] for shape in shapes),
            min(shape[2] for shape in shapes),
        )
        self.transfers = nn.ModuleList(TransferLayer(shape, common) for shape in shapes)
        self.discriminators = nn.ModuleList(Discriminator(common) for _ in shapes)

    def own_parameters(self) -> Iterator[nn.Parameter]:
        """Yields the discriminators' parameters."""
        return self.discriminators.parameters()

    def terms(self, peers: Sequence[Features]) -> AFDTerms:
        """Returns the terms before they are weighted and summed.

        Args:
            peers: Features of all networks, with their history.
        """
        logits = [logits_of(self.name, peer) for peer in peers]
        dtype = next(self.discriminators.parameters()).dtype
        maps = [
            through(transfer, tap_map(peer, self.tap)).to(dtype)
            for transfer, peer in zip(self.transfers, peers, strict=True)
        ]
        kl, generator, discriminator, real_scores, fake_scores = [], [], [], [], []
        for k, judge in enumerate(self.discriminators):
            prev = previous(k, len(peers))
            kl.append(kd_loss(logits[k], logits[prev], self.temperature))
            generator.append(generator_loss(_as_constant(judge, maps[k])))
            # Real and fake pass apart, each with the batch statistics of its own kind.
            real, fake = judge(maps[prev].detach()), judge(maps[k].detach())
            discriminator.append(discriminator_loss(real, fake))
            real_scores.append(real.detach().float().mean())
            fake_scores.append(fake.detach().float().mean())
        return AFDTerms(
            torch.stack(kl).sum(),
            torch.stack(generator).sum(),
            torch.stack(discriminator).sum(),
            torch.stack(real_scores).mean(),
            torch.stack(fake_scores).mean(),
        )

    def forward_peers(
        self, peers: Sequence[Features], labels: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Returns kl KL + adversarial L_G + L_D, summed over networks."""
        terms = self.terms(peers)
        return self.kl * terms.logit + self.adversarial * terms.generator + terms.discriminator


def _as_constant(judge: nn.Module, maps: torch.Tensor) -> torch.Tensor:
    """Returns the judge's scores with its weights as constants and its running statistics kept."""
    state = {name: value.detach() for name, value in judge.named_parameters()}
    # Clones, as batch norm updates its buffers in place.
    state |= {name: value.clone() for name, value in judge.named_buffers()}
    return functional_call(judge, state, (maps,))
