"""How far options' policies differ: distances of pairs, I(A;O|S) and their entropies.

These are indicators 4, 5 and the first of 8 of :mod:`rlgen.agents.option_critic.indicators`, which
tells what is known of the paper's. All take logits of categorical policies or means of Gaussian
ones, with leading axes of any shape and then (K, A); a mean over states is one over the leading
axes. Categorical policies are compared exactly. Gaussian ones are where a closed form exists, else
by Monte Carlo with 256 actions of each option, at states drawn without replacement.
"""

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from rlgen.agents.option_critic.hellinger import hellinger_gaussian, pairwise_hellinger

Array = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating]

STATES = 2048
SAMPLES = 256
_CHUNK = 128  # states at a time, whose pairs fit the processor's cache: twice as fast as 2048


def policy_distances(
    parameters: Floats,
    log_std: Floats | None,
    generator: np.random.Generator,
    states: int = STATES,
) -> dict[str, Array]:
    """Returns distances of all pairs of options' policies, averaged over states (indicator 4).

    * ``hellinger``: sqrt(1 - sum_a sqrt(p_a q_a)), 0 to 1.
    * ``symmetric_kl``: KL(p|q) + KL(q|p), 0 to infinity, nats.
    * ``jensen_shannon``: KL(p|m)/2 + KL(q|m)/2 with m = (p + q)/2, 0 to ln 2 nats; for Gaussian
      policies by Monte Carlo.
    * ``total_variation``: sum_a |p_a - q_a| / 2, 0 to 1; not there for Gaussian policies.

    Args:
        parameters: Logits or means, (..., K, A).
        log_std: Of Gaussian policies, (K, A); None: they are categorical.
        generator: Draws what Monte Carlo needs.
        states: How many states Monte Carlo uses at most.

    Returns:
        By name, symmetric matrices (K, K) with zeros on the diagonal.
    """
    k = parameters.shape[-2]
    i, j = np.triu_indices(k, k=1)
    deviations = None if log_std is None else torch.as_tensor(log_std).double()
    sums: dict[str, Array] = {}
    for rows in _chunks(parameters):
        if deviations is None:
            pairs = _categorical_pairs(rows, i, j)
        else:
            pairs = _gaussian_pairs(rows, deviations, i, j)
        for name, values in pairs.items():
            sums[name] = sums.get(name, 0) + values.sum(0).numpy()
    count = math.prod(parameters.shape[:-2])
    means = {name: total / count for name, total in sums.items()}
    if log_std is not None:
        means["jensen_shannon"] = _gaussian_js(parameters, log_std, generator, states)[i, j]
    matrices = {}
    for name, upper in means.items():
        matrices[name] = np.zeros((k, k))
        matrices[name][i, j] = matrices[name][j, i] = upper
    return matrices


def conditional_information(
    parameters: Floats,
    log_std: Floats | None,
    generator: np.random.Generator,
    weights: Floats | None = None,
    states: int = STATES,
) -> float:
    """Returns I(A;O|S) = E_s[ H(sum_w c_w pi_w) - sum_w c_w H(pi_w) ] (indicator 5).

    From 0 to ln K nats, and to ln A for categorical policies; for two options and equal weights it
    is their Jensen-Shannon divergence. For Gaussian policies it is estimated as
    -E[ ln sum_k c_k pi_k(a) / pi_w(a) ].

    Args:
        parameters: Logits or means, (..., K, A).
        log_std: Of Gaussian policies, (K, A); None: they are categorical.
        generator: Draws what Monte Carlo needs.
        weights: c, (..., K): the policy over options, for the difference that is used; None is
            uniform, for the difference of the policies.
        states: How many states Monte Carlo uses at most.
    """
    k = parameters.shape[-2]
    count = math.prod(parameters.shape[:-2])
    c = torch.full((count, k), 1 / k, dtype=torch.float64)
    if weights is not None:
        c = torch.as_tensor(weights).double().reshape(count, k)
        c = c / c.sum(1, keepdim=True)  # probabilities of float32 sum to 1 only nearly
    total = 0.0
    if log_std is None:
        for rows, chunk in zip(_chunks(parameters), c.split(_CHUNK), strict=True):
            p = rows.softmax(-1)
            mixed = torch.special.entr((chunk[..., None] * p).sum(1)).sum(-1)
            parts = torch.special.entr(p).sum(-1)
            total += float((mixed - (chunk * parts).sum(1)).sum())
        return max(total / count, 0.0)
    for places, ratios in _log_ratios(parameters, log_std, generator, states):
        chunk = c[places]
        log_mixed = (ratios + chunk.log()[:, None, None]).logsumexp(-1).mean(2)  # (B, K)
        total -= float((chunk * log_mixed).sum())
    return max(total / min(count, states), 0.0)  # the estimate may fall short of 0


def policy_entropy(parameters: Floats, log_std: Floats | None) -> Array:
    """Returns E_s[ H(pi_w(.|s)) ] of each option over all states, (K,) (indicator 8).

    0 to ln A nats; for Gaussian policies the differential entropy, which may be negative.

    Args:
        parameters: Logits or means, (..., K, A).
        log_std: Of Gaussian policies, (K, A); None: they are categorical.
    """
    if log_std is not None:
        per_dimension = log_std.astype(np.float64) + 0.5 * math.log(2 * math.pi * math.e)
        return np.asarray(per_dimension.sum(-1))
    entropies = [torch.special.entr(p.softmax(-1)).sum(-1) for p in _chunks(parameters)]
    return np.asarray(torch.cat(entropies).mean(0).numpy())


def _chunks(parameters: Floats) -> Iterator[torch.Tensor]:
    """Yields some states at a time, (B, K, A), in double precision."""
    rows = torch.as_tensor(parameters).reshape(-1, *parameters.shape[-2:])
    for chunk in rows.split(_CHUNK):
        yield chunk.double()


def _categorical_pairs(
    logits: torch.Tensor, i: npt.NDArray[np.int64], j: npt.NDArray[np.int64]
) -> dict[str, torch.Tensor]:
    """Returns distances of pairs of categorical policies, (B, pairs) each."""
    logs = logits.log_softmax(-1)
    p = logs.exp()
    difference = p[:, i] - p[:, j]
    # 0 where both never take the action, whose logarithms differ by inf - inf.
    apart = (logs[:, i] - logs[:, j]).nan_to_num(0.0, math.inf, -math.inf)
    mixed = torch.special.entr(0.5 * (p[:, i] + p[:, j])).sum(-1)
    own = torch.special.entr(p).sum(-1)
    return {
        "hellinger": pairwise_hellinger(logits)[:, i, j],
        "symmetric_kl": (difference * apart).sum(-1),
        "jensen_shannon": (mixed - 0.5 * (own[:, i] + own[:, j])).clamp(min=0.0),
        "total_variation": 0.5 * difference.abs().sum(-1),
    }


def _gaussian_pairs(
    means: torch.Tensor,
    log_std: torch.Tensor,
    i: npt.NDArray[np.int64],
    j: npt.NDArray[np.int64],
) -> dict[str, torch.Tensor]:
    """Returns distances of pairs of Gaussian policies, (B, pairs) each.

    KL(p|q) + KL(q|p) is, per dimension, with deviations s and t of means m and n:
    (s^2/t^2 + t^2/s^2)/2 - 1 + (m - n)^2 (1/s^2 + 1/t^2)/2.
    """
    p, q = means[:, i], means[:, j]
    precision = torch.exp(-2 * log_std)
    spread = (torch.cosh(2 * (log_std[i] - log_std[j])) - 1).sum(-1)
    shift = 0.5 * ((p - q).square() * (precision[i] + precision[j])).sum(-1)
    # Not pairwise_hellinger, which repeats the deviations for every state.
    return {
        "hellinger": hellinger_gaussian(p, log_std[i], q, log_std[j]),
        "symmetric_kl": spread + shift,
    }


def _gaussian_js(
    means: Floats, log_std: Floats, generator: np.random.Generator, states: int
) -> Array:
    """Returns the Jensen-Shannon divergence of all pairs, (K, K), by Monte Carlo."""
    total, count = np.zeros((means.shape[-2],) * 2), 0
    for places, ratios in _log_ratios(means, log_std, generator, states):
        # ln( p / (p + q)/2 ) at actions of p
        total += (math.log(2) - F.softplus(ratios)).mean(2).sum(0).numpy()
        count += len(places)
    return np.maximum(0.5 * (total + total.T) / count, 0.0)


def _log_ratios(
    means: Floats, log_std: Floats, generator: np.random.Generator, states: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yields numbers of states, (B,), and ln pi_k(a)/pi_w(a) there, (B, w, samples, k), a ~ pi_w.

    A ratio needs only differences of means in units of the deviation, so that policies that are
    equal give exactly 0 and ones far from the origin lose no digits.
    """
    rows = torch.as_tensor(means).reshape(-1, *means.shape[-2:])
    chosen = np.arange(len(rows))
    if len(rows) > states:
        chosen = generator.choice(len(rows), states, replace=False)
    logs = torch.as_tensor(log_std).double()
    scale = torch.exp(logs[:, None] - logs)  # s_w / s_k, (w, k, D)
    shrink = (logs[:, None] - logs).sum(-1)
    k, dimensions = means.shape[-2:]
    for places in torch.as_tensor(chosen).split(32):
        m = rows[places].double()
        noise = torch.as_tensor(
            generator.standard_normal((len(places), k, SAMPLES, dimensions), dtype=np.float32)
        ).double()
        shift = (m[:, :, None] - m[:, None]) * torch.exp(-logs)  # (B, w, k, D)
        # -1/2 sum_d (shift + scale noise)^2 + 1/2 sum_d noise^2, without an axis for D
        linear = noise @ (shift * scale).transpose(-1, -2)
        square = noise.square() @ (0.5 * (1 - scale.square())).transpose(-1, -2)
        fixed = shrink - 0.5 * shift.square().sum(-1)
        yield places, square - linear + fixed[:, :, None]
