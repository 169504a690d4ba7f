"""How well single numbers of a code tell single factors of the world: the DCI scores.

Framework: C. Eastwood, C. K. I. Williams, "A Framework for the Quantitative Evaluation of
Disentangled Representations", ICLR 2018, as Yang et al. (ACML 2019, arXiv 1811.04350) use it for
their table on the sprites world. Seen in the latter: random-forest regressors, and averages over
latent dimensions. Seen in released code of the former: 10 trees, a depth chosen per factor, an
80/10/10 split, standardised inputs and targets, disentanglement averaged by importance and
completeness averaged plainly. Reconstructed: the depths among which the middle split chooses.

With R the importance of code i for factor j, (n, K):

    D_i = 1 - H(P_i) / ln K,  P_ij = R_ij / sum_j R_ij,  D = sum_i rho_i D_i,
    rho_i = sum_j R_ij / sum_ij R_ij,
    C_j = 1 - H(Q_j) / ln n,  Q_ij = R_ij / sum_i R_ij,  C = mean_j C_j.

Codes and factors fit each other in two ways (:func:`codes`): z = mu(s_t) + a_map with the factors
of s_{t+1}, which is what the model predicts, and mu(s_t) with the factors of s_t.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rlgen.agents.disentangled.model import ActionConditionalVAE
from rlgen.core.errors import MissingExtraError, UserError

Floats = npt.NDArray[np.float64]
DEPTHS = (2, 4, 8, 12, 20)


@dataclass(frozen=True)
class DCIScores:
    """What :func:`dci` measures.

    Attributes:
        disentanglement: D, 0 to 1; 1 where each code tells one factor at most.
        completeness: C, 0 to 1; 1 where each factor is told by one code.
        errors: RMSE of each factor on samples not fitted, divided by that of guessing the mean,
            (K,); the lower, the more informative.
        importance: R, (n, K), not negative; each column sums to 1 (0 where nothing helps).
        depths: Depth of the trees for each factor.
    """

    disentanglement: float
    completeness: float
    errors: Floats
    importance: Floats
    depths: tuple[int, ...]


def disentanglement_of_codes(importance: npt.ArrayLike) -> Floats:
    """Returns D_i of each code, (n,); 0 for a code that nothing needs.

    Args:
        importance: R, (n, K), not negative.

    Raises:
        UserError: If it is not such a matrix, or has fewer than two factors.
    """
    return _one_minus_entropy(_matrix(importance))


def completeness_of_factors(importance: npt.ArrayLike) -> Floats:
    """Returns C_j of each factor, (K,); 0 for a factor that no code tells.

    Args:
        importance: R, (n, K), not negative.

    Raises:
        UserError: If it is not such a matrix, or has fewer than two codes.
    """
    return _one_minus_entropy(_matrix(importance).T)


def disentanglement(importance: npt.ArrayLike) -> float:
    """Returns D, the average over codes weighted by their importance; 0 where nothing matters."""
    matrix = _matrix(importance)
    scores, total = _one_minus_entropy(matrix), matrix.sum()
    return float(matrix.sum(1) @ scores / total) if total > 0 else 0.0


def completeness(importance: npt.ArrayLike) -> float:
    """Returns C, the plain average over factors."""
    return float(completeness_of_factors(importance).mean())


def _one_minus_entropy(matrix: Floats) -> Floats:
    """Returns 1 - H / ln(columns) of each row, (rows,)."""
    if matrix.shape[1] < 2:
        raise UserError("DCI needs two or more codes and two or more factors; one tells nothing")
    total = matrix.sum(1, keepdims=True)
    shares = np.divide(
        matrix, total, out=np.full_like(matrix, 1 / matrix.shape[1]), where=total > 0
    )
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    # Rounding may leave the interval by 1e-16.
    return np.asarray(np.clip(1 + (shares * logs).sum(1) / np.log(matrix.shape[1]), 0, 1))


def _matrix(importance: npt.ArrayLike) -> Floats:
    matrix = np.asarray(importance, dtype=np.float64)
    if matrix.ndim != 2 or not np.isfinite(matrix).all() or (matrix < 0).any():
        raise UserError(
            f"importance of shape {matrix.shape} is not valid; allowed: finite numbers from 0, "
            "(codes, factors)"
        )
    return matrix


def codes(
    vae: ActionConditionalVAE, observations: torch.Tensor, actions: torch.Tensor | None = None
) -> Floats:
    """Returns mu(s), or mu(s) + a_map where actions are given, (batch, n).

    Args:
        vae: The model.
        observations: (batch, *observation_shape), float; images within 0..1.
        actions: Action vectors (batch, m), or None.
    """
    with torch.no_grad():
        mu = torch.cat([vae.encode(part)[0] for part in observations.split(512)])
        if actions is not None:
            mu = mu + vae.map_action(actions)
    return np.asarray(mu.cpu().double().numpy())


def dci(
    codes: npt.ArrayLike,
    factors: npt.ArrayLike,
    *,
    seed: int = 0,
    trees: int = 10,
    depths: Sequence[int] = DEPTHS,
) -> DCIScores:
    """Fits a random forest from codes to each factor, and scores their importances.

    Args:
        codes: c, (samples, n); in no particular order, or shuffle them first: the first 80 % are
            fitted, the next 10 % choose the depth, the last 10 % tell the errors.
        factors: f, (samples, K), numbers; a factor that never changes is refused.
        seed: Of the forests.
        trees: In each forest.
        depths: Among which the best is chosen for each factor.

    Raises:
        UserError: If the arrays do not fit, or hold fewer than 50 samples.
        MissingExtraError: If scikit-learn is not installed.
    """
    x, y = _checked(codes, factors)
    fitted, chosen = int(0.8 * len(x)), int(0.9 * len(x))
    x, y = _standardised(x, fitted), _standardised(y, fitted)
    columns, errors, best = [], [], []
    for j in range(y.shape[1]):
        forests = [_forest(x[:fitted], y[:fitted, j], trees, depth, seed) for depth in depths]
        middle = [_rmse(f, x[fitted:chosen], y[fitted:chosen, j]) for f in forests]
        k = int(np.argmin(middle))
        columns.append(np.maximum(forests[k].feature_importances_, 0))  # rounding: -4e-18
        guess = np.sqrt(np.square(y[chosen:, j]).mean())  # the mean of what was fitted is 0
        errors.append(_rmse(forests[k], x[chosen:], y[chosen:, j]) / guess)
        best.append(int(depths[k]))
    importance = np.stack(columns, axis=1)
    return DCIScores(
        disentanglement(importance),
        completeness(importance),
        np.array(errors),
        importance,
        tuple(best),
    )


def _checked(codes: npt.ArrayLike, factors: npt.ArrayLike) -> tuple[Floats, Floats]:
    x, y = np.asarray(codes, dtype=np.float64), np.asarray(factors, dtype=np.float64)
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or len(x) < 50:
        raise UserError(
            f"codes {x.shape} and factors {y.shape} do not fit; allowed: (samples, codes) and "
            "(samples, factors) with the same 50 or more samples"
        )
    constant = np.flatnonzero(np.ptp(y[: int(0.8 * len(y))], axis=0) == 0)
    if len(constant):
        raise UserError(f"factor {constant[0]} never changes, so no code can tell it; leave it out")
    return x, y


def _standardised(values: Floats, fitted: int) -> Floats:
    """Returns columns of mean 0 and deviation 1 on the part that is fitted."""
    deviation = values[:fitted].std(0)
    return np.asarray((values - values[:fitted].mean(0)) / np.where(deviation > 0, deviation, 1.0))


def _forest(x: Floats, y: Floats, trees: int, depth: int, seed: int) -> Any:
    try:
        from sklearn.ensemble import RandomForestRegressor
    except ModuleNotFoundError as error:
        raise MissingExtraError("DCI", "dci") from error
    forest = RandomForestRegressor(n_estimators=trees, max_depth=depth, random_state=seed)
    return forest.fit(x, y)


def _rmse(forest: Any, x: Floats, y: Floats) -> float:
    return float(np.sqrt(np.square(forest.predict(x) - y).mean()))
