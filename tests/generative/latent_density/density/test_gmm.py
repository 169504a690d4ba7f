"""The mixture of Gaussians: scikit-learn's scores, completion by Bayes, no scikit-learn to load."""

import builtins
import math

import pytest
import torch

from rlgen.core.errors import MissingExtraError, UserError
from rlgen.generative.latent_density.density import GMM, gmm, load_density

mixture = pytest.importorskip("sklearn.mixture")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def fitted(clusters):
    density = GMM(dim=2, components=2)
    density.fit(clusters(2000, 0), steps=100)
    return density


def test_scores_are_scikit_learns(clusters):
    rows = clusters(500, 0)
    density = GMM(dim=2, components=3, ridge=1e-4, standardize=False)
    density.fit(rows, steps=50, seed=4)
    model = mixture.GaussianMixture(3, reg_covar=1e-4, max_iter=50, random_state=4)
    expected = model.fit(rows.double().numpy()).score_samples(rows.double().numpy())
    torch.testing.assert_close(
        density.log_prob(rows).double(), torch.from_numpy(expected), atol=1e-3, rtol=1e-3
    )


def test_learns_two_clusters(fitted, clusters):
    entropy = math.log(2) + math.log(2 * math.pi * math.e) + math.log(1.2 * 0.2)
    assert -fitted.log_prob(clusters(2000, 1)).mean().item() == pytest.approx(entropy, abs=0.1)
    drawn, data = fitted.sample(20_000, generator=seeded(0)), clusters(20_000, 2)
    torch.testing.assert_close(drawn.mean(0), data.mean(0), atol=0.15, rtol=0)
    torch.testing.assert_close(torch.cov(drawn.T), torch.cov(data.T), atol=0.1, rtol=0.05)


@pytest.mark.parametrize(("x", "right"), [(-1.0, 0.0), (11.0, 1.0)])
def test_completion_stays_in_the_cluster_of_the_prefix(clusters, x, right):
    rows = clusters(2000, 0)
    rows[:, 1] += 5 * (rows[:, 0] > 5)  # the right cluster is lifted
    density = GMM(dim=2, components=2)
    density.fit(rows, steps=100)
    drawn = density.complete(torch.full((500, 1), x), generator=seeded(0))
    assert (drawn[:, 0] == x).all()
    assert (drawn[:, 1] > 2.5).float().mean() == right


def test_cold_samples_come_from_the_heavy_component():
    density = GMM(dim=1, components=2, standardize=False)
    density.log_weights.copy_(torch.tensor([0.6, 0.4]).log())
    density.means.copy_(torch.tensor([[-5.0], [5.0]]))
    for temperature, share in ((1.0, 0.6), (0.5, 0.36 / 0.52), (0.05, 1.0)):
        drawn = density.sample(5000, generator=seeded(0), temperature=temperature)
        assert (drawn < 0).float().mean().item() == pytest.approx(share, abs=0.02)


def test_loading_and_sampling_need_no_scikit_learn(fitted, tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    fitted.save_pretrained(tmp_path)
    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setattr(gmm, "find_spec", lambda name: None)
    loaded = load_density(tmp_path)
    drawn = loaded.sample(5, generator=seeded(0))
    torch.testing.assert_close(loaded.log_prob(drawn), fitted.log_prob(drawn))
    with pytest.raises(MissingExtraError, match=r'pip install "rlgen\[gmm\]"'):
        GMM(dim=2).fit(torch.zeros(50, 2))


def test_more_components_than_rows():
    with pytest.raises(UserError, match="components=10 for 4 latents; type components=4 or fewer"):
        GMM(dim=2).fit(torch.randn(4, 2, generator=seeded(0)))


def test_a_singular_covariance_is_told():
    rows = torch.randn(40, 1, generator=seeded(0)).repeat(1, 2)
    with pytest.raises(UserError, match="cannot be fitted to these latents"):
        GMM(dim=2, components=3, ridge=0.0).fit(rows)
