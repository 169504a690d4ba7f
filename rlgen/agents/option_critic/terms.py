"""Losses whose gradients are written down: one node of autograd's graph each, in NumPy on the CPU.

For a few hundred samples and a few options a torch call costs more than its arithmetic, and
autograd doubles the number of calls; written out, these losses would have sixty. The functions are
written once for both libraries: an *array* is a NumPy array on the CPU and a torch tensor
elsewhere. Arrays have the batch on their last axis: NumPy is slow over short last axes.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from rlgen.agents.heads import categorical_gradient, categorical_terms

Array = Any


def array_of(tensor: torch.Tensor) -> Array:
    """Returns a tensor's values, held fixed: on the CPU as NumPy array on the same memory."""
    fixed = tensor.detach()
    return fixed.numpy() if fixed.device.type == "cpu" else fixed


def tensor_of(array: Array) -> torch.Tensor:
    """Returns an array as tensor."""
    return array if isinstance(array, torch.Tensor) else torch.from_numpy(array)


def _library(array: Array) -> Any:
    return torch if isinstance(array, torch.Tensor) else np


class _Known(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, function: Callable[..., tuple[Array, tuple[Array, ...]]], *inputs: torch.Tensor
    ) -> torch.Tensor:
        loss, ctx.grads = function(*map(array_of, inputs))
        return torch.as_tensor(loss, dtype=inputs[0].dtype)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        # Looking at the factor costs nothing on the CPU; it is 1 where losses are summed.
        factor = grads[0].item() if grads[0].device.type == "cpu" else grads[0]
        scaled = [g if isinstance(factor, float) and factor == 1 else g * factor for g in ctx.grads]
        return None, *map(tensor_of, scaled)


def loss_with_gradient(
    function: Callable[..., tuple[Array, tuple[Array, ...]]], *inputs: torch.Tensor
) -> torch.Tensor:
    """Returns a scalar of some tensors, with the gradients that the function tells.

    Args:
        function: From arrays to the scalar and its gradient for each of them.
        *inputs: The tensors.
    """
    loss: torch.Tensor = _Known.apply(function, *inputs)
    return loss


def options_first(array: Array) -> Array:
    """Returns (batch, K) as (K, batch), in one piece of memory."""
    if isinstance(array, torch.Tensor):
        return array.T.contiguous()
    return np.ascontiguousarray(array.T)


def log_softmax(logits: Array) -> Array:
    """Returns log-probabilities along axis 0."""
    if isinstance(logits, torch.Tensor):
        return torch.log_softmax(logits, 0)
    shifted = logits - logits.max(axis=0)
    return shifted - np.log(np.exp(shifted).sum(axis=0))


def log_greedy(values: Array, eps: float) -> Array:
    """Returns the logarithm of: the best value with 1 - eps, else any; (K, batch)."""
    k = len(values)
    with np.errstate(divide="ignore"):
        other, best = np.log(np.array([eps / k, 1 - eps + eps / k])).tolist()
    logs = _library(values).full_like(values, other)
    if isinstance(values, torch.Tensor):
        return logs.scatter_(0, values.argmax(0, keepdim=True), best)
    logs[values.argmax(axis=0), np.arange(values.shape[1])] = best
    return logs


def linear(x: Array, weight: Array, bias: Array) -> Array:
    """Returns W x + b of rows (batch, width), as (K, batch)."""
    return weight @ x.T + bias[:, None]


def termination_loss(
    latent: torch.Tensor, head: torch.nn.Linear, chosen: Array, cost: Array
) -> torch.Tensor:
    """Returns mean_b cost_b beta_{w_b}(s_b), with beta = sigmoid of the head.

    Args:
        latent: What the head reads, (batch, width); it gets a gradient unless it is detached.
        head: One logit per option.
        chosen: w, one-hot (K, batch).
        cost: Q(s, w) - V_Omega(s) + eta + termination_reg where w was tested, else 0; (batch,).
    """

    def compute(x: Array, weight: Array, bias: Array) -> tuple[Array, tuple[Array, ...]]:
        logits = (linear(x, weight, bias) * chosen).sum(0)
        beta = 0.5 * (1 + _library(x).tanh(0.5 * logits))
        weighted = cost * beta
        to_logits = chosen * (weighted * (1 - beta) / len(x))
        return weighted.mean(), (to_logits.T @ weight, to_logits @ x, to_logits.sum(1))

    def of_head(weight: Array, bias: Array) -> tuple[Array, tuple[Array, ...]]:
        loss, grads = compute(array_of(latent), weight, bias)
        return loss, grads[1:]

    if latent.requires_grad:
        return loss_with_gradient(compute, latent, head.weight, head.bias)
    return loss_with_gradient(of_head, head.weight, head.bias)


def option_policy_loss(
    latent: torch.Tensor,
    head: torch.nn.Linear,
    log_probs: Array,
    chosen: Array,
    advantage: Array,
    chose: Array,
    ent_coef: float,
) -> torch.Tensor:
    """Returns -mean_b chose_b [ln pi_Omega(w_b|s_b) A_b + c H(pi_Omega(.|s_b))]; trains the head.

    With p = softmax(z) and H the entropy, d ln p_w / dz = onehot(w) - p and
    dH / dz = -p (ln p + H).

    Args:
        latent: What the head reads, (batch, width), held fixed.
        head: One logit per option.
        log_probs: ln pi_Omega, (K, batch).
        chosen: w, one-hot (K, batch).
        advantage: A, (batch,).
        chose: 1 where an option was chosen, else 0, (batch,).
        ent_coef: c.
    """
    x = array_of(latent)

    def compute(weight: Array, bias: Array) -> tuple[Array, tuple[Array, ...]]:
        probs = _library(x).exp(log_probs)
        entropy = -(probs * log_probs).sum(0)
        gain = chose * ((chosen * log_probs).sum(0) * advantage + ent_coef * entropy)
        by_advantage = chose * advantage / len(x)
        by_entropy = (ent_coef / len(x)) * chose * (log_probs + entropy)
        to_logits = probs * (by_advantage + by_entropy) - chosen * by_advantage
        return -gain.mean(), (to_logits @ x, to_logits.sum(1))

    return loss_with_gradient(compute, head.weight, head.bias)


def hellinger_loss(logits: torch.Tensor, coef: float, eps: float) -> torch.Tensor:
    """Returns -coef * mean_s Hbar(s) of categorical policies; see :mod:`...hellinger`.

    With S = sqrt(p), H_ij^2 = |S_i - S_j|^2 / 2 + eps and the weights w_ij = 1 / (K (K - 1) H_ij),
    dHbar/dS_i = sum_j w_ij (S_i - S_j). The signs of all pairs i < j form a matrix M (pairs, K), so
    that differences and their way back to the options are products with it.

    Args:
        logits: (batch, K, A), K at least 2.
        coef: lambda_hd.
        eps: Below the root.
    """
    batch, k, actions = logits.shape
    pairs = array_of(_pair_signs(k, logits.dtype, logits.device))

    def compute(z: Array) -> tuple[Array, tuple[Array, ...]]:
        library = _library(z)
        rows = options_first(z.reshape(-1, actions)).reshape(actions, batch, k)
        roots = library.exp(0.5 * log_softmax(rows))
        apart = roots @ pairs.T  # (A, batch, pairs)
        distances = library.sqrt(0.5 * (apart * apart).sum(0) + eps)
        scale = 2 * coef / (batch * k * (k - 1))
        to_logs = 0.5 * roots * ((apart * (-0.5 * scale / distances)) @ pairs)
        to_logits = to_logs - roots * roots * to_logs.sum(0)
        back = options_first(to_logits.reshape(actions, -1)).reshape(z.shape)
        return -scale * distances.sum(), (back,)

    return loss_with_gradient(compute, logits)


@functools.cache
def _pair_signs(k: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Returns 1 at i and -1 at j for each pair of options i < j, (pairs, K)."""
    i, j = torch.triu_indices(k, k, offset=1)
    one = torch.eye(k, dtype=dtype, device=device)
    return one[i] - one[j]


class _Acted(torch.autograd.Function):
    """See :func:`acted_terms`; with autograd's own nodes the look-ups alone would be four."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: torch.Tensor,
        values: torch.Tensor,
        rows: torch.Tensor,
        actions: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        acted = logits.flatten(0, 1).index_select(0, rows)
        log_prob, entropy, kept = categorical_terms(acted, actions)
        ctx.shape = logits.shape
        ctx.save_for_backward(rows, *kept)
        return log_prob, entropy, values.flatten().index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        rows, *kept = ctx.saved_tensors
        batch, k, actions = ctx.shape
        to_acted = categorical_gradient(tuple(kept), grads[0], grads[1])
        to_logits = to_acted.new_zeros(batch * k, actions).index_copy_(0, rows, to_acted)
        to_values = to_acted.new_zeros(batch * k).index_copy_(0, rows, grads[2])
        return to_logits.view(ctx.shape), to_values.view(batch, k), None, None


def acted_terms(
    logits: torch.Tensor, values: torch.Tensor, rows: torch.Tensor, actions: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns log-probabilities and entropies of the options that acted, and their values.

    Args:
        logits: Of every option's categorical policy, (batch, K, A).
        values: Q(s, w), (batch, K).
        rows: sample * K + option, int64 (batch,).
        actions: int64 (batch,).

    Returns:
        log pi_w(a|s), H(pi_w(.|s)) and Q(s, w), (batch,) each.
    """
    log_prob, entropy, acted = _Acted.apply(logits, values, rows, actions)
    return log_prob, entropy, acted
