"""DCI scores: hand-computed matrices, and forests on codes whose answer is known."""

import sys

import numpy as np
import pytest
import torch

from rlgen.agents.disentangled.dci import (
    codes,
    completeness,
    completeness_of_factors,
    dci,
    disentanglement,
    disentanglement_of_codes,
)
from rlgen.agents.disentangled.model import ActionConditionalVAE
from rlgen.core.errors import MissingExtraError, UserError


def random_matrix(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((6, 4)) ** 3


@pytest.mark.parametrize("rows", [[0, 1, 2, 3], [2, 0, 3, 1]])
def test_a_permutation_matrix_is_perfect(rows: list[int]) -> None:
    matrix = np.eye(4)[rows]
    assert disentanglement(matrix) == completeness(matrix) == 1.0


@pytest.mark.parametrize("value", [1.0, 0.2])
def test_a_constant_matrix_is_worth_nothing(value: float) -> None:
    matrix = np.full((6, 4), value)
    assert disentanglement(matrix) == pytest.approx(0, abs=1e-12)
    assert completeness(matrix) == pytest.approx(0, abs=1e-12)


def test_hand_computed_scores() -> None:
    # Code 0 tells factor 0 alone; code 1 tells both, one to three; code 2 tells nothing.
    matrix = np.array([[2.0, 0.0], [1.0, 3.0], [0.0, 0.0]])
    mixed = 1 + (0.25 * np.log(0.25) + 0.75 * np.log(0.75)) / np.log(2)
    np.testing.assert_allclose(disentanglement_of_codes(matrix), [1, mixed, 0])
    assert disentanglement(matrix) == pytest.approx((2 * 1 + 4 * mixed) / 6)  # by importance
    first = 1 + (2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3)) / np.log(3)
    np.testing.assert_allclose(completeness_of_factors(matrix), [first, 1])
    assert completeness(matrix) == pytest.approx((first + 1) / 2)  # plainly


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_shares_and_ignore_the_order(seed: int) -> None:
    matrix, rng = random_matrix(seed), np.random.default_rng(seed)
    for score in (disentanglement, completeness):
        assert 0 < score(matrix) < 1
        mixed = matrix[rng.permutation(6)][:, rng.permutation(4)]
        assert score(mixed) == pytest.approx(score(matrix))
    assert disentanglement(3 * matrix) == pytest.approx(disentanglement(matrix))


def test_a_matrix_of_zeros_scores_nothing() -> None:
    assert disentanglement(np.zeros((3, 2))) == 0.0
    assert completeness(np.zeros((3, 2))) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("matrix", [np.ones(4), -np.ones((3, 2)), np.full((3, 2), np.nan)])
def test_what_is_no_importance_is_refused(matrix: np.ndarray) -> None:
    with pytest.raises(UserError, match="importance of shape"):
        disentanglement(matrix)


def test_one_factor_or_one_code_is_refused() -> None:
    with pytest.raises(UserError, match="two or more codes and two or more factors"):
        disentanglement(np.ones((3, 1)))
    with pytest.raises(UserError, match="two or more codes and two or more factors"):
        completeness(np.ones((1, 3)))


# Forests

pytest.importorskip("sklearn")
FACTORS = np.random.default_rng(0).integers(10, size=(900, 3))


def test_codes_that_are_the_factors_score_high() -> None:
    noise = np.random.default_rng(1).normal(size=(900, 2))
    scores = dci(np.hstack([-2.0 * FACTORS, noise]), FACTORS, depths=[4, 12])
    assert scores.disentanglement > 0.98
    assert scores.completeness > 0.98
    assert (scores.errors < 0.05).all()
    assert scores.importance.shape == (5, 3)
    np.testing.assert_allclose(scores.importance.sum(0), 1)
    assert scores.importance[:3].argmax(0).tolist() == [0, 1, 2]


def test_rotated_codes_tell_as_much_but_score_low() -> None:
    turn, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))
    scores = dci(FACTORS @ turn, FACTORS, depths=[12])
    assert scores.disentanglement < 0.65
    assert scores.completeness < 0.65
    assert (scores.errors < 0.6).all()


def test_codes_of_noise_tell_nothing() -> None:
    scores = dci(np.random.default_rng(3).normal(size=(900, 4)), FACTORS, depths=[3])
    assert (scores.errors > 0.9).all()
    assert scores.disentanglement < 0.3
    assert scores.completeness < 0.3


def test_scale_of_codes_does_not_matter_and_the_seed_decides() -> None:
    noisy = FACTORS + np.random.default_rng(4).normal(size=FACTORS.shape)
    first, again, scaled, other = (
        dci(x, FACTORS, seed=seed, depths=[6]).importance
        for x, seed in ((noisy, 1), (noisy, 1), (noisy * [1, 64, 0.25] + 8, 1), (noisy, 2))
    )
    np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose(first, scaled, atol=0.02)
    assert not np.array_equal(first, other)


def test_the_depth_is_chosen_per_factor() -> None:
    code = np.random.default_rng(5).random((900, 2)) * 16
    step, fine = code[:, 0] > 8, code[:, 1].astype(int) % 2
    scores = dci(code, np.stack([step, fine], 1), depths=[1, 8])
    assert scores.depths == (1, 8)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (FACTORS, FACTORS[:-1], "do not fit"),
        (FACTORS[:40], FACTORS[:40], "50 or more samples"),
        (FACTORS, FACTORS * [1, 0, 1], "factor 1 never changes"),
    ],
)
def test_mistakes_are_told(x: np.ndarray, y: np.ndarray, message: str) -> None:
    with pytest.raises(UserError, match=message):
        dci(x, y)


def test_missing_scikit_learn_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(MissingExtraError, match=r"rlgen\[dci\]"):
        dci(FACTORS, FACTORS)


def test_both_conventions_of_codes() -> None:
    torch.manual_seed(0)
    vae = ActionConditionalVAE((5,), action_dim=2, latent_dim=4)
    observations, actions = torch.randn(700, 5), torch.randn(700, 2)
    with torch.no_grad():
        mu = vae.encode(observations)[0].double().numpy()
    np.testing.assert_allclose(codes(vae, observations), mu, atol=1e-6)
    moved = codes(vae, observations, actions) - mu
    np.testing.assert_allclose(moved[:, :2], actions, atol=1e-5)
    np.testing.assert_array_equal(moved[:, 2:], 0)
