"""Mixtures of Gaussians of one variable: log-density, distribution function, samples.

All functions act on the last axis, the K components, and broadcast over the others.
``torch.distributions.MixtureSameFamily`` has the first two as well; its samples take no generator
and no temperature, and it checks and rebuilds its parts on every call of a loop that has D of them.
"""

import math

import torch

_HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


def mixture_log_prob(
    x: torch.Tensor, logits: torch.Tensor, means: torch.Tensor, log_scales: torch.Tensor
) -> torch.Tensor:
    """Returns log sum_k pi_k N(x; mu_k, sigma_k^2), by log-sum-exp.

    The paper's code adds 1e-12 inside the logarithm; with log-sum-exp nothing underflows, and the
    loss has no ceiling of 27.6 nats.

    Args:
        x: (...).
        logits: (..., K), weights before the softmax.
        means: (..., K).
        log_scales: (..., K), log sigma.

    Returns:
        (...), nats.
    """
    normed = (x.unsqueeze(-1) - means) * torch.exp(-log_scales)
    joint = logits - log_scales - 0.5 * normed.square()
    return joint.logsumexp(-1) - logits.logsumexp(-1) - _HALF_LOG_TWO_PI


def mixture_cdf(
    x: torch.Tensor, logits: torch.Tensor, means: torch.Tensor, log_scales: torch.Tensor
) -> torch.Tensor:
    """Returns P(X <= x); arguments are those of :func:`mixture_log_prob`."""
    normed = (x.unsqueeze(-1) - means) * torch.exp(-log_scales)
    return (logits.softmax(-1) * torch.special.ndtr(normed)).sum(-1)


def mixture_sample(
    logits: torch.Tensor,
    means: torch.Tensor,
    log_scales: torch.Tensor,
    uniforms: torch.Tensor,
    normals: torch.Tensor,
    temperature: float = 1.0,
) -> torch.Tensor:
    """Draws a value: a component by its weight, then a Gaussian.

    Args:
        logits: (..., K), weights before the softmax.
        means: (..., K).
        log_scales: (..., K), log sigma.
        uniforms: (...), in [0, 1), choose the components.
        normals: (...), standard normal.
        temperature: Divides the logits and nothing else; below 1 it favours heavy components.

    Returns:
        (...).
    """
    picked = pick(logits / temperature, uniforms).unsqueeze(-1)
    mean = means.gather(-1, picked).squeeze(-1)
    return mean + log_scales.gather(-1, picked).squeeze(-1).exp() * normals


def pick(logits: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """Returns the index (...) that a number in [0, 1) falls on when weights are laid end to end.

    Args:
        logits: (..., K).
        uniforms: (...).
    """
    ends = logits.softmax(-1).cumsum(-1)
    # The last end may round to less than 1, so it counts for nothing.
    return (ends[..., :-1] <= uniforms.unsqueeze(-1)).sum(-1)
