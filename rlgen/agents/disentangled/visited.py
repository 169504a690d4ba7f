"""Density of the latent means that an agent visits, and an alarm outside of it.

Scope: the abstract of Yang et al. (ACML 2019; see :mod:`rlgen.agents.disentangled.govern`) speaks
of governing an agent after the fact; how to tell that it is where it never was is not described.
All of this module is ours.

The density is a Gaussian mixture with full covariances, fitted by expectation-maximization. It
was chosen over a kernel density because its size does not grow with the sample, because one
bandwidth in 12 or 20 dimensions either smooths everything or leaves a spike on each sample, and
because a step of the agent then costs some products of small matrices. Coordinates that the encoder
does not use (their mean hardly moves from 0) would make it a disc of no thickness; a floor under
the deviations, in units of the prior, prevents that a harmless change there raises an alarm.

The alarm's threshold comes from rows that the fit has not seen, the last fifth: on them the share
of alarms is the quantile that was asked for.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from rlgen.core.errors import UserError

# float64, and torch for its batches of matrices and because its threads are those that the user
# set: SciPy's own wait for each other in every product where other work has the cores.
Array = npt.NDArray[np.float64]
FLOOR = 0.05  # in prior standard deviations
_FORMAT = "1"


@dataclass(frozen=True)
class VisitedLatents:
    """A Gaussian mixture over latent means, with the threshold of its alarm.

    Attributes:
        weights: Of the K components, (K,), with sum 1.
        means: (K, n).
        factors: Lower Cholesky factors of the covariances, (K, n, n).
        threshold: Log density in nats below which there is an alarm.
        quantile: Share of visited states that lies below it.
        samples: How many states the fit and the threshold come from.
    """

    weights: torch.Tensor
    means: torch.Tensor
    factors: torch.Tensor
    threshold: float
    quantile: float
    samples: int

    @property
    def latent_dim(self) -> int:
        """Number of coordinates, n."""
        return self.means.shape[1]

    def log_density(self, latents: npt.ArrayLike) -> Array:
        """Returns log p(mu) in nats, (batch,).

        Args:
            latents: (batch, n).
        """
        rows = torch.from_numpy(np.asarray(latents, np.float64))
        return _log_joint(rows, self.weights, self.means, self.factors).logsumexp(1).numpy()

    def novelty(self, latents: npt.ArrayLike) -> Array:
        """Returns -log p(mu) in nats, (batch,): the higher, the newer."""
        return -self.log_density(latents)

    def alarm(self, latents: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Returns where the density is below the threshold, (batch,); NaN is an alarm."""
        return ~(self.log_density(latents) >= self.threshold)

    def save(self, path: Path | str) -> None:
        """Writes a safetensors file with its numbers as JSON in the header: one file, or none."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        numbers = {"threshold": self.threshold, "quantile": self.quantile, "samples": self.samples}
        parts = {"weights": self.weights, "means": self.means, "factors": self.factors}
        tensors = {name: part.contiguous() for name, part in parts.items()}
        temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
        save_file(tensors, temporary, {"format": _FORMAT, "visited": json.dumps(numbers)})
        temporary.replace(path)

    @classmethod
    def load(cls, path: Path | str) -> "VisitedLatents":
        """Reads a file of :meth:`save`.

        Raises:
            UserError: If it is not there, or not such a file.
        """
        try:
            with safe_open(str(path), "pt") as file:
                header = file.metadata() or {}
                tensors: dict[str, Any] = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            if header["format"] != _FORMAT:
                raise ValueError(f"format {header['format']}")
            found = cls(**tensors, **json.loads(header["visited"]))
        except (OSError, KeyError, ValueError, TypeError, SafetensorError) as error:
            reason = str(error).split("\n")[0]
            raise UserError(f"{path} holds no visited latents ({reason}); fit them again") from None
        return found


def fit_visited(
    latents: npt.ArrayLike,
    *,
    components: int = 8,
    quantile: float = 0.01,
    generator: np.random.Generator | None = None,
    max_iterations: int = 100,
) -> VisitedLatents:
    """Fits the density of latent means.

    Args:
        latents: (N, n), in the order in which they were visited: the last fifth sets the threshold.
        components: Of the mixture, at most; few samples get fewer.
        quantile: Share of visited states that shall raise an alarm, between 0 and 1.
        generator: Draws where the components begin.
        max_iterations: Of expectation-maximization.

    Raises:
        UserError: If there are too few states, or numbers that are not finite.
    """
    rows = np.asarray(latents, dtype=np.float64)
    if not 0 < quantile < 1:
        raise UserError(f"quantile={quantile} is out of range; allowed: above 0 and below 1")
    if components < 1:
        raise UserError(f"components={components} is too small; type 1 or more")
    if rows.ndim != 2 or len(rows) < 10 or not np.isfinite(rows).all():
        raise UserError(
            f"{len(rows)} rows of latents cannot be fitted; give at least 10 rows of finite numbers"
        )
    generator = generator or np.random.default_rng(0)
    kept = len(rows) - len(rows) // 5
    fitted, held_out = torch.from_numpy(rows[:kept]), torch.from_numpy(rows[kept:])
    # A full covariance needs some rows per dimension, or it describes its own rows only.
    components = min(components, max(1, kept // (10 * rows.shape[1])))
    mixture = _expectation_maximization(fitted, components, generator, max_iterations)
    densities = _log_joint(held_out, *mixture).logsumexp(1).numpy()
    return VisitedLatents(*mixture, float(np.quantile(densities, quantile)), quantile, len(rows))


def _expectation_maximization(
    rows: torch.Tensor, components: int, generator: np.random.Generator, max_iterations: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns weights (K,), means (K, n) and Cholesky factors (K, n, n) of a mixture."""
    n = rows.shape[1]
    floor = FLOOR**2 * torch.eye(n, dtype=rows.dtype)
    whole = torch.cov(rows.T, correction=0).reshape(n, n) + floor
    weights = torch.full((components,), 1 / components, dtype=rows.dtype)
    means = torch.from_numpy(_spread_out(rows.numpy(), components, generator))
    factors = torch.linalg.cholesky(whole).repeat(components, 1, 1)
    before = -np.inf
    for _ in range(max_iterations):
        joint = _log_joint(rows, weights, means, factors)
        evidence = joint.logsumexp(1, keepdim=True)
        shares = torch.exp(joint - evidence)  # (N, K), each row sums to 1
        counts = shares.sum(0) + 1e-9  # an empty component stays, with no weight
        weights = counts / counts.sum()
        means = shares.T @ rows / counts[:, None]
        away = rows - means[:, None]  # (K, N, n)
        spread = (shares.T[:, :, None] * away).mT @ away / counts[:, None, None]
        factors = torch.linalg.cholesky(spread + floor)
        now = float(evidence.mean())
        if now - before < 1e-4:
            break
        before = now
    return weights, means, factors


def _spread_out(rows: Array, count: int, generator: np.random.Generator) -> Array:
    """Draws rows that are far apart, each by its squared distance to those before it."""
    chosen = [rows[generator.integers(len(rows))]]
    nearest = np.full(len(rows), np.inf)
    while len(chosen) < count:
        nearest = np.minimum(nearest, ((rows - chosen[-1]) ** 2).sum(1))
        total = nearest.sum()
        odds = nearest / total if total > 0 else None
        chosen.append(rows[generator.choice(len(rows), p=odds)])
    return np.stack(chosen)


def _log_joint(
    rows: torch.Tensor, weights: torch.Tensor, means: torch.Tensor, factors: torch.Tensor
) -> torch.Tensor:
    """Returns log w_k + log N(row | k), (N, K)."""
    away = (rows - means[:, None]).mT  # (K, n, N)
    whitened = torch.linalg.solve_triangular(factors, away, upper=False)
    volume = factors.diagonal(dim1=1, dim2=2).log().sum(1) + rows.shape[1] / 2 * np.log(2 * np.pi)
    return (weights.log() - volume)[None] - 0.5 * whitened.square().sum(1).T
