"""Indicators of what options do: how much each is used, for how long, and how far they differ.

Paper: M. Hyun, J. Choi, N. Kwak, "Disentangling Options with Hellinger Distance Regularizer", 2019
(arXiv 1904.06887). Its abstract promises indicators "from the statistical point of view"; which
ones the paper used was not seen. These nine are the reconstruction's list:

1. occupancy, 2. selection and switching, 3. duration and termination probability, 4. distances
between policies, 5. I(A;O|S), 6. I(A;O), 7. specialisation on states, 8. policy entropy and option
values, 9. the restriction test. Those that need the policies alone (4, 5 and the entropy) are in
:mod:`rlgen.agents.option_critic.policy_differences`.

All logarithms are natural, so that entropies and informations are in nats. Indicators that need
something a record does not have (discrete actions, numbered states, a termination) are None, and
entries of an option that they say nothing about are NaN; summaries leave both out.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from rlgen.agents.option_critic.policy_differences import (
    conditional_information,
    policy_distances,
    policy_entropy,
)

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class OptionRecord:
    """Steps of an agent with options: axis 0 is time T, axis 1 the environments N.

    Attributes:
        options: Option that acted, (T, N).
        actions: Its actions, (T, N) of integers, or (T, N, D) of numbers.
        rewards: What they earned, (T, N).
        starts: Whether a step is the first of an episode, (T, N).
        terminated: Whether the option active before ended on entering the state of this step,
            (T, N); never at starts.
        parameters: Logits of every option's categorical policy, or means of its Gaussian one,
            (T, N, K, A).
        log_std: Of Gaussian policies, (K, A); None: the policies are categorical.
        beta: Termination probabilities of all options at the state, (T, N, K).
        q: Option values, (T, N, K).
        option_probs: The policy over options, (T, N, K).
        states: Number of a discrete state or of a cluster of states, (T, N), or None.

    Raises:
        ValueError: If shapes do not fit, or an option begins or ends where none may.
    """

    options: Ints
    actions: npt.NDArray[Any]
    rewards: npt.NDArray[np.floating]
    starts: Bools
    terminated: Bools
    parameters: npt.NDArray[np.float32]
    log_std: npt.NDArray[np.floating] | None
    beta: npt.NDArray[np.floating]
    q: npt.NDArray[np.floating]
    option_probs: npt.NDArray[np.floating]
    states: Ints | None = None

    def __post_init__(self) -> None:
        steps, per_option = self.options.shape, (*self.options.shape, self.n_options)
        shapes = dict.fromkeys(("rewards", "starts", "terminated", "states"), steps)
        shapes |= dict.fromkeys(("beta", "q", "option_probs"), per_option)
        shapes["actions"] = steps if self.log_std is None else (*steps, self.parameters.shape[3])
        for name, shape in shapes.items():
            array = getattr(self, name)
            if array is not None and array.shape != shape:
                raise ValueError(f"{name} has shape {array.shape}; allowed: {shape}")
        if (self.terminated & self.starts).any():
            raise ValueError("an option terminates at the start of an episode; mask it there")
        if ((self.options[1:] != self.options[:-1]) & ~self.decided[1:]).any():
            raise ValueError("an option follows another that did not terminate")

    @property
    def n_options(self) -> int:
        """K."""
        return int(self.parameters.shape[2])

    @property
    def decided(self) -> Bools:
        """Whether an option was chosen at this step, (T, N)."""
        return self.starts | self.terminated


def entropy(weights: npt.ArrayLike) -> Array:
    """Returns H = -sum_i p_i ln p_i over the last axis, p = weights / sum; 0 to ln(length) nats.

    NaN where all weights are 0.
    """
    weights = np.asarray(weights, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        p = weights / weights.sum(-1, keepdims=True)
    return np.asarray(np.abs(-(p * np.log(np.where(p > 0, p, 1.0))).sum(-1)))  # no -0.0


def occupancy(record: OptionRecord) -> Array:
    """Returns rho_w = steps under w / all steps, (K,), which sum to 1 (indicator 1)."""
    counts = np.bincount(record.options.ravel(), minlength=record.n_options)
    return np.asarray(counts / record.options.size)


def usage_entropy(shares: Array) -> float:
    """Returns H(rho) / ln K, from 0 (one option acts) to 1 (all alike); 0 for K = 1."""
    return float(entropy(shares)) / math.log(len(shares)) if len(shares) > 1 else 0.0


def effective_number(shares: Array) -> float:
    """Returns exp H(rho), the number of equally used options of that entropy, 1 to K."""
    return float(np.exp(entropy(shares)))


def selection_frequency(record: OptionRecord) -> Array:
    """Returns the share of each option among the choices, (K,); 0 without a choice (indicator 2).

    Choices are made where an episode starts or an option has terminated.
    """
    counts = np.bincount(record.options[record.decided], minlength=record.n_options)
    return np.asarray(counts / max(counts.sum(), 1))


def switch_rate(record: OptionRecord) -> float:
    """Returns terminations / steps, 0 to 1."""
    return float(record.terminated.mean())


def reselect_rate(record: OptionRecord) -> float | None:
    """Returns P(same option chosen again | it terminated), 0 to 1; None without a termination."""
    same = (record.options[1:] == record.options[:-1])[record.terminated[1:]]
    return float(same.mean()) if len(same) else None


def durations(record: OptionRecord) -> tuple[Ints, Ints]:
    """Returns the steps that each choice lasted, and the option it was of (indicator 3).

    A choice that the end of its episode or of the record cuts counts with the steps it has, and so
    does one made before the record begins: all durations sum to T * N.
    """
    begins = record.decided.copy()
    begins[0] = True
    first = np.flatnonzero(begins.T)  # environments one after the other
    return np.diff(np.append(first, begins.size)), record.options.T.ravel()[first]


def termination_rates(record: OptionRecord) -> tuple[Array, Array]:
    """Returns the mean beta_w over the steps of w, NaN where it has none, and over all; 0 to 1."""
    own = per_option(_own_beta(record), record.options.ravel(), record.n_options)
    return own, record.beta.mean((0, 1), dtype=np.float64)


def off_diagonal(matrix: Array) -> tuple[float, float]:
    """Returns mean and smallest distance of the pairs it is known for; 0 where there is none."""
    values = matrix[np.triu_indices(len(matrix), k=1)]
    values = values[~np.isnan(values)]
    return (float(values.mean()), float(values.min())) if len(values) else (0.0, 0.0)


def mutual_information(table: npt.ArrayLike) -> float:
    """Returns I(X;Y) = sum p(x,y) ln( p(x,y) / (p(x) p(y)) ) of a table of counts.

    From 0 to the smaller of ln(rows) and ln(columns), nats. A table of n counts reads too high, by
    about (rows - 1)(columns - 1) / (2 n).
    """
    table = np.asarray(table, dtype=np.float64)
    parts = entropy(table.sum(1)) + entropy(table.sum(0)) - entropy(table.ravel())
    return max(float(parts), 0.0)


def option_action_table(record: OptionRecord) -> Ints | None:
    """Returns how often each option took each action, (K, A), for I(A;O) (indicator 6).

    None for continuous actions.
    """
    if record.log_std is not None:
        return None
    return _count(record.options, record.actions, record.n_options, record.parameters.shape[-1])


def option_state_table(record: OptionRecord) -> Ints | None:
    """Returns how often each option acted in each state, (K, S), for I(S;O) (indicator 7).

    S is the largest number of a state plus 1. None without numbered states.
    """
    if record.states is None:
        return None
    return _count(record.options, record.states, record.n_options, int(record.states.max()) + 1)


def state_distances(record: OptionRecord) -> Array | None:
    """Returns Hellinger distances of the options' state occupancies, (K, K), 0 to 1.

    NaN for pairs with an option that never acted, None without numbered states.
    """
    table = option_state_table(record)
    if table is None:
        return None
    with np.errstate(invalid="ignore"):
        roots = np.sqrt(table / table.sum(1, keepdims=True))
    squares = 0.5 * ((roots[:, None] - roots[None]) ** 2).sum(-1)
    return np.asarray(np.sqrt(np.minimum(squares, 1.0)))


def termination_state_entropy(record: OptionRecord) -> Array | None:
    """Returns the entropy of the states where each option ended, (K,), 0 to ln S nats.

    NaN for options that never terminated, None without numbered states.
    """
    if record.states is None:
        return None
    ended, size = record.terminated[1:], int(record.states.max()) + 1
    before, here = record.options[:-1][ended], record.states[1:][ended]
    return entropy(_count(before, here, record.n_options, size))


def cluster_states(
    features: npt.NDArray[np.floating],
    k: int = 64,
    generator: np.random.Generator | None = None,
    sample: int = 8192,
) -> Ints:
    """Returns cluster numbers of states by k-means (the best of 3 by OpenCV).

    Args:
        features: One row per state, such as what the policy's heads read, (rows, F).
        k: Clusters; as many as rows at most.
        generator: Seeds it; None: seed 0.
        sample: Rows, drawn at random, that the centres are fitted to.

    Returns:
        (rows,), 0 to k - 1.
    """
    import cv2

    generator = np.random.default_rng(0) if generator is None else generator
    rows = np.ascontiguousarray(features - features.mean(0), dtype=np.float32)
    if len(rows) == 1:  # which OpenCV takes for a list of numbers
        return np.zeros(1, dtype=np.int64)
    fitted = rows[generator.permutation(len(rows))[:sample]]
    cv2.setRNGSeed(int(generator.integers(2**31)))
    stop = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 30, 1e-4)
    labels, flags = np.zeros((len(fitted), 1), dtype=np.int32), cv2.KMEANS_PP_CENTERS
    _, _, centers = cv2.kmeans(fitted, min(k, len(fitted)), labels, stop, 3, flags)
    # The nearest centre: |x - c|^2 less |x|^2, over -2.
    nearness = rows @ centers.T - 0.5 * np.square(centers).sum(1)
    return np.asarray(nearness.argmax(1), dtype=np.int64)


def q_spread(record: OptionRecord) -> float:
    """Returns E_s[ standard deviation of Q(s,w) over the options ], in units of return."""
    return float(record.q.astype(np.float64).std(-1).mean())


def termination_advantages(record: OptionRecord) -> tuple[Array, Ints]:
    """Returns A(s,w) = Q(s,w) - sum_k pi(k|s) Q(s,k) of the option that arrives at s, and w.

    In units of return; below 0 the termination gradient makes w end there more often. Steps where
    an episode starts, and the first of the record, have no such option.
    """
    arrived, before = ~record.starts[1:], record.options[:-1]
    q = record.q[1:].astype(np.float64)
    values = (record.option_probs[1:] * q).sum(-1)
    mine = np.take_along_axis(q, before[..., None], axis=-1)[..., 0]
    return (mine - values)[arrived], before[arrived]


def restriction_test(play: Callable[[Bools], npt.ArrayLike], n_options: int) -> dict[str, Any]:
    """Plays with all options, with each one alone and with each one forbidden (indicator 9).

    Args:
        play: From the options that are allowed, (K,), to the returns of episodes.
        n_options: K; there are 2 K + 1 plays, and 2 for K = 1.

    Returns:
        Mean returns ``full``, a number, and ``only`` and ``without``, (K,); the last two less the
        first as ``only_difference`` and ``without_difference``; over it as ``only_ratio`` and
        ``without_ratio``, unless it is 0. K = 1 has nothing ``without``.
    """

    def mean(allowed: Bools) -> float:
        returns = np.asarray(play(allowed), dtype=np.float64)
        if not returns.size:
            raise ValueError(f"no episode was played with the options {np.flatnonzero(allowed)}")
        return float(returns.mean())

    one = np.eye(n_options, dtype=np.bool_)
    full = mean(np.ones(n_options, dtype=np.bool_))
    result: dict[str, Any] = {"full": full}
    for name, masks in {"only": one, "without": ~one}.items():
        if masks.any():
            returns = np.array([mean(allowed) for allowed in masks])
            result |= {name: returns, f"{name}_difference": returns - full}
            if full:
                result[f"{name}_ratio"] = returns / full
    return result


def per_option(
    values: npt.NDArray[Any], owners: Ints, n_options: int, statistic: Callable[..., Any] = np.mean
) -> Array:
    """Returns a statistic of the values of each option, (K,), NaN where it has none."""
    groups = [values[owners == option] for option in range(n_options)]
    return np.array([statistic(group) if len(group) else np.nan for group in groups])


def summarize(record: OptionRecord, generator: np.random.Generator) -> dict[str, float]:
    """Returns indicators 1 to 8 as numbers by name: those that the record has and are finite."""
    shares, lengths = occupancy(record), durations(record)[0]
    policies = record.parameters, record.log_std, generator
    used = conditional_information(*policies, record.option_probs)
    values: dict[str, float | None] = {
        "usage_entropy": usage_entropy(shares),
        "usage_effective": effective_number(shares),
        "usage_largest": float(shares.max()),
        "switch_rate": switch_rate(record),
        "reselect_rate": reselect_rate(record),
        "duration_mean": float(lengths.mean()),
        "duration_median": float(np.median(lengths)),
        "duration_90": float(np.percentile(lengths, 90)),
        "beta_own": float(_own_beta(record).mean()),
        "beta_all": float(record.beta.mean(dtype=np.float64)),
        "mi_action_option_given_state": conditional_information(*policies),
        "mi_action_option_given_state_used": used,
        "policy_entropy": float(policy_entropy(record.parameters, record.log_std).mean()),
        "q_spread": q_spread(record),
    }
    matrices = policy_distances(*policies)
    if (apart := state_distances(record)) is not None:
        matrices["state_hellinger"] = apart
    for name, matrix in matrices.items():
        values[f"{name}_mean"], values[f"{name}_min"] = off_diagonal(matrix)
    tables = {"action": option_action_table(record), "state": option_state_table(record)}
    for name, table in tables.items():
        values[f"mi_{name}_option"] = None if table is None else mutual_information(table)
    known = {"termination_advantage": termination_advantages(record)[0]}
    if (ended := termination_state_entropy(record)) is not None:
        known["termination_state_entropy"] = ended
    values |= {k: float(np.nanmean(v)) for k, v in known.items() if not np.isnan(v).all()}
    return {k: v for k, v in values.items() if v is not None and math.isfinite(v)}


def tables(record: OptionRecord, generator: np.random.Generator) -> dict[str, Array]:
    """Returns what is known of each option, (K,), and of each pair, (K, K), by name."""
    k, (lengths, owners) = record.n_options, durations(record)
    beta_own, beta_all = termination_rates(record)
    result: dict[str, Array | None] = {
        "share": occupancy(record),
        "selected": selection_frequency(record),
        "duration_mean": per_option(lengths, owners, k),
        "duration_median": per_option(lengths, owners, k, np.median),
        "duration_90": per_option(lengths, owners, k, lambda x: np.percentile(x, 90)),
        "beta_own": beta_own,
        "beta_all": beta_all,
        "policy_entropy": policy_entropy(record.parameters, record.log_std),
        "termination_advantage": per_option(*termination_advantages(record), k),
        "termination_state_entropy": termination_state_entropy(record),
        "state_hellinger": state_distances(record),
        **policy_distances(record.parameters, record.log_std, generator),
    }
    return {name: values for name, values in result.items() if values is not None}


def _own_beta(record: OptionRecord) -> Array:
    own = np.take_along_axis(record.beta, record.options[..., None], axis=-1)
    return np.asarray(own.ravel(), dtype=np.float64)


def _count(rows: npt.NDArray[Any], columns: npt.NDArray[Any], height: int, width: int) -> Ints:
    """Returns how often each pair of numbers occurs, (height, width)."""
    places = (rows * width + columns).astype(np.int64).ravel()
    return np.bincount(places, minlength=height * width).reshape(height, width)
