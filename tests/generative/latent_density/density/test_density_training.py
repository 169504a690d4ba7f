"""Gradient fits: order of rows, rates, resuming, divergence."""

import math
from itertools import pairwise

import pytest
import torch

from rlgen.core.errors import NonFiniteLossError, UserError
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
@pytest.mark.parametrize("holdout", [0.0, 0.3])
def test_a_resumed_fit_equals_an_uninterrupted_one(kind, holdout, tilted):
    rows = tilted(14, 0) / 10

    def start(density, rows):
        return GradientFit(density, rows, steps=10, batch_size=4, seed=0, holdout=holdout)

    straight = start(small(kind), rows)
    losses = [straight.step() for _ in range(10)]
    first = start(small(kind), rows)
    for _ in range(5):
        first.step()
    tensors, state = first.state()
    tensors = {name: {k: v.clone() for k, v in group.items()} for name, group in tensors.items()}
    first.step()  # a state is not changed by what comes after
    second = start(small(kind), rows)
    second.restore(tensors, state)
    assert [second.step() for _ in range(5)] == losses[5:]
    for a, b in zip(second.density.parameters(), straight.density.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("kind", [LDE, MAF])
def test_held_out_rows_guard_against_learning_by_heart(kind, tilted):
    few, unseen = tilted(40, 0) / 10, tilted(2000, 1) / 10
    scores = {}
    for holdout in (0.0, 0.25):
        density = LDE(dim=3) if kind is LDE else MAF(dim=3)
        losses = density.fit(few, steps=300, batch_size=40, learning_rate=1e-2, holdout=holdout)
        assert len(losses) == 300
        with torch.no_grad():
            scores[holdout] = float(density.log_prob(unseen).mean())
    assert scores[0.25] > scores[0.0] + 1


def test_held_out_rows_are_not_fitted_and_choose_the_weights(tilted):
    rows = torch.arange(40).float()[:, None].repeat(1, 3) / 40
    fit = start(small(), rows, steps=120, holdout=0.25, learning_rate=0.1)
    assert len(fit.held_out) == 10
    assert sorted([*fit.rows[:, 0].tolist(), *fit.held_out[:, 0].tolist()]) == rows[:, 0].tolist()
    kept = []
    for _ in range(120):
        fit.step()
        _, state = fit.state()
        kept.append(state.get("density_best_loss", math.inf))
    assert kept[0] == math.inf  # a check every second step
    assert all(later <= earlier for earlier, later in pairwise(kept))
    with torch.no_grad():
        last = float(fit.density.eval().loss(fit.held_out, torch.Generator()))
    assert last == pytest.approx(kept[-1])


@pytest.mark.parametrize(("count", "holdout", "held"), [(3, 0.5, 1), (2, 0.5, 0), (9, 0.01, 0)])
def test_two_rows_or_more_are_fitted(count, holdout, held, tilted):
    fit = start(small(), tilted(count, 0), holdout=holdout)
    assert (len(fit.rows), len(fit.held_out)) == (count - held, held)
    fit.step()


def test_a_fit_ended_early_has_its_best_weights(tilted):
    rows = tilted(40, 0)
    ended, stepped = small(), small()
    options = {"steps": 60, "batch_size": 4, "seed": 0, "learning_rate": 0.5, "holdout": 0.3}
    ended.fit(rows, **options, on_step=lambda step, loss: step == 30)
    fit = GradientFit(stepped, stepped.standardise_on(rows), **options)
    for _ in range(30):
        fit.step()
    last = stepped.head.bias.clone()
    fit.take_best()
    assert torch.equal(ended.head.bias, stepped.head.bias)
    assert not torch.equal(ended.head.bias, last)  # at this rate the last are not the best


def test_a_longer_fit_goes_on_from_the_last_weights_not_the_best(tilted):
    rows = tilted(40, 0)
    options = {"steps": 30, "batch_size": 4, "seed": 0, "learning_rate": 0.5, "holdout": 0.3}
    fit = GradientFit(small(), rows, **options)
    for _ in range(30):
        fit.step()
    tensors, state = fit.state()
    assert torch.equal(fit.density.head.bias, tensors["density_best"]["head.bias"])
    assert not torch.equal(tensors["density"]["head.bias"], tensors["density_best"]["head.bias"])
    same, longer = (GradientFit(small(), rows, **{**options, "steps": n}) for n in (30, 40))
    for other in (same, longer):
        other.restore(tensors, state)
    assert torch.equal(same.density.head.bias, fit.density.head.bias)  # done: the best again
    assert torch.equal(longer.density.head.bias, tensors["density"]["head.bias"])


@pytest.mark.parametrize("holdout", [-0.1, 0.6])
def test_a_wrong_share_is_told(holdout, tilted):
    with pytest.raises(UserError, match="holdout"):
        small().fit(tilted(40, 0), holdout=holdout)


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
