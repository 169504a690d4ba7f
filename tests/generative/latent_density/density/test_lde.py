"""The estimator: invariants of its density, its samples and its learning."""

import math

import pytest
import torch
from scipy import stats
from test_columns import lively

from rlgen.core.errors import UserError
from rlgen.generative.latent_density.density import LDE
from rlgen.generative.latent_density.density.mixture import mixture_log_prob


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows(count: int, dim: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, dim, generator=seeded(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def fitted(clusters):
    density = LDE(dim=2, components=8)
    losses = density.fit(clusters(4000, 0), steps=400, learning_rate=2e-2)
    return density, losses


# ------------------------------------------------------------------------------ architecture


@pytest.mark.parametrize(
    ("dim", "components", "count"),
    [
        (8, 30, 11_370),
        (15, 30, 33_898),
        (63, 30, 398_442),
        (64, 30, 398_442),
        (100, 30, 1_496_170),
        (200, 30, 5_788_778),
        (256, 50, 5_911_718),
    ],
)
def test_parameter_counts_of_the_paper(dim, components, count):
    density = LDE(dim=dim, components=components, own_heads=False)
    assert sum(p.numel() for p in density.parameters()) == count
    assert density.padding == 2 ** math.ceil(math.log2(dim))


@pytest.mark.parametrize("dim", [1, 8, 15, 63, 64, 100, 200, 256])
def test_an_output_for_every_coordinate(dim):
    density = LDE(dim=dim, components=4, max_width=16).eval()
    for part in density(torch.zeros(2, dim)):
        assert part.shape == (2, dim, 4)


def test_widths_double_up_to_the_cap():
    capped = LDE(dim=100, max_width=64)
    assert [b.conv.out_channels for b in capped.blocks] == [16, 32, 64, 64, 64, 64, 64]
    assert [b.dilation for b in capped.blocks] == [1, 2, 4, 8, 16, 32, 64]


def test_starts_of_the_release_and_ours():
    paper = LDE(dim=64, norm_init="paper", head_init="zeros")
    scales = torch.cat([block.norm.weight for block in paper.blocks])
    assert abs(scales.mean()) < 0.005
    assert scales.std().item() == pytest.approx(0.02, rel=0.1)
    assert paper.head.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not paper.head.bias.any()
    ours = LDE(dim=64, components=3)
    assert all((block.norm.weight == 1).all() for block in ours.blocks)
    expected = stats.norm.ppf([1 / 6, 1 / 2, 5 / 6])
    assert ours.head.bias[:3].tolist() == pytest.approx(expected.tolist(), abs=1e-6)
    assert (ours.head.bias[3:6] == -1).all()


def test_own_heads_begin_as_the_shared_one_and_learn_more():
    def zigzag(count: int, seed: int) -> torch.Tensor:
        """Each coordinate follows the one before it, now with, now against its sign."""
        noise, columns = rows(count, 6, seed).float(), []
        for i in range(6):
            before = columns[-1] if columns else 0.0
            columns.append((-1) ** (i // 2) * before + 0.3 * noise[:, i])
        return torch.stack(columns, dim=1)

    shared, own = (LDE(dim=6, components=2, own_heads=flag) for flag in (False, True))
    unseen = zigzag(1000, 1)
    first = [density.fit(zigzag(2000, 0), steps=60)[0] for density in (shared, own)]
    assert first[0] == pytest.approx(first[1], abs=1e-5)  # the same weights
    assert own.head_offsets.abs().amax(dim=(1, 2)).min() > 1e-4  # every coordinate's is learned
    with torch.no_grad():
        assert own.log_prob(unseen).mean() > shared.log_prob(unseen).mean() + 0.1
    assert own.fit(zigzag(2000, 0), steps=1)[0] == pytest.approx(first[1], abs=1e-5)  # afresh


def test_rate_falls_by_half_a_cosine():
    rates = [LDE(dim=2).decay(progress) for progress in (0, 1 / 3, 1 / 2, 1)]
    assert rates == pytest.approx([1, 0.75, 0.5, 0])


def test_rate_halves_at_the_papers_milestones():
    density = LDE(dim=2, schedule="milestones")
    epochs = [0, 14, 15, 34, 35, 60, 99, 100, 199]
    rates = [density.decay(epoch / 200) for epoch in epochs]
    assert rates == [1, 1, 0.5, 0.5, 0.25, 0.125, 0.125, 0.0625, 0.0625]


# ------------------------------------------------------------------------------ density


@pytest.mark.parametrize("dim", [1, 3, 9])
def test_each_conditional_integrates_to_one(dim):
    density, z = lively(dim), rows(3, dim)
    grid = torch.linspace(-60, 60, 60_001, dtype=torch.float64)
    with torch.no_grad():
        logits, means, log_scales = density(z)
        torch.testing.assert_close(logits.softmax(-1).sum(-1), torch.ones_like(z))
        assert (log_scales.exp() > 0).all()
        for b in range(3):
            one = (logits[b, -1], means[b, -1], log_scales[b, -1])
            mass = torch.trapezoid(mixture_log_prob(grid, *one).exp(), grid)
            assert mass.item() == pytest.approx(1, abs=1e-8)


def test_the_plane_integrates_to_one():
    density = lively(2)
    axis = torch.linspace(-12, 12, 241, dtype=torch.float64)
    plane = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        mass = density.log_prob(plane).exp().sum() * (axis[1] - axis[0]) ** 2
    assert mass.item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("dim", [2, 7, 8, 20])
def test_strictly_causal_bit_for_bit(dim):
    density, z = lively(dim), rows(4, dim)
    with torch.no_grad():
        before = density(z)
        for i in range(dim):
            changed = z.clone()
            changed[:, i:] += 1.5
            after = density(changed)
            for old, new in zip(before, after, strict=True):
                assert torch.equal(old[:, : i + 1], new[:, : i + 1])
                if i + 1 < dim:
                    assert not torch.isclose(old[:, i + 1], new[:, i + 1]).all()


def test_first_coordinate_is_heard_by_the_last():
    density, z = lively(20), rows(4, 20)
    changed = z.clone()
    changed[:, 0] += 1
    with torch.no_grad():
        assert (density(z)[1][:, -1] - density(changed)[1][:, -1]).abs().min() > 1e-6
        assert torch.equal(density(z)[1][0, 0], density(changed)[1][3, 0])


@pytest.mark.parametrize("m", [1, 2, 5, 12, 13])
def test_a_prefix_has_the_first_outputs(m):
    density, z = lively(13), rows(4, 13)
    with torch.no_grad():
        for short, whole in zip(density(z[:, :m]), density(z), strict=True):
            torch.testing.assert_close(short, whole[:, :m], atol=1e-12, rtol=1e-12)


def test_log_density_is_the_sum_of_conditionals_and_the_loss_its_mean():
    density, z = lively(11), rows(600, 11)  # more rows than are scored at once
    with torch.no_grad():
        score = density.log_prob(z)
        torch.testing.assert_close(score, mixture_log_prob(z, *density(z)).sum(1))
        u = (z - density.shift) / density.scale
        loss = density.loss(u, seeded(0)) * 11 + density.scale.log().sum()
        torch.testing.assert_close(loss, -score.mean())


def test_scoring_ignores_train_mode_and_leaves_it():
    density, z = lively(6), rows(5, 6)
    with torch.no_grad():
        expected = density.log_prob(z)
        density.train()
        assert torch.equal(density.log_prob(z), expected)
        whole, first = density.conditional_cdf(z), density.conditional_cdf(z[:1])
        torch.testing.assert_close(whole[:1], first, atol=1e-12, rtol=1e-12)
    assert density.training
    assert torch.equal(lively(6).blocks[0].norm.running_mean, density.blocks[0].norm.running_mean)


def test_log_density_has_a_gradient():
    density, z = lively(5), rows(2, 5).requires_grad_()
    assert torch.autograd.gradcheck(density.log_prob, (z,))


def test_conditional_cdf_is_the_integral_of_the_density():
    density, z = lively(3), rows(2, 3).requires_grad_()
    cdf = density.conditional_cdf(z)
    assert ((cdf > 0) & (cdf < 1)).all()
    for i in range(3):
        (slope,) = torch.autograd.grad(cdf[:, i].sum(), z, retain_graph=True)
        expected = mixture_log_prob(z, *density(z)).exp()[:, i]
        torch.testing.assert_close(slope[:, i], expected)


# ------------------------------------------------------------------------------ samples


@pytest.mark.parametrize("dim", [1, 2, 7, 16, 33])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_cached_samples_are_the_naive_ones(dim, temperature):
    density = LDE(dim=dim, max_width=64)
    for block in density.blocks:
        block.conv.reset_parameters()
    cached = density.sample(20, generator=seeded(1), temperature=temperature)
    naive = density.sample_naive(20, generator=seeded(1), temperature=temperature)
    torch.testing.assert_close(cached, naive, atol=1e-5, rtol=0)
    assert cached.unique(dim=0).shape == (20, dim)
    assert not torch.allclose(cached, density.sample(20, generator=seeded(2)))


def test_completion_keeps_the_prefix_and_draws_from_the_conditional():
    density = lively(4)
    prefix = rows(1, 3).expand(4000, -1)
    whole = density.complete(prefix, generator=seeded(0))
    assert torch.equal(whole[:, :3], prefix)
    last = density.conditional_cdf(whole)[:, 3].detach()
    assert stats.kstest(last.numpy(), "uniform").pvalue > 0.01
    assert torch.equal(density.complete(rows(5, 4), generator=seeded(0)), rows(5, 4))


def test_completing_nothing_is_sampling():
    density = lively(5)
    nothing = torch.zeros(7, 0, dtype=torch.float64)
    sampled = density.sample(7, generator=seeded(3))
    assert torch.equal(density.complete(nothing, generator=seeded(3)), sampled)


# ------------------------------------------------------------------------------ learning


def test_learns_two_bent_clusters(fitted, clusters):
    density, losses = fitted
    unseen = clusters(4000, 1)
    # log 2 + log(2 pi e) + log(1.2) + log(0.2): clusters hardly overlap
    entropy = math.log(2) + math.log(2 * math.pi * math.e) + math.log(1.2 * 0.2)
    assert len(losses) == 400
    with torch.no_grad():
        assert -density.log_prob(unseen).mean() == pytest.approx(entropy, abs=0.08)


def test_samples_agree_with_the_data_and_the_density(fitted, clusters):
    density, _ = fitted
    drawn, data = density.sample(50_000, generator=seeded(0)), clusters(50_000, 2)
    spread = data.std(0)
    assert ((drawn.mean(0) - data.mean(0)).abs() < 0.05 * spread).all()
    torch.testing.assert_close(drawn.std(0), spread, rtol=0.05, atol=0)
    edges = [torch.linspace(-6, 16, 12), torch.linspace(-0.6, 1.8, 9)]
    deviates = torch.randn(50_000, 2, generator=seeded(3))
    gaussian = data.mean(0) + deviates @ torch.linalg.cholesky(torch.cov(data.T)).T
    counts = [torch.histogramdd(part, edges)[0] / 50_000 for part in (data, drawn, gaussian)]
    assert (counts[1] - counts[0]).abs().sum() < 0.2  # twice the total variation
    assert (counts[2] - counts[0]).abs().sum() > 0.8  # what equal moments alone come to
    with torch.no_grad():
        own = density.log_prob(drawn).mean()
        u = density.conditional_cdf(drawn).numpy()
    entropy = math.log(2) + math.log(2 * math.pi * math.e) + math.log(1.2 * 0.2)
    assert -own == pytest.approx(entropy, abs=0.1)
    for i in range(2):  # its own samples are uniform under its own cdf
        assert stats.kstest(u[:, i], "uniform").pvalue > 0.001


def test_low_temperature_favours_heavy_components(fitted):
    density, _ = fitted
    with torch.no_grad():
        plain = density.log_prob(density.sample(4000, generator=seeded(0))).mean()
        cold = density.log_prob(density.sample(4000, generator=seeded(0), temperature=0.3)).mean()
    assert cold > plain + 0.05


def test_one_component_recovers_mean_and_covariance(tilted):
    density = LDE(dim=3, components=1)
    data = tilted(4000, 0)
    density.fit(data, steps=300, learning_rate=2e-2)
    drawn = density.sample(20_000, generator=seeded(0))
    spread = data.std(0)
    assert ((drawn.mean(0) - data.mean(0)).abs() < 0.06 * spread).all()
    torch.testing.assert_close(torch.corrcoef(drawn.T), torch.corrcoef(data.T), atol=0.04, rtol=0)
    torch.testing.assert_close(drawn.std(0), spread, rtol=0.06, atol=0)


def test_log_sigma_has_a_floor():
    torch.manual_seed(0)
    density = LDE(dim=2, components=2, min_log_scale=-3.0).eval()
    density.head.bias.data[2:4] = -50.0
    _, _, log_scales = density(torch.zeros(1, 2))
    assert (log_scales == -3).all()


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"dim": 0}, "dim=0 is too small; type dim=1"),
        ({"components": 0}, "components=0 is too small"),
        ({"max_width": 0}, "max_width=0 is too small"),
        ({"norm_init": "one"}, "norm_init=one is unknown; allowed: ones, paper"),
        ({"head_init": ""}, "allowed: spread, zeros"),
        ({"schedule": "step"}, "schedule=step is unknown; allowed: cosine, milestones"),
        ({"min_log_scale": 1.0}, "min_log_scale=1.0"),
    ],
)
def test_wrong_options(options, part):
    with pytest.raises(UserError) as error:
        LDE(**{"dim": 4, **options})
    assert part in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("shape", [(2, 5), (4,), (2, 4, 1, 1), (2, 0)])
def test_latents_of_another_size(shape):
    with pytest.raises(UserError, match="shape"):
        LDE(dim=4)(torch.zeros(shape))
