"""Gradient fits: order of rows, rates, resuming, divergence."""

import math

import pytest
import torch

from rlgen.core.errors import NonFiniteLossError
from rlgen.generative.latent_density.density import LDE, MAF, GradientFit, LatentDiffusion


def small(kind: type = LDE):
    options = {LDE: {"max_width": 16}, MAF: {"hidden": 8}, LatentDiffusion: {"hidden": 8}}
    return kind(dim=3, **options[kind])


def start(density, rows, **more) -> GradientFit:
    return GradientFit(density, rows, **{"steps": 10, "batch_size": 4, "seed": 0, **more})


def test_every_row_is_seen_once_in_an_epoch(tilted):
    seen: list[torch.Tensor] = []

    class Watched(LDE):
        def loss(self, rows, generator):
            seen.append(rows)
            return super().loss(rows, generator)

    rows = tilted(14, 0)  # three batches of 4, two rows left out
    fit = start(Watched(dim=3, max_width=16), rows)
    for _ in range(6):
        fit.step()
    assert all(len(batch) == 4 for batch in seen)
    epochs = [torch.cat(seen[:3]), torch.cat(seen[3:])]
    assert all(len(epoch.unique(dim=0)) == 12 for epoch in epochs)
    assert not torch.equal(*epochs)


def test_few_rows_are_one_batch(tilted):
    losses = small().fit(tilted(5, 0), steps=3, batch_size=100)
    assert len(losses) == 3


@pytest.mark.parametrize("kind", [LDE, MAF, LatentDiffusion])
def test_a_resumed_fit_equals_an_uninterrupted_one(kind, tilted):
    rows = tilted(14, 0) / 10
    straight = start(small(kind), rows)
    losses = [straight.step() for _ in range(10)]
    first = start(small(kind), rows)
    for _ in range(5):
        first.step()
    tensors, state = first.state()
    tensors = {name: {k: v.clone() for k, v in group.items()} for name, group in tensors.items()}
    first.step()  # a state is not changed by what comes after
    second = start(small(kind), rows, seed=0)
    second.restore(tensors, state)
    assert [second.step() for _ in range(5)] == losses[5:]
    for a, b in zip(second.density.parameters(), straight.density.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_rate_follows_the_density(tilted):
    halved = LDE(dim=3, schedule="milestones")
    for density, factor in ((small(MAF), 0.5 * (1 + math.cos(math.pi * 0.9))), (halved, 0.0625)):
        fit = start(density, tilted(14, 0), learning_rate=0.04)
        for _ in range(10):
            fit.step()
        rates = [group["lr"] for group in fit._optimizer.param_groups]
        assert rates == pytest.approx([0.04 * factor])


def test_optimiser_is_that_of_the_paper_but_for_its_rate(tilted):
    (group,) = start(small(), tilted(14, 0))._optimizer.param_groups
    assert (group["lr"], group["betas"], group["weight_decay"]) == (4e-3, (0.5, 0.999), 0)


def test_divergence_is_an_error_and_no_step(tilted):
    density = small()
    fit = start(density, tilted(14, 0))
    density.head.bias.data.fill_(torch.nan)
    before = density.blocks[0].conv.weight.clone()
    with pytest.raises(NonFiniteLossError, match="the density's loss is not finite at step 0"):
        fit.step()
    assert torch.equal(density.blocks[0].conv.weight, before)


def test_clipping_bounds_the_gradient(tilted, monkeypatch):
    norms = {}
    for limit in (None, 1e-3):
        monkeypatch.setattr(MAF, "max_grad_norm", limit)
        fit = start(small(MAF), tilted(14, 0))
        fit.step()
        norms[limit] = torch.cat([p.grad.flatten() for p in fit.density.parameters()]).norm()
    assert norms[1e-3].item() == pytest.approx(1e-3, rel=1e-3)
    assert norms[None] > 0.1
