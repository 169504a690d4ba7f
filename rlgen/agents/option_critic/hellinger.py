"""Hellinger distances between action distributions, and the regulariser that pushes options apart.

Paper: M. Hyun, J. Choi, N. Kwak, "Disentangling Options with Hellinger Distance Regularizer", 2019
(arXiv 1904.06887). Seen: a regulariser on the Hellinger distance between intra-option policies
(abstract), as a mean over unordered pairs of options (a third-party implementation). Reconstructed:
its sign (the distance is maximised), its coefficient, and the base algorithms.

    H(p, q) = sqrt(1 - BC(p, q)),    BC(p, q) = integral sqrt(p q)

lies in [0, 1], is symmetric and obeys the triangle inequality. All functions work on differences
of square roots or logarithms, so that values and gradients are finite for equal distributions, for
probabilities of 0 and for means that are far apart; at H = 0 the gradient is taken as 0.
"""

import math
from typing import Any

import torch
from stable_baselines3.common import distributions as sb3
from torch import distributions as td
from torch.nn import functional as F

from rlgen.agents.on_policy import PolicyOutputs
from rlgen.agents.option_critic.terms import hellinger_loss
from rlgen.core.errors import UserError

_LOG_2 = math.log(2.0)
_EPS = 1e-8  # eps_h of the specification


def hellinger_categorical(
    log_p: torch.Tensor, log_q: torch.Tensor, eps: float = 0.0
) -> torch.Tensor:
    """Returns H(p, q) = |sqrt p - sqrt q| / sqrt 2 of categorical distributions.

    Args:
        log_p: Logarithms of probabilities, (..., actions); -inf is allowed.
        log_q: The same of the other, of a shape that broadcasts.
        eps: Added below the root, which makes H smooth where p = q.

    Returns:
        (...), 0 to 1.
    """
    return _root(_square_categorical(log_p, log_q), eps)


def hellinger_gaussian(
    mean_p: torch.Tensor,
    log_std_p: torch.Tensor,
    mean_q: torch.Tensor,
    log_std_q: torch.Tensor,
    eps: float = 0.0,
) -> torch.Tensor:
    """Returns H(p, q) of Gaussians with independent dimensions.

    ln BC = sum_d 1/2 ln(2 s t / (s^2 + t^2)) - (m - n)^2 / (4 (s^2 + t^2)), where the first part is
    -1/2 ln cosh(ln s - ln t).

    Args:
        mean_p: Means m, (..., dimensions).
        log_std_p: Logarithms of standard deviations s, of a shape that broadcasts.
        mean_q: Means n of the other.
        log_std_q: Its log standard deviations, of t.
        eps: As for :func:`hellinger_categorical`.

    Returns:
        (...), 0 to 1.
    """
    apart = (log_std_p - log_std_q).abs()
    log_cosh = apart + torch.log1p(torch.exp(-2 * apart)) - _LOG_2
    log_variance = torch.logaddexp(2 * log_std_p, 2 * log_std_q)
    shift = 0.25 * (mean_p - mean_q).square() * torch.exp(-log_variance)
    return _root(-torch.expm1(-(0.5 * log_cosh + shift).sum(-1)), eps)


def hellinger_bernoulli(
    logits_p: torch.Tensor, logits_q: torch.Tensor, eps: float = 0.0
) -> torch.Tensor:
    """Returns H(p, q) of vectors of independent bits.

    Args:
        logits_p: Log-odds, (..., bits).
        logits_q: Those of the other, of a shape that broadcasts.
        eps: As for :func:`hellinger_categorical`.

    Returns:
        (...), 0 to 1.
    """
    squares = _square_categorical(_bits(logits_p), _bits(logits_q))
    return _root(_square_of_product(squares), eps)


def hellinger(p: Any, q: Any, eps: float = 0.0) -> torch.Tensor:
    """Returns H(p, q) of two distributions of SB3 or of torch, of the same kind.

    Known are SB3's action distributions (categorical, diagonal Gaussian, squashed Gaussian,
    state-dependent noise, Bernoulli, multi-categorical) and torch's ``Categorical``,
    ``OneHotCategorical``, ``Normal``, ``Bernoulli`` and ``Independent`` around the last two. A
    squashed pair has the distance of the unsquashed one, because H does not change under a common
    bijection.

    Args:
        p: One distribution.
        q: The other.
        eps: As for :func:`hellinger_categorical`.

    Returns:
        The batch shape of torch's distributions; (batch,) for SB3's.

    Raises:
        UserError: If their kind is not known, or they are of two kinds.
    """
    return _root(_square(p, q), eps)


def _square(p: Any, q: Any) -> torch.Tensor:
    """Returns H^2."""
    if isinstance(p, sb3.Distribution) and isinstance(q, sb3.Distribution):
        if isinstance(p, sb3.MultiCategoricalDistribution) and type(p) is type(q):
            pairs = zip(p.distribution, q.distribution, strict=True)
            return _square_of_product(torch.stack([_square(a, b) for a, b in pairs], dim=-1))
        inner, other = p.distribution, q.distribution
        many = isinstance(inner, (td.Normal, td.Bernoulli))
        return _square_over_events(inner, other, 1 if many else 0)
    if isinstance(p, td.Independent) and isinstance(q, td.Independent):
        return _square_over_events(p.base_dist, q.base_dist, p.reinterpreted_batch_ndims)
    return _square_over_events(p, q, 0)


def _square_over_events(p: Any, q: Any, axes: int) -> torch.Tensor:
    """Returns H^2 of products over the last axes."""
    one_hot = isinstance(p, td.OneHotCategorical) and isinstance(q, td.OneHotCategorical)
    if one_hot or (isinstance(p, td.Categorical) and isinstance(q, td.Categorical)):
        return _square_categorical(p.logits, q.logits)
    if isinstance(p, td.Normal) and isinstance(q, td.Normal):
        of_p, of_q = ((x.loc[..., None], x.scale.log()[..., None]) for x in (p, q))
        squares = hellinger_gaussian(*of_p, *of_q).square()
    elif isinstance(p, td.Bernoulli) and isinstance(q, td.Bernoulli):
        squares = _square_categorical(_bits(p.logits), _bits(q.logits))
    else:
        raise UserError(
            f"no Hellinger distance between {type(p).__name__} and {type(q).__name__}; allowed: "
            "two categorical, two Gaussian or two Bernoulli distributions of SB3 or torch"
        )
    for _ in range(axes):
        squares = _square_of_product(squares)
    return squares


def _square_categorical(log_p: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    # Half the squared difference of roots is exact near p = q, where 1 - BC cancels.
    return 0.5 * (torch.exp(0.5 * log_p) - torch.exp(0.5 * log_q)).square().sum(-1)


def _bits(logits: torch.Tensor) -> torch.Tensor:
    return torch.stack([F.logsigmoid(logits), F.logsigmoid(-logits)], dim=-1)


def _square_of_product(squares: torch.Tensor) -> torch.Tensor:
    """Returns H^2 of products of independent parts: BC is the product of their BC."""
    tiny = torch.finfo(squares.dtype).eps  # keeps the logarithm finite where supports are disjoint
    return -torch.expm1(torch.log1p(-squares.clamp(max=1 - tiny)).sum(-1))


def _root(square: torch.Tensor, eps: float) -> torch.Tensor:
    square = square.clamp(0.0, 1.0) + eps
    positive = square > 0
    return torch.where(positive, torch.where(positive, square, 1.0).sqrt(), 0.0)


def pairwise_hellinger(
    parameters: torch.Tensor, log_std: torch.Tensor | None = None, eps: float = 0.0
) -> torch.Tensor:
    """Returns the distances between all options' policies at each state, in one batched call.

    Args:
        parameters: (batch, K, A): logits of categorical policies, or means of Gaussian ones.
        log_std: Of Gaussian policies, (K, A) or (batch, K, A); None: the policies are categorical.
        eps: As for :func:`hellinger_categorical`.

    Returns:
        (batch, K, K), symmetric, with zeros on the diagonal.
    """
    k = parameters.shape[1]
    i, j = torch.triu_indices(k, k, offset=1, device=parameters.device)
    upper = _of_pairs(parameters, log_std, i, j, eps)
    matrix = parameters.new_zeros(len(parameters), k, k)
    matrix[:, i, j] = upper
    matrix[:, j, i] = upper
    return matrix


def mean_hellinger(
    parameters: torch.Tensor,
    log_std: torch.Tensor | None = None,
    *,
    power: int = 1,
    eps: float = _EPS,
) -> torch.Tensor:
    """Returns Hbar(s) = 2 / (K (K - 1)) sum_{i<j} H(pi_i(.|s), pi_j(.|s))^power.

    Args:
        parameters: As for :func:`pairwise_hellinger`.
        log_std: As for :func:`pairwise_hellinger`.
        power: 1, or 2 for the squared distance.
        eps: Below the root; it makes the gradient of equal policies 0 and that of nearly equal
            ones smooth.

    Returns:
        (batch,); 0 for K = 1.
    """
    k = parameters.shape[1]
    if k == 1:
        return parameters.new_zeros(len(parameters))
    i, j = torch.triu_indices(k, k, offset=1, device=parameters.device)
    distances = _of_pairs(parameters, log_std, i, j, eps)
    return (distances if power == 1 else distances.square()).mean(1)


def _of_pairs(
    parameters: torch.Tensor,
    log_std: torch.Tensor | None,
    i: torch.Tensor,
    j: torch.Tensor,
    eps: float,
) -> torch.Tensor:
    if log_std is None:
        # One exponential per option instead of two per pair.
        roots = torch.exp(0.5 * F.log_softmax(parameters, dim=-1))
        return _root(0.5 * (roots[:, i] - roots[:, j]).square().sum(-1), eps)
    log_std = log_std.expand_as(parameters)
    return hellinger_gaussian(parameters[:, i], log_std[:, i], parameters[:, j], log_std[:, j], eps)


class HellingerRegularizer:
    """Pushes the policies of a multi-head policy apart: L = -coef * mean_s Hbar(s).

    It is an auxiliary loss of our on-policy agents (their argument ``auxiliary_losses``) for any
    policy whose outputs have an option axis. Gradients go to every option's head and, unless
    ``detach_trunk``, to what the heads read; never to values, terminations or the policy over
    options.

    Args:
        coef: lambda_hd; negative pulls the options together.
        power: 1 for H, 2 for its square.
        detach_trunk: Train the heads alone.
        std_grad: Let the distance grow by the deviations of Gaussian policies too: with False
            their means must move apart.

    Raises:
        UserError: If an argument is out of its range.

    Example:
        >>> from rlgen.agents import PPOC, HellingerRegularizer
        >>> model = PPOC("MlpPolicy", "CartPole-v1",
        ...              auxiliary_losses=[HellingerRegularizer(0.05)])  # doctest: +SKIP
    """

    def __init__(
        self,
        coef: float = 0.05,
        *,
        power: int = 1,
        detach_trunk: bool = False,
        std_grad: bool = True,
    ) -> None:
        if not math.isfinite(coef):
            raise UserError(
                f"hellinger_coef={coef} is not a finite number; type 0.05, or 0 for none"
            )
        if power not in (1, 2):
            raise UserError(f"power={power} is unknown; allowed: 1 (distance), 2 (its square)")
        self.coef = coef
        self.power = power
        self.detach_trunk = detach_trunk
        self.std_grad = std_grad

    def check(self, policy: Any) -> None:
        """Checks that a policy has options.

        Raises:
            UserError: If it has none.
        """
        if not hasattr(policy, "n_options"):
            raise UserError(
                f"{type(policy).__name__} has no options that could be pushed apart; use PPOC or "
                "A2OC, or a policy derived from rlgen.agents.option_critic.OptionPolicy"
            )

    def __call__(self, outputs: PolicyOutputs) -> dict[str, torch.Tensor]:
        """Returns the weighted term by its name; none for a single option."""
        parameters, policy = outputs.parameters, outputs.policy
        if parameters.shape[1] == 1 or self.coef == 0:
            return {}
        if self.detach_trunk:
            assert outputs.latent_pi is not None
            latent = outputs.latent_pi.detach()
            parameters = policy.action_net(latent).reshape(parameters.shape)
        log_std = getattr(policy, "log_std", None)
        if log_std is not None and not self.std_grad:
            log_std = log_std.detach()
        if log_std is None and self.power == 1:
            return {"hellinger_loss": hellinger_loss(parameters, self.coef, _EPS)}
        distance = mean_hellinger(parameters, log_std, power=self.power).mean()
        return {"hellinger_loss": -self.coef * distance}
